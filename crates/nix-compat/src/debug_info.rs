//! Debug info by build id: owns the form of ids and the search for the files that hold it, one path at a time.
//!
//! A debugger asks for the debug info of a program by the id that its linker wrote into it. Nix packages keep the
//! files of an id `ab…` at `lib/debug/.build-id/ab/….debug`.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use thiserror::Error;

use crate::nar::Event;

/// Most ids taken from one NAR; the rest of a larger one is not indexed. Each takes 20 bytes.
pub const MAX_DEBUG_IDS: usize = 1 << 16;

/// What the names of the files end in.
const EXTENSION: &str = ".debug";

/// The directories from the root of the NAR on; below the last there is one for each first byte of an id.
const DIRECTORIES: [&[u8]; 3] = [b"lib", b"debug", b".build-id"];

/// Why a text is not a build id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("build id is not 40 lower-case hex digits")]
pub struct DebugIdError;

/// The build id of a program or library: 160 bits, 40 lower-case hex digits. The order is that of the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebugId([u8; 20]);

impl DebugId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The bytes behind the text.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads exactly 40 lower-case hex digits.
    ///
    /// # Errors
    /// [`DebugIdError`].
    pub fn parse(text: &str) -> Result<Self, DebugIdError> {
        decode_hex(text.as_bytes()).map(Self).ok_or(DebugIdError)
    }

    /// Reads what follows `debuginfo/` in a URL: the id, with or without `.debug` after it. Both name the same object.
    ///
    /// # Errors
    /// [`DebugIdError`].
    pub fn parse_file_name(file_name: &str) -> Result<Self, DebugIdError> {
        Self::parse(file_name.strip_suffix(EXTENSION).unwrap_or(file_name))
    }

    /// Path of the debug info inside the NAR that has it.
    pub fn member(&self) -> String {
        let text = self.to_string();
        format!("lib/debug/.build-id/{}/{}{EXTENSION}", &text[..2], &text[2..])
    }
}

/// `None` unless there are exactly `2 * N` lower-case digits.
fn decode_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    HEXLOWER.decode_mut(digits, &mut bytes).ok().map(|_| bytes)
}

impl fmt::Display for DebugId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for DebugId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DebugId {
    type Err = DebugIdError;

    fn from_str(text: &str) -> Result<Self, DebugIdError> {
        Self::parse(text)
    }
}

/// Collects the ids of the regular files that lie where debug info lies, from the events of the NAR parser.
#[derive(Debug, Default)]
pub(crate) struct DebugIdCollector {
    /// Number of open directories.
    depth: usize,
    /// How many of them, from the root on, lie on the way. More than the way has means nothing: the others are deeper.
    on_way: usize,
    /// Whether the entry whose node comes next lies on the way.
    next_on_way: bool,
    /// The bytes of the id that the names seen on the way tell.
    id: [u8; 20],
    found: Vec<DebugId>,
}

impl DebugIdCollector {
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match *event {
            Event::EntryName(name) => self.next_on_way = self.on_way == self.depth && self.is_step(name),
            Event::Directory => {
                if self.depth == 0 || self.next_on_way {
                    self.on_way = self.depth + 1;
                }
                self.depth += 1;
            }
            Event::EndDirectory => {
                self.depth -= 1;
                self.on_way = self.on_way.min(self.depth);
            }
            Event::Regular { .. } => {
                let is_debug_info = self.next_on_way && self.depth == DIRECTORIES.len() + 2;
                if is_debug_info && self.found.len() < MAX_DEBUG_IDS {
                    self.found.push(DebugId(self.id));
                }
            }
            Event::Symlink(_) | Event::Data(_) | Event::EndRegular => {}
        }
    }

    /// In ascending order, as the entries of a NAR are.
    pub(crate) fn into_found(self) -> Vec<DebugId> {
        self.found
    }

    /// Whether this name is the next one on the way, the directory open last being on it.
    fn is_step(&mut self, name: &[u8]) -> bool {
        let depth = self.depth - 1;
        if let Some(directory) = DIRECTORIES.get(depth) {
            return *directory == name;
        }
        if depth == DIRECTORIES.len() {
            return decode_hex::<1>(name).map(|[byte]| self.id[0] = byte).is_some();
        }
        let rest = name.strip_suffix(EXTENSION.as_bytes()).filter(|_| depth == DIRECTORIES.len() + 1);
        rest.and_then(decode_hex::<19>).map(|bytes| self.id[1..].copy_from_slice(&bytes)).is_some()
    }
}
