//! What can go wrong: with a source as a whole, and with one thing in it.

use std::fmt::Display;

/// A source that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not what it was said to be, or is named wrongly.
    #[error("{what}: {why}")]
    Place {
        /// The source, without passwords.
        what: String,
        /// The reason, and what to do.
        why: String,
    },
    /// It does not answer.
    #[error("{what} does not answer: {why}")]
    Unavailable {
        /// The source, without passwords.
        what: String,
        /// What the network, the file system or the database said.
        why: String,
    },
}

impl ImportError {
    pub(crate) fn place(what: impl Into<String>, why: impl Display) -> Self {
        Self::Place { what: what.into(), why: one_line(why) }
    }

    pub(crate) fn unavailable(what: impl Into<String>, why: impl Display) -> Self {
        Self::Unavailable { what: what.into(), why: one_line(why) }
    }
}

/// How much an error takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One thing that the source has and that cannot be used.
    One,
    /// One thing that something else refers to and that the source does not have. Another cache may have it.
    Absent,
    /// Everything that was not listed yet.
    Rest,
}

/// Something that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Broken {
    /// A store path, the name of a file, or a cache.
    pub what: String,
    /// The reason.
    pub why: String,
    /// How much is lost.
    pub extent: Extent,
}

impl Broken {
    pub(crate) fn one(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: one_line(why), extent: Extent::One }
    }

    pub(crate) fn absent(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: one_line(why), extent: Extent::Absent }
    }

    pub(crate) fn rest(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: one_line(why), extent: Extent::Rest }
    }
}

/// Longest reason in bytes: what a foreign server says may be a page.
const LONGEST_REASON: usize = 500;

fn one_line(why: impl Display) -> String {
    let mut text: String =
        why.to_string().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.len() > LONGEST_REASON {
        let mut end = LONGEST_REASON;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
