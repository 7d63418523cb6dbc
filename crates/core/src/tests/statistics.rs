//! Statistics over time, on both engines.

use super::*;
use crate::db::ActivityDelta;
use iglu_api::statistics::Span;

const OPERATOR: Caller = Caller::Operator;

on_both! {
    long_ago_is_kept_by_the_day
}

async fn long_ago_is_kept_by_the_day(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let hour = |now: Timestamp| now.0 - now.0.rem_euclid(Timestamp::HOUR);
    let delta = |narinfo_hits| ActivityDelta { narinfo_hits, nar_requests: 1, ..ActivityDelta::default() };
    // Every hour of a hundred days, and one of three years before.
    let first = hour(core.now());
    for number in 0..100 * 24 {
        core.db.activity_add(first + number * Timestamp::HOUR, &[(cache.id, delta(2))]).await.unwrap();
    }
    core.db.activity_add(first - 1095 * Timestamp::DAY, &[(cache.id, delta(7))]).await.unwrap();
    home.clock.advance(100 * Timestamp::DAY);
    let year = async || core.statistics().of_cache(&OPERATOR, "main", Span::Year).await.unwrap();
    let before = year().await;
    assert_eq!((before.total.narinfo_hits, before.nar_requests), (100 * 24 * 2, 100 * 24));
    assert_eq!(before.points.last().unwrap().size, Some((0, 0)));

    Reconciler::Sweep.tick(core).await.unwrap();
    let after = year().await;
    assert_eq!(after.total, before.total);
    let rows = core.db.activity_of(cache.id, i64::MIN).await.unwrap();
    assert!((59 * 24 + 40..=60 * 24 + 42).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows[0].hour > first - Timestamp::DAY, "what is very old is forgotten");
    assert_eq!((rows[1].hour % Timestamp::DAY, rows[1].narinfo_hits, rows[1].nar_requests), (0, 48, 24));
    assert_eq!(rows.iter().map(|row| row.narinfo_hits).sum::<i64>(), 100 * 24 * 2);
    // Another run finds nothing to add up.
    Reconciler::Sweep.tick(core).await.unwrap();
    assert_eq!(core.db.activity_of(cache.id, i64::MIN).await.unwrap().len(), rows.len());
    assert_eq!(core.statistics().of_cache(&OPERATOR, "main", Span::Day).await.unwrap().total.narinfo_hits, 23 * 2);
}
