//! Statistics: what was asked of caches, by steps of time.

use crate::{
    Core,
    activity::Counters,
    caller::{Caller, Discretion},
    db::ActivityRow,
    directory::Cache,
    error::{Error, Result},
    readers::{Reading, Salt},
};
use iglu_api::{
    Timestamp,
    cache::{Permission, Traffic},
    statistics::{Point, ReaderDay, Span, Statistics},
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// The methods of the noun.
pub struct StatisticsOf<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn statistics(&self) -> StatisticsOf<'_> {
        StatisticsOf(self)
    }
}

impl StatisticsOf<'_> {
    /// Of one cache.
    pub async fn of_cache(&self, caller: &Caller, cache: &str, span: Span) -> Result<Statistics> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let now = core.now();
        let since = since(span, now);
        let mut statistics = gathered(span, now, &core.db.activity_of(cache.id, since).await?);
        // The size of now is known, and of what was not written yet the last point knows.
        if let Some(last) = statistics.points.last_mut() {
            last.size = Some((cache.path_count(), cache.stored_bytes()));
        }
        let before = core.db.size_before(cache.id, since).await?;
        carry_sizes(&mut statistics.points, before);
        add_pending(&mut statistics, &cache.state.counters);
        statistics.days = core.reader_days(span, now, std::slice::from_ref(&cache)).await?;
        statistics.top = core.db.top_paths(cache.id).await?;
        Ok(statistics)
    }

    /// Of all caches that the caller may pull from, added up.
    pub async fn of_all(&self, caller: &Caller, span: Span) -> Result<Statistics> {
        let core = self.0;
        if caller.me().is_none() {
            return Err(Error::Unauthenticated("statistics of all caches are for people who are logged in".to_owned()));
        }
        let now = core.now();
        let caches: Vec<_> =
            core.directory.all().into_iter().filter(|cache| caller.permission(cache).is_some()).collect();
        let ids: Vec<i64> = caches.iter().map(|cache| cache.id).collect();
        let (step, _) = span.steps();
        let rows = core.db.activity_of_all(&ids, since(span, now), step).await?;
        let mut statistics = gathered(span, now, &rows);
        for cache in &caches {
            add_pending(&mut statistics, &cache.state.counters);
        }
        statistics.days = core.reader_days(span, now, &caches).await?;
        if caller.sees_all_caches() {
            let named: u64 = caches.iter().map(|cache| cache.stored_bytes()).sum();
            statistics.shared_bytes = Some(named.saturating_sub(core.disk_bytes().await?));
        }
        Ok(statistics)
    }
}

impl Core {
    /// Notes somebody who asked a cache for a narinfo, and how long the answer took.
    pub fn note_reader(&self, cache: &Cache, address: Option<IpAddr>, waited: Duration) {
        self.activity.read(cache, address, waited);
    }

    /// The readers of these caches by days, each once, the oldest day first. What is counted and not written yet belongs to today.
    async fn reader_days(&self, span: Span, now: Timestamp, caches: &[Arc<Cache>]) -> Result<Vec<ReaderDay>> {
        let today = Salt::day_of(now);
        let (step, count) = span.steps();
        let days = step * count / Timestamp::DAY;
        let only = if let [cache] = caches { Some(cache.id) } else { None };
        let mut sums: BTreeMap<i64, Reading> = BTreeMap::new();
        for (cache_id, day, reading) in self.db.readings_since(today - (days - 1) * Timestamp::DAY, only).await? {
            if caches.iter().any(|cache| cache.id == cache_id) {
                sums.entry(day).or_default().add(&reading);
            }
        }
        for cache in caches {
            sums.entry(today).or_default().add(&cache.state.counters.readers.look());
        }
        Ok(sums.into_iter().map(|(day, reading)| reading.of_day(day)).collect())
    }
}

/// The beginning of the first point. Points begin where the clock has a whole step, so that they do not move from minute to minute.
fn since(span: Span, now: Timestamp) -> i64 {
    let (step, count) = span.steps();
    now.0 - now.0.rem_euclid(step) - (count - 1) * step
}

fn gathered(span: Span, now: Timestamp, rows: &[ActivityRow]) -> Statistics {
    let (step, count) = span.steps();
    let since = since(span, now);
    let point = |number| Point {
        at: Timestamp(since + number * step),
        traffic: Traffic::default(),
        nar_requests: 0,
        size: None,
    };
    let mut points: Vec<Point> = (0..count).map(point).collect();
    let mut total = Traffic::default();
    let mut nar_requests = 0;
    for row in rows {
        let place = usize::try_from((row.hour - since) / step).ok().filter(|_| row.hour >= since);
        let Some(point) = place.and_then(|place| points.get_mut(place)) else { continue };
        let traffic = Traffic {
            narinfo_hits: row.narinfo_hits.unsigned_abs(),
            narinfo_misses: row.narinfo_misses.unsigned_abs(),
            nar_bytes: row.nar_bytes.unsigned_abs(),
            pushed_paths: row.pushed_paths.unsigned_abs(),
        };
        point.traffic.add(&traffic);
        point.nar_requests += row.nar_requests.unsigned_abs();
        if let Some((paths, bytes)) = row.path_count.zip(row.stored_bytes) {
            point.size = Some((paths.unsigned_abs(), bytes.unsigned_abs()));
        }
        total.add(&traffic);
        nar_requests += row.nar_requests.unsigned_abs();
    }
    Statistics { span, points, total, nar_requests, days: Vec::new(), top: Vec::new(), shared_bytes: None }
}

/// What is counted and not written yet belongs to the last point.
fn add_pending(statistics: &mut Statistics, counters: &Counters) {
    let (traffic, nar_requests) = (counters.pending(), counters.pending_nar_requests());
    statistics.total.add(&traffic);
    statistics.nar_requests += nar_requests;
    if let Some(last) = statistics.points.last_mut() {
        last.traffic.add(&traffic);
        last.nar_requests += nar_requests;
    }
}

/// A cache that nothing happens to keeps its size: nothing is written about it then.
fn carry_sizes(points: &mut [Point], before: Option<(i64, i64)>) {
    let mut known = before.map(|(paths, bytes)| (paths.unsigned_abs(), bytes.unsigned_abs()));
    for point in points {
        known = point.size.or(known);
        point.size = known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hour: i64, hits: i64, size: Option<(i64, i64)>) -> ActivityRow {
        ActivityRow {
            hour,
            narinfo_hits: hits,
            narinfo_misses: 0,
            nar_bytes: 0,
            pushed_paths: 0,
            nar_requests: 1,
            path_count: size.map(|(paths, _)| paths),
            stored_bytes: size.map(|(_, bytes)| bytes),
        }
    }

    #[test]
    fn rows_fall_into_their_steps() {
        let now = Timestamp(100 * Timestamp::DAY + 5 * Timestamp::HOUR + 7);
        for span in Span::ALL {
            let (step, count) = span.steps();
            let first = since(span, now);
            assert!(now.0 - first < step * count && now.0 - first >= step * (count - 1), "{span:?}");
            let rows = [row(first - 1, 9, None), row(first, 1, Some((3, 30))), row(now.0 - 7, 2, None)];
            let mut statistics = gathered(span, now, &rows);
            assert_eq!(statistics.points.len() as i64, count);
            assert_eq!(statistics.points[0].traffic.narinfo_hits, 1, "{span:?}");
            assert_eq!(statistics.points.last().unwrap().traffic.narinfo_hits, 2, "{span:?}");
            assert_eq!((statistics.total.narinfo_hits, statistics.nar_requests), (3, 2));
            carry_sizes(&mut statistics.points, None);
            assert!(statistics.points.iter().all(|point| point.size == Some((3, 30))));
        }
    }
}
