//! The NAR writer: owns the nesting of what was begun, writes to the stream it is given, refuses what readers refuse.

use std::io::{self, Read, Write};

use super::parser::{check_name, check_target};
use super::{MAGIC, MAX_NAME_LEN, MAX_TARGET_LEN, padding};

/// Writes a NAR node by node.
///
/// A directory is `begin_directory`, then for each entry in ascending order of names `entry` followed by one node, then
/// `end_directory`.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: W,
    /// The previous entry name of each open directory; empty before its first entry.
    names: Vec<Vec<u8>>,
    /// Whether one node has to come next: at the root and after an entry name.
    node_due: bool,
}

impl<W: Write> Writer<W> {
    /// Begins a NAR.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn new(output: W) -> io::Result<Self> {
        let mut writer = Self { output, names: Vec::new(), node_due: true };
        writer.string(MAGIC)?;
        Ok(writer)
    }

    /// Writes a file of exactly `size` bytes taken from `content`.
    ///
    /// # Errors
    /// `InvalidInput` where no node can stand, `UnexpectedEof` if the content is shorter, those of both streams. More
    /// content than `size` is left unread.
    pub fn file(&mut self, executable: bool, size: u64, content: impl Read) -> io::Result<()> {
        self.begin_node(b"regular")?;
        if executable {
            self.string(b"executable")?;
            self.string(b"")?;
        }
        self.string(b"contents")?;
        self.output.write_all(&size.to_le_bytes())?;
        if io::copy(&mut content.take(size), &mut self.output)? != size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file content is shorter than announced"));
        }
        self.pad(size)?;
        self.end_node()
    }

    /// Writes a symlink.
    ///
    /// # Errors
    /// `InvalidInput` where no node can stand or for a target no reader takes, those of the stream.
    pub fn symlink(&mut self, target: &[u8]) -> io::Result<()> {
        check_target(target).map_err(invalid)?;
        if target.len() > MAX_TARGET_LEN {
            return Err(invalid("symlink target is too long"));
        }
        self.begin_node(b"symlink")?;
        self.string(b"target")?;
        self.string(target)?;
        self.end_node()
    }

    /// Begins a directory.
    ///
    /// # Errors
    /// `InvalidInput` where no node can stand, those of the stream.
    pub fn begin_directory(&mut self) -> io::Result<()> {
        self.begin_node(b"directory")?;
        self.names.push(Vec::new());
        Ok(())
    }

    /// Begins an entry of the directory begun last.
    ///
    /// # Errors
    /// `InvalidInput` where no entry can stand, for a name no reader takes or that is not greater than the one before,
    /// those of the stream.
    pub fn entry(&mut self, name: &[u8]) -> io::Result<()> {
        let previous = self.names.last_mut().filter(|_| !self.node_due);
        let previous = previous.ok_or_else(|| invalid("no entry can stand here"))?;
        check_name(previous, name).map_err(invalid)?;
        if name.len() > MAX_NAME_LEN {
            return Err(invalid("entry name is too long"));
        }
        previous.clear();
        previous.extend_from_slice(name);
        self.node_due = true;
        for tag in [b"entry", &b"("[..], b"name", name, b"node"] {
            self.string(tag)?;
        }
        Ok(())
    }

    /// Ends the directory begun last.
    ///
    /// # Errors
    /// `InvalidInput` if none is open or its last entry has no node, those of the stream.
    pub fn end_directory(&mut self) -> io::Result<()> {
        if self.node_due || self.names.pop().is_none() {
            return Err(invalid("no directory can end here"));
        }
        self.end_node()
    }

    /// Gives the stream back once the root node is complete.
    ///
    /// # Errors
    /// `InvalidInput` if it is not.
    pub fn finish(self) -> io::Result<W> {
        if self.node_due || !self.names.is_empty() {
            return Err(invalid("archive is not complete"));
        }
        Ok(self.output)
    }

    fn begin_node(&mut self, kind: &[u8]) -> io::Result<()> {
        if !std::mem::replace(&mut self.node_due, false) {
            return Err(invalid("no node can stand here"));
        }
        for tag in [b"(", &b"type"[..], kind] {
            self.string(tag)?;
        }
        Ok(())
    }

    fn end_node(&mut self) -> io::Result<()> {
        self.string(b")")?;
        // The entry around it.
        if self.names.is_empty() { Ok(()) } else { self.string(b")") }
    }

    fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.output.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        self.output.write_all(&[0; 8][..usize::from(padding(len))])
    }
}

fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason.to_string())
}
