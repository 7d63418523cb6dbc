//! A file tree in memory, its NAR, and its recovery from parser events.

use std::collections::BTreeMap;

use nix_compat::nar::{Event, Limits, NarError, Parser, Writer};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    File { executable: bool, content: Vec<u8> },
    Symlink(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Tree>),
}

impl Tree {
    pub fn file(content: impl AsRef<[u8]>) -> Self {
        Self::File { executable: false, content: content.as_ref().to_vec() }
    }

    pub fn executable(content: impl AsRef<[u8]>) -> Self {
        Self::File { executable: true, content: content.as_ref().to_vec() }
    }

    pub fn symlink(target: impl AsRef<[u8]>) -> Self {
        Self::Symlink(target.as_ref().to_vec())
    }

    pub fn directory<N: AsRef<[u8]>>(entries: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::Directory(entries.into_iter().map(|(name, tree)| (name.as_ref().to_vec(), tree)).collect())
    }

    /// `depth` directories inside each other, the innermost holding one file.
    pub fn nested(depth: usize) -> Self {
        (0..depth).fold(Self::file("x"), |inner, _| Self::directory([("d", inner)]))
    }

    pub fn to_nar(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        self.write(&mut writer);
        writer.finish().unwrap()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) {
        match self {
            Self::File { executable, content } => {
                writer.file(*executable, content.len() as u64, content.as_slice()).unwrap();
            }
            Self::Symlink(target) => writer.symlink(target).unwrap(),
            Self::Directory(entries) => {
                writer.begin_directory().unwrap();
                for (name, tree) in entries {
                    writer.entry(name).unwrap();
                    tree.write(writer);
                }
                writer.end_directory().unwrap();
            }
        }
    }

    /// Parses a NAR given in pieces, checking every offset and size on the way.
    pub fn from_nar<'a>(nar: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NarError> {
        let mut parser = Parser::new(Limits::default());
        let mut builder = Builder { nar, ..Builder::default() };
        for piece in pieces {
            parser.feed(piece, &mut |event| {
                builder.event(event);
                Ok(())
            })?;
        }
        assert_eq!(parser.finish()?, nar.len() as u64);
        Ok(builder.root.unwrap())
    }
}

#[derive(Default)]
struct Builder<'n> {
    nar: &'n [u8],
    names: Vec<Vec<u8>>,
    directories: Vec<BTreeMap<Vec<u8>, Tree>>,
    file: Option<(bool, std::ops::Range<usize>, Vec<u8>)>,
    root: Option<Tree>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Directory => self.directories.push(BTreeMap::new()),
            Event::EntryName(name) => self.names.push(name.to_vec()),
            Event::Regular { executable, size, offset } => {
                self.file = Some((executable, offset as usize..(offset + size) as usize, Vec::new()));
            }
            Event::Data(data) => {
                assert!(!data.is_empty());
                self.file.as_mut().unwrap().2.extend_from_slice(data);
            }
            Event::EndRegular => {
                let (executable, place, content) = self.file.take().unwrap();
                assert_eq!(content, self.nar[place]);
                self.node(Tree::File { executable, content });
            }
            Event::Symlink(target) => self.node(Tree::symlink(target)),
            Event::EndDirectory => {
                let entries = self.directories.pop().unwrap();
                self.node(Tree::Directory(entries));
            }
        }
    }

    fn node(&mut self, tree: Tree) {
        match self.directories.last_mut() {
            Some(entries) => {
                let name = self.names.pop().unwrap();
                assert!(entries.insert(name, tree).is_none());
            }
            None => assert!(self.root.replace(tree).is_none()),
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-zA-Z0-9._+-]{1,12}".prop_map(String::into_bytes),
        prop::collection::vec(1_u8..=255, 1..20),
        prop::collection::vec(b'a'..=b'z', 250..=255),
    ]
    .prop_filter("usable name", |name| name != b"." && name != b".." && !name.contains(&b'/'))
}

pub fn arbitrary(name: BoxedStrategy<Vec<u8>>, target: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Tree> {
    let content = prop::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        (any::<bool>(), content).prop_map(|(executable, content)| Tree::File { executable, content }),
        target.prop_map(Tree::Symlink),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(Tree::Directory)
    })
}

pub fn any_tree() -> impl Strategy<Value = Tree> {
    let target = prop::collection::vec(1_u8..=255, 1..40);
    arbitrary(name().boxed(), target.boxed())
}

/// Trees with UTF-8 names, as other implementations want them.
pub fn text_tree() -> impl Strategy<Value = Tree> {
    let name = "[a-zA-Z0-9_+ é-]{1,12}".prop_map(String::into_bytes);
    let target = "[a-z./]{1,20}".prop_map(String::into_bytes);
    arbitrary(name.boxed(), target.boxed())
}
