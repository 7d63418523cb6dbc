//! Statistics over time, on both engines.

use super::*;
use crate::db::ActivityDelta;
use iglu_api::statistics::Span;
use std::{net::Ipv4Addr, time::Duration};

const OPERATOR: Caller = Caller::Operator;

on_both! {
    long_ago_is_kept_by_the_day
    readers_are_counted_by_the_day
    downloads_are_counted_by_path
    sizes_of_caches_are_added_up
}

async fn sizes_of_caches_are_added_up(home: Home) {
    let core = &home.core;
    // The steps of a day are hours; what happens here stays within them.
    home.clock.advance(Timestamp::HOUR - core.now().0.rem_euclid(Timestamp::HOUR));
    for name in ["one", "two", "three"] {
        home.cache(name, Visibility::Public).await;
    }
    let grow = async |cache: &str, name: &str| {
        push(core, &OPERATOR, cache, &thing(name, &[])).await.unwrap();
        Reconciler::ActivityFlush.tick(core).await.unwrap();
    };
    grow("one", "a").await;
    home.clock.advance(2 * Timestamp::DAY);
    grow("one", "b").await;
    grow("two", "c").await;
    home.clock.advance(2 * Timestamp::HOUR);
    grow("two", "d").await;
    let ada = person("ada", true);
    let sizes =
        async |span| core.statistics().of_all(&ada, span).await.unwrap().points.into_iter().map(|point| point.size);
    let paths: Vec<_> = sizes(Span::Day).await.map(|size| size.map(|(paths, _)| paths)).collect();
    let last = paths.len() - 1;
    assert_eq!(paths[0], Some(1), "what was there before the first step");
    assert_eq!(paths[last - 3..], [Some(1), Some(3), Some(3), Some(4)]);
    let bytes: u64 = core.directory.all().iter().map(|cache| cache.stored_bytes()).sum();
    assert_eq!(sizes(Span::Day).await.next_back().unwrap(), Some((4, bytes)));
    let week: Vec<_> = sizes(Span::Week).await.collect();
    assert_eq!((week[0], week.last().unwrap()), (None, &Some((4, bytes))), "nothing was known a week ago");
    let one = core.statistics().of_cache(&ada, "one", Span::Day).await.unwrap();
    let paths: Vec<_> = one.points.iter().filter_map(|point| point.size).map(|(paths, _)| paths).collect();
    assert_eq!((paths.len(), paths[0], paths[last - 2], paths[last]), (last + 1, 1, 2, 2));
}

async fn readers_are_counted_by_the_day(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    home.cache("other", Visibility::Private).await;
    let beside = home.beside().await;
    let read = |core: &Core, cache: &str, clients: std::ops::Range<u32>| {
        let cache = core.cache_remembered(cache).unwrap();
        for client in clients {
            core.note_reader(&cache, Some(Ipv4Addr::from(client).into()), Duration::from_micros(100));
        }
    };
    // Two servers see the same clients; what one did not write yet it knows all the same.
    read(core, "main", 0..20);
    read(&beside, "main", 10..30);
    read(core, "other", 0..40);
    Reconciler::ActivityFlush.tick(&beside).await.unwrap();
    // Clients are counted about, answers exactly.
    let check = async |core: &Core, cache: &str, span, expected: &[(u64, u64)]| {
        let days = core.statistics().of_cache(&OPERATOR, cache, span).await.unwrap().days;
        assert_eq!(days.len(), expected.len(), "{days:?}");
        for (day, (clients, answers)) in days.iter().zip(expected) {
            assert!(day.clients.abs_diff(*clients) <= 1 + clients / 8, "{day:?}, {clients} clients");
            assert_eq!(day.answers, *answers, "{days:?}");
        }
    };
    check(core, "main", Span::Day, &[(30, 40)]).await;
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    check(core, "main", Span::Day, &[(30, 40)]).await;
    check(&beside, "main", Span::Day, &[(30, 40)]).await;

    // What came before midnight and is written behind it stays on its day.
    read(core, "main", 0..5);
    home.clock.advance(Timestamp::DAY);
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    read(core, "main", 0..3);
    check(core, "main", Span::Week, &[(30, 45), (3, 3)]).await;
    check(core, "main", Span::Day, &[(3, 3)]).await;
    let ada = person("ada", true);
    let all = core.statistics().of_all(&ada, Span::Week).await.unwrap();
    assert!(all.days[0].clients.abs_diff(40) < 6, "a client of two caches is one: {:?}", all.days);
    assert_eq!((all.days[0].median_micros, all.shared_bytes), (128, Some(0)));
    let nobody = person("bob", false);
    let seen = core.statistics().of_all(&nobody, Span::Week).await.unwrap();
    assert_eq!((seen.days[0].answers, seen.shared_bytes), (45, None), "only of what one may see");
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    home.clock.advance(900 * Timestamp::DAY);
    Reconciler::Sweep.tick(core).await.unwrap();
    assert!(core.db.readings_since(0, None).await.unwrap().is_empty());
}

async fn downloads_are_counted_by_path(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let (often, once) = (thing("often", &[]), thing("once", &[]));
    for thing in [&often, &once] {
        push(core, &OPERATOR, "main", thing).await.unwrap();
    }
    let cache = core.cache_remembered("main").unwrap();
    let pull = async |thing: &Thing| core.fetch().nar(&cache, &thing.claim.nar_hash).await.unwrap().unwrap();
    for _ in 0..3 {
        pull(&often).await;
    }
    pull(&once).await;
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    home.clock.advance(Timestamp::DAY);
    pull(&often).await;
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    let top = core.statistics().of_cache(&OPERATOR, "main", Span::Month).await.unwrap().top;
    let top: Vec<_> = top.iter().map(|path| (path.name.as_str(), path.pulls)).collect();
    assert_eq!(top, [("often", 4), ("once", 1)]);
    let detail = core.path().detail(&OPERATOR, "main", often.claim.store_path.hash()).await.unwrap();
    assert_eq!(detail.pull_count, 4);
    assert_eq!(detail.pulls.iter().map(|(_, pulls)| *pulls).collect::<Vec<_>>(), [3, 1]);
    home.clock.advance(40 * Timestamp::DAY);
    Reconciler::Sweep.tick(core).await.unwrap();
    let detail = core.path().detail(&OPERATOR, "main", often.claim.store_path.hash()).await.unwrap();
    assert!(detail.pulls.is_empty() && detail.pull_count == 4);
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
