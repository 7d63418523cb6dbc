//! Several servers over one PostgreSQL and one bucket, behind one address: what clients, people and operators see of it.

#![allow(clippy::unwrap_used)]

mod deaths;
mod sight;
mod start;
