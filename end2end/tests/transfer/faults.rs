//! What is broken in a source, what breaks on the way, and imports that do not come to their end.

use std::fs;
use std::time::Duration;

use iglu_end2end::fault_proxy::{Fault, FaultProxy, Rule};
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Server};
use iglu_end2end::static_server::StaticServer;

use super::{Ended, draft, eventually, import, old_key, public, put, signed, status};

#[tokio::test]
async fn what_is_wrong_is_counted_and_named_and_the_rest_comes() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    server.cache("main", false).unwrap();
    let old = folder.path().join("old");
    let (good, unsigned) = (signed(draft("good", 1, &[]).await), draft("unsigned", 2, &[]).await);
    let mut forged = draft("forged", 3, &[]).await;
    forged.narinfo = forged.narinfo.and("Sig", good.narinfo.get("Sig").unwrap());
    // Of the bytes as they are, the narinfo says something else.
    let mut corrupt = signed(draft("corrupt", 4, &[]).await);
    corrupt.file = [&[corrupt.file[0]], &corrupt.file[1..]].concat();
    let at = corrupt.file.len() / 2;
    corrupt.file[at] ^= 1;
    let mut renamed = signed(draft("renamed", 5, &[]).await);
    renamed.narinfo = renamed.narinfo.with("FileHash", good.narinfo.get("FileHash").unwrap());
    let mut lz4 = signed(draft("lz4", 6, &[]).await);
    lz4.narinfo = lz4.narinfo.with("Compression", "lz4");
    let mut bare = signed(draft("bare", 7, &[]).await);
    bare.narinfo = bare.narinfo.without("FileHash").without("FileSize");
    let short = signed(draft("short", 8, &[]).await);
    let gone = signed(draft("gone", 9, &[]).await);
    let above = signed(draft("above", 10, &[&gone.path]).await);
    for draft in [&good, &unsigned, &forged, &corrupt, &renamed, &lz4, &bare, &short, &gone, &above] {
        put(&old, draft);
    }
    fs::write(old.join(&short.url), &short.file[1..]).unwrap();
    fs::remove_file(old.join(&gone.url)).unwrap();
    fs::write(old.join("nonsense.narinfo"), "x").unwrap();
    let from = old.to_str().unwrap();
    let key = public(&old_key());

    let done = import(&server, "main", from, &["--trusted-key", &key]).ended_with(2);
    for (draft, why) in [
        (&unsigned, "it is not signed"),
        (&forged, "its signature by old.example-1 is wrong"),
        (&corrupt, "file hash of"),
        (&renamed, "file hash of"),
        (&lz4, "compression lz4 of"),
        (&short, "bytes, not"),
        (&gone, "is not there"),
    ] {
        let told = done.why(&draft.path).unwrap_or_else(|| panic!("{} is not named: {done:#?}", draft.path));
        assert!(told.contains(why), "{told}");
        assert!(done.errors.contains(&format!("skipped: {}: ", draft.path)), "{}", done.errors);
    }
    assert!(done.why("nonsense.narinfo").is_some());
    let skipped = &done.report["skipped"];
    let numbers = ["total", "source", "download", "refused", "untrusted"].map(|name| skipped[name].as_u64().unwrap());
    assert_eq!(numbers, [8, 3, 0, 3, 2]);
    assert_eq!((done.number("imported"), done.number("held")), (3, 1));
    assert_eq!(done.report["held_paths"][0]["what"], above.path);
    assert!(done.report["held_paths"][0]["why"].as_str().unwrap().contains(&gone.path));
    let reader = server.putter("main", &server.token("main", Scope::Pull).unwrap());
    for (draft, is_here) in [(&good, true), (&bare, true), (&above, false), (&unsigned, false), (&corrupt, false)] {
        let narinfo = reader.narinfo(draft.hash()).await.unwrap();
        assert_eq!(narinfo.is_some(), is_here, "{}", draft.path);
        if let Some(narinfo) = narinfo {
            assert_eq!(reader.check(&narinfo).await.unwrap(), draft.nar);
        }
    }

    // Without the demand, what nobody signed comes too, and is counted. Then the last of the rest.
    fs::write(old.join(&gone.url), &gone.file).unwrap();
    let done = import(&server, "main", from, &[]).ended_with(2);
    assert_eq!((done.number("imported"), done.number("present"), done.number("unsigned")), (3, 3, 1));
    assert_eq!((done.number("held"), skipped["total"].as_u64()), (0, Some(8)));
    for draft in [&corrupt, &renamed, &lz4, &short] {
        fs::remove_file(old.join(format!("{}.narinfo", draft.hash()))).unwrap();
    }
    fs::remove_file(old.join("nonsense.narinfo")).unwrap();
    let done = import(&server, "main", from, &[]).ended_with(0);
    assert_eq!((done.number("imported"), done.number("present")), (0, 6));
}

/// A static cache with so many paths, each of which refers to the one before.
async fn chain(folder: &std::path::Path, count: u64) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    for seed in 0..count {
        let before: Vec<&str> = drafts.last().map(|draft| draft.path.as_str()).into_iter().collect();
        let next = signed(draft("chain", seed, &before).await);
        put(folder, &next);
        drafts.push(next);
    }
    drafts
}

#[tokio::test]
async fn downloads_that_break_are_asked_for_again() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let drafts = chain(folder.path(), 3).await;
    let web = StaticServer::start(folder.path()).unwrap();
    let proxy = FaultProxy::start(&web.address()).unwrap();
    let top = drafts[2].path.as_str();
    proxy.add(Rule::new(Fault::CutAnswer(20)).target("/nar/").times(3));
    let more = ["--create", "--visibility", "public", "--root", top];
    let done = import(&server, "main", &proxy.url(), &more).ended_with(0);
    assert_eq!(done.number("imported"), 3);

    // One that always breaks: its referrers wait, and come with the next run.
    let middle = drafts[1].url.as_str();
    let broken = proxy.add(Rule::new(Fault::CutAnswer(20)).target(middle));
    let more = ["--create", "--visibility", "public", "--root", top, "--root", &drafts[0].path];
    let done = import(&server, "second", &proxy.url(), &more).ended_with(2);
    assert_eq!((done.number("imported"), done.report["skipped"]["download"].as_u64()), (2, Some(1)));
    assert!(done.why(&drafts[1].path).unwrap().contains("4 times"), "{done:#?}");
    assert_eq!(proxy.count(broken).fired, 4);
    proxy.remove(broken);
    let done = import(&server, "second", &proxy.url(), &more).ended_with(0);
    assert_eq!((done.number("imported"), done.number("present"), done.number("held")), (1, 2, 0));

    // A root that is not there is no small thing; a reference may be elsewhere.
    let nowhere = draft("nowhere", 1, &[]).await;
    let done = import(&server, "second", &web.url(), &["--root", &nowhere.path]).ended_with(2);
    assert!(done.why(&nowhere.path).is_some());
    server.admin(&["cache", "set", "second", "--closures", "lenient"], "").unwrap();
    let lost = signed(draft("lost", 1, &[&nowhere.path]).await);
    put(folder.path(), &lost);
    let done = import(&server, "second", &web.url(), &["--root", &lost.path]).ended_with(0);
    assert_eq!((done.number("imported"), done.number("absent")), (1, 1));
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let drafts = chain(folder.path(), 12).await;
    let from = folder.path().to_str().unwrap();
    let top = format!("main/{}.narinfo", drafts[11].hash());
    server.cache("main", false).unwrap();
    eventually("the cache is there", async || status(&server, "main/nix-cache-info").await == 200).await;
    assert_eq!(status(&server, &top).await, 404);
    for point in ["commit.after@4", "publish.after@2", "commit.before@2"] {
        let mut command = server.command(&["import", "main", "--from", from]).unwrap();
        let ended = command.env("IGLU_KILL_AT", point).output().unwrap();
        assert_eq!(ended.status.code(), None, "{point}: {}", String::from_utf8_lossy(&ended.stderr));
        let paths = server.admin(&["cache", "show", "main"], "").unwrap();
        let paths: serde_json::Value = serde_json::from_str(&paths).unwrap();
        assert!((4..12).contains(&paths["paths"].as_u64().unwrap()), "{point}: {paths}");
    }
    let done = import(&server, "main", from, &[]).ended_with(0);
    let (imported, present) = (done.number("imported"), done.number("present"));
    assert!(imported > 0 && present >= 4 && imported + present == 12, "{done:#?}");
    eventually("the server forgets", async || status(&server, &top).await == 200).await;
    let reader = server.putter("main", &server.token("main", Scope::Pull).unwrap());
    for draft in &drafts {
        let narinfo = reader.narinfo(draft.hash()).await.unwrap().unwrap();
        assert_eq!(reader.check(&narinfo).await.unwrap(), draft.nar);
    }
}

#[tokio::test]
async fn an_import_that_is_asked_to_end_tells_how_far_it_came() {
    let (server, folder) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let drafts = chain(folder.path(), 6).await;
    let web = StaticServer::start(folder.path()).unwrap();
    let proxy = FaultProxy::start(&web.address()).unwrap();
    // The last is never sent.
    proxy.add(Rule::new(Fault::Hang(Duration::from_secs(60))).target(&drafts[0].url));
    let args = ["import", "main", "--create", "--visibility", "public", "--json", "--from", &proxy.url()];
    let mut command = server.command(&[&args[..], &["--root", &drafts[5].path]].concat()).unwrap();
    let running = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let known = async || {
        let shown = server.admin(&["cache", "show", "main"], "");
        shown.is_ok_and(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap()["paths"] == 5)
    };
    eventually("all but one come", known).await;
    let pid = rustix::process::Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let done = Ended::of(running.wait_with_output().unwrap()).ended_with(2);
    assert_eq!((done.number("imported"), done.number("held")), (5, 5));
    assert_eq!(done.report["is_complete"], false);
    let done = import(&server, "main", &web.url(), &["--root", &drafts[5].path]).ended_with(0);
    assert_eq!((done.number("imported"), done.number("present"), done.number("held")), (1, 5, 0));
}
