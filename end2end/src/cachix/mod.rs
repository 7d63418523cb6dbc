//! An emulator of the `cachix` client, as strict as the client itself and with switches for its accidents.
//! Speaks to one host; reads store paths through `nix-store --dump`.

mod client;
mod error;
mod fault;
mod object;
mod profile;
mod push;
pub mod wire;

pub use client::Client;
pub use error::Error;
pub use fault::Faults;
pub use object::{Nar, NarReader, Object};
pub use profile::{Backoff, Profile};
pub use push::{PushOptions, PushReport, Pushed, Signer};
