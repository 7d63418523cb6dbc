//! An emulator of the `attic` client and of its fork `celler`: what they send, what they make of the answers, and
//! switches for their accidents. Speaks to one server; reads store paths through `nix-store --dump`.

mod client;
mod endpoint;
mod error;
mod fault;
mod push;
mod upload;
pub mod wire;

pub use client::{Client, Flavour, Substituter};
pub use endpoint::Endpoint;
pub use error::Error;
pub use fault::Faults;
pub use push::{PushOptions, PushReport, Pushed};
pub use upload::Preamble;
