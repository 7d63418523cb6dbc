//! The NAR push parser: owns the position in the grammar and one name per open directory, never the content of files.

use super::{Event, Limits, MAGIC, MAX_NAME_LEN, MAX_TAG_LEN, MAX_TARGET_LEN, Malformation, NarError, padding};

/// What the next string has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Magic,
    NodeOpen,
    TypeTag,
    NodeType,
    RegularTag,
    ExecutableValue,
    ContentsTag,
    Contents,
    TargetTag,
    Target,
    DirectoryTag,
    EntryOpen,
    NameTag,
    Name,
    NodeTag,
    NodeClose,
    EntryClose,
    End,
}

impl Expect {
    const fn describe(self) -> &'static str {
        match self {
            Self::Magic => "\"nix-archive-1\"",
            Self::NodeOpen => "\"(\" of a node",
            Self::TypeTag => "\"type\"",
            Self::NodeType => "\"regular\", \"symlink\" or \"directory\"",
            Self::RegularTag => "\"executable\" or \"contents\"",
            Self::ExecutableValue => "an empty string after \"executable\"",
            Self::ContentsTag => "\"contents\"",
            Self::Contents => "file content",
            Self::TargetTag => "\"target\"",
            Self::Target => "a symlink target",
            Self::DirectoryTag => "\"entry\" or \")\" of a directory",
            Self::EntryOpen => "\"(\" of an entry",
            Self::NameTag => "\"name\"",
            Self::Name => "an entry name",
            Self::NodeTag => "\"node\"",
            Self::NodeClose => "\")\" of a node",
            Self::EntryClose => "\")\" of an entry",
            Self::End => "the end",
        }
    }
}

/// Which part of a string comes next.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Length { have: u8 },
    Body { left: u64 },
    Padding { left: u8 },
}

type Sink<'s> = &'s mut dyn FnMut(Event<'_>) -> Result<(), NarError>;

/// A parser that is given the NAR in pieces of any size and reports what it finds.
///
/// Memory is bounded by the limits, not by the input: about 4 KiB for the longest string plus one name per open
/// directory. No length read from the input is trusted before the bytes are there.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// Bytes consumed.
    offset: u64,
    /// Where the current string's length field begins.
    string_at: u64,
    expect: Expect,
    phase: Phase,
    length: [u8; 8],
    /// Bytes of the current string, unless it is file content.
    string: Vec<u8>,
    /// Length of the current string.
    string_len: u64,
    executable: bool,
    /// The previous entry name of each open directory; empty before its first entry.
    names: Vec<Vec<u8>>,
    refused: bool,
}

impl Parser {
    /// A parser at the beginning of a NAR.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            offset: 0,
            string_at: 0,
            expect: Expect::Magic,
            phase: Phase::Length { have: 0 },
            length: [0; 8],
            string: Vec::new(),
            string_len: 0,
            executable: false,
            names: Vec::new(),
            refused: false,
        }
    }

    /// Number of bytes consumed.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the root node is complete, so that only the end may follow.
    pub const fn is_complete(&self) -> bool {
        matches!((self.expect, self.phase), (Expect::End, Phase::Length { have: 0 }))
    }

    /// Consumes the next piece and passes every event in it to `sink`.
    ///
    /// # Errors
    /// The first broken rule, or the error of `sink`. Where the input is cut into pieces makes no difference. After an
    /// error every further call fails.
    pub fn feed(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), NarError>,
    ) -> Result<(), NarError> {
        if self.refused {
            return Err(NarError::RefusedBefore);
        }
        let result = self.consume(input, sink);
        self.refused = result.is_err();
        result
    }

    /// Tells the length of the NAR in bytes once all of it was fed.
    ///
    /// # Errors
    /// [`NarError::Truncated`] if the root node is not complete, [`NarError::RefusedBefore`] after an error.
    pub fn finish(self) -> Result<u64, NarError> {
        if self.refused {
            return Err(NarError::RefusedBefore);
        }
        if !self.is_complete() {
            return Err(NarError::Truncated { offset: self.offset, expected: self.expect.describe() });
        }
        Ok(self.offset)
    }

    fn consume(&mut self, mut input: &[u8], sink: Sink<'_>) -> Result<(), NarError> {
        while !input.is_empty() {
            if self.expect == Expect::End {
                return Err(self.malformed(self.offset, Malformation::TrailingBytes));
            }
            let left = self.limits.max_size - self.offset;
            if left == 0 {
                return Err(NarError::TooLarge { max_size: self.limits.max_size });
            }
            let wanted = match self.phase {
                Phase::Length { have } => 8 - u64::from(have),
                Phase::Body { left } => left,
                Phase::Padding { left } => u64::from(left),
            };
            let taken = usize::try_from(wanted.min(left)).map_or(input.len(), |len| len.min(input.len()));
            let (piece, rest) = input.split_at(taken);
            input = rest;
            match self.phase {
                Phase::Length { have } => self.take_length(have, piece, sink)?,
                Phase::Body { left } => self.take_body(left, piece, sink)?,
                Phase::Padding { left } => self.take_padding(left, piece, sink)?,
            }
        }
        Ok(())
    }

    fn take_length(&mut self, have: u8, piece: &[u8], sink: Sink<'_>) -> Result<(), NarError> {
        if have == 0 {
            self.string_at = self.offset;
        }
        let end = usize::from(have) + piece.len();
        self.length[usize::from(have)..end].copy_from_slice(piece);
        self.offset += piece.len() as u64;
        if end < 8 {
            self.phase = Phase::Length { have: end as u8 };
            return Ok(());
        }
        let len = u64::from_le_bytes(self.length);
        self.check_length(len)?;
        self.string.clear();
        self.string_len = len;
        if self.expect == Expect::Contents {
            sink(Event::Regular { executable: self.executable, size: len, offset: self.offset })?;
        }
        if len == 0 {
            return self.end_string(sink);
        }
        self.phase = Phase::Body { left: len };
        Ok(())
    }

    fn check_length(&self, len: u64) -> Result<(), NarError> {
        let max = match self.expect {
            Expect::Contents => {
                let left = self.limits.max_size - self.offset;
                if len > left {
                    return Err(self.malformed(self.string_at, Malformation::FileTooLong { len, left }));
                }
                return Ok(());
            }
            Expect::Name => MAX_NAME_LEN,
            Expect::Target => MAX_TARGET_LEN,
            _ => MAX_TAG_LEN,
        };
        if len > max as u64 {
            return Err(self.malformed(self.string_at, Malformation::StringTooLong { len, max }));
        }
        Ok(())
    }

    fn take_body(&mut self, left: u64, piece: &[u8], sink: Sink<'_>) -> Result<(), NarError> {
        if self.expect == Expect::Contents {
            sink(Event::Data(piece))?;
        } else {
            self.string.extend_from_slice(piece);
        }
        self.offset += piece.len() as u64;
        let left = left - piece.len() as u64;
        if left > 0 {
            self.phase = Phase::Body { left };
            return Ok(());
        }
        match padding(self.string_len) {
            0 => self.end_string(sink),
            left => {
                self.phase = Phase::Padding { left };
                Ok(())
            }
        }
    }

    fn take_padding(&mut self, left: u8, piece: &[u8], sink: Sink<'_>) -> Result<(), NarError> {
        if let Some(index) = piece.iter().position(|&byte| byte != 0) {
            return Err(self.malformed(self.offset + index as u64, Malformation::Padding));
        }
        self.offset += piece.len() as u64;
        let left = left - piece.len() as u8;
        if left > 0 {
            self.phase = Phase::Padding { left };
            return Ok(());
        }
        self.end_string(sink)
    }

    /// The string is complete: moves on in the grammar.
    fn end_string(&mut self, sink: Sink<'_>) -> Result<(), NarError> {
        self.phase = Phase::Length { have: 0 };
        self.expect = match (self.expect, self.string.as_slice()) {
            (Expect::Magic, MAGIC) => Expect::NodeOpen,
            (Expect::NodeOpen, b"(") => Expect::TypeTag,
            (Expect::TypeTag, b"type") => Expect::NodeType,
            (Expect::NodeType, b"regular") => {
                self.executable = false;
                Expect::RegularTag
            }
            (Expect::NodeType, b"symlink") => Expect::TargetTag,
            (Expect::NodeType, b"directory") => {
                let max = self.limits.max_depth.saturating_sub(1);
                if self.names.len() >= max {
                    return Err(self.malformed(self.string_at, Malformation::TooDeep { max }));
                }
                self.names.push(Vec::new());
                sink(Event::Directory)?;
                Expect::DirectoryTag
            }
            (Expect::RegularTag, b"executable") => Expect::ExecutableValue,
            (Expect::ExecutableValue, b"") => {
                self.executable = true;
                Expect::ContentsTag
            }
            (Expect::RegularTag | Expect::ContentsTag, b"contents") => Expect::Contents,
            (Expect::Contents, _) => {
                sink(Event::EndRegular)?;
                Expect::NodeClose
            }
            (Expect::TargetTag, b"target") => Expect::Target,
            (Expect::Target, target) => {
                check_target(target).map_err(|malformation| self.malformed(self.string_at, malformation))?;
                sink(Event::Symlink(target))?;
                Expect::NodeClose
            }
            (Expect::DirectoryTag, b"entry") => Expect::EntryOpen,
            (Expect::DirectoryTag, b")") => {
                self.names.pop();
                sink(Event::EndDirectory)?;
                self.after_node()
            }
            (Expect::EntryOpen, b"(") => Expect::NameTag,
            (Expect::NameTag, b"name") => Expect::Name,
            (Expect::Name, name) => {
                let previous = self.names.last().map_or(&[][..], Vec::as_slice);
                check_name(previous, name).map_err(|malformation| self.malformed(self.string_at, malformation))?;
                sink(Event::EntryName(name))?;
                if let Some(previous) = self.names.last_mut() {
                    previous.clear();
                    previous.extend_from_slice(&self.string);
                }
                Expect::NodeTag
            }
            (Expect::NodeTag, b"node") => Expect::NodeOpen,
            (Expect::NodeClose, b")") => self.after_node(),
            (Expect::EntryClose, b")") => Expect::DirectoryTag,
            (expect, _) => {
                return Err(self.malformed(self.string_at, Malformation::Unexpected { expected: expect.describe() }));
            }
        };
        Ok(())
    }

    const fn after_node(&self) -> Expect {
        if self.names.is_empty() { Expect::End } else { Expect::EntryClose }
    }

    const fn malformed(&self, offset: u64, malformation: Malformation) -> NarError {
        NarError::Malformed { offset, malformation }
    }
}

/// `previous` is empty for the first entry, which every name is greater than.
pub(super) fn check_name(previous: &[u8], name: &[u8]) -> Result<(), Malformation> {
    if name.is_empty() {
        return Err(Malformation::NameEmpty);
    }
    if name == b"." || name == b".." {
        return Err(Malformation::NameDot);
    }
    if name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(Malformation::NameInvalidByte);
    }
    match name.cmp(previous) {
        std::cmp::Ordering::Less => Err(Malformation::NameOrder),
        std::cmp::Ordering::Equal => Err(Malformation::NameRepeated),
        std::cmp::Ordering::Greater => Ok(()),
    }
}

pub(super) fn check_target(target: &[u8]) -> Result<(), Malformation> {
    if target.is_empty() {
        return Err(Malformation::TargetEmpty);
    }
    if target.contains(&0) {
        return Err(Malformation::TargetInvalidByte);
    }
    Ok(())
}
