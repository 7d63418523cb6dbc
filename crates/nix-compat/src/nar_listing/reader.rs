//! The listing read back as a tree: owns the nodes, the search for paths among them and the rules for following
//! symlinks.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::nar::{DEFAULT_MAX_DEPTH, MAX_NAME_LEN, MAX_TARGET_LEN};
use crate::store_path::StorePath;

/// Most symlinks that are followed on the way to one file, as in Linux.
pub const MAX_HOPS: usize = 40;

/// Levels of JSON objects in a listing of [`DEFAULT_MAX_DEPTH`] levels of nodes: each directory has one for itself and
/// one for its entries, and one lies around the root.
const MAX_JSON_DEPTH: usize = 2 * DEFAULT_MAX_DEPTH;

/// Most bytes of a target: of a root that is a symlink, each byte that is no UTF-8 is shown as a character of three.
const MAX_SHOWN_TARGET_LEN: usize = 3 * MAX_TARGET_LEN;

/// Why a document is not a listing. No message repeats any part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListingError {
    /// Not JSON, or nodes that cannot be in a NAR.
    #[error("listing is not valid, see line {line} column {column}")]
    Invalid {
        /// Counted from 1; 0 if unknown.
        line: usize,
        /// Counted from 1; 0 if unknown.
        column: usize,
    },
    /// Another version than 1.
    #[error("listing has version {version}, must be 1")]
    UnknownVersion {
        /// The version it tells.
        version: u64,
    },
    /// More levels of nodes than [`DEFAULT_MAX_DEPTH`].
    #[error("listing is nested deeper than {DEFAULT_MAX_DEPTH} levels")]
    TooDeep,
}

/// Why a path leads to no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// Nothing lies there, or something on the way is no directory.
    #[error("path is not in the listing")]
    NotFound,
    /// It leads out of the store object, by itself or by a symlink.
    #[error("path leads out of the store object")]
    Outside,
    /// More than [`MAX_HOPS`] symlinks lie on the way, most likely a circle.
    #[error("path leads over more than {MAX_HOPS} symlinks")]
    TooManyHops,
}

/// A file, symlink or directory of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawNode")]
pub enum Node {
    /// A file.
    Regular {
        /// Length of its content in bytes.
        size: u64,
        /// Whether it is executable.
        executable: bool,
        /// Place of its first content byte in the NAR.
        nar_offset: u64,
    },
    /// A directory.
    Directory(Entries),
    /// A symlink.
    Symlink {
        /// Where it points; not empty.
        target: Box<str>,
    },
}

/// The entries of a directory, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Box<[(Box<str>, Node)]>);

impl Entries {
    /// The node of this name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let index = self.0.binary_search_by(|(entry, _)| (**entry).cmp(name)).ok()?;
        Some(&self.0[index].1)
    }

    /// Names and nodes in the order of the names' bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (&**name, node))
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A node with the fields of all kinds, whose order is not fixed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawNode {
    r#type: Kind,
    size: Option<u64>,
    #[serde(default)]
    executable: bool,
    nar_offset: Option<u64>,
    target: Option<Box<str>>,
    entries: Option<Entries>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Regular,
    Directory,
    Symlink,
}

impl TryFrom<RawNode> for Node {
    type Error = &'static str;

    fn try_from(node: RawNode) -> Result<Self, &'static str> {
        match node.r#type {
            Kind::Regular => Ok(Self::Regular {
                size: node.size.ok_or("file without size")?,
                executable: node.executable,
                nar_offset: node.nar_offset.ok_or("file without narOffset")?,
            }),
            Kind::Directory => Ok(Self::Directory(node.entries.ok_or("directory without entries")?)),
            Kind::Symlink => {
                let target = node.target.ok_or("symlink without target")?;
                if target.is_empty() || target.len() > MAX_SHOWN_TARGET_LEN || target.contains('\0') {
                    return Err("symlink target is invalid");
                }
                Ok(Self::Symlink { target })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the entries of a directory")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries: Vec<(Box<str>, Node)> = Vec::new();
                while let Some((name, node)) = map.next_entry::<Box<str>, Node>()? {
                    if !is_entry_name(&name) {
                        return Err(A::Error::custom("entry name is invalid"));
                    }
                    entries.push((name, node));
                }
                // No work for the sorted entries that writers make.
                entries.sort_by(|(left, _), (right, _)| left.cmp(right));
                if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(A::Error::custom("entry name is repeated"));
                }
                Ok(Entries(entries.into()))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

fn is_entry_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_LEN && !name.contains(['/', '\0'])
}

/// The tree of a NAR, without content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    root: Node,
}

#[derive(Deserialize)]
struct Document {
    version: u64,
    root: Node,
}

impl Listing {
    /// Reads a listing of any key order. Memory is a few times the length of `json`, which callers should limit.
    ///
    /// # Errors
    /// See [`ListingError`].
    pub fn parse(json: &[u8]) -> Result<Self, ListingError> {
        // The reader calls itself for each level, and its own limit lies just below that of a NAR.
        if json_depth(json) > MAX_JSON_DEPTH {
            return Err(ListingError::TooDeep);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer.disable_recursion_limit();
        let invalid = |error: serde_json::Error| ListingError::Invalid { line: error.line(), column: error.column() };
        let document = Document::deserialize(&mut deserializer).map_err(invalid)?;
        deserializer.end().map_err(invalid)?;
        if document.version != 1 {
            return Err(ListingError::UnknownVersion { version: document.version });
        }
        Ok(Self { root: document.root })
    }

    /// The root of the tree.
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// The node at this path below the root, no symlink being followed. Segments are separated by slashes, empty
    /// ones count for nothing, so that both `""` and `"/"` are the root; there is nothing at `.` and `..`.
    pub fn lookup(&self, path: &str) -> Option<&Node> {
        segments(path).try_fold(&self.root, |node, name| match node {
            Node::Directory(entries) => entries.get(name),
            Node::Regular { .. } | Node::Symlink { .. } => None,
        })
    }

    /// The file or directory that this path below the root leads to when every symlink on the way and at its end is
    /// followed, as the store object would do at its place in the store. `own` is the path of the object; absolute
    /// targets below it are inside the object, all others are not.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn resolve(&self, path: &str, own: &StorePath) -> Result<&Node, ResolveError> {
        let own = own.to_absolute();
        // What is still to go, the next segment last.
        let mut ahead: Vec<&str> = segments(path).rev().collect();
        // The directories from the root down to the one that holds the node.
        let mut above: Vec<&Node> = Vec::new();
        let mut node = &self.root;
        let mut hops = 0;
        loop {
            node = match node {
                Node::Symlink { target } => {
                    if hops == MAX_HOPS {
                        return Err(ResolveError::TooManyHops);
                    }
                    hops += 1;
                    let below_own = target.strip_prefix(own.as_str());
                    match below_own.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                        Some(rest) => {
                            ahead.extend(segments(rest).rev());
                            above.clear();
                            &self.root
                        }
                        None if target.starts_with('/') => return Err(ResolveError::Outside),
                        None => {
                            ahead.extend(segments(target).rev());
                            // Beside the root lie other store objects.
                            above.pop().ok_or(ResolveError::Outside)?
                        }
                    }
                }
                Node::Directory(entries) => match ahead.pop() {
                    None => return Ok(node),
                    Some(".") => node,
                    Some("..") => above.pop().ok_or(ResolveError::Outside)?,
                    Some(name) => {
                        above.push(node);
                        entries.get(name).ok_or(ResolveError::NotFound)?
                    }
                },
                Node::Regular { .. } if ahead.is_empty() => return Ok(node),
                Node::Regular { .. } => return Err(ResolveError::NotFound),
            };
        }
    }
}

fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Deepest nesting of objects and lists in what is JSON at least up to there.
fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
