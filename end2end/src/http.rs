//! A small HTTP/1.1 client: owns a connection pool, may connect to any address it is given, and hides nothing of an answer.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::body::{self, Body};

/// Who is asking, as headers say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// No header at all.
    None,
    /// `Authorization: Bearer TOKEN`.
    Bearer(String),
    /// `Authorization: Basic base64(user:password)`, what netrc files lead to.
    Basic(String, String),
}

impl Credentials {
    /// The header's value, if there is to be one.
    pub fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::Basic(user, password) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status line's code.
    pub status: StatusCode,
    /// All headers as received.
    pub headers: HeaderMap,
    /// The body as received: nothing is decoded.
    pub body: Bytes,
}

impl Reply {
    /// The body as text, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; `None` where it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or(value).trim())
    }
}

/// The connection pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpConnector, Body>,
    reached_at: Option<Authority>,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A pool without connections.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), reached_at: None }
    }

    /// Reaches every host name at this `IP:PORT`, as a wildcard in DNS would; the `Host` header still names the host.
    /// URLs with an IP address are reached where they say.
    pub fn reaching(mut self, address: &str) -> anyhow::Result<Self> {
        self.reached_at = Some(address.parse()?);
        Ok(self)
    }

    /// Sends and reads the whole answer into memory. Redirects are not followed.
    pub async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Reply> {
        self.send_body(request.map(body::full)).await
    }

    /// [`Http::send`] of a body that may have no known length.
    pub async fn send_body(&self, request: Request<Body>) -> anyhow::Result<Reply> {
        let response = self.stream_body(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Sends and leaves the body to the caller: for answers too big for memory.
    pub async fn stream(&self, request: Request<Bytes>) -> anyhow::Result<http::Response<Incoming>> {
        self.stream_body(request.map(body::full)).await
    }

    async fn stream_body(&self, mut request: Request<Body>) -> anyhow::Result<http::Response<Incoming>> {
        if let (Some(address), Some(named)) = (&self.reached_at, request.uri().authority().cloned())
            && !is_address(named.host())
        {
            let mut parts = request.uri().clone().into_parts();
            parts.authority = Some(address.clone());
            *request.uri_mut() = http::Uri::from_parts(parts)?;
            request.headers_mut().entry(HOST).or_insert(HeaderValue::from_str(named.as_str())?);
        }
        Ok(self.client.request(request).await?)
    }

    /// A request with the given extra headers.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        credentials: &Credentials,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        self.send(request(method, url, credentials, headers, body)?).await
    }

    /// A GET without credentials.
    pub async fn get(&self, url: &str) -> anyhow::Result<Reply> {
        self.call(Method::GET, url, &Credentials::None, &[], Bytes::new()).await
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Builds a request for [`Http::send`].
pub fn request(
    method: Method,
    url: &str,
    credentials: &Credentials,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Request<Bytes>> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse()?;
    if let Some(value) = credentials.header() {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&value)?);
    }
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(request)
}

/// A socket without an HTTP client on it, for what a well-behaved client never sends.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        Ok(())
    }

    /// Reads up to and including the empty line that ends a head, or to the end of the connection.
    pub async fn head(&mut self, patience: Duration) -> anyhow::Result<String> {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                match self.stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        tokio::time::timeout(patience, read).await.map_err(|_| anyhow::anyhow!("no answer within {patience:?}"))??;
        Ok(String::from_utf8_lossy(&head).into_owned())
    }
}

/// `host:port` of an http URL.
pub fn address(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse()?;
    let host = uri.host().ok_or_else(|| anyhow::anyhow!("{url} names no host"))?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::body::streamed;

    /// Answers one request with an empty 200, and gives what was sent up to `end`.
    async fn overheard(listener: TcpListener, end: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            heard.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(heard).unwrap()
    }

    #[tokio::test]
    async fn streams_go_in_chunks_to_the_host_they_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = Http::new().reaching(&listener.local_addr().unwrap().to_string()).unwrap();
        let (body, ended) = streamed(&b"hello"[..]);
        let request = Request::put("http://main.cache.test:8080/pfx/x?").body(body).unwrap();
        let (heard, reply) = tokio::join!(overheard(listener, "0\r\n\r\n"), http.send_body(request));
        assert_eq!(reply.unwrap().status, 200);
        assert!(ended.await.unwrap().is_empty());
        let (head, body) = heard.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /pfx/x? HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("\r\nhost: main.cache.test:8080"), "{head}");
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    }

    #[tokio::test]
    async fn addresses_are_reached_where_they_say() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let http = Http::new().reaching("127.0.0.1:1").unwrap();
        let (heard, reply) = tokio::join!(overheard(listener, "\r\n\r\n"), http.get(&url));
        assert_eq!(reply.unwrap().status, 200);
        assert!(heard.starts_with("GET /x HTTP/1.1\r\n"), "{heard}");
    }
}
