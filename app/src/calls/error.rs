//! The one error that pages see, and what each kind means for them.

use serde::{Deserialize, Serialize};
use server_fn::{
    codec::JsonEncoding,
    error::{FromServerFnError, ServerFnErrorErr},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum UiError {
    /// What was typed into `field` cannot be taken; the message stands beside the field.
    #[error("{message}")]
    Invalid { field: String, message: String },
    /// Nobody is logged in, or the session ended.
    #[error("log in first")]
    LoginNeeded,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    /// Too many tries; the message says how long to wait.
    #[error("{0}")]
    TooMany(String),
    /// The server failed; details are in its log.
    #[error("the server could not do this: {0}")]
    Server(String),
    /// The server was not reached, or answered something else than Iglu does.
    #[error("the server did not answer: {0}")]
    Connection(String),
}

impl UiError {
    /// The message for `field`, if this error is about it.
    pub fn about(&self, field: &str) -> Option<String> {
        match self {
            UiError::Invalid { field: named, message } if named == field => Some(message.clone()),
            _ => None,
        }
    }

    /// Whether no single field is to blame, so that the message belongs to the form or page.
    pub fn is_general(&self) -> bool {
        !matches!(self, UiError::Invalid { field, .. } if !field.is_empty())
    }
}

impl FromServerFnError for UiError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> UiError {
        match error {
            ServerFnErrorErr::Args(message) | ServerFnErrorErr::MissingArg(message) => {
                UiError::Invalid { field: String::new(), message }
            }
            ServerFnErrorErr::ServerError(message) | ServerFnErrorErr::MiddlewareError(message) => {
                UiError::Server(message)
            }
            other => UiError::Connection(other.to_string()),
        }
    }
}

#[cfg(feature = "ssr")]
impl From<iglu_core::Error> for UiError {
    fn from(error: iglu_core::Error) -> UiError {
        use iglu_core::Error;
        match error {
            Error::Invalid { field, message } => UiError::Invalid { field: field.to_owned(), message },
            // A cache that a person may not see is as if it were not there; logging in again would not help.
            Error::Unauthenticated(_) if super::context::Call::logged_in().is_ok() => {
                UiError::NotFound("there is nothing here that you may see".to_owned())
            }
            Error::Unauthenticated(_) => UiError::LoginNeeded,
            Error::Forbidden(message) => UiError::Forbidden(message),
            Error::NotFound(message) => UiError::NotFound(message),
            Error::Conflict { field, message } => UiError::Invalid { field: field.to_owned(), message },
            Error::TooMany { message, .. } => UiError::TooMany(message),
            other => {
                tracing::error!(error = %other, cause = ?std::error::Error::source(&other), "a page's call failed");
                UiError::Server(other.to_string())
            }
        }
    }
}
