//! What a server function is called with: the core, the caller, and the answer's headers.

use super::UiError;
use http::{HeaderValue, header::SET_COOKIE};
use iglu_api::{member::CreatedInvitation, token::CreatedToken};
use iglu_core::{Caller, Client, Core, account::SessionSecret};
use leptos::prelude::*;
use leptos_axum::ResponseOptions;

/// The cookie that holds a session's secret. Over HTTPS its name begins with `__Host-`: no other host of the domain can set it then.
pub const SESSION_COOKIE: &str = "iglu_session";
/// The cookie that carries a new token, sealed, from the form's answer to the page that shows it.
pub const CREATED_COOKIE: &str = "iglu_created";
/// The same for a new invitation.
pub const INVITED_COOKIE: &str = "iglu_invited";
/// The cookie that carries what was typed into a refused form back to its page, as the form sent it. Never secrets.
pub const TYPED_COOKIE: &str = "iglu_typed";
const CREATED_SECONDS: u32 = 300;

/// What a browser takes only from this very host, over HTTPS.
pub const HOST_ONLY: &str = "__Host-";

/// Whether people reach this server over HTTPS.
pub fn is_secure(core: &Core) -> bool {
    core.public_url().starts_with("https://")
}

/// One request of a browser. Provided by the server for page rendering and for server functions alike.
#[derive(Clone)]
pub struct Call {
    pub core: Core,
    pub caller: Caller,
    pub client: Client,
    /// The values of the sealed cookies, where the browser sent them.
    pub created_cookie: Option<String>,
    pub invited_cookie: Option<String>,
    /// What was typed into a form that was refused, where its page comes back without JavaScript: fields and values.
    pub typed: Vec<(String, String)>,
}

impl Call {
    /// The request being answered.
    pub fn here() -> Result<Call, UiError> {
        use_context::<Call>().ok_or_else(|| UiError::Server("called outside a request".to_owned()))
    }

    /// The request of somebody who is logged in: what the pages inside the frame are made for.
    pub fn logged_in() -> Result<Call, UiError> {
        let call = Call::here()?;
        if call.caller.me().is_none() {
            return Err(UiError::LoginNeeded);
        }
        Ok(call)
    }

    pub fn set_session(&self, session: &SessionSecret) {
        self.set_cookie(SESSION_COOKIE, session.expose(), SessionSecret::LIFETIME_SECONDS);
    }

    pub fn clear_session(&self) {
        self.set_cookie(SESSION_COOKIE, "", 0);
    }

    /// Hands a new token to the next page without a place on the server: sealed, for the same caller, for five minutes.
    pub fn keep_created_token(&self, created: &CreatedToken) {
        let sealed = self.core.token().seal_created(created);
        self.set_cookie(CREATED_COOKIE, &sealed, CREATED_SECONDS);
    }

    pub fn take_created_token(&self) -> Option<CreatedToken> {
        let created = self.core.token().open_created(self.created_cookie.as_deref()?);
        self.set_cookie(CREATED_COOKIE, "", 0);
        created
    }

    pub fn keep_created_invitation(&self, created: &CreatedInvitation) {
        let sealed = self.core.invitation().seal_created(created);
        self.set_cookie(INVITED_COOKIE, &sealed, CREATED_SECONDS);
    }

    pub fn take_created_invitation(&self) -> Option<CreatedInvitation> {
        let created = self.core.invitation().open_created(self.invited_cookie.as_deref()?);
        self.set_cookie(INVITED_COOKIE, "", 0);
        created
    }

    fn set_cookie(&self, name: &str, value: &str, seconds: u32) {
        let cookie = cookie_line(&self.core, name, value, seconds);
        // Both values are of our own URL-safe alphabet; a header that did not parse would be a bug, not input.
        if let (Some(response), Ok(cookie)) = (use_context::<ResponseOptions>(), HeaderValue::from_str(&cookie)) {
            response.append_header(SET_COOKIE, cookie);
        }
    }
}

/// A cookie of this server, as its header has it.
pub fn cookie_line(core: &Core, name: &str, value: &str, seconds: u32) -> String {
    let (prefix, secure) = if is_secure(core) { (HOST_ONLY, "; Secure") } else { ("", "") };
    format!("{prefix}{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

/// Leads to a page of this server. Anything but a plain local path leads to the overview, so that a link cannot send
/// people elsewhere.
pub fn redirect_local(to: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '+' | '.' | '?' | '=' | '&');
    let local = to.starts_with('/') && !to.starts_with("//") && to.chars().all(plain);
    leptos_axum::redirect(if local { to } else { "/" });
}
