//! What is kept, what goes, and what comes back: retention, removal, damage, and the storage itself.

use super::*;
use crate::{Error, check::CheckKind, push::NarFileName};
use iglu_api::{
    pin::{Keep, PinCreate},
    retention::{PushLimits, RemovalState, Retention, Why},
};
use std::{fs, path::PathBuf};

on_both! {
    rules_take_out_closures_and_pins_keep_them
    what_was_collected_comes_back_with_what_needs_it
    what_would_leave_nothing_is_confirmed
    people_remove_and_undo
    a_damaged_file_is_found_set_aside_and_healed
    a_damaged_file_that_is_whole_again_comes_back
    nothing_goes_while_the_storage_is_away
    a_file_that_is_needed_again_is_not_removed
    a_full_cache_refuses
    logs_go_with_what_they_tell_of
    counted_numbers_are_corrected
}

pub(super) const OPERATOR: Caller = Caller::Operator;

pub(super) async fn shows(core: &Core, name: &str) -> bool {
    narinfo(core, "main", &path_named(name)).await.is_some()
}

pub(super) async fn push_all(core: &Core, things: &[(&str, &[&str])]) {
    for (name, references) in things {
        push(core, &OPERATOR, "main", &thing(name, references)).await.unwrap();
    }
}

pub(super) async fn pin(core: &Core, name: &str, path: &str, keep: Keep) -> Result<()> {
    let store_path = path_named(path).to_absolute();
    let create = PinCreate { name: name.to_owned(), store_path, artifacts: Vec::new(), keep };
    core.pin().create(&OPERATOR, "main", &create).await
}

pub(super) async fn collect(core: &Core) {
    core.retention().ask(&OPERATOR, "main", true).await.unwrap();
    Reconciler::Collect.tick(core).await.unwrap();
}

/// Where the NAR file of a thing is.
pub(super) fn file_of(home: &Home, thing: &Thing) -> PathBuf {
    let name = thing.claim.file_hash.unwrap().to_nix32();
    home.folder.path().join("storage/nar").join(&name[..2]).join(name)
}

async fn rules_take_out_closures_and_pins_keep_them(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[]), ("app", &["lib"]), ("kept-lib", &[]), ("kept", &["kept-lib"])]).await;
    pin(core, "release", "kept", Keep::Forever).await.unwrap();
    home.clock.advance(40 * Timestamp::DAY);
    push_all(core, &[("young", &[])]).await;

    let rules = Retention { pushed_days: Some(30), ..Retention::default() };
    core.retention().set(&OPERATOR, "main", &rules, false).await.unwrap();
    let preview = core.retention().preview(&OPERATOR, "main", None, 10).await.unwrap();
    assert_eq!((preview.paths, preview.all_paths, preview.pinned_paths), (2, 5, 2));
    assert_eq!(preview.reasons, [(Why::Pushed, 2)]);
    let names: Vec<&str> = preview.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["app", "lib"], "referrers go first");
    assert_eq!(preview.bytes, preview.freed_bytes);

    let files = home.stored_files();
    // The rules' own run, as a timer makes it.
    Reconciler::Retain.tick(core).await.unwrap();
    Reconciler::Collect.tick(core).await.unwrap();
    for (name, expected) in [("lib", false), ("app", false), ("kept", true), ("kept-lib", true), ("young", true)] {
        assert_eq!(shows(core, name).await, expected, "{name}");
    }
    let removal = core.retention().removals(&OPERATOR, "main").await.unwrap().remove(0);
    assert_eq!((removal.state, removal.paths, removal.bytes), (RemovalState::Done, 2, preview.bytes));
    let detail = core.cache().get(&OPERATOR, "main").await.unwrap();
    assert_eq!(detail.summary.path_count, 3);

    // Clients that remember the narinfo find the NAR, until they have forgotten it.
    let cache = core.cache_remembered("main").unwrap();
    let hash = thing("lib", &[]).claim.file_hash.unwrap();
    assert!(core.fetch().nar(&cache, &hash).await.unwrap().is_some());
    home.tidy().await;
    assert_eq!(home.stored_files(), files);
    home.clock.advance(32 * Timestamp::DAY);
    home.tidy().await;
    assert_eq!(home.stored_files(), files - 2);
    assert!(core.fetch().nar(&cache, &hash).await.unwrap().is_none());
    assert!(core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap().is_clean());

    // Without the pin, its closure goes too.
    home.clock.advance(Timestamp::DAY);
    push_all(core, &[("younger", &[])]).await;
    let going = async || core.retention().preview(&OPERATOR, "main", None, 0).await.unwrap().paths;
    assert_eq!(going().await, 1, "young was not pushed for long");
    push_all(core, &[("young", &[])]).await;
    assert_eq!(going().await, 0, "who pushes what is here counts on it");
}

async fn what_was_collected_comes_back_with_what_needs_it(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("base", &[]), ("lib", &["base"]), ("other", &[])]).await;
    home.clock.advance(40 * Timestamp::DAY);
    push_all(core, &[("young", &[])]).await;
    // A pusher asked what is missing, heard that these are here, and has not pushed what refers to them yet.
    core.retention()
        .set(&OPERATOR, "main", &Retention { pushed_days: Some(30), ..Retention::default() }, true)
        .await
        .unwrap();
    collect(core).await;
    assert!(!shows(core, "base").await && !shows(core, "lib").await);
    push_all(core, &[("app", &["lib"])]).await;
    for name in ["app", "lib", "base"] {
        assert!(shows(core, name).await, "{name}");
    }
    assert!(!shows(core, "other").await);
    // A pin brings back what it names.
    pin(core, "other", "other", Keep::Forever).await.unwrap();
    assert!(shows(core, "other").await);
    // nix copy refuses nothing either: its references were there when it asked.
    collect(core).await;
    let late = thing("late", &["other"]);
    let cache = core.cache_remembered("main").unwrap();
    let name = NarFileName { file_hash: late.claim.file_hash.unwrap() };
    core.push().nar_put(&cache, name, body(&late.nar)).await.unwrap();
    // Pushed again, a path that was collected is simply there.
    home.clock.advance(40 * Timestamp::DAY);
    push_all(core, &[("young2", &[])]).await;
    collect(core).await;
    assert!(!shows(core, "young").await);
    push_all(core, &[("young", &[])]).await;
    assert!(shows(core, "young").await);
    let report = core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

async fn what_would_leave_nothing_is_confirmed(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("a", &[]), ("b", &["a"])]).await;
    home.clock.advance(10 * Timestamp::DAY);
    let rules = Retention { used_days: Some(5), ..Retention::default() };
    let refused = core.retention().set(&OPERATOR, "main", &rules, false).await;
    assert!(refusal(refused).contains("all 2 paths"));
    core.retention().set(&OPERATOR, "main", &rules, true).await.unwrap();
    // A timer does not do it either.
    Reconciler::Retain.tick(core).await.unwrap();
    Reconciler::Collect.tick(core).await.unwrap();
    assert!(shows(core, "a").await);
    assert!(core.retention().ask(&OPERATOR, "main", false).await.is_err());
    collect(core).await;
    assert!(!shows(core, "a").await && !shows(core, "b").await);
    let nonsense = Retention { pushed_days: Some(0), ..Retention::default() };
    assert!(core.retention().set(&OPERATOR, "main", &nonsense, true).await.is_err());
}

async fn people_remove_and_undo(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("lib", &[]), ("app", &["lib"]), ("pinned", &[])]).await;
    pin(core, "p", "pinned", Keep::Forever).await.unwrap();
    let hash = |name: &str| path_named(name).hash();
    let remove = async |names: &[&str], with_referrers| {
        let hashes: Vec<_> = names.iter().map(|name| hash(name)).collect();
        core.retention().remove(&OPERATOR, "main", &hashes, with_referrers).await
    };
    assert!(refusal(remove(&["lib"], false).await).contains("is referred to by"));
    assert!(refusal(remove(&["pinned"], true).await).contains("pin"));
    assert!(matches!(remove(&["nowhere"], true).await, Err(Error::NotFound(_))));

    let removal = remove(&["lib"], true).await.unwrap();
    assert_eq!((removal.paths, removal.state), (2, RemovalState::Done));
    assert!(!shows(core, "lib").await && !shows(core, "app").await);
    let cache = core.cache_remembered("main").unwrap();
    let file = thing("lib", &[]).claim.file_hash.unwrap();
    assert!(core.fetch().nar(&cache, &file).await.unwrap().is_none(), "what people remove is not read by its name");

    let undone = core.retention().undo(&OPERATOR, "main", removal.id).await.unwrap();
    assert_eq!(undone.state, RemovalState::Undone);
    assert!(shows(core, "lib").await && shows(core, "app").await);
    assert!(core.fetch().nar(&cache, &file).await.unwrap().is_some());

    let removal = remove(&["app", "lib"], false).await.unwrap();
    home.clock.advance(25 * Timestamp::HOUR);
    assert!(refusal(core.retention().undo(&OPERATOR, "main", removal.id).await).contains("cannot be undone"));
    home.tidy().await;
    assert_eq!(home.stored_files(), 1);
    assert!(core.check_all(CheckKind::default(), &|_, _| ()).await.unwrap().is_clean());
}

async fn a_damaged_file_is_found_set_aside_and_healed(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    home.cache("other", Visibility::Public).await;
    let (lib, app) = (thing("lib", &[]), thing("app", &["lib"]));
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    push(core, &OPERATOR, "main", &app).await.unwrap();
    push(core, &OPERATOR, "other", &lib).await.unwrap();
    let cache = core.cache_remembered("main").unwrap();
    let file = lib.claim.file_hash.unwrap();

    for damage in ["absent", "short", "flipped"] {
        let path = file_of(&home, &lib);
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "absent" => fs::remove_file(&path).unwrap(),
            "short" => fs::write(&path, &bytes[1..]).unwrap(),
            _ => {
                bytes[60] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        // Reading finds what has another size; only reading it all finds the rest.
        if damage == "flipped" {
            let fast = core.check_all(CheckKind::default(), &|_, _| ()).await.unwrap();
            assert!(fast.is_clean());
            let full = core.check_all(CheckKind { is_full: true, repairs: true }, &|_, _| ()).await.unwrap();
            assert_eq!((full.damaged_count, full.damaged[0].paths.len()), (1, 2), "{full:?}");
        } else {
            assert!(core.fetch().nar(&cache, &file).await.unwrap().is_none());
            Reconciler::Suspects.tick(core).await.unwrap();
        }
        assert!(!shows(core, "lib").await && shows(core, "app").await, "{damage}");
        assert!(narinfo(core, "other", &lib.claim.store_path).await.is_none());
        assert_eq!(core.path().missing(&cache, vec![lib.claim.store_path.hash()]).await.unwrap().len(), 1);
        assert_eq!(core.path().damaged(&OPERATOR, "main").await.unwrap()[0].name, "lib");

        // Pushing it again to one cache heals it everywhere.
        push(core, &OPERATOR, "main", &lib).await.unwrap();
        assert!(shows(core, "lib").await, "{damage}");
        assert!(narinfo(core, "other", &lib.claim.store_path).await.is_some());
        assert!(core.path().damaged(&OPERATOR, "main").await.unwrap().is_empty());
        let report = core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap();
        assert!(report.is_clean(), "{damage}: {report:?}");
    }
}

async fn a_damaged_file_that_is_whole_again_comes_back(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let lib = thing("lib", &[]);
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    let path = file_of(&home, &lib);
    let away = home.folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    let repair = CheckKind { is_full: false, repairs: true };
    assert_eq!(core.check_all(repair, &|_, _| ()).await.unwrap().damaged_count, 1);
    assert!(!shows(core, "lib").await);
    fs::rename(&away, &path).unwrap();
    let report = core.check_all(repair, &|_, _| ()).await.unwrap();
    assert_eq!((report.whole_again, report.restored_paths), (1, 1));
    assert!(shows(core, "lib").await);
    assert!(core.check_all(repair, &|_, _| ()).await.unwrap().is_clean());
}

async fn nothing_goes_while_the_storage_is_away(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("old", &[]), ("lib", &[])]).await;
    home.clock.advance(40 * Timestamp::DAY);
    push_all(core, &[("young", &[])]).await;
    core.retention()
        .set(&OPERATOR, "main", &Retention { pushed_days: Some(30), ..Retention::default() }, true)
        .await
        .unwrap();
    let (storage, away) = (home.folder.path().join("storage"), home.folder.path().join("away"));
    fs::rename(&storage, &away).unwrap();
    fs::create_dir(&storage).unwrap();
    for work in [
        Reconciler::StorageWatch,
        Reconciler::Retain,
        Reconciler::Collect,
        Reconciler::Purge,
        Reconciler::Files,
        Reconciler::Sweep,
        Reconciler::Suspects,
        Reconciler::Scrub,
    ] {
        let _ = work.tick(core).await;
    }
    let trouble = core.storage_status().await.unwrap().trouble.unwrap();
    assert!(trouble.contains("iglu-store") && core.check().await.is_err(), "{trouble}");
    assert!(shows(core, "old").await, "what is known is served");
    let cache = core.cache_remembered("main").unwrap();
    let file = thing("lib", &[]).claim.file_hash.unwrap();
    assert!(
        matches!(core.fetch().nar(&cache, &file).await, Err(Error::Unavailable { .. })),
        "not 404: nothing is gone"
    );
    assert!(matches!(push(core, &OPERATOR, "main", &thing("new", &[])).await, Err(Error::Unavailable { .. })));
    assert!(core.retention().remove(&OPERATOR, "main", &[path_named("old").hash()], false).await.is_err());
    assert!(core.check_all(CheckKind { is_full: true, repairs: true }, &|_, _| ()).await.is_err());

    fs::remove_dir_all(&storage).unwrap();
    fs::rename(&away, &storage).unwrap();
    Reconciler::StorageWatch.tick(core).await.unwrap();
    core.check().await.unwrap();
    assert!(core.fetch().nar(&cache, &file).await.unwrap().is_some());
    push_all(core, &[("new", &[])]).await;
    assert!(core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap().is_clean());

    // Another database's storage is not ours either.
    fs::write(storage.join("iglu-store"), "somebody-else\n").unwrap();
    assert!(core.check().await.is_err());
    core.storage_adopt().await.unwrap();
    core.check().await.unwrap();
}

async fn a_file_that_is_needed_again_is_not_removed(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let lib = thing("lib", &[]);
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    core.retention().remove(&OPERATOR, "main", &[lib.claim.store_path.hash()], false).await.unwrap();
    home.clock.advance(2 * Timestamp::DAY);
    Reconciler::Purge.tick(core).await.unwrap();
    assert_eq!(core.storage_status().await.unwrap().dead_files, 1);
    // Between the two steps that remove it, it is pushed again.
    push(core, &OPERATOR, "main", &lib).await.unwrap();
    home.clock.advance(2 * Timestamp::DAY);
    Reconciler::Files.tick(core).await.unwrap();
    assert_eq!((home.stored_files(), core.storage_status().await.unwrap().dead_files), (1, 0));
    assert!(core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap().is_clean());

    // While it is being removed, a push waits for the end of that.
    core.retention().remove(&OPERATOR, "main", &[lib.claim.store_path.hash()], false).await.unwrap();
    home.clock.advance(2 * Timestamp::DAY);
    Reconciler::Purge.tick(core).await.unwrap();
    home.clock.advance(2 * Timestamp::HOUR);
    let taken_at = core.now().0;
    let taken = core.db.dead_files_take(taken_at, 0, taken_at).await.unwrap().unwrap();
    let finish = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        fs::remove_file(file_of(&home, &lib)).unwrap();
        core.db.dead_files_forget(&taken, taken_at).await.unwrap();
    };
    let (pushed, ()) = tokio::join!(push(core, &OPERATOR, "main", &lib), finish);
    pushed.unwrap();
    assert!(core.check_all(CheckKind { is_full: true, repairs: false }, &|_, _| ()).await.unwrap().is_clean());
}

async fn logs_go_with_what_they_tell_of(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let (kept, gone) = (path_named("kept.drv"), path_named("gone.drv"));
    let mut made = thing("made", &[]);
    made.claim.deriver = Some(kept.clone());
    push(core, &OPERATOR, "main", &made).await.unwrap();
    for drv in [&kept, &gone] {
        core.build_log().put(&OPERATOR, &cache, drv, body(b"built")).await.unwrap();
    }
    home.clock.advance(40 * Timestamp::DAY);
    home.tidy().await;
    assert!(core.build_log().get(&cache, &gone).await.unwrap().is_some(), "without rules everything stays");
    let rules = Retention { used_days: Some(1000), ..Retention::default() };
    core.retention().set(&OPERATOR, "main", &rules, false).await.unwrap();
    home.tidy().await;
    assert!(core.build_log().get(&cache, &gone).await.unwrap().is_none());
    assert!(core.build_log().get(&cache, &kept).await.unwrap().is_some());
}

async fn a_full_cache_refuses(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("a", &[])]).await;
    let limits = PushLimits { cache_bytes: Some(100), upload_bytes: None };
    core.retention().limits_set(&OPERATOR, "main", &limits).await.unwrap();
    let full = refusal(push(core, &OPERATOR, "main", &thing("b", &[])).await);
    assert!(full.contains("is full") && full.contains("100 B"), "{full}");
    let limits = PushLimits { cache_bytes: None, upload_bytes: Some(10) };
    core.retention().limits_set(&OPERATOR, "main", &limits).await.unwrap();
    assert!(matches!(push(core, &OPERATOR, "main", &thing("b", &[])).await, Err(Error::TooLarge(_))));
    core.retention().limits_set(&OPERATOR, "main", &PushLimits::default()).await.unwrap();
    push_all(core, &[("b", &[])]).await;
}

async fn counted_numbers_are_corrected(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    push_all(core, &[("a", &[]), ("b", &["a"])]).await;
    core.db.test_execute("UPDATE cache SET path_count = 7, stored_bytes = 1").await.unwrap();
    let check = |repairs| CheckKind { is_full: false, repairs };
    assert_eq!(core.check_all(check(true), &|_, _| ()).await.unwrap().wrong_numbers, ["main"]);
    assert!(core.check_all(check(false), &|_, _| ()).await.unwrap().is_clean());
    assert_eq!(core.cache().get(&OPERATOR, "main").await.unwrap().summary.path_count, 2);
}

on_both! { a_dead_file_has_one_who_decides }

/// Whoever takes a file removes it, and whoever revives one publishes it: never both, however close together they come, and a remover
/// that was too slow forgets nothing of the one after it.
async fn a_dead_file_has_one_who_decides(home: Home) {
    let core = &home.core;
    let files: Vec<[u8; 32]> = (0..300_u16).map(|n| *Sha256::digest(&n.to_le_bytes()).as_bytes()).collect();
    for file in &files {
        core.db.file_set_dead("nar", file, 1, 0).await.unwrap();
    }
    let removers = [core.clone(), home.beside().await].map(|core| {
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(some) = core.db.dead_files_take(1_000, 60_000, 5_000).await.unwrap() {
                taken.extend(some.into_iter().map(|file| file.file_hash));
                tokio::task::yield_now().await;
            }
            taken
        })
    });
    let mut revived = Vec::new();
    for file in files.iter().rev() {
        if core.db.file_revive("nar", file).await.unwrap() {
            revived.push(file.to_vec());
        }
    }
    let mut decided = revived;
    for remover in removers {
        decided.extend(remover.await.unwrap());
    }
    decided.sort_unstable();
    let count = decided.len();
    decided.dedup();
    assert_eq!((decided.len(), count), (300, 300), "each file has one who decides");

    let later = 5_000 + 60_001;
    let again = core.db.dead_files_take(1_000, 60_000, later).await.unwrap().unwrap();
    let left = core.db.dead_file_count().await.unwrap();
    core.db.dead_files_forget(&again, 5_000).await.unwrap();
    assert_eq!(core.db.dead_file_count().await.unwrap(), left, "the remover before that forgets nothing");
    core.db.dead_files_forget(&again, later).await.unwrap();
    assert_eq!(core.db.dead_file_count().await.unwrap().0, left.0 - again.len() as i64);
}
