//! All about one path, as its page shows it.

use super::*;
use crate::{Error, caller::Caller};
use iglu_api::path::{FileEntry, FileKind};

const OPERATOR: Caller = Caller::Operator;

on_both! {
    a_path_knows_both_directions_and_its_closure
}

async fn referrers(core: &Core, name: &str) -> Vec<String> {
    let detail = core.path().detail(&OPERATOR, "main", path_named(name).hash()).await.unwrap();
    assert_eq!(detail.referrer_count, detail.referrers.len() as u64);
    detail.referrers.into_iter().map(|link| link.name).collect()
}

async fn a_path_knows_both_directions_and_its_closure(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    home.cache("other", Visibility::Public).await;
    // One refers to itself, as most libraries do, and one to what never came.
    let things = [
        thing("base", &[]),
        thing("lib", &["base", "lib"]),
        thing("app", &["base", "lib"]),
        thing("tool", &["gone", "lib"]),
    ];
    for one in &things {
        push(core, &OPERATOR, "main", one).await.unwrap();
    }
    push(core, &OPERATOR, "other", &thing("base", &[])).await.unwrap();

    assert_eq!(referrers(core, "base").await, ["lib", "app"]);
    assert_eq!(referrers(core, "lib").await, ["app", "tool"], "itself is not named");
    let size = |number: usize| things[number].nar.len() as u64;
    let app = core.path().detail(&OPERATOR, "main", path_named("app").hash()).await.unwrap();
    let mut names: Vec<(&str, Option<u64>)> =
        app.references.iter().map(|link| (link.name.as_str(), link.nar_size)).collect();
    names.sort_unstable();
    assert_eq!(names, [("base", Some(size(0))), ("lib", Some(size(1)))]);
    assert_eq!((app.closure.paths, app.closure.missing, app.closure.is_cut), (3, 0, false));
    assert_eq!(app.closure.nar_bytes, size(0) + size(1) + size(2));
    assert_eq!(app.closure.largest[0].name, "app");
    assert!(app.signatures.iter().all(|signature| signature.is_own) && !app.signatures.is_empty());
    assert_eq!(app.nar_hash, format!("sha256:{}", things[2].claim.nar_hash.to_nix32()));
    let tool = core.path().detail(&OPERATOR, "main", path_named("tool").hash()).await.unwrap();
    assert!(tool.row.held);
    assert_eq!((tool.closure.paths, tool.closure.missing), (3, 1));
    assert_eq!(tool.references.iter().find(|link| link.name == "gone").unwrap().nar_size, None);
    let other = core.path().detail(&OPERATOR, "other", path_named("base").hash()).await.unwrap();
    assert_eq!(other.referrer_count, 0, "another cache's paths are its own");

    // Taken out and put back, by whatever statement.
    let removal = core.retention().remove(&OPERATOR, "main", &[path_named("app").hash()], false).await.unwrap();
    assert_eq!(referrers(core, "base").await, ["lib"]);
    core.retention().undo(&OPERATOR, "main", removal.id).await.unwrap();
    assert_eq!(referrers(core, "base").await, ["lib", "app"]);

    // A single file is its own only entry.
    let page = core.path().folder(&OPERATOR, "main", path_named("app").hash(), "").await.unwrap().unwrap();
    assert!(
        matches!(&page.entries[..], [FileEntry { name, kind: FileKind::File { is_executable: false, .. } }] if name.is_empty()),
        "{page:?}"
    );
    for folder in ["x", "../x", "a/b"] {
        let absent = core.path().folder(&OPERATOR, "main", path_named("app").hash(), folder).await;
        assert!(matches!(absent, Err(Error::NotFound(_))), "{folder}: {absent:?}");
    }
    let absent = core.path().detail(&OPERATOR, "main", path_named("gone").hash()).await;
    assert!(matches!(absent, Err(Error::NotFound(_))), "{absent:?}");
}
