//! A small HTTP/1.1 client: owns a connection pool, may connect to any address it is given, and hides nothing of an answer.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
    client: Client<HttpConnector, Full<Bytes>>,
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
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends and reads the whole answer into memory. Redirects are not followed.
    pub async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Reply> {
        let response = self.stream(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Sends and leaves the body to the caller: for answers too big for memory.
    pub async fn stream(&self, request: Request<Bytes>) -> anyhow::Result<http::Response<Incoming>> {
        Ok(self.client.request(request.map(Full::new)).await?)
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
