//! What `cachix use` and netrc lead to, and the ways in which requests come: names of hosts, doubled slashes, empty credentials.

use anyhow::{Context as _, ensure};
use http::Method;
use iglu_end2end::cachix::wire::Permission;
use iglu_end2end::cachix::{Client, Profile, PushOptions};
use iglu_end2end::conformance::Check;
use iglu_end2end::http::{Credentials, Http};
use iglu_end2end::nix::{FreshStore, Nix};
use iglu_end2end::object::Object;
use iglu_end2end::put::{Narinfo, Putter};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::{Scene, ok};
use iglu_end2end::server::Scope;

use crate::relay::{Fate, Relay};
use crate::{closed, is_served, open, pushed, small};

/// The client without patience, with any token or none.
fn client(scene: &Scene, profile: Profile, token: Option<&str>) -> Client {
    Client::new(profile.without_repeats(), &scene.server.url(), token)
}

/// What `use` writes into nix.conf makes the real Nix pull a path, with a netrc file where there is one.
async fn nix_pulls(
    scene: &Scene,
    record: &iglu_end2end::cachix::wire::Cache,
    netrc: Option<&str>,
) -> anyhow::Result<()> {
    let (draft, _) = pushed(scene, "pulled", small(1), "zstd", &[]).await;
    let store = FreshStore::new()?;
    let nix = Nix::new()?;
    let nix = match netrc {
        Some(text) => nix.with_netrc(text)?,
        None => nix,
    };
    let key = record.public_signing_keys.first().context("no key")?;
    ok(nix.substitute(&store, &record.uri, key, &[&draft.path]).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_use_public() {
    let check = Check::new("cachix 15.3.1", "`use` of a public cache with a token: a record that Nix can pull with");
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = open().await;
            for (token, permission) in [(&scene.pull, Permission::Read), (&scene.push, Permission::Write)] {
                let record = client(&scene, profile.clone(), Some(token)).cache("main").await?;
                ensure!(record.name == "main" && record.uri == scene.uri() && record.is_public, "{record:?}");
                ensure!(record.public_signing_keys == scene.cache.public_keys, "{record:?}");
                ensure!(record.permission == permission, "{record:?}");
            }
            let foreign = scene.server.token_named("foreign", None, Scope::Pull, None)?;
            let record = client(&scene, profile, Some(&foreign)).cache("main").await?;
            nix_pulls(&scene, &record, None).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_use_private() {
    let check =
        Check::new("cachix 15.3.2", "`use` of a private cache: a record and a netrc entry that Nix can pull with");
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = closed().await;
            let record = client(&scene, profile.clone(), Some(&scene.pull)).cache("main").await?;
            ensure!(!record.is_public && record.permission == Permission::Read, "{record:?}");
            // The machine is the URI without its scheme, of which a name without port and path is all that curl takes.
            let netrc = format!("machine 127.0.0.1\npassword {}\n", scene.pull);
            nix_pulls(&scene, &record, Some(&netrc)).await?;
            ensure!(nix_pulls(&scene, &record, None).await.is_err(), "pulled without a token");
            let none = Refusal::of_call(client(&scene, profile, None).cache("main").await)?;
            ensure!(none.status == 401, "{none:?}");
            // With a domain for caches the entry is good as it is written.
            let named = Scene::with_host_names().await?;
            ensure!(
                named.uri().starts_with("http://main.cache.test") && !named.uri().ends_with('/'),
                "{}",
                named.uri()
            );
            ensure!(named.key_name() == "main.cache.test-1", "{}", named.key());
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_use_anonymous() {
    let check =
        Check::new("cachix 15.3.3", "`use` of a public cache without a token: the same record, with permission Read");
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = open().await;
            let record = client(&scene, profile, None).cache("main").await?;
            ensure!(record.uri == scene.uri() && record.permission == Permission::Read, "{record:?}");
            nix_pulls(&scene, &record, None).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_use_bad_token() {
    let check = Check::new("cachix 15.3.4", "`use` with a bad or expired token: 401 with a line that says so");
    let scenes = [open().await, closed().await];
    let expired = |scene: &Scene| scene.server.token_named("last-year", Some("main"), Scope::Push, Some("1s")).unwrap();
    let expired = scenes.each_ref().map(expired);
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    check
        .with_cachix(Profile::all(), async |profile| {
            for (scene, old) in scenes.iter().zip(&expired) {
                for (token, words) in [("iglu_no-such-token", ["token"]), (old, ["expired"])] {
                    let refusal = Refusal::of_call(client(scene, profile.clone(), Some(token)).cache("main").await)?;
                    ensure!(refusal.status == 401 && refusal.says(&words), "{refusal:?}");
                }
            }
            // Nix with a stale line in netrc still reads what is public.
            let stale = scenes[0].server.putter("main", &expired[0]).get("nix-cache-info").await?;
            ensure!(stale.status == 200, "a stale line in netrc cuts off a public cache: {}", stale.status);
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_use_unknown() {
    let check = Check::new(
        "cachix 15.3.5",
        "`use` of an unknown cache: 404 for who may see all, else 401 as if it were private",
    );
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = closed().await;
            let refused = async |cache: &str, token: Option<&str>| {
                Refusal::of_call(client(&scene, profile.clone(), token).cache(cache).await)
            };
            let everything = scene.server.token_named("everything", None, Scope::Admin, None)?;
            let known = refused("nowhere", Some(&everything)).await?;
            ensure!(known.status == 404, "{known:?}");
            scene.server.cache("other", false)?;
            let foreign = scene.server.token_named("foreign", Some("other"), Scope::Push, None)?;
            for token in [None, Some(foreign.as_str())] {
                let (private, unknown) = (refused("main", token).await?, refused("nowhere", token).await?);
                ensure!(private.status == unknown.status, "{private:?} {unknown:?}");
                ensure!(token.is_some() || private.status == 401, "{private:?}");
                let same = private.text.replace("main", "NAME") == unknown.text.replace("nowhere", "NAME");
                ensure!(same, "the text tells which caches exist: {private:?} {unknown:?}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_basic_with_empty_user() {
    let check = Check::new("cachix 15.3.6", "Basic with an empty user and the token as password opens a private cache");
    check.over_http(basic_opens(|token| Credentials::Basic(String::new(), token))).await;
}

#[tokio::test]
async fn cachix_basic_with_any_user() {
    let check = Check::new("cachix 15.3.7", "Basic with any user and the token as password opens a private cache");
    check
        .over_http(async {
            for user in ["token", "who.ever@example.org", "x y"] {
                basic_opens(move |token| Credentials::Basic(user.to_owned(), token)).await;
            }
            // Some tools put the token where the user belongs.
            basic_opens(|token| Credentials::Basic(token, String::new())).await;
        })
        .await;
}

async fn basic_opens(credentials: impl Fn(String) -> Credentials) {
    let scene = closed().await;
    let (draft, narinfo) = pushed(&scene, "opened", small(1), "zstd", &[]).await;
    let names =
        ["nix-cache-info".to_owned(), format!("{}.narinfo", draft.hash()), narinfo.get("URL").unwrap().to_owned()];
    for name in names {
        let good = scene.ask(Method::GET, &name, &credentials(scene.pull.clone()), &[], "").await.unwrap();
        assert_eq!(good.status, 200, "{name}");
        let bad = scene.ask(Method::GET, &name, &credentials("iglu_wrong".to_owned()), &[], "").await.unwrap();
        assert_eq!(bad.status, 401, "{name}");
    }
    let api = format!("{}/api/v1/cache/main", scene.server.url());
    let record = scene.server.http().call(Method::GET, &api, &credentials(scene.pull.clone()), &[], "").await.unwrap();
    assert_eq!(record.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_netrc_without_user() {
    let check =
        Check::new("cachix 15.3.8", "a netrc entry without login, as `use` writes it, opens a private cache to Nix");
    check
        .with_each_nix(async |release| {
            let scene = Scene::private(release).await?;
            let (draft, _) = pushed(&scene, "opened", small(1), "zstd", &[]).await;
            for text in ["machine 127.0.0.1\npassword TOKEN\n", "machine 127.0.0.1 password TOKEN\n"] {
                let store = FreshStore::of(&scene.release)?;
                let nix = scene.stranger()?.with_netrc(&text.replace("TOKEN", &scene.pull))?;
                ok(nix.substitute(&store, scene.uri(), scene.key(), &[&draft.path]).await?)?;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_host_of_the_cache_with_port() {
    let check = Check::new(
        "cachix 15.3.33",
        "`NAME.HOST:port` as Host: the cache's own name serves it, and the API means the same there",
    );
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = Scene::with_host_names().await?;
            let release = profile.release().to_owned();
            let hosts = ["cache.test", "main.cache.test", "other.cache.test", "api.cache.test", "elsewhere.test"];
            for (seed, host) in (0..).zip(hosts) {
                let object = Object::synthetic(&format!("host-{release}"), 5000, seed);
                let client = scene.cachix_at(host, profile.clone())?;
                ensure!(client.cache("main").await?.uri == scene.uri(), "at {host}");
                ensure!(
                    client.push_one("main", &object, &PushOptions::default()).await?.pushed.len() == 1,
                    "at {host}"
                );
                served_under_its_name(&scene, &object.path).await.with_context(|| format!("pushed at {host}"))?;
            }
            Ok(())
        })
        .await;
}

/// The cache's own host name serves a path, in any spelling of the name.
async fn served_under_its_name(scene: &Scene, path: &str) -> anyhow::Result<()> {
    let http = Http::new().reaching(&scene.server.address())?;
    let reader = Putter { http, ..Putter::new(scene.uri(), &scene.pull) };
    let narinfo = reader.narinfo(iglu_end2end::digest::hash_part(path)).await?.context("not there")?;
    reader.check(&narinfo).await?;
    let address = scene.server.address();
    let port = address.split_once(':').context("no port")?.1;
    for host in ["main.cache.test".to_owned(), format!("main.cache.test:{port}"), "MAIN.Cache.Test".to_owned()] {
        let url = format!("{}/{}.narinfo", scene.server.url(), iglu_end2end::digest::hash_part(path));
        let reply = scene.server.http().call(Method::GET, &url, &Credentials::None, &[("host", &host)], "").await?;
        ensure!(reply.status == 200 && Narinfo::parse(&reply.text())? == narinfo, "{host}: {}", reply.status);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_prefix_of_the_path() {
    let check = Check::new("cachix 15.3.34", "behind a proxy that takes a prefix off the path, push and record work");
    check
        .with_cachix(vec![Profile::v1_7(), Profile::v1_7_5(), Profile::v1_11_1()], async |profile| {
            let scene = open().await;
            let relay = Relay::start(&scene.server.address(), "/pfx", |_| Fate::Pass).await;
            let host = format!("{}/pfx", relay.url());
            let client = Client::new(profile.without_repeats(), &host, Some(&scene.push));
            ensure!(client.cache("main").await?.uri == scene.uri());
            let object = Object::synthetic("prefix", 5000, 1);
            client.push_one("main", &object, &PushOptions::default()).await?;
            is_served(&scene, &object.path).await;
            ensure!(relay.heads().iter().all(|head| head.contains(" /pfx/api/v1/")), "{:?}", relay.heads());
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_two_slashes() {
    let check =
        Check::new("cachix 15.3.35", "`//api/v1/...`, which 1.0 sends for a host with a slash at its end, is the API");
    check
        .with_cachix(vec![Profile::v1_0(), Profile::v1_1(), Profile::v1_3()], async |profile| {
            let scene = Scene::with_host_names().await?;
            let address = scene.server.address();
            let port = address.split_once(':').context("no port")?.1;
            let host = format!("http://cache.test:{port}/");
            let client = Client::new(profile.without_repeats(), &host, Some(&scene.push)).reaching(&address)?;
            ensure!(client.cache("main").await?.uri == scene.uri());
            let object = Object::synthetic("slashes", 5000, 1);
            client.push_one("main", &object, &PushOptions::default()).await?;
            served_under_its_name(&scene, &object.path).await?;
            let url = format!("{}//api/v1//cache/main/narinfo", scene.server.url());
            let reply = scene.server.http().call(Method::POST, &url, &Credentials::None, &[], "[]").await?;
            ensure!(reply.status == 200 && reply.text() == "[]", "{}", reply.status);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_bare_question_mark() {
    let check = Check::new("cachix 15.3.36", "a question mark without a query behind it means nothing");
    check
        .over_http(async {
            let scene = open().await;
            let api = format!("{}/api/v1/cache/main", scene.server.url());
            let token = Credentials::Bearer(scene.push.clone());
            let http = scene.server.http();
            assert_eq!(http.call(Method::GET, &format!("{api}?"), &token, &[], "").await.unwrap().status, 200);
            let bulk = http.call(Method::POST, &format!("{api}/narinfo?"), &token, &[], "[]").await.unwrap();
            assert_eq!((bulk.status.as_u16(), bulk.text().as_str()), (200, "[]"));
            assert_eq!(
                http.call(Method::POST, &format!("{api}/multipart-nar?"), &token, &[], "").await.unwrap().status,
                200
            );
            assert_eq!(
                http.call(Method::GET, &format!("{api}/nix-cache-info?"), &token, &[], "").await.unwrap().status,
                200
            );
        })
        .await;
}

#[tokio::test]
async fn cachix_empty_bearer_is_nobody() {
    let check = Check::new("cachix 15.3.37", "`Authorization: Bearer` without a token is anonymous, not a bad token");
    check
        .over_http(async {
            for (scene, status) in [(open().await, 200), (closed().await, 401)] {
                for value in ["Bearer ", "Bearer", "bearer ", "Basic Og=="] {
                    for path in ["api/v1/cache/main", "main/nix-cache-info", "api/v1/cache/main/nix-cache-info"] {
                        let url = format!("{}/{path}", scene.server.url());
                        let headers = [("authorization", value)];
                        let reply = scene.server.http().call(Method::GET, &url, &Credentials::None, &headers, "").await;
                        assert_eq!(reply.unwrap().status, status, "{value:?} {path}");
                    }
                }
            }
        })
        .await;
}

#[tokio::test]
async fn cachix_no_accept_header() {
    let check = Check::new("cachix 15.3.38", "requests without Accept are answered, JSON only where JSON is declared");
    check
        .over_http(async {
            let scene = open().await;
            let client = scene.cachix(Profile::v1_11_1());
            let api = format!("{}/api/v1/cache/main", scene.server.url());
            let token = Credentials::Bearer(scene.push.clone());
            let http = scene.server.http();
            let record = http.call(Method::GET, &api, &token, &[], "").await.unwrap();
            assert_eq!((record.status.as_u16(), record.media_type()), (200, Some("application/json")));
            let upload = client.create("main", iglu_end2end::cachix::wire::Compression::Zstd).await.unwrap();
            let abort = format!("{api}/multipart-nar/{}/abort?uploadId={}", upload.nar_id.0, upload.upload_id);
            // What has no content is 200 all the same, without a body.
            let reply = http.call(Method::POST, &abort, &token, &[], "").await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
            assert_eq!(reply.header("content-length"), Some("0"));
        })
        .await;
}
