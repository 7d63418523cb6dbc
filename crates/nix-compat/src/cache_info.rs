//! The `nix-cache-info` file: owns its reading, as forgiving as clients read it, and its one written form.

use std::fmt;

use thiserror::Error;

use crate::store_path::STORE_DIR;

/// Metadata of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// The store directory; clients refuse a cache whose directory differs from theirs by one byte.
    pub store_dir: String,
    /// Whether clients may ask this cache about many paths at once.
    pub want_mass_query: bool,
    /// Place among several caches, lower comes first.
    pub priority: i32,
}

/// The `Priority` is no integer of 32 bits, which makes clients abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Priority of nix-cache-info is not an integer")]
pub struct InvalidPriority;

impl CacheInfo {
    /// What Iglu serves: the usual store directory, mass queries welcome.
    pub fn new(priority: i32) -> Self {
        Self { store_dir: STORE_DIR.to_owned(), want_mass_query: true, priority }
    }

    /// Reads the file as clients do: lines without colon and unknown keys are skipped, values are trimmed, later values
    /// win. Without `StoreDir` the usual one is assumed, without `Priority` it is 0. Of repeated `StoreDir` lines one
    /// that differs from the usual directory wins, since clients stop at it.
    ///
    /// # Errors
    /// [`InvalidPriority`].
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, InvalidPriority> {
        let mut info = Self { store_dir: STORE_DIR.to_owned(), want_mass_query: false, priority: 0 };
        for line in String::from_utf8_lossy(text.as_ref()).split('\n') {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim_ascii();
            match key {
                "StoreDir" if info.store_dir == STORE_DIR => info.store_dir = value.to_owned(),
                "WantMassQuery" => info.want_mass_query = value == "1",
                "Priority" => info.priority = leading_integer(value).ok_or(InvalidPriority)?,
                _ => {}
            }
        }
        Ok(info)
    }
}

/// Clients read a number in front and ignore what follows, so `1.5` is 1.
fn leading_integer(text: &str) -> Option<i32> {
    let digits_from = usize::from(text.starts_with(['+', '-']));
    let digits = text[digits_from..].bytes().take_while(u8::is_ascii_digit).count();
    text[..digits_from + digits].parse().ok()
}

impl fmt::Display for CacheInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store_dir, want_mass_query, priority } = self;
        writeln!(f, "StoreDir: {store_dir}")?;
        writeln!(f, "WantMassQuery: {}", u8::from(*want_mass_query))?;
        writeln!(f, "Priority: {priority}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_form() {
        let text = CacheInfo::new(40).to_string();
        assert_eq!(text, "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n");
        assert_eq!(CacheInfo::parse(&text), Ok(CacheInfo::new(40)));
    }

    #[test]
    fn read_as_clients_do() {
        let parse = |text: &str| CacheInfo::parse(text);
        assert_eq!(parse("").unwrap(), CacheInfo { want_mass_query: false, ..CacheInfo::new(0) });
        let crlf = parse("# hello\r\nStoreDir:/nix/store\r\nWantMassQuery:  1\r\nPriority: +30").unwrap();
        assert_eq!(crlf, CacheInfo::new(30));
        assert_eq!(parse("Priority: 1.5").unwrap().priority, 1);
        assert_eq!(parse("Priority: -3").unwrap().priority, -3);
        assert_eq!(parse(" Priority: 9\nFoo: bar").unwrap().priority, 0);
        assert!(!parse("WantMassQuery: true").unwrap().want_mass_query);
        for text in ["Priority:", "Priority: x", "Priority: 99999999999", "Priority: -"] {
            assert_eq!(parse(text), Err(InvalidPriority), "{text}");
        }
        assert_eq!(parse("StoreDir: /nix/store/").unwrap().store_dir, "/nix/store/");
        assert_eq!(parse("StoreDir: /nix/store\nStoreDir: /gnu\nStoreDir: /nix/store").unwrap().store_dir, "/gnu");
    }
}
