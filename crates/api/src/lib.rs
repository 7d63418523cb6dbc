//! The words that the browser, the REST clients and the server share: plain values, no I/O, no behaviour beyond
//! formatting.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod ansi;
pub mod attic;
pub mod bounded;
pub mod builder;
pub mod cache;
pub mod check;
pub mod event;
pub mod format;
pub mod instance;
pub mod key;
pub mod member;
pub mod name;
pub mod node;
pub mod overview;
pub mod path;
pub mod pin;
pub mod probe;
pub mod retention;
pub mod run;
pub mod statistics;
pub mod time;
pub mod token;
pub mod why;
pub mod work;

pub use name::{BuilderName, CacheName, NameError, Reference, Repository, UserName};
pub use time::Timestamp;
