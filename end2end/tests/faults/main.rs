//! Everything that may break, broken under a real server: the program killed at every named place, disks full and away, storage that
//! errs, lies or was emptied, a database that does not answer, clocks that jump. After each, what a client was promised is there, what is
//! visible is whole, and what was interrupted completes.

#![allow(clippy::unwrap_used)]

mod bucket;
mod clock;
mod database;
mod disks;
mod kills;
mod operators;
mod random;
mod removals;
mod world;

/// Whether tests run that take many minutes.
fn is_full() -> bool {
    std::env::var("IGLU_FULL").is_ok_and(|value| value == "1")
}
