//! The formats of Nix binary caches as pure functions and push parsers: owns every byte-level rule of hashes, store
//! paths, signatures, narinfos and NARs; touches no file, no socket, no clock and no source of randomness.
//!
//! Everything here works on values given by the caller, so the same code serves the server, the command line tools
//! and the browser. Rules are those of the clients from Nix 2.3 on; where generations of clients differ, reading takes
//! what the strictest one takes and writing produces what all of them accept.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cache_info;
pub mod compression;
pub mod content_address;
pub mod debug_info;
pub mod hash_modulo;
pub mod inspect;
pub mod nar;
pub mod nar_listing;
pub mod narinfo;
pub mod nixbase32;
pub mod nixhash;
pub mod realisation;
pub mod reference_scan;
pub mod signing;
pub mod store_path;

pub use cache_info::CacheInfo;
pub use compression::Compression;
pub use content_address::ContentAddress;
pub use debug_info::DebugId;
pub use narinfo::NarInfo;
pub use nixhash::{HashAlgo, NixHash, Sha256};
pub use realisation::{Realisation, RealisationKey};
pub use signing::{Signature, SigningKey, VerifyingKey};
pub use store_path::{STORE_DIR, StorePath, StorePathHash};
