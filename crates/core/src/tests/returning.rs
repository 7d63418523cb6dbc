//! What comes back into a cache, what it needs to be seen there, and what does not come back by itself.

use super::{
    keeping::{OPERATOR, collect, file_of, pin, push_all, shows},
    *,
};
use crate::{check::CheckKind, db::SetAside};
use iglu_api::{
    cache::CacheChange,
    pin::Keep,
    retention::{RemovalState, Retention},
};
use std::{collections::HashMap, fs};

on_both! {
    what_people_removed_comes_back_by_undoing_alone
    undoing_waits_for_a_damaged_file
    what_comes_back_waits_for_its_references
    a_damaged_path_keeps_what_it_needs
    a_held_path_waits_for_what_people_removed
    a_damaged_file_of_held_paths_leaves_nothing
    numbers_in_memory_follow_what_comes_back
    a_lenient_cache_keeps_what_pushers_were_told
    a_collection_hears_of_what_is_undone
    a_turn_that_was_taken_over_is_over
    an_undoing_that_was_cut_off_is_ended_by_the_timer
    what_comes_back_is_signed_by_keys_that_came_meanwhile
    another_servers_change_is_heard_between_ones_own
    numbers_are_right_soon_after_they_were_not
    a_pin_waits_for_no_path
    a_pull_counts_for_every_path_with_the_file
    suspects_are_not_forgotten_while_the_storage_is_away
}

const REPAIR: CheckKind = CheckKind { is_full: true, repairs: true };

async fn is_clean(core: &Core) {
    let report = core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap();
    assert!(report.is_clean() && report.unused_nars == 0, "{report:?}");
}

/// Takes a file away, and lets that be found.
async fn damage(home: &Home, thing: &Thing) {
    fs::remove_file(file_of(home, thing)).unwrap();
    assert_eq!(home.core.check_all(REPAIR, &|_, _| ()).await.unwrap().damaged_count, 1);
}

async fn remove(core: &Core, name: &str) -> i64 {
    core.retention().remove(&OPERATOR, "main", &[path_named(name).hash()], false).await.unwrap().id
}

async fn undo(core: &Core, removal: i64) {
    let undone = core.retention().undo(&OPERATOR, "main", removal).await.unwrap();
    assert_eq!(undone.state, RemovalState::Undone);
}

/// Lets rules take all that is older than a month.
async fn collect_old(home: &Home) {
    home.clock.advance(40 * Timestamp::DAY);
    let rules = Retention { pushed_days: Some(30), ..Retention::default() };
    home.core.retention().set(&OPERATOR, "main", &rules, true).await.unwrap();
    collect(&home.core).await;
}

async fn what_people_removed_comes_back_by_undoing_alone(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    home.cache("other", Visibility::Public).await;
    let secret = thing("secret", &[]);
    push(core, &OPERATOR, "main", &secret).await.unwrap();
    push(core, &OPERATOR, "other", &secret).await.unwrap();
    let removal = remove(core, "secret").await;
    // Its bytes are lost, and pushed to another cache again.
    damage(&home, &secret).await;
    push(core, &OPERATOR, "other", &secret).await.unwrap();
    assert!(narinfo(core, "other", &secret.claim.store_path).await.is_some());
    assert!(!shows(core, "secret").await, "people removed it here");
    undo(core, removal).await;
    assert!(shows(core, "secret").await);
    is_clean(core).await;
}

async fn undoing_waits_for_a_damaged_file(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let lib = thing("lib", &[]);
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    let removal = remove(core, "lib").await;
    damage(&home, &lib).await;
    undo(core, removal).await;
    assert!(!shows(core, "lib").await);
    assert_eq!(core.path().damaged(&OPERATOR, "main").await.unwrap()[0].name, "lib");
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    assert!(shows(core, "lib").await);
    is_clean(core).await;
}

async fn what_comes_back_waits_for_its_references(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[]), ("app", &["lib"]), ("top", &["app"])]).await;
    // While one is out, what it refers to is removed.
    let (top, app) = (remove(core, "top").await, remove(core, "app").await);
    let lib = remove(core, "lib").await;
    undo(core, top).await;
    undo(core, app).await;
    assert!(!shows(core, "app").await && !shows(core, "top").await, "lib is not there");
    undo(core, lib).await;
    for name in ["lib", "app", "top"] {
        assert!(shows(core, name).await, "{name}");
    }
    // The same where it was out for its damaged file.
    damage(&home, &thing("app", &["lib"])).await;
    let lib = remove(core, "lib").await;
    push_all(core, &[("app", &["lib"])]).await;
    assert!(!shows(core, "app").await && shows(core, "top").await);
    undo(core, lib).await;
    assert!(shows(core, "app").await);
    is_clean(core).await;
}

async fn a_damaged_path_keeps_what_it_needs(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("base", &[]), ("lib", &["base"]), ("app", &["lib"]), ("old", &[])]).await;
    pin(core, "release", "app", Keep::Forever).await.unwrap();
    damage(&home, &thing("lib", &["base"])).await;
    collect_old(&home).await;
    assert!(!shows(core, "old").await);
    assert!(shows(core, "base").await, "the pin needs lib, which needs base");
    push_all(core, &[("lib", &["base"])]).await;
    is_clean(core).await;
}

async fn a_held_path_waits_for_what_people_removed(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("first", &[]), ("top", &["first", "second"])]).await;
    let removal = remove(core, "first").await;
    push_all(core, &[("second", &[])]).await;
    assert!(!shows(core, "top").await, "first is not there any more");
    undo(core, removal).await;
    assert!(shows(core, "top").await);
    is_clean(core).await;
}

async fn a_damaged_file_of_held_paths_leaves_nothing(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let top = thing("top", &["absent"]);
    push(core, &OPERATOR, "main", &top).await.unwrap();
    fs::remove_file(file_of(&home, &top)).unwrap();
    Reconciler::Scrub.tick(core).await.unwrap();
    assert_eq!(core.db.nar_count().await.unwrap(), 0);
    is_clean(core).await;
}

async fn numbers_in_memory_follow_what_comes_back(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    home.cache("other", Visibility::Public).await;
    let lib = thing("lib", &[]);
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    push(core, &OPERATOR, "other", &lib).await.unwrap();
    damage(&home, &lib).await;
    let count = |name| core.cache_remembered(name).unwrap().path_count();
    assert_eq!((count("main"), count("other")), (0, 0));
    push(core, &OPERATOR, "other", &lib).await.unwrap();
    assert_eq!((count("main"), count("other")), (1, 1));
    collect_old(&home).await;
    assert_eq!(count("main"), 0);
    push_all(core, &[("app", &["lib"])]).await;
    assert_eq!(count("main"), 2);
    collect_old(&home).await;
    pin(core, "lib", "lib", Keep::Forever).await.unwrap();
    assert_eq!(count("main"), 1);
}

async fn a_lenient_cache_keeps_what_pushers_were_told(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let change = CacheChange { is_lenient: Some(true), ..CacheChange::default() };
    core.cache().change(&OPERATOR, "main", &change).await.unwrap();
    push_all(core, &[("lib", &[])]).await;
    collect_old(&home).await;
    assert!(!shows(core, "lib").await);
    // Its pusher asked before, and heard that lib is here.
    push_all(core, &[("app", &["lib"])]).await;
    assert!(shows(core, "lib").await);
}

async fn a_collection_hears_of_what_is_undone(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[]), ("app", &["lib"])]).await;
    let removal = remove(core, "app").await;
    let (cache, now) = (core.cache_remembered("main").unwrap(), core.now());
    assert!(core.db.collection_begin(cache.id, now.0, &(0..now.0 + 1)).await.unwrap());
    undo(core, removal).await;
    let held = HashMap::new();
    let how = SetAside {
        turn: now.0,
        cache_id: cache.id,
        removal_id: removal,
        reason: "collected",
        now: now.0,
        until: 0,
        held: &held,
    };
    let mut heard = Vec::new();
    let mut choose = |needed: Vec<String>| {
        heard = needed;
        Vec::new()
    };
    core.db.paths_set_aside(&how, &mut choose).await.unwrap();
    core.db.collection_end(cache.id, now.0).await.unwrap();
    heard.sort();
    let mut expected = ["lib", "app"].map(|name| path_named(name).hash().to_string());
    expected.sort();
    assert_eq!(heard, expected);
}

async fn a_turn_that_was_taken_over_is_over(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[])]).await;
    let (cache, now) = (core.cache_remembered("main").unwrap(), core.now());
    let later = now.plus(5 * Timestamp::MINUTE);
    assert!(core.db.collection_begin(cache.id, now.0, &(0..now.0 + 1)).await.unwrap());
    assert!(core.db.collection_begin(cache.id, later.0, &(now.0 + 1..later.0 + 1)).await.unwrap());
    let held = HashMap::new();
    let how = SetAside {
        turn: now.0,
        cache_id: cache.id,
        removal_id: 1,
        reason: "collected",
        now: now.0,
        until: 0,
        held: &held,
    };
    let slept = core.db.paths_set_aside(&how, &mut |_| panic!("it is another's turn")).await;
    assert!(matches!(slept, Err(crate::Error::Interrupted(_))), "{:?}", slept.err());
    core.db.collection_end(cache.id, now.0).await.unwrap();
    assert!(!core.db.collection_begin(cache.id, later.0 + 1, &(now.0..later.0 + 1)).await.unwrap(), "it was not ended");
    // A turn that no removal is left to end is ended by the timer.
    home.clock.advance(10 * Timestamp::MINUTE);
    Reconciler::Collect.tick(core).await.unwrap();
    assert!(core.db.collection_begin(cache.id, later.0 + 1, &(0..0)).await.unwrap());
}

async fn an_undoing_that_was_cut_off_is_ended_by_the_timer(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[]), ("app", &["lib"])]).await;
    let removal = core.retention().remove(&OPERATOR, "main", &[path_named("lib").hash()], true).await.unwrap().id;
    assert!(!shows(core, "app").await);
    // The server died when it had marked it.
    let audit = core.audit(&OPERATOR, "path.undo", "main");
    assert!(core.db.removal_undo(removal, &audit).await.unwrap());
    // However long it was away, nothing is purged before.
    home.clock.advance(3 * Timestamp::DAY);
    Reconciler::Purge.tick(core).await.unwrap();
    Reconciler::Collect.tick(core).await.unwrap();
    assert!(shows(core, "lib").await && shows(core, "app").await);
    assert!(core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap().is_clean());
}

async fn what_comes_back_is_signed_by_keys_that_came_meanwhile(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[])]).await;
    let removal = remove(core, "lib").await;
    home.clock.advance(Timestamp::HOUR);
    core.key().add(&OPERATOR, "main").await.unwrap();
    home.clock.advance(Timestamp::HOUR);
    Reconciler::Resign.tick(core).await.unwrap();
    let keys = async || core.key().list(&OPERATOR, "main").await.unwrap();
    assert!(keys().await.iter().all(|key| key.state == iglu_api::key::KeyState::Active), "{:?}", keys().await);
    undo(core, removal).await;
    Reconciler::Resign.tick(core).await.unwrap();
    let signatures = narinfo(core, "main", &path_named("lib")).await.unwrap().signatures;
    assert_eq!(signatures.len(), 2, "{signatures:?}");
}

async fn another_servers_change_is_heard_between_ones_own(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[])]).await;
    assert!(shows(core, "lib").await);
    let other = home.beside().await;
    other.retention().remove(&OPERATOR, "main", &[path_named("lib").hash()], false).await.unwrap();
    // Before the timer looks, this one changes something itself, and reads the newest directory.
    core.key().add(&OPERATOR, "main").await.unwrap();
    Reconciler::DirectoryRefresh.tick(core).await.unwrap();
    assert!(!shows(core, "lib").await, "its narinfo is remembered");
    other.close().await.unwrap();
}

async fn numbers_are_right_soon_after_they_were_not(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[])]).await;
    let cache = core.cache_remembered("main").unwrap();
    // As after a push that was committed while everything was read again.
    cache.state.path_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let listed = core.path().list(&OPERATOR, "main", &iglu_api::path::PathQuery::default()).await.unwrap();
    assert_eq!(listed.path_count, 1, "pages ask the database");
    Reconciler::ActivityFlush.tick(core).await.unwrap();
    assert_eq!(cache.path_count(), 1);
}

async fn a_pin_waits_for_no_path(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[])]).await;
    let cache = core.cache_remembered("main").unwrap();
    let hash = path_named("lib").hash().to_string();
    let pin = crate::db::NewPin {
        cache_id: cache.id,
        name: "kept",
        store_path: "/nix/store/lib",
        hash: &hash,
        artifacts: "[]",
        keep: "{}",
        expires_at: None,
        revisions: None,
    };
    let audit = core.audit(&OPERATOR, "pin.create", "kept");
    assert!(core.db.pin_insert(&pin, &audit).await.unwrap().is_some());
    remove(core, "lib").await;
    assert!(core.db.pin_insert(&pin, &audit).await.unwrap().is_none(), "what people removed is not here");
}

async fn a_pull_counts_for_every_path_with_the_file(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let lib = thing("lib", &[]);
    let twin = Thing { claim: Claim { store_path: path_named("twin"), ..lib.claim.clone() }, nar: lib.nar.clone() };
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    push(core, &OPERATOR, "main", &twin).await.unwrap();
    let cache = core.cache_remembered("main").unwrap();
    let file = lib.claim.file_hash.unwrap();
    let pull = async || {
        assert!(core.fetch().nar(&cache, &file).await.unwrap().is_some());
        Reconciler::ActivityFlush.tick(core).await.unwrap();
        let rows = core.db.graph_page(cache.id, (i64::MIN, 0)).await.unwrap();
        let now = core.now().0;
        rows.iter().filter(|row| row.last_pulled_at.is_some_and(|at| at > now - Timestamp::MINUTE)).count()
    };
    assert_eq!(pull().await, 2, "the file's name says not which one was meant");
    // They come back as other rows, and the file is remembered.
    collect_old(&home).await;
    push_all(core, &[("app", &["lib", "twin"])]).await;
    assert!(shows(core, "lib").await && shows(core, "twin").await);
    assert_eq!(pull().await, 2);
}

async fn suspects_are_not_forgotten_while_the_storage_is_away(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let things = [thing("a", &[]), thing("b", &[])];
    let cache = core.cache_remembered("main").unwrap();
    for thing in &things {
        push(core, &OPERATOR, "main", thing).await.unwrap();
        fs::remove_file(file_of(&home, thing)).unwrap();
        assert!(core.fetch().nar(&cache, &thing.claim.file_hash.unwrap()).await.unwrap().is_none());
    }
    let (storage, away) = (home.folder.path().join("storage"), home.folder.path().join("away"));
    fs::rename(&storage, &away).unwrap();
    assert!(Reconciler::Suspects.tick(core).await.is_err());
    fs::rename(&away, &storage).unwrap();
    Reconciler::Suspects.tick(core).await.unwrap();
    assert!(!shows(core, "a").await && !shows(core, "b").await);
}
