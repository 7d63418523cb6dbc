//! A reverse proxy that breaks what it is told to break, for tests of storage behind a bad network or a bad server. Owns a
//! listener on loopback, its connections, and their threads; all end when it is dropped.

mod forward;
mod line;
mod rule;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::own_runtime::OwnRuntime;
use rule::Rules;
pub use rule::{Count, Fault, Rule, RuleId};

/// A proxy of HTTP/1.1 before one server. It forwards the `Host` header as it came, so that a signature made for the proxy's
/// address is good at the server; bodies pass as they come, in both directions.
///
/// Every request goes to the server on a connection of its own. A server that cannot be reached looks like
/// [`Fault::Reset`].
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    front: Arc<Front>,
    _runtime: OwnRuntime,
}

/// What the connections share.
#[derive(Debug)]
struct Front {
    server: String,
    rules: Mutex<Rules>,
}

impl Front {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultProxy {
    /// Listens before `server`, which is `host:port` and need not be there yet. Without rules nothing is broken.
    pub fn start(server: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let front = Arc::new(Front { server: server.to_owned(), rules: Mutex::default() });
        let runtime = OwnRuntime::new("fault-proxy")?;
        runtime.listen(listener, |listener| accept(listener, Arc::clone(&front)))?;
        Ok(Self { address, front, _runtime: runtime })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds a rule behind those that are there, for requests that come from now on.
    pub fn add(&self, rule: Rule) -> RuleId {
        self.front.rules().add(rule)
    }

    /// Takes a rule away; its counts stay. Requests that it is breaking stay broken.
    pub fn remove(&self, id: RuleId) {
        self.front.rules().remove(id);
    }

    /// [`FaultProxy::remove`] of every rule.
    pub fn clear(&self) {
        self.front.rules().clear();
    }

    /// What a rule has met with so far.
    pub fn count(&self, id: RuleId) -> Count {
        self.front.rules().count(id)
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.front.rules().requests()
    }
}

async fn accept(listener: tokio::net::TcpListener, front: Arc<Front>) {
    loop {
        // Out of file descriptors, say: the next client gets another chance.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let (stream, line) = line::watched(stream);
            let answer = service_fn(|request| forward::answer(&front, &line, request));
            // An error is how a request is broken off.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

#[cfg(test)]
mod tests;
