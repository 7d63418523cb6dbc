//! The calls of the cachix client besides push: the bulk query, pins, keys, doctor, deploy.

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use iglu_end2end::cachix::wire::{Keep, Permission, Pin};
use iglu_end2end::cachix::{Client, Profile, PushOptions};
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::Credentials;
use iglu_end2end::object::Object;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::Scene;
use iglu_end2end::server::Scope;
use nix_compat::signing::SigningKey;

use crate::{MIB, closed, is_served, open, pushed, small};

const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

fn newest(scene: &Scene, token: Option<&str>) -> Client {
    Client::new(Profile::v1_11_1().without_repeats(), &scene.server.url(), token)
}

/// The newest release alone: what is asked here has not changed since the call is there.
fn newest_release() -> Vec<Profile> {
    vec![Profile::v1_11_1()]
}

fn absent(seed: u64) -> String {
    digest::hash_part(&digest::made_up_path("absent", seed)).to_owned()
}

#[tokio::test]
async fn cachix_bulk_of_nothing() {
    let check = Check::new("cachix 15.3.39", "a bulk query of nothing is `[]`");
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = open().await;
            let client = scene.cachix(profile);
            ensure!(client.missing_once("main", &[]).await?.is_empty());
            ensure!(client.push("main", &[], &PushOptions::default()).await?.missing.is_empty());
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cachix_bulk_of_a_million() {
    let check = Check::new("cachix 15.3.40", "a bulk query of a million hashes in one request, in little memory");
    check
        .with_cachix(vec![Profile::v1_7()], async |profile| {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "present", small(1), "zstd", &[]).await;
            let mut hashes: Vec<String> = (0..1_000_000).map(|n| format!("{n:032}")).collect();
            hashes[500_000] = draft.hash().to_owned();
            let missing = scene.cachix(profile).missing("main", &hashes).await?;
            ensure!(missing.len() == 999_999, "{}", missing.len());
            ensure!(!missing.iter().any(|hash| hash == draft.hash()), "what is there is missing");
            ensure!(scene.server.peak_rss()? < 600 * MIB, "{} MiB of memory", scene.server.peak_rss()? / MIB);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_bulk_with_duplicates() {
    let check = Check::new("cachix 15.3.41", "hashes that are asked for twice are answered once");
    check
        .with_cachix(Profile::all(), async |profile| {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "present", small(1), "zstd", &[]).await;
            let here = draft.hash().to_owned();
            let asked = [absent(1), here.clone(), absent(2), absent(1), here, absent(1)];
            let mut missing = scene.cachix(profile).missing_once("main", &asked).await?;
            missing.sort();
            let mut expected = [absent(1), absent(2)];
            expected.sort();
            ensure!(missing == expected, "{missing:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_bulk_of_junk() {
    let check = Check::new("cachix 15.3.42", "junk among the hashes is missing or 400; a body that is no list is 400");
    check
        .with_cachix(newest_release(), async |profile| {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "present", small(1), "zstd", &[]).await;
            let here = draft.hash().to_owned();
            let client = scene.cachix(profile.without_repeats());
            for junk in
                ["", "x", "../../etc/passwd", &"E".repeat(32), &format!("u{}", "0".repeat(31)), "\u{fc}", "a\0b"]
            {
                match client.missing_once("main", &[here.clone(), junk.to_owned()]).await {
                    Ok(missing) => ensure!(missing == [junk], "{junk:?}: {missing:?}"),
                    refused => ensure!(Refusal::of_call(refused)?.status == 400, "{junk:?}"),
                }
            }
            let url = format!("{}/api/v1/cache/main/narinfo", scene.server.url());
            for body in ["", "{", "{}", "[1]", "[null]", "\"x\"", "[\"x\"", "<html>"] {
                let headers = [("content-type", "application/json;charset=utf-8")];
                let reply = scene.server.http().call(Method::POST, &url, &Credentials::None, &headers, body).await?;
                ensure!(Refusal::of(&reply)?.status == 400, "{body}: {}", reply.status);
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_bulk_by_anybody() {
    let check = Check::new(
        "cachix 15.3.43",
        "anybody may ask a public cache what is missing, nobody without a token a private one",
    );
    check
        .with_cachix(Profile::all(), async |profile| {
            for (scene, is_open) in [(open().await, true), (closed().await, false)] {
                let (draft, _) = pushed(&scene, "present", small(1), "zstd", &[]).await;
                let asked = [draft.hash().to_owned(), absent(1)];
                let profile = profile.clone().without_repeats();
                let nobody = Client::new(profile.clone(), &scene.server.url(), None);
                match nobody.missing_once("main", &asked).await {
                    Ok(missing) => ensure!(is_open && missing == [absent(1)], "{missing:?}"),
                    refused => ensure!(!is_open && Refusal::of_call(refused)?.status == 401),
                }
                let reader = Client::new(profile, &scene.server.url(), Some(&scene.pull));
                ensure!(reader.missing_once("main", &asked).await? == [absent(1)]);
            }
            Ok(())
        })
        .await;
}

fn pin(name: &str, path: &str, keep: Option<Keep>) -> Pin {
    Pin { name: name.to_owned(), store_path: path.to_owned(), artifacts: Vec::new(), keep }
}

#[tokio::test]
async fn cachix_pins_of_all_four_forms() {
    let check = Check::new(
        "cachix 15.3.44",
        "pins with no rule, for days, for revisions and for ever; again is another revision",
    );
    check
        .with_cachix(newest_release(), async |profile| {
            let scene = open().await;
            let client = scene.cachix(profile);
            let (old, _) = pushed(&scene, "old", small(1), "zstd", &[]).await;
            let (new, _) = pushed(&scene, "new", small(2), "zstd", &[]).await;
            let forms = [
                ("build-x86_64-linux", Some(Keep::Days(30))),
                ("for ever", Some(Keep::Forever)),
                ("pr/12", Some(Keep::Revisions(5))),
                ("release", None),
            ];
            for path in [&old.path, &new.path] {
                for (name, keep) in forms {
                    let artifacts = vec!["bin/app".to_owned(), "/share/x.iso".to_owned()];
                    client.pin("main", &Pin { artifacts, ..pin(name, path, keep) }).await?;
                }
                let mut pins = client.pins("main").await?;
                pins.sort_by(|one, other| one.name.cmp(&other.name));
                let told: Vec<_> =
                    pins.iter().map(|pin| (pin.name.as_str(), pin.last_revision.store_path.as_str())).collect();
                ensure!(told == forms.map(|(name, _)| (name, path.as_str())), "{told:?}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_pin_of_an_unknown_path() {
    let check = Check::new("cachix 15.3.45", "a pin of a path that is not there is 400 or 404 with a sentence");
    check
        .with_cachix(newest_release(), async |profile| {
            let scene = open().await;
            let client = scene.cachix(profile.without_repeats());
            let (draft, _) = pushed(&scene, "pinned", small(1), "zstd", &[]).await;
            let unknown = digest::made_up_path("absent", 1);
            let inside = format!("{}/bin", draft.path);
            for path in [&unknown, "", "/", "x", "/nix/store/", "/nix/store/short-x", &draft.path[11..], &inside] {
                let refusal = Refusal::of_call(client.pin("main", &pin("a", path, Some(Keep::Forever))).await)?;
                ensure!(matches!(refusal.status, 400 | 404), "{path}: {refusal:?}");
                ensure!(refusal.text.split(' ').count() > 3, "no sentence: {refusal:?}");
            }
            ensure!(client.pins("main").await?.is_empty());
            let reader = newest(&scene, Some(&scene.pull));
            let refusal = Refusal::of_call(reader.pin("main", &pin("a", &draft.path, None)).await)?;
            ensure!(refusal.status == 403, "{refusal:?}");
            Ok(())
        })
        .await;
}

/// A public cache, and a client that may register keys.
async fn with_admin() -> anyhow::Result<(Scene, Client)> {
    let scene = Scene::with_host_names().await?;
    let admin = newest(&scene, Some(&scene.server.token("main", Scope::Admin)?));
    Ok((scene, admin))
}

fn other_key() -> String {
    STANDARD.encode(SigningKey::from_seed("other", [9; 32]).unwrap().verifying_key().as_bytes())
}

#[tokio::test]
async fn cachix_first_key() {
    let check = Check::new("cachix 15.3.46", "`generate-keypair`: the key is listed under a name of the cache");
    check
        .with_cachix(newest_release(), async |_| {
            let (scene, admin) = with_admin().await?;
            let before = admin.cache("main").await?.public_signing_keys;
            admin.key("main", PUBLIC).await?;
            let keys = admin.cache("main").await?.public_signing_keys;
            ensure!(keys.len() == before.len() + 1, "{keys:?}");
            let listed: Vec<&String> = keys.iter().filter(|key| key.ends_with(&format!(":{PUBLIC}"))).collect();
            ensure!(listed.len() == 1 && listed[0].starts_with("main.cache.test-"), "{keys:?}");
            for (token, status) in [(None, 401), (Some(scene.pull.as_str()), 403)] {
                let refusal = Refusal::of_call(newest(&scene, token).key("main", &other_key()).await)?;
                ensure!(refusal.status == status, "{refusal:?}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_same_key_again() {
    let check = Check::new("cachix 15.3.47", "the same key again is 200 and changes nothing");
    check
        .with_cachix(newest_release(), async |_| {
            let (_scene, admin) = with_admin().await?;
            admin.key("main", PUBLIC).await?;
            let once = admin.cache("main").await?.public_signing_keys;
            admin.key("main", PUBLIC).await?;
            ensure!(admin.cache("main").await?.public_signing_keys == once);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_second_key() {
    let check = Check::new(
        "cachix 15.3.48",
        "a second key is listed beside the first under another name, or refused with a line",
    );
    check
        .with_cachix(newest_release(), async |_| {
            let (_scene, admin) = with_admin().await?;
            admin.key("main", PUBLIC).await?;
            match admin.key("main", &other_key()).await {
                Ok(()) => {
                    let keys = admin.cache("main").await?.public_signing_keys;
                    let mut names: Vec<&str> = keys.iter().filter_map(|key| Some(key.split_once(':')?.0)).collect();
                    names.dedup();
                    ensure!(names.len() == keys.len(), "two keys of one name: {keys:?}");
                    ensure!(
                        [PUBLIC, &other_key()].iter().all(|key| keys.iter().any(|one| one.ends_with(key))),
                        "{keys:?}"
                    );
                }
                refused => ensure!(matches!(Refusal::of_call(refused)?.status, 400 | 409)),
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_key_of_wrong_length() {
    let check = Check::new("cachix 15.3.49", "a key that has not 32 bytes is 400");
    check
        .with_cachix(newest_release(), async |_| {
            let (_scene, admin) = with_admin().await?;
            let before = admin.cache("main").await?.public_signing_keys;
            let bytes = |len: usize| STANDARD.encode(vec![7; len]);
            for bad in [
                String::new(),
                "x".to_owned(),
                "!".repeat(44),
                bytes(31),
                bytes(33),
                bytes(64),
                format!("main-1:{PUBLIC}"),
            ] {
                let refusal = Refusal::of_call(admin.key("main", &bad).await)?;
                ensure!(refusal.status == 400, "{bad}: {refusal:?}");
            }
            ensure!(admin.cache("main").await?.public_signing_keys == before);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_doctor() {
    let check =
        Check::new("cachix 15.3.50", "`doctor` with and without a token: the record, and whether a path is there");
    check
        .with_cachix(newest_release(), async |_| {
            let scene = open().await;
            let (draft, _) = pushed(&scene, "present", small(1), "zstd", &[]).await;
            for (token, permission) in [(None, Permission::Read), (Some(scene.push.as_str()), Permission::Write)] {
                let client = newest(&scene, token);
                let healthy = client.doctor("main", None).await?;
                ensure!(healthy.cache.permission == permission && healthy.present.is_none(), "{healthy:?}");
                ensure!(client.doctor("main", Some(draft.hash())).await?.present == Some(true));
                ensure!(client.doctor("main", Some(&absent(1))).await?.present == Some(false));
            }
            let everywhere = scene.server.token_named("everything", None, Scope::Admin, None)?;
            let unknown = Refusal::of_call(newest(&scene, Some(&everywhere)).doctor("nowhere", None).await)?;
            ensure!(unknown.status == 404, "{unknown:?}");
            let private = closed().await;
            let refusal = Refusal::of_call(newest(&private, None).doctor("main", Some(&absent(1))).await)?;
            ensure!(refusal.status == 401, "{refusal:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn cachix_deploy_is_not_there() {
    let check =
        Check::new("cachix 15.3.54", "the addresses of deploy are 404 or 501, web sockets too, and harm nothing else");
    check
        .over_http(async {
            let scene = open().await;
            let uuid = "7b1c2f1e-3c9d-4b8a-9a53-0f1f6f2f9f10";
            let url = scene.server.url();
            let activate = r#"{"agents":{"web-1":"/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello"}}"#;
            let socket = [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            let json = [("content-type", "application/json;charset=utf-8")];
            for token in [Credentials::Bearer(String::new()), Credentials::Bearer(scene.push.clone())] {
                for (method, path, headers, body) in [
                    (Method::POST, "api/v1/deploy/activate".to_owned(), &json[..], activate),
                    (Method::POST, "api/v2/deploy/activate".to_owned(), &json[..], activate),
                    (Method::GET, format!("api/v1/deploy/deployment/{uuid}"), &[], ""),
                    (Method::GET, format!("api/v1/deploy/log/{uuid}"), &socket[..], ""),
                    (Method::GET, format!("api/v1/deploy/log/{uuid}?view=true"), &socket[..], ""),
                    (Method::GET, "ws".to_owned(), &socket[..], ""),
                    (Method::GET, "ws-deployment".to_owned(), &socket[..], ""),
                ] {
                    let reply =
                        scene.server.http().call(method.clone(), &format!("{url}/{path}"), &token, headers, body).await;
                    let status = reply.unwrap().status.as_u16();
                    assert!(matches!(status, 404 | 501), "{method} {path}: {status}");
                }
            }
            let object = Object::synthetic("unharmed", 5000, 1);
            scene.cachix(Profile::v1_11_1()).push_one("main", &object, &PushOptions::default()).await.unwrap();
            is_served(&scene, &object.path).await;
        })
        .await;
}
