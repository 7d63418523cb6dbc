//! A moment as the database, the wire and the page share it: milliseconds since 1970-01-01 UTC.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const SECOND: i64 = 1_000;
    pub const MINUTE: i64 = 60 * Self::SECOND;
    pub const HOUR: i64 = 60 * Self::MINUTE;
    pub const DAY: i64 = 24 * Self::HOUR;

    /// This moment moved by `millis`; saturates instead of wrapping.
    pub fn plus(self, millis: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment.
    pub fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago this was as a person says it: `just now`, `5 min ago`, `3 h ago`, `12 d ago`, and the date beyond 30 days.
    pub fn relative_to(self, now: Timestamp) -> String {
        let ago = now.since(self);
        match ago {
            ..0 => format!("in {}", span(-ago)),
            _ if ago < Self::MINUTE => "just now".to_owned(),
            _ if ago < 30 * Self::DAY => format!("{} ago", span(ago)),
            _ => self.to_string()[..10].to_owned(),
        }
    }
}

fn span(millis: i64) -> String {
    let units = [(Timestamp::DAY, "d"), (Timestamp::HOUR, "h"), (Timestamp::MINUTE, "min")];
    let (unit, word) = units.into_iter().find(|(unit, _)| millis >= *unit).unwrap_or((Timestamp::SECOND, "s"));
    format!("{} {word}", millis / unit)
}

/// ISO 8601 in UTC to the second: `2026-06-30T12:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.div_euclid(Self::DAY);
        let second_of_day = self.0.rem_euclid(Self::DAY) / Self::SECOND;
        let (year, month, day) = civil(days);
        let (h, m, s) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by 400-year cycles that begin on a 1 March.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days + 719_468;
    let cycle = from_march_0000.div_euclid(146_097);
    let day_of_cycle = from_march_0000.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_iso_dates() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_782_820_800_000, "2026-06-30T12:00:00Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
    }

    #[test]
    fn shows_ages_as_people_say_them() {
        let now = Timestamp(1_782_820_800_000);
        let ago = |millis: i64| now.plus(-millis).relative_to(now);
        assert_eq!(ago(500), "just now");
        assert_eq!(ago(5 * Timestamp::MINUTE), "5 min ago");
        assert_eq!(ago(25 * Timestamp::HOUR), "1 d ago");
        assert_eq!(ago(60 * Timestamp::DAY), "2026-05-01");
        assert_eq!(ago(-2 * Timestamp::HOUR), "in 2 h");
    }
}
