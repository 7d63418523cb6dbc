//! The things that a sequence is about: a small graph made from its seed, some of them different paths with the same NAR.

use super::op::{Dice, Form};
use crate::{
    codec,
    push::{Claim, NarFileName},
    tests::path_named,
};
use nix_compat::{
    compression::Compression,
    nar,
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use std::collections::BTreeSet;

pub const THINGS: usize = 12;

/// A number of a thing; what it refers to has smaller ones.
pub type Index = usize;

/// A number of a NAR: that of the first thing that has it.
pub type Content = usize;

pub struct Thing {
    pub path: StorePath,
    /// Without itself.
    pub references: Vec<Index>,
    pub content: Content,
    pub nar: Vec<u8>,
    files: [Vec<u8>; 2],
    claims: [Claim; 2],
}

impl Thing {
    fn new(index: Index, references: &[Index], content: Content, mentions_itself: bool) -> Thing {
        let path = path_named(&format!("t{index}"));
        let mut names: Vec<StorePath> = references.iter().map(|index| path_named(&format!("t{index}"))).collect();
        if mentions_itself {
            names.push(path.clone());
        }
        names.sort();
        let text = names.iter().map(StorePath::to_absolute).collect::<Vec<_>>().join("\n");
        let text = format!("{text}\n{}", format!("content {content} ").repeat(7 + 5 * content));
        let mut writer = nar::Writer::new(Vec::new()).unwrap();
        writer.file(false, text.len() as u64, text.as_bytes()).unwrap();
        let nar = writer.finish().unwrap();
        let files = [nar.clone(), codec::pack(&nar).unwrap()];
        let claims =
            [(Compression::None, &files[0]), (Compression::Zstd, &files[1])].map(|(compression, file)| Claim {
                store_path: path.clone(),
                nar_hash: Sha256::digest(&nar),
                nar_size: nar.len() as u64,
                file_hash: Some(Sha256::digest(file)),
                file_size: Some(file.len() as u64),
                compression,
                references: names.clone(),
                deriver: None,
                ca: None,
                signatures: Vec::new(),
                nameless_signature: None,
            });
        Thing { path, references: references.to_vec(), content, nar, files, claims }
    }

    pub fn hash(&self) -> StorePathHash {
        self.path.hash()
    }

    pub fn file(&self, form: Form) -> &[u8] {
        &self.files[form as usize]
    }

    pub fn claim(&self, form: Form) -> &Claim {
        &self.claims[form as usize]
    }

    pub fn file_hash(&self, form: Form) -> Sha256 {
        Sha256::digest(self.file(form))
    }

    pub fn file_name(&self, form: Form) -> NarFileName {
        NarFileName { file_hash: self.file_hash(form) }
    }

    /// As `nix copy` writes it.
    pub fn narinfo(&self, form: Form) -> String {
        let claim = self.claim(form);
        let references: Vec<String> = claim.references.iter().map(ToString::to_string).collect();
        format!(
            "StorePath: {}\nURL: nar/{}.nar{}\nCompression: {}\nFileHash: {}\nFileSize: {}\nNarHash: {}\nNarSize: {}\nReferences: {}\n",
            self.path.to_absolute(),
            self.file_hash(form).to_nix32(),
            claim.compression.extension(),
            claim.compression,
            self.file_hash(form),
            self.file(form).len(),
            claim.nar_hash,
            claim.nar_size,
            references.join(" ")
        )
    }
}

/// The things of a seed.
pub fn things(seed: u64) -> Vec<Thing> {
    let mut dice = Dice(seed ^ 0x7468_696e_6773);
    let mut things: Vec<Thing> = Vec::new();
    for index in 0..THINGS {
        // One in five is a twin: another path with the NAR of an earlier one.
        let twin = (index > 2 && dice.below(5) == 0).then(|| dice.below(index as u64) as Index);
        if let Some(twin) =
            twin.map(|twin| &things[twin]).filter(|twin| !twin.claims[0].references.contains(&twin.path))
        {
            let (references, content) = (twin.references.clone(), twin.content);
            things.push(Thing::new(index, &references, content, false));
            continue;
        }
        let mut references = BTreeSet::new();
        for _ in 0..dice.below(4).min(index as u64) {
            references.insert(dice.below(index as u64) as Index);
        }
        let references: Vec<Index> = references.into_iter().collect();
        let mentions_itself = dice.below(5) == 0;
        things.push(Thing::new(index, &references, index, mentions_itself));
    }
    things
}
