//! The face of Iglu: pages, the kit they are made of, and the server functions they call. Rendered on the server,
//! taken over by the browser; knows no SQL and no object store.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// Views are nested tuples, one type per page.
#![recursion_limit = "256"]

pub mod calls;
#[cfg(all(feature = "ssr", debug_assertions))]
pub mod kit;
mod lazy;
pub mod live;
pub mod pages;
pub mod routes;
pub mod shell;
pub mod ui;

pub use routes::App;
pub use shell::{AssetRoot, shell};
