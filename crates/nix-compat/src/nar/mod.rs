//! The NAR, Nix's archive format: owns its limits, its events and its errors; the parser and the writer lie below.
//!
//! A NAR is a sequence of strings, each a 64-bit little-endian length, the bytes, and zeros up to a multiple of 8:
//!
//! ```text
//! nar       = "nix-archive-1" node
//! node      = "(" "type" ( regular | symlink | directory ) ")"
//! regular   = "regular" [ "executable" "" ] "contents" <data>
//! symlink   = "symlink" "target" <target>
//! directory = "directory" { "entry" "(" "name" <name> "node" node ")" }
//! ```

mod parser;
mod writer;

use std::io;

use thiserror::Error;

pub use parser::Parser;
pub use writer::Writer;

/// The first string of every NAR.
pub const MAGIC: &[u8] = b"nix-archive-1";

/// Longest name of a directory entry in bytes.
pub const MAX_NAME_LEN: usize = 255;

/// Longest target of a symlink in bytes.
pub const MAX_TARGET_LEN: usize = 4095;

/// Longest string of the grammar itself that is read before it is compared, in bytes.
pub const MAX_TAG_LEN: usize = 32;

/// Nesting that every client can unpack: nodes lie at depths 0 to 63, so 63 directories inside each other.
pub const DEFAULT_MAX_DEPTH: usize = 64;

/// What a NAR may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the whole NAR in bytes, as far as it is known beforehand.
    pub max_size: u64,
    /// Number of node levels, the root being the first. Memory grows with the levels that are really there.
    pub max_depth: usize,
}

impl Limits {
    /// The default depth and this size in bytes.
    pub const fn with_max_size(max_size: u64) -> Self {
        Self { max_size, max_depth: DEFAULT_MAX_DEPTH }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_max_size(u64::MAX)
    }
}

/// What the parser reports, in the order of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A directory begins.
    Directory,
    /// The name of the entry whose node comes next.
    EntryName(&'a [u8]),
    /// A file begins.
    Regular {
        /// Whether it is executable.
        executable: bool,
        /// Length of its content in bytes.
        size: u64,
        /// Place of its first content byte in the NAR, told for empty files too.
        offset: u64,
    },
    /// The next piece of the content; its borders are those of the input and have no meaning.
    Data(&'a [u8]),
    /// The content is complete.
    EndRegular,
    /// A symlink with this target.
    Symlink(&'a [u8]),
    /// The directory is complete.
    EndDirectory,
}

/// Which rule a NAR breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformation {
    /// Another string than the grammar has here.
    #[error("expected {expected}")]
    Unexpected {
        /// What the grammar has here.
        expected: &'static str,
    },
    /// A string longer than any the grammar has here.
    #[error("string of {len} bytes where at most {max} are allowed")]
    StringTooLong {
        /// Its length in bytes.
        len: u64,
        /// The most allowed.
        max: usize,
    },
    /// File content that would not fit into the announced size.
    #[error("file of {len} bytes where at most {left} are left of the announced size")]
    FileTooLong {
        /// Length of the content in bytes.
        len: u64,
        /// Bytes left.
        left: u64,
    },
    /// A filling byte is not zero.
    #[error("padding is not zero")]
    Padding,
    /// An entry without name.
    #[error("entry name is empty")]
    NameEmpty,
    /// An entry named `.` or `..`.
    #[error("entry name is a dot directory")]
    NameDot,
    /// A name with a slash or a NUL.
    #[error("entry name has a slash or NUL")]
    NameInvalidByte,
    /// The name of the entry before is greater.
    #[error("entry names are not in ascending order")]
    NameOrder,
    /// The name of the entry before is the same.
    #[error("entry name is repeated")]
    NameRepeated,
    /// A symlink to nothing.
    #[error("symlink target is empty")]
    TargetEmpty,
    /// A symlink target with a NUL.
    #[error("symlink target has a NUL")]
    TargetInvalidByte,
    /// More levels of directories than allowed.
    #[error("directories are nested deeper than {max} levels")]
    TooDeep {
        /// The most directories allowed inside each other.
        max: usize,
    },
    /// Bytes after the end of the root node.
    #[error("bytes follow the end of the archive")]
    TrailingBytes,
}

/// Why a NAR is refused, or could not be processed.
#[derive(Debug, Error)]
pub enum NarError {
    /// It breaks a rule of the format.
    #[error("NAR is malformed at byte {offset}: {malformation}")]
    Malformed {
        /// Place of the string or padding byte that breaks the rule.
        offset: u64,
        /// The rule.
        malformation: Malformation,
    },
    /// It has more bytes than announced.
    #[error("NAR is larger than {max_size} bytes")]
    TooLarge {
        /// The limit in bytes.
        max_size: u64,
    },
    /// It ends before its root node does.
    #[error("NAR ends after {offset} bytes, expected {expected}")]
    Truncated {
        /// Its length in bytes.
        offset: u64,
        /// What the grammar has next.
        expected: &'static str,
    },
    /// It mentions its own path more often than can be kept track of.
    #[error("NAR mentions its own path more than {max} times")]
    TooManySelfReferences {
        /// The most mentions allowed.
        max: usize,
    },
    /// Something made from it could not be written.
    #[error("output made from the NAR cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Fed again after an error.
    #[error("NAR was refused before")]
    RefusedBefore,
}

/// Number of zeros after a string of `len` bytes.
const fn padding(len: u64) -> u8 {
    ((8 - len % 8) % 8) as u8
}
