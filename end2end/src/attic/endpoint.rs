//! The address given to `login`, and how the client makes URLs of it: by resolving relative references (RFC 3986).

use super::Error;

/// An absolute URL. Without a slash at its end the last segment of the path is replaced by what is resolved against
/// it, so `https://h/attic` leads to `https://h/_api/...` and only `https://h/attic/` to `https://h/attic/_api/...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

/// The five components of a reference; what is absent differs from what is empty.
#[derive(Default)]
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let cut = |text: &'a str, mark: char| match text.split_once(mark) {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let (rest, fragment) = cut(text, '#');
        let (rest, query) = cut(rest, '?');
        let is_scheme = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, after)) if is_scheme(scheme) => (Some(scheme), after),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => {
                let end = after.find('/').unwrap_or(after.len());
                (Some(&after[..end]), &after[end..])
            }
            None => (None, rest),
        };
        Self { scheme, authority, path, query, fragment }
    }
}

impl Endpoint {
    /// Takes an absolute URL with a host, as `login` does.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts = Parts::of(text);
        match (parts.scheme, parts.authority) {
            (Some("http" | "https"), Some(authority)) if !authority.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(Error::Endpoint(text.to_owned())),
        }
    }

    /// The URL that a reference leads to from here (RFC 3986, 5.2).
    pub fn resolve(&self, reference: &str) -> String {
        let (base, to) = (Parts::of(&self.0), Parts::of(reference));
        let scheme = to.scheme.or(base.scheme);
        let mut query = to.query;
        let (authority, path) = if to.scheme.is_some() || to.authority.is_some() {
            (to.authority, without_dots(to.path))
        } else if to.path.is_empty() {
            query = to.query.or(base.query);
            (base.authority, base.path.to_owned())
        } else if to.path.starts_with('/') {
            (base.authority, without_dots(to.path))
        } else if base.authority.is_some() && base.path.is_empty() {
            (base.authority, without_dots(&format!("/{}", to.path)))
        } else {
            let folder = base.path.rfind('/').map_or("", |slash| &base.path[..=slash]);
            (base.authority, without_dots(&format!("{folder}{}", to.path)))
        };
        let mut url = String::new();
        if let Some(scheme) = scheme {
            url += &format!("{scheme}:");
        }
        if let Some(authority) = authority {
            url += &format!("//{authority}");
        }
        url += &path;
        if let Some(query) = query {
            url += &format!("?{query}");
        }
        if let Some(fragment) = to.fragment {
            url += &format!("#{fragment}");
        }
        url
    }

    /// The host without its port, as netrc files name it.
    pub fn host(&self) -> &str {
        let authority = Parts::of(&self.0).authority.unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }
}

/// Takes `.` and `..` segments out of a path (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                // What names a folder ends in a slash.
                if last {
                    out.push("");
                }
            }
            segment => out.push(segment),
        }
    }
    format!("{}{}", if absolute { "/" } else { "" }, out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_the_standard_shows() {
        let base = Endpoint::parse("http://a/b/c/d;p?q").unwrap();
        let examples = [
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("g#s", "http://a/b/c/g#s"),
            ("g?y#s", "http://a/b/c/g?y#s"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ];
        for (reference, url) in examples {
            assert_eq!(base.resolve(reference), url, "{reference}");
        }
    }

    #[test]
    fn slash_at_the_end_decides() {
        let resolved = |base: &str| Endpoint::parse(base).unwrap().resolve("_api/v1/cache-config/a");
        assert_eq!(resolved("https://h/attic/"), "https://h/attic/_api/v1/cache-config/a");
        assert_eq!(resolved("https://h/attic"), "https://h/_api/v1/cache-config/a");
        assert_eq!(resolved("http://h:8080"), "http://h:8080/_api/v1/cache-config/a");
        assert_eq!(resolved("http://h:8080/"), "http://h:8080/_api/v1/cache-config/a");
        assert_eq!(resolved("http://h/a/b"), "http://h/a/_api/v1/cache-config/a");
    }

    #[test]
    fn only_absolute_web_addresses_are_endpoints() {
        for bad in ["", "h", "h:8080", "/attic/", "//h/", "ftp://h/", "http:///x"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Endpoint::parse("http://h.example:8080/a/").unwrap().host(), "h.example");
        assert_eq!(Endpoint::parse("https://[::1]").unwrap().host(), "[::1]");
    }
}
