//! Statistics: what was asked of caches, by steps of time.

use crate::{
    Core,
    activity::Counters,
    caller::{Caller, Discretion},
    db::{ActivityRow, SizeRow},
    directory::Cache,
    error::{Error, Result},
    readers::{Reading, Salt},
};
use iglu_api::{
    Timestamp,
    cache::{Permission, Traffic},
    statistics::{Point, ReaderDay, Span, Statistics},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

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
        let only = std::slice::from_ref(&cache);
        let mut statistics = gathered(span, now, &core.db.activity_of(cache.id, since(span, now)).await?);
        core.add_what_is_known(&mut statistics, now, only).await?;
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
        core.add_what_is_known(&mut statistics, now, &caches).await?;
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

    /// Adds what stands beside the traffic of these caches: what is counted and not written yet, sizes, readers.
    async fn add_what_is_known(
        &self,
        statistics: &mut Statistics,
        now: Timestamp,
        caches: &[Arc<Cache>],
    ) -> Result<()> {
        let (span, (step, _)) = (statistics.span, statistics.span.steps());
        let ids: Vec<i64> = caches.iter().map(|cache| cache.id).collect();
        let mut looks: HashMap<i64, Vec<SizeRow>> = HashMap::new();
        for look in self.db.sizes_of_all(&ids, since(span, now), step).await? {
            looks.entry(look.cache_id).or_default().push(look);
        }
        for cache in caches {
            add_pending(statistics, &cache.state.counters);
            let looks = looks.remove(&cache.id).unwrap_or_default();
            add_sizes(&mut statistics.points, step, &looks, (cache.path_count(), cache.stored_bytes()));
        }
        statistics.days = self.reader_days(span, now, caches).await?;
        Ok(())
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

/// Adds the size of one more cache: at each point what was seen last until its end, `looks` being the oldest first, and now at the last.
fn add_sizes(points: &mut [Point], step: i64, looks: &[SizeRow], now: (u64, u64)) {
    let mut looks = looks.iter().peekable();
    let mut known = None;
    let count = points.len();
    for (number, point) in points.iter_mut().enumerate() {
        while let Some(look) = looks.next_if(|look| look.hour < point.at.0 + step) {
            known = Some((look.path_count.unsigned_abs(), look.stored_bytes.unsigned_abs()));
        }
        if number + 1 == count {
            known = Some(now);
        }
        if let Some((paths, bytes)) = known {
            let (all_paths, all_bytes) = point.size.unwrap_or_default();
            point.size = Some((all_paths + paths, all_bytes + bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hour: i64, hits: i64) -> ActivityRow {
        ActivityRow {
            hour,
            narinfo_hits: hits,
            narinfo_misses: 0,
            nar_bytes: 0,
            pushed_paths: 0,
            nar_requests: 1,
            path_count: None,
            stored_bytes: None,
        }
    }

    #[test]
    fn rows_fall_into_their_steps() {
        let now = Timestamp(100 * Timestamp::DAY + 5 * Timestamp::HOUR + 7);
        for span in Span::ALL {
            let (step, count) = span.steps();
            let first = since(span, now);
            assert!(now.0 - first < step * count && now.0 - first >= step * (count - 1), "{span:?}");
            let rows = [row(first - 1, 9), row(first, 1), row(now.0 - 7, 2)];
            let statistics = gathered(span, now, &rows);
            assert_eq!(statistics.points.len() as i64, count);
            assert_eq!(statistics.points[0].traffic.narinfo_hits, 1, "{span:?}");
            assert_eq!(statistics.points.last().unwrap().traffic.narinfo_hits, 2, "{span:?}");
            assert_eq!((statistics.total.narinfo_hits, statistics.nar_requests), (3, 2));
        }
    }

    #[test]
    fn a_cache_that_nothing_happens_to_keeps_its_size() {
        let mut points = gathered(Span::Week, Timestamp(100 * Timestamp::DAY), &[]).points;
        let (step, _) = Span::Week.steps();
        let (first, last) = (points[0].at.0, points.len() - 1);
        let look = |hour, path_count, stored_bytes| SizeRow { cache_id: 1, hour, path_count, stored_bytes };
        add_sizes(&mut points, step, &[look(first + step, 3, 30), look(first + 3 * step, 5, 50)], (6, 60));
        let sizes: Vec<_> = points.iter().map(|point| point.size).collect();
        assert_eq!(sizes[..4], [None, Some((3, 30)), Some((3, 30)), Some((5, 50))], "nothing was known before");
        assert_eq!((sizes[last - 1], sizes[last]), (Some((5, 50)), Some((6, 60))), "now is known");
        // Another one, which was there before.
        add_sizes(&mut points, step, &[look(first - 7 * step, 1, 10)], (1, 10));
        let sizes: Vec<_> = points.iter().map(|point| point.size).collect();
        assert_eq!(sizes[..2], [Some((1, 10)), Some((4, 40))]);
        assert_eq!((sizes[last - 1], sizes[last]), (Some((6, 60)), Some((7, 70))));
    }
}
