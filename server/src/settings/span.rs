//! A length of time as people write it.

use iglu_api::Timestamp;

/// A time such as `90d`, `12h`, `30m` or `10s`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub i64);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || "write a number with d, h, m or s, such as 90d".to_owned();
        let end = text.len().checked_sub(1).filter(|end| text.is_char_boundary(*end)).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(end);
        let unit = match unit {
            "d" => Timestamp::DAY,
            "h" => Timestamp::HOUR,
            "m" => Timestamp::MINUTE,
            "s" => Timestamp::SECOND,
            _ => return Err(wrong()),
        };
        let number = number.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
        Ok(Span(i64::from(number) * unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!("90d".parse(), Ok(Span(90 * Timestamp::DAY)));
        assert_eq!("12h".parse(), Ok(Span(12 * Timestamp::HOUR)));
        for wrong in ["", "d", "0d", "-1d", "90", "90x", "9é"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
