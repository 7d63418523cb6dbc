//! The listing written as the NAR streams by: owns the bytes between the nodes and holds no tree.

use std::io::{self, Write};

use crate::nar::Event;

/// Turns the events of the NAR parser into the listing, in the key order of Nix 2.8.
///
/// JSON cannot hold names that are not UTF-8: such an entry is left out, with everything below it, as is a symlink
/// with such a target. Memory is one entry name and one bit per open directory. Many small writes are made; give a
/// buffered stream.
#[derive(Debug)]
pub struct ListingWriter<W: Write> {
    output: W,
    begun: bool,
    /// The entry name whose node comes next.
    name: Option<String>,
    /// For each open directory, whether it has an entry already.
    has_entries: Vec<bool>,
    /// What of the archive is being left out.
    skip: Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// The node that comes next.
    Node,
    /// Everything until this many directories have ended.
    Directories(usize),
}

impl<W: Write> ListingWriter<W> {
    /// A listing without any node yet.
    pub const fn new(output: W) -> Self {
        Self { output, begun: false, name: None, has_entries: Vec::new(), skip: Skip::Nothing }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if matches!(event, Event::Data(_) | Event::EndRegular) || self.skips(event) {
            return Ok(());
        }
        match *event {
            Event::EntryName(name) => match std::str::from_utf8(name) {
                Ok(name) => self.name = Some(name.to_owned()),
                Err(_) => self.skip = Skip::Node,
            },
            Event::Directory => {
                self.begin_node()?;
                self.output.write_all(br#"{"type":"directory","entries":{"#)?;
                self.has_entries.push(false);
            }
            Event::EndDirectory => {
                self.has_entries.pop();
                self.output.write_all(b"}}")?;
            }
            Event::Regular { executable, size, offset } => {
                self.begin_node()?;
                let executable = if executable { r#""executable":true,"# } else { "" };
                write!(self.output, r#"{{"type":"regular","size":{size},{executable}"narOffset":{offset}}}"#)?;
            }
            Event::Symlink(target) => {
                let target = String::from_utf8_lossy(target);
                // A root cannot be left out, so it alone is shown with replacement characters.
                if matches!(target, std::borrow::Cow::Owned(_)) && self.name.take().is_some() {
                    return Ok(());
                }
                self.begin_node()?;
                self.output.write_all(br#"{"type":"symlink","target":"#)?;
                serde_json::to_writer(&mut self.output, &*target)?;
                self.output.write_all(b"}")?;
            }
            Event::Data(_) | Event::EndRegular => {}
        }
        Ok(())
    }

    /// Completes the listing once the archive is complete and gives the stream back.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(mut self) -> io::Result<W> {
        if self.begun {
            self.output.write_all(b"}")?;
        }
        Ok(self.output)
    }

    /// Whether the event belongs to what is left out.
    fn skips(&mut self, event: &Event<'_>) -> bool {
        self.skip = match (self.skip, event) {
            (Skip::Nothing, _) => return false,
            (Skip::Node, Event::Directory) => Skip::Directories(1),
            (Skip::Node, _) => Skip::Nothing,
            (Skip::Directories(open), Event::Directory) => Skip::Directories(open + 1),
            (Skip::Directories(1), Event::EndDirectory) => Skip::Nothing,
            (Skip::Directories(open), Event::EndDirectory) => Skip::Directories(open - 1),
            (skip, _) => skip,
        };
        true
    }

    fn begin_node(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.output.write_all(br#"{"version":1,"root":"#)?;
        }
        if let Some(name) = self.name.take() {
            if let Some(has_entries) = self.has_entries.last_mut()
                && std::mem::replace(has_entries, true)
            {
                self.output.write_all(b",")?;
            }
            serde_json::to_writer(&mut self.output, &name)?;
            self.output.write_all(b":")?;
        }
        Ok(())
    }
}
