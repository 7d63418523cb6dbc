//! A browser without JavaScript: keeps cookies, posts forms, follows nothing.

// A test that meets anything unexpected here has failed.
#![allow(clippy::unwrap_used)]
use crate::{
    http::{Credentials, Reply},
    server::Server,
};
use bytes::Bytes;
use http::Method;

pub struct Browser<'a> {
    pub server: &'a Server,
    pub cookies: Vec<(String, String)>,
}

impl Browser<'_> {
    pub fn new(server: &Server) -> Browser<'_> {
        Browser { server, cookies: Vec::new() }
    }

    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut headers = headers.to_vec();
        headers.push(("Accept", "text/html"));
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let url = format!("{}{path}", self.server.url());
        let body = Bytes::copy_from_slice(body.as_bytes());
        let reply = self.server.http().call(method, &url, &Credentials::None, &headers, body).await.unwrap();
        for cookie in reply.headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }

    /// Whether it holds a session.
    pub fn is_logged_in(&self) -> bool {
        self.cookies.iter().any(|(name, _)| name.ends_with("iglu_session"))
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    /// Posts a form as a browser does from a page of this server.
    pub async fn post(&mut self, function: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_from("same-origin", function, fields).await
    }

    pub async fn post_from(&mut self, site: &str, function: &str, fields: &[(&str, &str)]) -> Reply {
        let encode = |text: &str| {
            let byte = |byte: u8| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            };
            text.bytes().map(byte).collect::<String>()
        };
        let body = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&");
        let origin = if site == "same-origin" { self.server.url() } else { "https://evil.example".to_owned() };
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", site),
            ("Origin", &origin),
            ("Referer", &format!("{origin}/caches")),
        ];
        self.send(Method::POST, &format!("/api/ui/{function}"), &headers, &body).await
    }
}

/// Checks that the answer leads to `path`.
pub fn leads_to(reply: &Reply, path: &str) {
    assert_eq!(reply.status, 302, "{}", reply.text());
    let location = reply.header("location").unwrap_or_default();
    assert_eq!(location, path);
}

/// A server set up by its link, and the browser that did it.
pub async fn set_up(server: &Server) -> (Browser<'_>, String) {
    let link: serde_json::Value = serde_json::from_str(&server.admin(&["setup-link"], "").unwrap()).unwrap();
    let secret = link["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let mut browser = Browser::new(server);
    let done = browser.post("setup_finish", &set_up_fields(&secret)).await;
    leads_to(&done, "/caches/main/first-push");
    (browser, secret)
}

/// What the set-up form sends.
pub fn set_up_fields(secret: &str) -> [(&str, &str); 6] {
    [
        ("secret", secret),
        ("name", "ada"),
        ("password", "a long password"),
        ("public_url", "http://127.0.0.1"),
        ("cache", "main"),
        ("visibility", "private"),
    ]
}
