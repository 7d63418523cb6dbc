//! Sizes as operators write them.

use iglu_api::format;
use std::str::FromStr;

/// Bytes: `10GiB`, `500MB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Size, &'static str> {
        format::bytes_parse(text).map(Size)
    }
}
