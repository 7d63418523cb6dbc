//! The one error of `core`. The message is for the person who asked, one line; the cause is in `source`, for the log.

use std::{error::Error as StdError, io::ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given cannot be taken. `field` is the name of the form field or document field, or empty.
    #[error("{message}")]
    Invalid { field: &'static str, message: String },
    /// Nobody that the server knows asked, or somebody who may not know whether the thing exists.
    #[error("{0}")]
    Unauthenticated(String),
    /// The caller is known and lacks a right; the message names the caller, the cache and the right.
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    /// The thing exists already.
    #[error("{message}")]
    Conflict { field: &'static str, message: String },
    /// More bytes than allowed; the message names the limit.
    #[error("{0}")]
    TooLarge(String),
    /// Too many tries or too much at once.
    #[error("{message}")]
    TooMany { message: String, retry_after_seconds: u64 },
    /// The sender's bytes did not arrive whole; sending them again can help.
    #[error("{0}")]
    Interrupted(String),
    /// The database or the storage failed; trying again later can help.
    #[error("{what} is not available")]
    Unavailable { what: &'static str, source: Box<dyn StdError + Send + Sync> },
    /// A defect or a damaged installation.
    #[error("{what}")]
    Internal { what: String, source: Option<Box<dyn StdError + Send + Sync>> },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Error {
        Error::Invalid { field, message: message.into() }
    }

    pub fn storage(source: std::io::Error) -> Error {
        metrics::counter!("iglu_storage_errors_total").increment(1);
        let is_full = matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let what = if is_full { "room in the storage" } else { "storage" };
        Error::Unavailable { what, source: source.into() }
    }

    pub fn internal(what: impl Into<String>) -> Error {
        Error::Internal { what: what.into(), source: None }
    }

    /// Whether PostgreSQL ended a transaction because it and another one waited for each other. Nothing of it is kept; it may be tried again
    /// at once.
    pub(crate) fn is_deadlock(&self) -> bool {
        /// deadlock_detected
        const DEADLOCK: &str = "40P01";
        let Error::Unavailable { source, .. } = self else { return false };
        let error = source.downcast_ref::<sqlx::Error>().and_then(|error| error.as_database_error());
        error.and_then(|error| error.code()).is_some_and(|code| code == DEADLOCK)
    }
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Error {
        metrics::counter!("iglu_database_errors_total").increment(1);
        /// SQLITE_FULL
        const FULL: &str = "13";
        let is_full = source.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == FULL);
        let what = if is_full { "room for the database" } else { "database" };
        Error::Unavailable { what, source: source.into() }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(source: tokio::task::JoinError) -> Error {
        Error::Internal { what: "a background step ended early".to_owned(), source: Some(source.into()) }
    }
}
