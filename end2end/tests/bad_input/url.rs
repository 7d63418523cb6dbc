//! What narinfos may name as the place of their NAR, how long they may be, and names in NARs that no text can hold.

use std::time::Duration;

use crate::probe::{Memory, refused};
use crate::{door, refused_narinfo, small};
use http::Method;
use iglu_end2end::digest;
use iglu_end2end::nar;
use iglu_end2end::put::Draft;
use iglu_end2end::server::Scope;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn urls_that_lead_elsewhere() {
    let door = door().await;
    door.server.cache("other", false).unwrap();
    let all = door.server.token_named("all", None, Scope::Push, None).unwrap();
    let draft = Draft::new("place", 1, small(1), "zstd", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let foreign = Draft::new("foreign", 1, small(2), "zstd", &[]).await.unwrap();
    door.server.putter("other", &all).push(&foreign).await.unwrap();
    let (url, host) = (draft.url.as_str(), door.server.address());
    let file = url.strip_prefix("nar/").unwrap();
    let hash = &file[..52];
    let urls = [
        format!("http://{host}/main/{url}"),
        format!("https://evil.example/{url}"),
        format!("HTTP://evil.example/{url}"),
        format!("file:///{url}"),
        format!("s3://bucket/{url}"),
        format!("//evil.example/{url}"),
        format!("/{url}"),
        format!("/main/{url}"),
        format!("./{url}"),
        format!("../main/{url}"),
        format!("nar/../{url}"),
        format!("nar/./{file}"),
        format!("nar//{file}"),
        format!("nar/{file}/"),
        format!("nar/x/../{file}"),
        format!("nar%2f{file}"),
        format!("nar/%2e%2e/{url}"),
        format!("nar/%{:02x}{}", file.as_bytes()[0], &file[1..]),
        format!("{url}?x=1"),
        format!("{url}?"),
        format!("{url}#x"),
        format!("{url} "),
        format!(" {url}"),
        format!("{url}\\..\\x"),
        format!("nar\\{file}"),
        format!("log/{file}"),
        format!("serve/{}/x", draft.hash()),
        format!("NAR/{file}"),
        format!("nar/{}", file.to_uppercase()),
        format!("nar/{hash}"),
        format!("nar/{hash}.narinfo"),
        format!("nar/{hash}.nar.zst.xz"),
        format!("nar/{hash}.nar."),
        format!("nar/{hash}.nar.zst/../x"),
        format!("nar/{}.nar", digest::sha256_hex(&draft.file)),
        "nar/".to_owned(),
        "nar".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "%00".to_owned(),
        format!("nar/{}", "x".repeat(100_000)),
        foreign.url.clone(),
        format!("../other/{}", foreign.url),
    ];
    for wrong in urls {
        let what = format!("URL {}", wrong.chars().take(80).collect::<String>());
        refused_narinfo(&door, &draft, &draft.narinfo.clone().with("URL", &wrong), &what).await;
    }
    for (what, text) in [
        ("empty", draft.narinfo.clone().with("URL", "")),
        ("beyond ASCII", draft.narinfo.clone().with("URL", &format!("nar/\u{e9}{file}"))),
        ("with a tab", draft.narinfo.clone().with("URL", &format!("{url}\t"))),
        ("with NUL", draft.narinfo.clone().with("URL", &format!("{url}\0"))),
        ("with a carriage return", draft.narinfo.clone().with("URL", &format!("{url}\r"))),
        ("with a second line", draft.narinfo.clone().with("URL", &format!("{url}\nURL: {url}"))),
    ] {
        refused_narinfo(&door, &draft, &text, what).await;
    }
    // Another extension is another name for the same bytes.
    let reply =
        door.putter.put_narinfo(&draft, &draft.narinfo.clone().with("URL", &format!("nar/{hash}.nar"))).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    door.has(draft.hash()).await;
    door.is_calm("URLs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narinfos_with_twenty_thousand_references() {
    let door = door().await;
    let reference = |seed| digest::base_name(&digest::made_up_path("reference", seed)).to_owned();
    let names: Vec<String> = (0..20_000).map(reference).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("/nix/store/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let content = nar::archive(&nar::regular(names.join("\n").as_bytes()));
    let draft = Draft::new("many", 1, content.clone(), "zstd", &paths).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let memory = Memory::watch(&door.server);
    let refusal = refused_narinfo(&door, &draft, &draft.narinfo, "missing references").await;
    assert!(refusal.says(&["more"]), "{}", refusal.text);
    // One of them is not in the NAR.
    let mut more = paths.clone();
    let absent = digest::made_up_path("absent", 1);
    more.push(&absent);
    let wrong = Draft::new("many", 2, content, "zstd", &more).await.unwrap();
    assert!(door.putter.put_file(&wrong).await.unwrap().status.is_success());
    let refusal = refused_narinfo(&door, &wrong, &wrong.narinfo, "one that does not occur").await;
    assert!(refusal.says(&["absent"]), "{}", refusal.text);

    door.server.admin(&["cache", "set", "main", "--closures", "lenient"], "").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let reply = door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    let served = door.putter.narinfo(draft.hash()).await.unwrap().unwrap();
    assert_eq!(served.get("References").unwrap().split(' ').count(), 20_000);
    // The same again, but with one reference less, changes nothing.
    let fewer = draft.narinfo.clone().with("References", &names[1]);
    assert!(door.putter.put_narinfo(&draft, &fewer).await.unwrap().status.is_success());
    assert_eq!(door.putter.narinfo(draft.hash()).await.unwrap().unwrap(), served);
    memory.must_be_flat(&door.server, "20 000 references");
    door.is_calm("20 000 references").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_to_another_name_of_a_path() {
    let door = door().await;
    let dependency = Draft::new("dependency", 1, small(1), "none", &[]).await.unwrap();
    door.putter.push(&dependency).await.unwrap();
    let wrong = format!("{}-other", &dependency.path[..43]);
    let content = nar::archive(&nar::regular(dependency.path.as_bytes()));
    let draft = Draft::new("referrer", 1, content, "none", &[&wrong]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    // Clients would ask for a path that nobody can have, and find another in its place.
    let refusal = refused_narinfo(&door, &draft, &draft.narinfo, "a reference by another name").await;
    assert!(refusal.says(&["other"]), "{}", refusal.text);
    door.is_calm("references").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narinfos_that_are_too_long_or_hold_nothing() {
    let door = door().await;
    let name = format!("/main/{}.narinfo", "0".repeat(32));
    let floods = [
        ("unknown fields", "a: \n"),
        ("unknown fields with text", "note: something that nobody reads\n"),
        ("signatures that are none", "Sig: x\n"),
        ("empty signatures", "Sig: \n"),
        ("line breaks", "\n"),
        ("colons", ": "),
        ("references", "References: \n"),
        ("systems", "System: x\n"),
        ("carriage returns", "a: \r\n"),
    ];
    for (what, line) in floods {
        let body = line.repeat((8_000_000) / line.len());
        let memory = Memory::watch(&door.server);
        refused(&door.send(Method::PUT, &name, &[], body).await, 400, what);
        memory.must_be_flat(&door.server, what);
    }
    let blanks = format!("StorePath: /nix/store/{}-x\nReferences: {}\n", "0".repeat(32), " ".repeat(8_000_000));
    let memory = Memory::watch(&door.server);
    refused(&door.send(Method::PUT, &name, &[], blanks).await, 400, "blanks");
    let junk = format!("StorePath: /nix/store/{}-x\nReferences: {}\n", "0".repeat(32), "x ".repeat(4_000_000));
    refused(&door.send(Method::PUT, &name, &[], junk).await, 400, "junk references");
    let same = format!("{}-x ", "0".repeat(32)).repeat(220_000);
    let same = format!("StorePath: /nix/store/{}-x\nReferences: {same}\n", "0".repeat(32));
    refused(&door.send(Method::PUT, &name, &[], same).await, 400, "one reference 220 000 times");
    refused(&door.send(Method::PUT, &name, &[], vec![b'a'; 40 << 20]).await, 413, "40 MiB");
    memory.must_be_flat(&door.server, "long narinfos");
    // With no length told, the limit holds as well.
    let (body, _) = iglu_end2end::body::streamed(tokio::io::AsyncReadExt::take(tokio::io::repeat(b'a'), 40 << 20));
    let request = http::Request::put(format!("{}{name}", door.server.url()))
        .header("Authorization", format!("Bearer {}", door.token))
        .body(body)
        .unwrap();
    refused(&iglu_end2end::http::Http::new().send_body(request).await.unwrap(), 413, "40 MiB in chunks");
    door.is_calm("long narinfos").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_text() {
    let door = door().await;
    let file = || nar::regular(b"content");
    let below = nar::directory(&[(b"inner".as_slice(), file())]);
    let root = nar::directory(&[
        (b"\x01bell\x07".as_slice(), file()),
        (b"\"quoted\\".as_slice(), file()),
        (b"<script>".as_slice(), file()),
        (b"a\nb".as_slice(), file()),
        (b"link".as_slice(), nar::symlink(b"\xff\xfe")),
        (b"plain".as_slice(), file()),
        (b"\xc3\xa9".as_slice(), file()),
        (b"\xed\xa0\x80".as_slice(), file()),
        (b"\xff".as_slice(), below),
        (b"\xff\xfe".as_slice(), file()),
    ]);
    let draft = Draft::new("odd", 1, nar::archive(&root), "zstd", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    door.has(draft.hash()).await;
    let listing: Value =
        serde_json::from_slice(&door.putter.get(&format!("{}.ls", draft.hash())).await.unwrap().body).unwrap();
    let mut names: Vec<&str> = listing["root"]["entries"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected = ["\u{1}bell\u{7}", "\"quoted\\", "<script>", "a\nb", "plain", "\u{e9}"];
    expected.sort_unstable();
    assert_eq!(names, expected, "{listing}");
    let serve = async |name: &str| door.putter.get(&format!("serve/{}/{name}", draft.hash())).await.unwrap();
    for there in ["plain", "a%0Ab", "%C3%A9", "%01bell%07", "%22quoted%5C", "%3Cscript%3E"] {
        let reply = serve(there).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "content"), "{there}");
    }
    for absent in [
        "%FF",
        "%FF/inner",
        "%FF%FE",
        "link",
        "%ED%A0%80",
        "%EF%BF%BD",
        "%EF%BF%BD/inner",
        "plain%00",
        "plain/",
        "plain/.",
        "a",
        "%2e%2e/plain",
    ] {
        let reply = serve(absent).await;
        assert!(reply.status == 404 || absent.starts_with("plain/"), "{absent}: {}", reply.status);
    }
    // The same as the root itself.
    for (seed, node) in [(2, nar::symlink(b"\xff")), (3, nar::symlink(b"a\nb\x1b[31m"))] {
        let draft = Draft::new("odd", seed, nar::archive(&node), "zstd", &[]).await.unwrap();
        door.putter.push(&draft).await.unwrap();
        let listing = door.putter.get(&format!("{}.ls", draft.hash())).await.unwrap();
        serde_json::from_slice::<Value>(&listing.body).unwrap();
        assert_eq!(door.putter.get(&format!("serve/{}/x", draft.hash())).await.unwrap().status, 404);
    }
    // Links that lead out or round.
    let root = nar::directory(&[
        (b"absolute".as_slice(), nar::symlink(b"/etc/passwd")),
        (b"other".as_slice(), nar::symlink(draft.path.as_bytes())),
        (b"round".as_slice(), nar::symlink(b"round")),
        (b"up".as_slice(), nar::symlink(b"../../../../../../etc/passwd")),
        (b"wide".as_slice(), nar::symlink(&b"./".repeat(2000))),
    ]);
    let links = Draft::new("links", 1, nar::archive(&root), "zstd", &[]).await.unwrap();
    door.putter.push(&links).await.unwrap();
    for name in ["absolute", "other", "other/plain", "round", "up", "wide", "wide/wide/wide"] {
        let reply = door.putter.get(&format!("serve/{}/{name}", links.hash())).await.unwrap();
        assert_eq!(reply.status, 404, "{name}: {}", reply.text());
    }
    door.is_calm("odd names").await;
}
