//! Server functions: the typed calls of the pages. Each parses its input, calls `core` as the caller, and answers with
//! words of `api`; no rule is decided here.

pub mod account;
pub mod builder;
pub mod cache;
pub mod error;
pub mod frame;
pub mod instance;
pub mod key;
pub mod member;
pub mod overview;
pub mod path;
pub mod pin;
pub mod retention;
pub mod run;
pub mod setup;
pub mod statistics;
pub mod token;

#[cfg(feature = "ssr")]
pub mod context;

pub use error::UiError;

/// What is said to whoever would overrule somebody else's change unseen.
#[cfg(feature = "ssr")]
fn changed_meanwhile(what: &str) -> UiError {
    UiError::Invalid {
        field: String::new(),
        message: format!("somebody changed {what} since this page was opened; look at them and try again"),
    }
}
