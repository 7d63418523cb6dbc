//! Numbers as people read them, the same on the page and in the terminal.

/// A size in binary units with three significant digits: `0 B`, `1.21 KiB`, `84.2 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "";
    for next in UNITS {
        value /= 1024.0;
        unit = next;
        // 999.5 and more would show as four digits.
        if value < 999.5 {
            break;
        }
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

/// A size as people write it, read exactly: `10GiB`, `500 MB`, `4096`.
///
/// # Errors
/// How to write a size.
pub fn bytes_parse(text: &str) -> Result<u64, &'static str> {
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
    const HOW: &str = "write a number of bytes, perhaps with KiB, MiB, GiB or TiB, such as 50GiB";
    let text = text.trim();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| HOW)?;
    number.checked_mul(unit).filter(|bytes| *bytes <= i64::MAX.unsigned_abs()).ok_or(HOW)
}

/// A size that [`bytes_parse`] reads back to the same number, with the largest unit that leaves it whole.
pub fn bytes_exact(count: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| count > 0 && count.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{} {name}", count / unit),
        None => count.to_string(),
    }
}

/// A count with a thin space between groups of three digits: `12 431`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share of a whole as a percentage with one decimal, or a dash when there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// `820 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`. What is below zero, as clocks of two machines may have it, is nothing.
pub fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_023_500, "0.98 MiB"),
            (90_409_061_581, "84.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("4096", 4096), ("10GiB", 10 << 30), ("500 MB", 500_000_000), ("1B", 1), (" 2G ", 2 << 30)]
        {
            assert_eq!(bytes_parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GiB", "-1", "1.5GiB", "10XB", "99999999999TiB"] {
            assert!(bytes_parse(wrong).is_err(), "{wrong}");
        }
        for (bytes, text) in [(0, "0"), (1, "1"), (1536, "1536"), (50 << 30, "50 GiB"), (1 << 20, "1 MiB")] {
            assert_eq!(bytes_exact(bytes), text);
            assert_eq!(bytes_parse(text), Ok(bytes));
        }
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(count(12_431), "12\u{202f}431");
        assert_eq!(count(7), "7");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(0, 0), "–");
    }

    #[test]
    fn durations() {
        for (millis, words) in
            [(-5, "0 ms"), (820, "820 ms"), (59_999, "59 s"), (65_000, "1 min 5 s"), (7_800_000, "2 h 10 min")]
        {
            assert_eq!(duration(millis), words);
        }
    }
}
