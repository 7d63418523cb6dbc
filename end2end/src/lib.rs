//! What the tests against the running server share: client emulators, the real Nix, and the server's own process.
//! Nothing here is part of the product; everything here may start processes and write below temporary folders.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attic;
pub mod attic_store;
pub mod balancer;
pub mod body;
pub mod browser;
pub mod builder;
pub mod cachix;
pub mod certificate;
pub mod cluster;
pub mod conformance;
pub mod digest;
pub mod disk;
pub mod fault_proxy;
pub mod http;
pub mod load;
pub mod nar;
pub mod nginx;
pub mod nix;
pub mod object;
mod own_runtime;
pub mod postgres;
pub mod put;
pub mod refusal;
pub mod s3;
pub mod scene;
pub mod server;
pub mod static_server;
pub mod tls_proxy;
pub mod typescript_store;
