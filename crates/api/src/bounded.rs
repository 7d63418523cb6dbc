//! Lists of text in documents of strangers: refused once they are longer than any honest one, before they are in memory.

use serde::{
    Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::fmt::{self, Formatter};

/// For `#[serde(deserialize_with)]`: a list of at most `MOST` texts.
pub fn list<'de, D: Deserializer<'de>, const MOST: usize>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List<const MOST: usize>;

    impl<'de, const MOST: usize> Visitor<'de> for List<MOST> {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST} texts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut list = Vec::new();
            while let Some(text) = seq.next_element::<String>()? {
                if list.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                list.push(text);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List::<MOST>)
}
