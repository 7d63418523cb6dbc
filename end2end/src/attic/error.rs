//! Why a call of the emulated client failed, in the client's own terms.

use serde::Deserialize;

use crate::http::Reply;

/// A failure that the client would report to its user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused in the form that the client understands.
    #[error("{call}: {error}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The answer's status.
        status: u16,
        /// The status as the body repeats it.
        code: u16,
        /// Its name: `NoSuchCache`.
        error: String,
        /// A sentence for the user.
        message: String,
    },
    /// Any other answer outside 2xx: the client shows it as it is.
    #[error("{call}: status {status}: {body}")]
    Status {
        /// Which call.
        call: &'static str,
        /// The answer's status.
        status: u16,
        /// The body as received.
        body: String,
    },
    /// A 2xx answer that is not what was declared.
    #[error("{call}: answer cannot be decoded: {cause}")]
    Decode {
        /// Which call.
        call: &'static str,
        /// What the decoder missed.
        cause: String,
    },
    /// No answer at all.
    #[error("{call}: {cause}")]
    Transport {
        /// Which call.
        call: &'static str,
        /// What the connection met.
        cause: String,
    },
    /// The cache's name breaks the client's rules: nothing was sent.
    #[error("\"{0}\" is no name of a cache")]
    Name(String),
    /// The endpoint is not an absolute http or https URL: nothing was sent.
    #[error("\"{0}\" is no endpoint")]
    Endpoint(String),
    /// The configuration lacks a field that the command cannot do without.
    #[error("the configuration of cache {cache} has no {field}")]
    Incomplete {
        /// Which cache.
        cache: String,
        /// Which field.
        field: &'static str,
    },
    /// The NAR could not be read.
    #[error("NAR of {path}: {cause}")]
    Nar {
        /// The store path.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// A refusal's body; all three fields are required.
#[derive(Deserialize)]
struct RefusalBody {
    code: u16,
    error: String,
    message: String,
}

impl Error {
    /// Of an answer outside 2xx.
    pub(super) fn of(call: &'static str, reply: &Reply) -> Self {
        let status = reply.status.as_u16();
        match serde_json::from_slice(&reply.body) {
            Ok(RefusalBody { code, error, message }) => Self::Refused { call, status, code, error, message },
            Err(_) => Self::Status { call, status, body: reply.text() },
        }
    }

    /// The status of the answer, if one failed.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The refusal's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Refused { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What the user would read.
    pub fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } => message,
            Self::Status { body, .. } => body,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_needs_all_three_fields() {
        let error = |body: &'static str| {
            let reply =
                Reply { status: http::StatusCode::NOT_FOUND, headers: http::HeaderMap::new(), body: body.into() };
            Error::of("call", &reply)
        };
        let whole = error(r#"{"code":404,"error":"NoSuchCache","message":"No cache main.","more":1}"#);
        assert_eq!((whole.status(), whole.name(), whole.message()), (Some(404), Some("NoSuchCache"), "No cache main."));
        assert_eq!(whole.to_string(), "call: NoSuchCache: No cache main.");
        let part = error(r#"{"code":404,"error":"NoSuchCache"}"#);
        assert_eq!((part.status(), part.name()), (Some(404), None));
        assert_eq!(error("gone").to_string(), "call: status 404: gone");
    }
}
