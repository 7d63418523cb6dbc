//! An emulator of the `cachix` client in all its releases since 1.0, as strict as the client itself and with switches
//! for its accidents. Speaks to one server; reads store paths through `nix-store --dump`.

mod calls;
mod client;
mod error;
mod fault;
mod host;
mod legacy;
mod multipart;
mod packed;
mod profile;
mod push;
mod retry;
mod signer;
pub mod wire;

pub use calls::Doctor;
pub use client::Client;
pub use error::Error;
pub use fault::Faults;
pub use host::UploadHost;
pub use profile::{Profile, UnknownRelease, Upload};
pub use push::{PushOptions, PushReport, Pushed};
pub use retry::{Backoff, RepeatedAfter, RepeatedCalls, RetryAfter};
pub use signer::Signer;
