//! Sizes as operators write them.

use std::str::FromStr;

/// Bytes: `10GiB`, `500MB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        const UNITS: [(&str, u64); 12] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("kB", 1_000),
            ("KB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("G", 1 << 30),
            ("M", 1 << 20),
            ("B", 1),
        ];
        let wrong = || "write a number of bytes, perhaps with KiB, MiB, GiB or TiB, such as 50GiB".to_owned();
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|bytes| *bytes <= i64::MAX.unsigned_abs()).map(Size).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("4096", 4096), ("10GiB", 10 << 30), ("500 MB", 500_000_000), ("1B", 1), ("2G", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "GiB", "-1", "1.5GiB", "10XB", "99999999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
