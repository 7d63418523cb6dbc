//! What `attic login`, `use` and `cache` lead to, and how refusals read.

use anyhow::{Context as _, ensure};
use http::Method;
use iglu_end2end::attic::wire::{ConfigureCache, CreateCache, Keypair, Retention};
use iglu_end2end::attic::{Client, Error, Flavour, PushOptions};
use iglu_end2end::conformance::Check;
use iglu_end2end::http::Credentials;
use iglu_end2end::nix::{FreshStore, Nix, NixRelease};
use iglu_end2end::object::Object;
use iglu_end2end::scene::{Scene, ok};
use iglu_end2end::server::{Scope, Server};
use nix_compat::signing::SigningKey;

use crate::relay::{Fate, Relay};
use crate::{closed, is_served, open, pushed, small};

/// A refusal with the three fields that the client needs: its status and name, and a sentence with these words.
fn refused<T: std::fmt::Debug>(
    result: Result<T, Error>,
    status: u16,
    name: &str,
    words: &[&str],
) -> anyhow::Result<()> {
    let Err(Error::Refused { status: got, code, error, message, .. }) = &result else {
        anyhow::bail!("no refusal in JSON: {result:?}");
    };
    ensure!((*got, *code, error.as_str()) == (status, status, name), "{result:?}");
    let text = message.to_lowercase();
    ensure!(words.iter().all(|word| text.contains(&word.to_lowercase())), "{words:?}: {message}");
    ensure!(message.is_ascii() && message.lines().count() == 1, "{message}");
    Ok(())
}

/// What `use` writes makes the real Nix pull a path.
async fn nix_pulls(scene: &Scene, client: &Client, release: &NixRelease, with_netrc: bool) -> anyhow::Result<()> {
    let (draft, _) = pushed(scene, "pulled", small(1), "zstd", &[]).await;
    let written = client.use_cache("main").await?;
    let nix = Nix::of(release)?;
    let nix = match written.netrc {
        Some(text) if with_netrc => nix.with_netrc(&text)?,
        _ => nix,
    };
    let store = FreshStore::of(release)?;
    ok(nix.substitute(&store, &written.url, &written.public_key, &[&draft.path]).await?)
}

/// A client that may do everything everywhere, on a server without caches.
async fn everything(flavour: Flavour) -> anyhow::Result<(Server, Client)> {
    let server = Server::start().await?;
    let token = server.token_named("everything", None, Scope::Admin, None)?;
    let client = Client::new(&format!("{}/", server.url()), Some(&token))?;
    let client = if flavour == Flavour::Celler { client.celler() } else { client };
    Ok((server, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_login_and_use_public() {
    let check = Check::new("attic 7.1", "`login` without a token and `use` of a public cache: what Nix needs to pull");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let client = scene.attic_as(flavour, None)?;
            let written = client.use_cache("main").await?;
            ensure!(written.url == scene.uri() && written.public_key == scene.key(), "{written:?}");
            ensure!(written.netrc.is_none());
            nix_pulls(&scene, &client, &NixRelease::Host, false).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_use_private_with_a_token() {
    let check = Check::new("attic 7.2", "`use` of a private cache with a token: what Nix needs, netrc included");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = closed().await;
            let client = scene.attic_as(flavour, Some(&scene.pull))?;
            nix_pulls(&scene, &client, &NixRelease::Host, true).await?;
            ensure!(nix_pulls(&scene, &client, &NixRelease::Host, false).await.is_err(), "pulled without netrc");
            refused(scene.attic_as(flavour, None)?.use_cache("main").await, 401, "Unauthorized", &["token"])
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_use_at_an_endpoint_with_a_path() {
    let check = Check::new("attic 7.3", "an endpoint with a path, at a proxy that takes it off: use and push work");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let relay = Relay::start(&scene.server.address(), "/attic", |_| Fate::Pass).await;
            let client = scene.attic(flavour)?.at(&format!("{}/attic/", relay.url()))?;
            ensure!(client.use_cache("main").await?.url == scene.uri());
            // The answer's own endpoint, where the push goes on, ends in a slash.
            let endpoint = client.cache_config("main").await?.api_endpoint.context("no api_endpoint")?;
            ensure!(endpoint == format!("{}/", scene.server.url()), "{endpoint}");
            let object = Object::synthetic("sub-path", 5000, 1);
            client.push_one("main", &object, &PushOptions::default()).await?;
            is_served(&scene, &object.path).await;
            let heads = relay.heads();
            ensure!(heads.len() == 3 && heads.iter().all(|head| head.contains(" /attic/_api/v1/")), "{heads:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_refusal_401() {
    let check = Check::new("attic 7.17", "401: no token, a bad and an expired one are told apart, in JSON");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = closed().await;
            let old = scene.server.token_named("last-year", Some("main"), Scope::Push, Some("1s"))?;
            tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
            let object = Object::synthetic("unwelcome", 5000, 1);
            for (token, words) in [
                (None, &["token"][..]),
                (Some("iglu_no-such-token"), &["token"]),
                (Some(&old), &["last-year", "expired"]),
            ] {
                let client = scene.attic_as(flavour, token)?;
                refused(client.cache_config("main").await, 401, "Unauthorized", words)?;
                // Below the substituter refusals are those of the Nix protocol.
                let told = client.cache_info("main").await;
                ensure!(told.as_ref().is_err_and(|error| error.status() == Some(401)), "{told:?}");
                refused(
                    client.get_missing_paths("main", &[object.hash().to_owned()]).await,
                    401,
                    "Unauthorized",
                    words,
                )?;
                let upload = client.upload_path("main", &object, Default::default(), &Default::default()).await;
                refused(upload, 401, "Unauthorized", words)?;
                refused(client.create("fresh", &CreateCache::default()).await, 401, "Unauthorized", words)?;
                refused(client.configure("main", &ConfigureCache::default()).await, 401, "Unauthorized", words)?;
                refused(client.destroy("main").await, 401, "Unauthorized", words)?;
            }
            // Who holds no right on a cache does not learn whether it exists.
            scene.server.cache("other", false)?;
            let foreign = scene.server.token_named("foreign", Some("other"), Scope::Admin, None)?;
            let foreign = scene.attic_as(flavour, Some(&foreign))?;
            let (private, unknown) = (foreign.cache_config("main").await, foreign.cache_config("nowhere").await);
            let text = |result: &Result<_, Error>| result.as_ref().err().map(|error: &Error| error.to_string());
            let same = text(&private).map(|text| text.replace("main", "NAME"))
                == text(&unknown).map(|text| text.replace("nowhere", "NAME"));
            ensure!(private.is_err() && same, "{private:?} {unknown:?}");
            ensure!(private.as_ref().is_err_and(|error| error.status() == Some(401)), "{private:?}");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_refusal_403() {
    let check = Check::new("attic 7.18", "403: the right that a token lacks is named, in JSON");
    check
        .with_attic_and_celler(async |flavour| {
            let scene = open().await;
            let laptop = scene.server.token_named("laptop", Some("main"), Scope::Pull, None)?;
            let reader = scene.attic_as(flavour, Some(&laptop))?;
            let object = Object::synthetic("unwelcome", 5000, 1);
            let upload = reader.upload_path("main", &object, Default::default(), &Default::default()).await;
            refused(upload, 403, "AccessError", &["laptop", "main", "push"])?;
            let asked = reader.get_missing_paths("main", &[object.hash().to_owned()]).await;
            refused(asked, 403, "AccessError", &["laptop", "main", "push"])?;
            let pusher = scene.attic(flavour)?;
            let change = ConfigureCache { priority: Some(7), ..ConfigureCache::default() };
            refused(pusher.configure("main", &change).await, 403, "AccessError", &["main", "admin"])?;
            refused(pusher.destroy("main").await, 403, "AccessError", &["main", "admin"])?;
            let created = pusher.create("fresh", &CreateCache::default()).await;
            ensure!(created.as_ref().is_err_and(|error| matches!(error.status(), Some(401 | 403))), "{created:?}");
            ensure!(created.is_err_and(|error| error.name().is_some()), "no JSON");
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_refusal_404() {
    let check = Check::new("attic 7.19", "404: unknown caches, for who may see all, and unknown calls, in JSON");
    check
        .with_attic_and_celler(async |flavour| {
            let (server, client) = everything(flavour).await?;
            refused(client.cache_config("nowhere").await, 404, "NoSuchCache", &["nowhere"])?;
            let asked = client.get_missing_paths("nowhere", &["0".repeat(32)]).await;
            refused(asked, 404, "NoSuchCache", &["nowhere"])?;
            let object = Object::synthetic("lost", 5000, 1);
            let upload = client.upload_path("nowhere", &object, Default::default(), &Default::default()).await;
            refused(upload, 404, "NoSuchCache", &["nowhere"])?;
            refused(client.configure("nowhere", &ConfigureCache::default()).await, 404, "NoSuchCache", &["nowhere"])?;
            refused(client.destroy("nowhere").await, 404, "NoSuchCache", &["nowhere"])?;
            for path in ["_api/v1/nothing", "_api/v2/cache-config/main", "_api/"] {
                let reply = server.http().get(&format!("{}/{path}", server.url())).await?;
                ensure!(reply.status == 404, "{path}: {}", reply.status);
                let body: serde_json::Value = serde_json::from_slice(&reply.body).with_context(|| path.to_owned())?;
                ensure!(body["code"] == 404 && body["error"].is_string() && body["message"].is_string(), "{body}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_cache_create() {
    let check =
        Check::new("attic 7.20", "`cache create`, with a new key and with one's own; twice is CacheAlreadyExists");
    check
        .with_attic_and_celler(async |flavour| {
            let (server, client) = everything(flavour).await?;
            client.create("private", &CreateCache::default()).await?;
            let config = client.cache_config("private").await?;
            ensure!(config.is_public == Some(false) && config.priority == Some(41), "{config:?}");
            ensure!(config.upstream_cache_key_names == Some(vec!["cache.nixos.org-1".to_owned()]), "{config:?}");
            ensure!(config.store_dir.as_deref() == Some("/nix/store"), "{config:?}");
            refused(client.create("private", &CreateCache::default()).await, 400, "CacheAlreadyExists", &["private"])?;

            let own = SigningKey::from_seed("moved-1", [4; 32])?;
            let moved = CreateCache {
                keypair: Keypair::Keypair(own.to_secret_text().to_string()),
                is_public: true,
                priority: 30,
                upstream_cache_key_names: Vec::new(),
                ..CreateCache::default()
            };
            client.create("moved", &moved).await?;
            let config = client.cache_config("moved").await?;
            ensure!(config.public_key == Some(own.verifying_key().to_string()), "{config:?}");
            ensure!(config.is_public == Some(true) && config.priority == Some(30), "{config:?}");
            let info = server.http().get(&format!("{}/moved/nix-cache-info", server.url())).await?;
            ensure!(info.text().ends_with("Priority: 30\n"), "{}", info.text());

            let elsewhere = CreateCache { store_dir: "/gnu/store".to_owned(), ..CreateCache::default() };
            refused(client.create("elsewhere", &elsewhere).await, 400, "RequestError", &["/nix/store"])?;
            let broken = CreateCache { keypair: Keypair::Keypair("x:AAAA".to_owned()), ..CreateCache::default() };
            refused(client.create("broken", &broken).await, 400, "RequestError", &["keypair"])?;
            refused(client.create("Upper", &CreateCache::default()).await, 400, "RequestError", &[])?;
            for name in ["elsewhere", "broken"] {
                refused(client.cache_config(name).await, 404, "NoSuchCache", &[])?;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_cache_configure() {
    let check = Check::new(
        "attic 7.21",
        "`cache configure`: each field, the retention beside them ignored; a period is kept in whole days",
    );
    check
        .with_attic_and_celler(async |flavour| {
            let (server, client) = everything(flavour).await?;
            client.create("main", &CreateCache::default()).await?;
            let before = client.cache_config("main").await?;
            let changes = [
                ConfigureCache { priority: Some(7), ..ConfigureCache::default() },
                ConfigureCache { is_public: Some(true), ..ConfigureCache::default() },
                ConfigureCache {
                    upstream_cache_key_names: Some(vec!["base-1".to_owned()]),
                    ..ConfigureCache::default()
                },
                ConfigureCache { store_dir: Some("/nix/store".to_owned()), ..ConfigureCache::default() },
            ];
            for change in &changes {
                client.configure("main", change).await?;
            }
            let after = client.cache_config("main").await?;
            ensure!(after.priority == Some(7) && after.is_public == Some(true), "{after:?}");
            ensure!(after.upstream_cache_key_names == Some(vec!["base-1".to_owned()]), "{after:?}");
            ensure!(after.public_key == before.public_key, "{after:?}");
            let open = server.http().get(&format!("{}/main/nix-cache-info", server.url())).await?;
            ensure!(open.status == 200 && open.text().ends_with("Priority: 7\n"), "{}", open.text());

            client
                .configure("main", &ConfigureCache { keypair: Some(Keypair::Generate), ..ConfigureCache::default() })
                .await?;
            let listed = server.cache_show("main")?.public_keys;
            ensure!(listed.len() == 2, "{listed:?}");

            // What `--reset-retention-period` sends, and what turns the collection off.
            client.configure("main", &ConfigureCache::default()).await?;
            client
                .configure(
                    "main",
                    &ConfigureCache { retention_period: Retention::Period(0), ..ConfigureCache::default() },
                )
                .await?;
            let period =
                |seconds| ConfigureCache { retention_period: Retention::Period(seconds), ..ConfigureCache::default() };
            for (seconds, kept) in [(86_400, 86_400), (86_401, 172_800), (7_776_000, 7_776_000)] {
                client.configure("main", &period(seconds)).await?;
                let config = client.cache_config("main").await?;
                ensure!(config.retention_period == Some(Retention::Period(kept)), "{seconds}: {config:?}");
            }
            // What goes along with every other change changes nothing; alone it ends the rule.
            client.configure("main", &ConfigureCache { priority: Some(6), ..ConfigureCache::default() }).await?;
            ensure!(client.cache_config("main").await?.retention_period == Some(Retention::Period(7_776_000)));
            client.configure("main", &ConfigureCache::default()).await?;
            ensure!(client.cache_config("main").await?.retention_period == Some(Retention::Global));
            let both = ConfigureCache { priority: Some(99), ..period(u32::MAX) };
            refused(client.configure("main", &both).await, 400, "RequestError", &["days"])?;
            ensure!(client.cache_config("main").await?.priority == Some(6), "half of a refused change was made");

            // A body without the retention, as older clients send it, and bodies that are wrong.
            client.configure_with("main", &serde_json::json!({ "priority": 8 })).await?;
            ensure!(client.cache_config("main").await?.priority == Some(8));
            for wrong in [
                serde_json::json!({}),
                serde_json::json!([]),
                serde_json::json!({ "priority": "high" }),
                serde_json::json!({ "retention_period": "Sometimes" }),
                serde_json::json!({ "store_dir": "/gnu/store" }),
            ] {
                refused(client.configure_with("main", &wrong).await, 400, "RequestError", &[])
                    .with_context(|| wrong.to_string())?;
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_cache_destroy() {
    let check =
        Check::new("attic 7.22", "`cache destroy`: nothing of the cache is left, and the name can be used again");
    check
        .with_attic_and_celler(async |flavour| {
            let (server, client) = everything(flavour).await?;
            let public = CreateCache { is_public: true, ..CreateCache::default() };
            client.create("main", &public).await?;
            let object = Object::synthetic("gone", 5000, 1);
            client.push_one("main", &object, &PushOptions::default()).await?;
            let narinfo = format!("{}/main/{}.narinfo", server.url(), object.hash());
            ensure!(server.http().get(&narinfo).await?.status == 200);
            client.destroy("main").await?;
            refused(client.cache_config("main").await, 404, "NoSuchCache", &["main"])?;
            refused(client.destroy("main").await, 404, "NoSuchCache", &["main"])?;
            ensure!(server.http().get(&narinfo).await?.status == 404);
            client.create("main", &public).await?;
            ensure!(server.http().get(&narinfo).await?.status == 404, "the new cache has what the old one had");
            client.push_one("main", &object, &PushOptions::default()).await?;
            ensure!(server.http().get(&narinfo).await?.status == 200);
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_cache_info() {
    let check = Check::new("attic 7.23", "`cache info`, and the same record as attic-cache-info below the substituter");
    check
        .with_attic_and_celler(async |flavour| {
            for (scene, is_open) in [(open().await, true), (closed().await, false)] {
                let client = scene.attic_as(flavour, Some(&scene.pull))?;
                let config = client.cache_config("main").await?;
                ensure!(config.substituter_endpoint.as_deref() == Some(scene.uri()), "{config:?}");
                ensure!(config.api_endpoint == Some(format!("{}/", scene.server.url())), "{config:?}");
                ensure!(config.public_key.as_deref() == Some(scene.key()), "{config:?}");
                ensure!(config.is_public == Some(is_open), "{config:?}");
                ensure!(config.store_dir.as_deref() == Some("/nix/store"), "{config:?}");
                ensure!(
                    config.priority == Some(41) && config.retention_period == Some(Retention::Global),
                    "{config:?}"
                );
                ensure!(client.cache_info("main").await? == config);
                let reply = scene.get("attic-cache-info").await?;
                ensure!(reply.media_type() == Some("application/json"), "{:?}", reply.headers);
                let text = reply.text();
                ensure!(!text.contains("keypair") || text.contains("\"keypair\":null"), "{text}");
                let nobody = scene.attic_as(flavour, None)?.cache_config("main").await;
                ensure!(nobody.is_ok() == is_open, "{nobody:?}");
                let visibility =
                    scene.get("nix-cache-info").await?.header("x-attic-cache-visibility").map(str::to_owned);
                ensure!(visibility.as_deref().is_none_or(|told| told == "public" && is_open), "{visibility:?}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_basic_with_empty_user_from_nix() {
    let check = Check::new(
        "attic 7.24",
        "Nix with the netrc entry of `use`, a password without login, pulls from a private cache",
    );
    check
        .with_each_nix(async |release| {
            let scene = Scene::private(release.clone()).await?;
            let client = scene.attic_as(Flavour::Attic, Some(&scene.pull))?;
            let written = client.use_cache("main").await?.netrc.context("no netrc")?;
            ensure!(written == format!("machine 127.0.0.1\npassword {}\n", scene.pull), "{written}");
            nix_pulls(&scene, &client, &release, true).await?;
            let basic = Credentials::Basic(String::new(), scene.pull.clone());
            ensure!(scene.ask(Method::GET, "nix-cache-info", &basic, &[], "").await?.status == 200);
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attic_token_for_one_cache_and_for_all() {
    let check = Check::new(
        "attic 7.25",
        "tokens for one cache and for all caches, also later ones, which are the patterns there are",
    );
    check
        .with_attic_and_celler(async |flavour| {
            let scene = closed().await;
            scene.server.cache("other", true)?;
            let all = scene.server.token_named("all", None, Scope::Push, None)?;
            scene.server.cache("later", true)?;
            let (one, all) = (scene.attic(flavour)?, scene.attic_as(flavour, Some(&all))?);
            let object = Object::synthetic("patterns", 5000, 1);
            for cache in ["main", "other", "later"] {
                ensure!(all.push_one(cache, &object, &PushOptions::default()).await?.pushed.len() == 1, "{cache}");
                let alone = one.push_one(cache, &object, &PushOptions::default()).await;
                ensure!(alone.is_ok() == (cache == "main"), "{cache}: {alone:?}");
            }
            Ok(())
        })
        .await;
}
