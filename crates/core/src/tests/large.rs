//! A large cache is collected to half while others read from it and push to it: whether as much becomes free as the preview said, and,
//! printed, how long it takes and how long others wait. `IGLU_LARGE_PATHS=1000000` in a release build takes ten minutes and gigabytes.

use super::*;
use crate::check::CheckKind;
use iglu_api::retention::Retention;
use nix_compat::nixbase32;
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const FILE_SIZE: usize = 100;
/// Paths of one closure: the first refers to all others.
const CLOSURE: u64 = 100;

fn paths() -> u64 {
    std::env::var("IGLU_LARGE_PATHS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

fn hash_of(number: u64) -> String {
    nixbase32::encode(&Sha256::digest(&number.to_le_bytes()).as_bytes()[..20])
}

/// Rows and files as pushes would leave them. The files' names are not the hashes of their bytes: nobody reads them here.
async fn fill(home: &Home, cache_id: i64) {
    let core = &home.core;
    let now = core.now().0;
    let nars = home.folder.path().join("storage/nar");
    let mut rows: Vec<(u64, Sha256)> = Vec::new();
    for number in 0..paths() {
        let file_hash = Sha256::digest(&(number | 1 << 40).to_le_bytes());
        let name = file_hash.to_nix32();
        let folder = nars.join(&name[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), [7; FILE_SIZE]).unwrap();
        rows.push((number, file_hash));
        if rows.len() == 1000 || number + 1 == paths() {
            let values = rows.iter().map(|(number, file_hash)| {
                let hex = data_encoding::HEXUPPER.encode(file_hash.as_bytes());
                format!("({}, X'{hex}', 500, X'{hex}', {FILE_SIZE}, 'zstd', {now})", number + 1)
            });
            let values = values.collect::<Vec<_>>().join(", ");
            let columns = "id, nar_hash, nar_size, file_hash, file_size, compression, created_at";
            core.db.test_execute(format!("INSERT INTO nar ({columns}) VALUES {values}")).await.unwrap();
            let values = rows.iter().map(|(number, _)| {
                let first = number - number % CLOSURE;
                let refs: Vec<String> = match *number == first {
                    true => (first + 1..first + CLOSURE).map(|other| format!("{}-path", hash_of(other))).collect(),
                    false => Vec::new(),
                };
                // The older half was not used for a hundred days.
                let days = if number * 2 < paths() { 100 } else { 10 };
                let pushed = now - days * Timestamp::DAY - i64::try_from(*number).unwrap() % 1000;
                let (hash, refs) = (hash_of(*number), refs.join(" "));
                format!(
                    "({cache_id}, '{hash}', 'path', {}, 500, {FILE_SIZE}, '{refs}', '', {pushed}, 'test', TRUE)",
                    number + 1
                )
            });
            let values = values.collect::<Vec<_>>().join(", ");
            let columns =
                "cache_id, hash, name, nar_id, nar_size, file_size, refs, signatures, pushed_at, pushed_by, is_visible";
            core.db.test_execute(format!("INSERT INTO store_path ({columns}) VALUES {values}")).await.unwrap();
            rows.clear();
        }
    }
    core.db.cache_numbers_set(cache_id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_cache_is_collected_to_half() {
    let home = Home::sqlite().await;
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let cache = core.cache_remembered("main").unwrap();
    let started = Instant::now();
    fill(&home, cache.id).await;
    println!("made {} paths in {:?}", paths(), started.elapsed());
    core.directory.reload(&core.db, &core.master).await.unwrap();

    let rules = Retention { used_days: Some(60), ..Retention::default() };
    let started = Instant::now();
    core.retention().set(&Caller::Operator, "main", &rules, false).await.unwrap();
    let preview = core.retention().preview(&Caller::Operator, "main", None, 10).await.unwrap();
    println!(
        "planned twice in {:?}: {} paths, {} bytes become free",
        started.elapsed(),
        preview.paths,
        preview.freed_bytes
    );
    assert_eq!(preview.paths, paths() / 2);

    let done = Arc::new(AtomicBool::new(false));
    let (reader, pusher) = {
        let (core, cache, told) = (core.clone(), cache.clone(), done.clone());
        let reader = tokio::spawn(async move {
            let mut waits = Vec::new();
            let mut number = 1_u64;
            while !told.load(Ordering::SeqCst) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let hash = nix_compat::store_path::StorePathHash::parse(&hash_of((number >> 20) % paths())).unwrap();
                let started = Instant::now();
                core.path().narinfo(&cache, hash).await.unwrap();
                waits.push(started.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            waits
        });
        let (core, told) = (home.core.clone(), done.clone());
        let pusher = tokio::spawn(async move {
            let mut waits = Vec::new();
            while !told.load(Ordering::SeqCst) {
                let started = Instant::now();
                push(&core, &Caller::Operator, "main", &thing(&format!("new-{}", waits.len()), &[])).await.unwrap();
                waits.push(started.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            waits
        });
        (reader, pusher)
    };
    let started = Instant::now();
    core.retention().ask(&Caller::Operator, "main", false).await.unwrap();
    Reconciler::Collect.tick(core).await.unwrap();
    println!("collected in {:?}", started.elapsed());
    done.store(true, Ordering::SeqCst);
    for (what, waits) in [("narinfo", reader.await.unwrap()), ("push", pusher.await.unwrap())] {
        let mut waits: Vec<Duration> = waits;
        waits.sort_unstable();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        println!("{what}: {} times, median {:?}, p99 {:?}, longest {:?}", waits.len(), at(0.5), at(0.99), at(1.0));
    }
    let removal = core.retention().removals(&Caller::Operator, "main").await.unwrap().remove(0);
    assert_eq!((removal.paths, removal.bytes), (preview.paths, preview.bytes));

    let before = home.stored_files() as u64;
    home.clock.advance(32 * Timestamp::DAY);
    let started = Instant::now();
    home.tidy().await;
    println!("forgot and removed the files in {:?}", started.elapsed());
    let freed = (before - home.stored_files() as u64) * FILE_SIZE as u64;
    assert_eq!(freed, preview.freed_bytes);
    let report = core.check_all(CheckKind::default(), &|_, _| ()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}
