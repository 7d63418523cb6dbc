//! What an operator can set: by flag, by environment variable, or in a TOML file, in this order. Each setting stands once, as a flag;
//! the other ways follow from it.

mod file;
mod serve;
mod span;
mod store;

#[cfg(test)]
pub use file::{about, all, is_shared};
pub use file::{shown, with_file};
pub use serve::{LogFormat, NodeSettings, ServeSettings};
pub use span::Span;
pub use store::{MASTER_KEY, StoreSettings};
