//! What was asked of a cache, or of all of them, over time.

use crate::{Timestamp, cache::Traffic};
use serde::{Deserialize, Serialize};

/// How far back a chart goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Span {
    Day,
    Week,
    #[default]
    Month,
    Year,
}

impl Span {
    pub const ALL: [Span; 4] = [Span::Day, Span::Week, Span::Month, Span::Year];

    pub fn as_str(self) -> &'static str {
        match self {
            Span::Day => "day",
            Span::Week => "week",
            Span::Month => "month",
            Span::Year => "year",
        }
    }

    pub fn parse(text: &str) -> Option<Span> {
        Span::ALL.into_iter().find(|span| span.as_str() == text)
    }

    /// As people say it.
    pub fn words(self) -> &'static str {
        match self {
            Span::Day => "24 hours",
            Span::Week => "7 days",
            Span::Month => "30 days",
            Span::Year => "1 year",
        }
    }

    /// The time of one point, in milliseconds, and how many there are.
    pub fn steps(self) -> (i64, i64) {
        match self {
            Span::Day => (Timestamp::HOUR, 24),
            Span::Week => (6 * Timestamp::HOUR, 28),
            Span::Month => (Timestamp::DAY, 30),
            Span::Year => (7 * Timestamp::DAY, 52),
        }
    }
}

/// One step of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Point {
    /// Its beginning.
    pub at: Timestamp,
    pub traffic: Traffic,
    /// Downloads of NARs.
    pub nar_requests: u64,
    /// Paths and bytes at the last look; `None` before the first one.
    pub size: Option<(u64, u64)>,
}

/// The readers of one day, without any of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReaderDay {
    /// The day's beginning.
    pub at: Timestamp,
    /// Different clients, about: three of a hundred too many or too few.
    pub clients: u64,
    /// Narinfos asked for.
    pub answers: u64,
    /// The time within which half of the answers were ready, at most twice too long.
    pub median_micros: u64,
    /// The same of 99 in 100.
    pub slow_micros: u64,
}

/// A path that is downloaded often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopPath {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub hash: nix_compat::store_path::StorePathHash,
    pub name: String,
    pub pulls: u64,
    /// Bytes of the NAR file.
    pub file_size: u64,
}

/// The oldest point first; the last one is not over yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statistics {
    pub span: Span,
    pub points: Vec<Point>,
    pub total: Traffic,
    pub nar_requests: u64,
    /// The days of the span that somebody read on; the last one is not over yet.
    pub days: Vec<ReaderDay>,
    /// The paths of one cache that were downloaded most, since they came; empty where several caches are added up.
    pub top: Vec<TopPath>,
    /// Bytes that the disk does not hold twice, because paths have the same content. Known where all caches are added up, for those
    /// who see them all.
    pub shared_bytes: Option<u64>,
}
