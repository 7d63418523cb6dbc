//! Tests of the formats against published vectors, the rules of clients, and other implementations.

#![allow(clippy::unwrap_used)]

mod debug_ids;
mod differential;
mod inspection;
mod listings;
mod malformed_nars;
mod narinfos;
mod realisations;
mod round_trips;
mod scanning;
mod store_paths;
mod tree;
mod vectors;
