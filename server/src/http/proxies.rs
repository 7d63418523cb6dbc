//! Where a request really came from, behind the proxies that the operator trusts.

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, Request},
};
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// Written from the right by each proxy on the way: the address that it saw.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The networks whose word on where a request came from is taken.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    pub fn new(trusted: Vec<IpNet>) -> Proxies {
        Proxies(trusted.into())
    }

    /// Those on this machine.
    pub fn loopback() -> Proxies {
        let networks = [IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8), IpNet::new(Ipv6Addr::LOCALHOST.into(), 128)];
        Proxies(networks.into_iter().flatten().collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether a trusted proxy handed the request on.
    pub fn handed<B>(&self, request: &Request<B>) -> bool {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        peer.is_some_and(|ConnectInfo(peer)| self.trusts(peer.ip()))
    }

    /// The address of the client: the connection's, or behind trusted proxies the last one that none of them has.
    pub fn client<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())?;
        if self.trusts(peer) { Some(self.forwarded(request.headers()).unwrap_or(peer)) } else { Some(peer) }
    }

    fn forwarded(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut last = None;
        // What stands further left than an address that is no proxy's was written by whoever that is.
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            // By bytes: what a client wrote need not be text, and must not hide what proxies wrote behind it.
            for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
                let hop = std::str::from_utf8(hop).ok()?.trim();
                // Some proxies add the port.
                let address = hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
                last = Some(address);
                if !self.trusts(address) {
                    return last;
                }
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = Proxies::new(vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let mut request = Request::new(());
        for line in lines {
            request.headers_mut().append(FORWARDED_FOR, line.parse().unwrap());
        }
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        proxies.client(&request).unwrap().to_string()
    }

    #[test]
    fn what_is_no_text_hides_nothing() {
        let mut request = Request::new(());
        let header = axum::http::HeaderValue::from_bytes(b"\xff, 192.0.2.1").unwrap();
        request.headers_mut().append(FORWARDED_FOR, header);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1)));
        assert_eq!(Proxies::loopback().client(&request).unwrap().to_string(), "192.0.2.1");
    }

    #[test]
    fn only_proxies_are_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.9"]), "192.0.2.1", "anybody can write the header");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["203.0.113.5, 192.0.2.1, 10.1.1.1"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["203.0.113.5", "192.0.2.1", "10.1.1.1"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["10.1.1.1"]), "10.1.1.1", "a proxy that asks for itself");
        assert_eq!(client("127.0.0.1", &["nonsense"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &["nonsense, 192.0.2.1"]), "192.0.2.1");
    }
}
