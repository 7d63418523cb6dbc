//! Server functions: the typed calls of the pages. Each parses its input, calls `core` as the caller, and answers with
//! words of `api`; no rule is decided here.

pub mod account;
pub mod cache;
pub mod error;
pub mod frame;
pub mod key;
pub mod overview;
pub mod path;
pub mod setup;
pub mod token;

#[cfg(feature = "ssr")]
pub mod context;

pub use error::UiError;
