//! From headers to the caller: a token as Bearer or as the password of Basic, whose user name means nothing; or the session
//! cookie of a browser.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use iglu_app::calls::context::{HOST_ONLY, SESSION_COOKIE, is_secure};
use iglu_core::{Caller, Core, Error, Result};
use std::net::IpAddr;

/// Longer secrets are not ours, and not worth hashing.
const LONGEST_SECRET: usize = 4096;

/// The address of the client, as this server sees it. Set by [`note_address`] on every request, whatever the client sent.
const ADDRESS: HeaderName = HeaderName::from_static("iglu-client-address");

/// Notes where a request came from, for all doors behind.
pub fn note_address<B>(request: &mut Request<B>, from: Option<IpAddr>) {
    match from.and_then(|from| HeaderValue::from_str(&from.to_canonical().to_string()).ok()) {
        Some(from) => request.headers_mut().insert(ADDRESS, from),
        None => request.headers_mut().remove(ADDRESS),
    };
}

/// The address of the client; empty where it is not known.
pub fn address(headers: &HeaderMap) -> &str {
    headers.get(ADDRESS).and_then(|address| address.to_str().ok()).unwrap_or_default()
}

/// What the Authorization header says.
enum Shown {
    Nothing,
    Secret(String),
    Unreadable,
}

fn shown(headers: &HeaderMap) -> Shown {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Shown::Nothing };
    let Ok(value) = value.to_str() else { return Shown::Unreadable };
    let value = value.trim();
    if value.len() > LONGEST_SECRET {
        return Shown::Unreadable;
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let secret = if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let Some(pair) = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Shown::Unreadable;
        };
        match pair.split_once(':') {
            // Some tools put the token where the user name belongs.
            Some((user, "")) => user.to_owned(),
            Some((_, password)) => password.to_owned(),
            None => return Shown::Unreadable,
        }
    } else {
        return Shown::Unreadable;
    };
    if secret.is_empty() { Shown::Nothing } else { Shown::Secret(secret) }
}

/// The secret that is shown, whoever it belongs to.
pub fn secret(headers: &HeaderMap) -> Option<String> {
    match shown(headers) {
        Shown::Secret(secret) => Some(secret),
        Shown::Nothing | Shown::Unreadable => None,
    }
}

/// Whether anything has to be looked up to know the caller.
pub fn is_anonymous(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::AUTHORIZATION)
}

/// The caller of a machine's door.
pub async fn by_token(core: &Core, headers: &HeaderMap) -> Result<Caller> {
    let caller = match shown(headers) {
        Shown::Nothing => Caller::Anonymous { problem: None, address: address(headers).to_owned() },
        Shown::Secret(secret) => core.token().caller(&secret, address(headers)).await?,
        Shown::Unreadable => Caller::Anonymous {
            problem: Some("the Authorization header is neither Bearer nor Basic with a token".to_owned()),
            address: address(headers).to_owned(),
        },
    };
    if is_anonymous(headers) { Ok(caller) } else { counted(core, headers, caller) }
}

/// Counts whoever showed something that is no good, as the doors count those who show nothing.
fn counted(core: &Core, headers: &HeaderMap, caller: Caller) -> Result<Caller> {
    if matches!(caller, Caller::Anonymous { .. }) {
        core.anonymous_try(address(headers).parse().ok())?;
    }
    Ok(caller)
}

/// The caller of an API. A token that is no good is said to be so even where anybody may read: its holder must learn it.
pub async fn by_good_token(core: &Core, headers: &HeaderMap) -> Result<Caller> {
    match by_token(core, headers).await? {
        Caller::Anonymous { problem: Some(problem), .. } => Err(Error::Unauthenticated(problem)),
        caller => Ok(caller),
    }
}

/// The caller of a page: the cookie, or a token for scripts.
pub async fn by_session(core: &Core, headers: &HeaderMap) -> Result<Caller> {
    match own_cookie(core, headers, SESSION_COOKIE) {
        Some(session) if session.len() <= LONGEST_SECRET => {
            let caller = core.account().caller_by_session(&session, address(headers)).await?;
            counted(core, headers, caller)
        }
        Some(_) => counted(core, headers, by_token(core, headers).await?),
        None => by_token(core, headers).await,
    }
}

/// The value of a cookie that this server set; over HTTPS that is one that no other host can have set.
pub fn own_cookie(core: &Core, headers: &HeaderMap, name: &str) -> Option<String> {
    let prefix = if is_secure(core) { HOST_ONLY } else { "" };
    cookie(headers, &format!("{prefix}{name}"))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        match shown(&headers) {
            Shown::Nothing => None,
            Shown::Secret(secret) => Some(secret),
            Shown::Unreadable => Some("unreadable".to_owned()),
        }
    }

    #[test]
    fn reads_what_clients_send() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(secret("Bearer"), None);
        assert_eq!(secret("Bearer  "), None);
        assert_eq!(secret("bearer tok"), Some("tok".to_owned()));
        assert_eq!(secret(&basic(":tok")), Some("tok".to_owned()));
        assert_eq!(secret(&basic("anyone:tok:with:colons")), Some("tok:with:colons".to_owned()));
        assert_eq!(secret(&basic("tok:")), Some("tok".to_owned()));
        assert_eq!(secret(&basic(":")), None);
        for odd in ["Digest x", "Basic !!", &basic("no colon")] {
            assert_eq!(secret(odd), Some("unreadable".to_owned()), "{odd}");
        }
    }

    #[test]
    fn finds_a_cookie_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; iglu_session=abc; b=2".parse().unwrap());
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("abc".to_owned()));
        assert_eq!(cookie(&headers, "iglu"), None);
    }
}
