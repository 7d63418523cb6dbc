//! What stands beside narinfos and NARs: build logs, realisations, debug info, single files, listings, and the forms for scripts.

#![allow(clippy::unwrap_used)]

use http::Method;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Http, Reply};
use iglu_end2end::nar;
use iglu_end2end::put::{self, Draft, Putter};
use iglu_end2end::server::{Scope, Server};
use serde_json::{Value, json};

const DRV: &str = "00bgd045z0d4icpbc2yyz4gx48ak44la-top-a.drv";
const BUILD_ID: &str = "0123456789abcdef0123456789abcdef01234567";

struct Door {
    server: Server,
    putter: Putter,
    reader: String,
}

async fn door(private: bool) -> Door {
    let server = Server::start().await.unwrap();
    server.cache("main", private).unwrap();
    let putter = server.putter("main", &server.token("main", Scope::Push).unwrap());
    let reader = server.token("main", Scope::Pull).unwrap();
    Door { server, putter, reader }
}

impl Door {
    async fn call(&self, method: Method, name: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
        let url = format!("{}/main/{name}", self.server.url());
        Http::new().call(method, &url, &self.putter.credentials, headers, body).await.unwrap()
    }

    async fn put(&self, name: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> u16 {
        self.call(Method::PUT, name, headers, body).await.status.as_u16()
    }

    async fn get(&self, name: &str) -> Reply {
        self.call(Method::GET, name, &[], "").await
    }

    /// A path with a directory of several kinds of files.
    async fn tree(&self) -> Draft {
        let debug = nar::directory(&[(
            b"debug",
            nar::directory(&[(
                b".build-id",
                nar::directory(&[(
                    &BUILD_ID.as_bytes()[..2],
                    nar::directory(&[(format!("{}.debug", &BUILD_ID[2..]).as_bytes(), nar::regular(b"\x7fELF"))]),
                )]),
            )]),
        )]);
        let root = nar::directory(&[
            (b"index.html", nar::regular(b"<script>alert(1)</script>")),
            (b"lib", debug),
            (b"link", nar::symlink(b"index.html")),
            (b"out", nar::symlink(b"../../../etc/passwd")),
            (b"with + and ?", nar::regular(b"odd")),
            (b"zeros", nar::regular(&vec![0; 3_000_000])),
        ]);
        let draft = Draft::new("tree", 1, nar::archive(&root), "zstd", &[]).await.unwrap();
        self.putter.push(&draft).await.unwrap();
        draft
    }
}

#[tokio::test]
async fn build_logs_come_back_in_each_coding() {
    let door = door(false).await;
    let log = format!("log/{DRV}");
    assert_eq!(door.get(&log).await.status, 404);
    let text = "phase: build\n".repeat(5_000);
    assert_eq!(door.put(&log, &[], text.clone()).await, 200);
    let reply = door.get(&log).await;
    assert_eq!((reply.text() == text, reply.media_type()), (true, Some("text/plain")));
    assert_eq!(reply.header("content-length"), Some(text.len().to_string().as_str()));
    assert_eq!((reply.header("content-encoding"), reply.header("x-content-type-options")), (None, Some("nosniff")));
    let packed = door.call(Method::GET, &log, &[("accept-encoding", "deflate, gzip, br, zstd")], "").await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), (Some("zstd"), Some("Accept-Encoding")));
    assert_eq!(put::decompress("zstd", &packed.body).await.unwrap(), text.as_bytes());
    let head = door.call(Method::HEAD, &log, &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));

    // A later log takes the place of an earlier; an empty one is a log.
    for (coding, name) in [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), ("xz", "xz"), ("bzip2", "bzip2")] {
        let packed = put::compress(name, coding.as_bytes()).await.unwrap();
        assert_eq!(door.put(&log, &[("content-encoding", coding)], packed).await, 200, "{coding}");
        assert_eq!(door.get(&log).await.text(), coding);
    }
    assert_eq!(door.put(&log, &[("content-encoding", "compress")], "x").await, 415);
    assert_eq!(door.put(&log, &[("content-encoding", "gzip")], "no gzip").await, 400);
    assert_eq!(door.get(&log).await.text(), "bzip2", "a broken log changes nothing");
    assert_eq!(door.put(&log, &[], "").await, 200);
    let empty = door.get(&log).await;
    assert_eq!((empty.status.as_u16(), empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));

    // Names with a question mark come in two spellings.
    let odd = "log/00bgd045z0d4icpbc2yyz4gx48ak44la-q";
    assert_eq!(door.put(&format!("{odd}?x=1+y.drv"), &[], "odd").await, 200);
    assert_eq!(door.get(&format!("{odd}?x=1%2By.drv")).await.text(), "odd");
    assert_eq!(door.get(&format!("{odd}%3Fx=1+y.drv")).await.text(), "odd");
    for wrong in ["log/x.drv", "log/00bgd045z0d4icpbc2yyz4gx48ak44la-no-derivation", "log/..%2f..%2fx.drv"] {
        assert_eq!(door.put(wrong, &[], "x").await, 400, "{wrong}");
        assert_eq!(door.get(wrong).await.status, 404, "{wrong}");
    }
}

#[tokio::test]
async fn realisations_are_kept_and_the_first_stays() {
    let door = door(false).await;
    let draft = door.tree().await;
    let base = digest::base_name(&draft.path);
    let id = format!("sha256:{}!out", "0a".repeat(32));
    let legacy = json!({ "id": id, "outPath": base, "signatures": [], "dependentRealisations": {} });
    let name = format!("realisations/{id}.doi");
    assert_eq!(door.get(&name).await.status, 404);
    assert_eq!(door.put(&name, &[], legacy.to_string()).await, 200);
    for spelling in [name.clone(), name.replace('!', "%21")] {
        let reply = door.get(&spelling).await;
        assert_eq!(reply.media_type(), Some("application/json"));
        assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), legacy);
    }

    let other = Draft::new("other", 2, nar::archive(&nar::regular(b"other")), "none", &[]).await.unwrap();
    door.putter.push(&other).await.unwrap();
    let second =
        json!({ "id": id, "outPath": digest::base_name(&other.path), "signatures": [], "dependentRealisations": {} });
    assert_eq!(door.put(&name, &[], second.to_string()).await, 200);
    assert_eq!(serde_json::from_slice::<Value>(&door.get(&name).await.body).unwrap(), legacy, "the first stays");

    let trace = format!("build-trace-v2/{DRV}/out.doi");
    assert_eq!(door.put(&trace, &[], json!({ "outPath": base, "signatures": [] }).to_string()).await, 200);
    let reply: Value = serde_json::from_slice(&door.get(&trace).await.body).unwrap();
    assert_eq!((&reply["outPath"], &reply["signatures"]), (&json!(base), &json!([])));

    let absent = digest::base_name(&digest::made_up_path("absent", 9)).to_owned();
    let other_id = format!("sha256:{}!out", "0b".repeat(32));
    for (name, body, why) in [
        (format!("realisations/{other_id}.doi"), legacy.to_string(), "the id of another"),
        (
            format!("realisations/{other_id}.doi"),
            json!({ "id": other_id, "outPath": absent }).to_string(),
            "a path that is not here",
        ),
        (
            format!("realisations/{other_id}.doi"),
            json!({ "id": other_id, "outPath": draft.path }).to_string(),
            "no base name",
        ),
        (format!("realisations/{other_id}.doi"), "[]".to_owned(), "no object"),
        (format!("realisations/{other_id}.doi"), "{".repeat(10_000), "deep"),
        ("realisations/sha256:00!out.doi".to_owned(), legacy.to_string(), "a short hash"),
        (format!("build-trace-v2/{base}/out.doi"), json!({ "outPath": base }).to_string(), "no derivation"),
    ] {
        assert_eq!(door.put(&name, &[], body).await, 400, "{why}");
        assert_eq!(door.get(&name).await.status, 404, "{why}");
    }
    assert_eq!(door.put(&format!("realisations/{other_id}.doi"), &[], "x".repeat(100_000)).await, 413);
}

#[tokio::test]
async fn debug_info_is_made_from_the_nars() {
    let door = door(false).await;
    let name = format!("debuginfo/{BUILD_ID}");
    // It comes before its NAR, and is made anew from it.
    assert_eq!(door.put(&format!("{name}.debug"), &[], "{\"archive\":\"../nar/evil\",\"member\":\"x\"}").await, 200);
    assert_eq!(door.get(&name).await.status, 404);
    let draft = door.tree().await;
    let expected = json!({
        "archive": format!("../{}", draft.url),
        "member": format!("lib/debug/.build-id/{}/{}.debug", &BUILD_ID[..2], &BUILD_ID[2..]),
    });
    for name in [name.clone(), format!("{name}.debug")] {
        let reply = door.get(&name).await;
        assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), expected, "{name}");
        assert_eq!(door.call(Method::HEAD, &name, &[], "").await.status, 200);
    }
    assert_eq!(door.get("debuginfo/0123").await.status, 404);
    assert_eq!(door.put("debuginfo/xyz.debug", &[], "{}").await, 400);
}

#[tokio::test]
async fn single_files_are_served_harmlessly() {
    let door = door(false).await;
    let draft = door.tree().await;
    let file = |path: &str| format!("serve/{}/{path}", draft.hash());
    for (path, content) in [
        ("index.html", &b"<script>alert(1)</script>"[..]),
        ("link", b"<script>alert(1)</script>"),
        ("with%20+%20and%20%3F", b"odd"),
        (&*format!("lib/debug/.build-id/{}/{}.debug", &BUILD_ID[..2], &BUILD_ID[2..]), b"\x7fELF"),
    ] {
        let reply = door.get(&file(path)).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, content), "{path}");
        assert_eq!(reply.header("content-length"), Some(content.len().to_string().as_str()));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(door.get(&file("index.html")).await.media_type(), Some("text/html"));
    assert_eq!(door.get(&file("zeros")).await.body, vec![0; 3_000_000]);
    for absent in ["", "lib", "out", "nothing", "../index.html", "%2e%2e/index.html", "index.html/x", "/index.html"] {
        assert_eq!(door.get(&file(absent)).await.status, 404, "{absent}");
    }
    let api = format!("{}/api/v1/cache/main/{}", door.server.url(), file("index.html"));
    assert_eq!(Http::new().get(&api).await.unwrap().text(), "<script>alert(1)</script>");
    assert_eq!(door.put(&file("index.html"), &[], "x").await, 404);
}

#[tokio::test]
async fn scripts_get_json_urls_and_contents() {
    let door = door(false).await;
    let draft = door.tree().await;
    let api = format!("{}/api/v1/cache/main", door.server.url());
    let ask = async |url: String, headers: &[(&str, &str)]| {
        Http::new().call(Method::GET, &url, &Credentials::None, headers, "").await.unwrap()
    };
    let json_of = |reply: &Reply| serde_json::from_slice::<Value>(&reply.body).unwrap();
    let wants = [("accept", "application/json")];

    let info = json_of(&ask(format!("{api}/nix-cache-info"), &wants).await);
    assert_eq!(info, json!({ "storeDir": "/nix/store", "wantMassQuery": 1, "priority": 41 }));
    let narinfo = json_of(&ask(format!("{api}/{}.narinfo", draft.hash()), &wants).await);
    assert_eq!((&narinfo["storePath"], &narinfo["url"]), (&json!(draft.path), &json!(draft.url)));
    assert_eq!((&narinfo["references"], &narinfo["compression"]), (&json!([]), &json!("zstd")));
    assert!(narinfo["sig"].as_str().unwrap().starts_with("main."), "{narinfo}");
    // Nix says */* and gets text, as everybody does outside the API.
    let text = ask(format!("{api}/{}.narinfo", draft.hash()), &[("accept", "*/*")]).await;
    assert_eq!(text.media_type(), Some("text/x-nix-narinfo"));
    let text = ask(format!("{}/main/{}.narinfo", door.server.url(), draft.hash()), &wants).await;
    assert_eq!(text.media_type(), Some("text/x-nix-narinfo"));

    let file = draft.url.strip_prefix("nar/").unwrap();
    let url = json_of(&ask(format!("{api}/narurl/{file}"), &[]).await);
    assert_eq!(Http::new().get(url.as_str().unwrap()).await.unwrap().body, draft.file);
    assert_eq!(ask(format!("{api}/narurl/{}.nar", "0".repeat(52)), &[]).await.status, 404);

    let contents = json_of(&ask(format!("{api}/contents"), &[]).await);
    assert_eq!(contents, json!([digest::base_name(&draft.path)]));
    server_with_nothing_lists_nothing(&door).await;

    let user = |credentials: Credentials| {
        let url = format!("{}/api/v1/user", door.server.url());
        async move { Http::new().call(Method::GET, &url, &credentials, &[], "").await.unwrap() }
    };
    assert_eq!(json_of(&user(door.putter.credentials.clone()).await), json!({ "username": "token main-push" }));
    assert_eq!(user(Credentials::None).await.status, 401);
    assert_eq!(user(Credentials::Bearer("wrong".to_owned())).await.status, 401);
    assert_eq!(ask(format!("{}/api/v1/deploy/deployment/x", door.server.url()), &[]).await.status, 404);
}

async fn server_with_nothing_lists_nothing(door: &Door) {
    door.server.cache("empty", false).unwrap();
    let url = format!("{}/api/v1/cache/empty/contents", door.server.url());
    // The running server learns of the cache when it is asked for.
    assert_eq!(Http::new().get(&url).await.unwrap().text(), "[]");
}

#[tokio::test]
async fn long_narinfos_are_packed_for_those_who_ask() {
    let door = door(false).await;
    let references: Vec<String> =
        (0..60).map(|seed| digest::base_name(&digest::made_up_path("reference", seed)).to_owned()).collect();
    door.server.admin(&["cache", "set", "main", "--closures", "lenient"], "").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let names: Vec<&str> = references.iter().map(String::as_str).collect();
    let content = nar::archive(&nar::regular(names.join(" ").as_bytes()));
    let draft = Draft::new("many", 1, content, "zstd", &names).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let name = format!("{}.narinfo", draft.hash());
    let plain = door.get(&name).await;
    assert!(plain.body.len() > 2_048 && plain.header("content-encoding").is_none());
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    for (offered, chosen) in [
        ("zstd, br, gzip, deflate, bzip2, xz", Some("zstd")),
        ("deflate, gzip, br", Some("br")),
        ("gzip", Some("gzip")),
        ("zstd;q=0, gzip", Some("gzip")),
        ("deflate, bzip2, xz", None),
        ("identity", None),
        ("*", None),
    ] {
        let reply = door.call(Method::GET, &name, &[("accept-encoding", offered)], "").await;
        assert_eq!(reply.header("content-encoding"), chosen, "{offered}");
        let text = match chosen {
            Some(coding) => put::decompress(coding, &reply.body).await.unwrap(),
            None => reply.body.to_vec(),
        };
        assert_eq!(text, plain.body, "{offered}");
    }
    let etag = plain.header("etag").unwrap().to_owned();
    let again = door.call(Method::GET, &name, &[("if-none-match", &etag)], "").await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn side_files_of_private_caches_are_private() {
    let door = door(true).await;
    let draft = door.tree().await;
    assert_eq!(door.put(&format!("log/{DRV}"), &[], "secret").await, 200);
    let id = format!("sha256:{}!out", "0a".repeat(32));
    let realisation = json!({ "id": id, "outPath": digest::base_name(&draft.path), "signatures": [] });
    assert_eq!(door.put(&format!("realisations/{id}.doi"), &[], realisation.to_string()).await, 200);
    for name in [
        format!("log/{DRV}"),
        format!("realisations/{id}.doi"),
        format!("debuginfo/{BUILD_ID}"),
        format!("serve/{}/index.html", draft.hash()),
        format!("{}.ls", draft.hash()),
        format!("nar{}", draft.url.strip_prefix("nar").unwrap()),
        "nix-cache-info".to_owned(),
        "attic-cache-info".to_owned(),
    ] {
        let url = format!("{}/main/{name}", door.server.url());
        let stranger = Http::new().get(&url).await.unwrap();
        assert_eq!(stranger.status, 401, "{name}");
        assert!(stranger.header("www-authenticate").is_some_and(|how| how.starts_with("Basic")), "{name}");
        let reader = Credentials::Bearer(door.reader.clone());
        let reply = Http::new().call(Method::GET, &url, &reader, &[], "").await.unwrap();
        assert_eq!(reply.status, 200, "{name}");
        assert!(!reply.header("cache-control").is_some_and(|control| control.contains("public")), "{name}");
        let put = Http::new().call(Method::PUT, &url, &reader, &[], "x").await.unwrap();
        assert!([403, 404].contains(&put.status.as_u16()), "{name}: {}", put.status);
    }
}
