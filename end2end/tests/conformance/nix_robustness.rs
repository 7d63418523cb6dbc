//! Slow clients, restarts, and what must not be written down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::Raw;
use iglu_end2end::nix::{self, FreshStore};
use iglu_end2end::put::Draft;
use iglu_end2end::scene::{Scene, ok};

use crate::{ask, is_absent, open, pushed, small};

#[tokio::test]
async fn nix_40_silent_upload_is_ended() {
    let check =
        Check::new("nix 17.40", "a PUT without a byte of its body is ended after the idle time with a final 4xx");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("slow", 1, small(1), "zstd", &[]).await.unwrap();
            let begun = Instant::now();
            let mut sockets = Vec::new();
            // Nothing at all, and nothing after the beginning.
            for first in [0, 100] {
                let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
                let head = format!(
                    "PUT /main/{} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
                    draft.url,
                    scene.server.address(),
                    scene.putter().credentials.header().unwrap(),
                    draft.file.len()
                );
                raw.write(head).await.unwrap();
                raw.write(&draft.file[..first]).await.unwrap();
                sockets.push(raw);
            }
            for raw in &mut sockets {
                let answer = raw.head(Duration::from_secs(45)).await.unwrap();
                // 408, 429 and 5xx would make clients try again, and 2.8 hang.
                assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
                assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
            }
            assert!(begun.elapsed() > Duration::from_secs(5), "no patience at all");
            is_absent(&scene, &draft.path, "never sent").await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_41_push_survives_a_restart() {
    let check = Check::new("nix 17.41", "a push of 1001 paths ends well although the server restarts meanwhile");
    check
        .with_nix_from((2, 33), async |release| {
            let mut scene = Scene::new(release).await?;
            let nix = scene.stranger()?;
            let file = nix.place(&nix::expression("texts.nix"))?;
            let evaluate = ["--eval", "--read-write-mode", &file, "--argstr", "tag", "restart"];
            let top = nix.must("nix-instantiate", &evaluate).await?.trim().trim_matches('"').to_owned();
            let closure = nix.closure(&top).await?;
            ensure!(closure.len() == 1001, "{} paths", closure.len());

            let pusher = scene.holder(&scene.push)?;
            let (target, path) = (format!("{}?compression=none", scene.uri()), top.clone());
            let pushing = tokio::spawn(async move { pusher.copy_to(&target, &[&path]).await });
            let published = async |scene: &Scene| -> anyhow::Result<usize> {
                let url = format!("{}/api/v1/cache/main/contents", scene.server.url());
                let listed = scene.server.http().get(&url).await?;
                Ok(serde_json::from_slice::<Vec<String>>(&listed.body)?.len())
            };
            while published(&scene).await? < 100 {
                ensure!(!pushing.is_finished(), "the push ended before anything was restarted: {:?}", pushing.await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            scene.server.kill()?;
            scene.server.restart().await?;
            let after = published(&scene).await?;
            ensure!(after < closure.len(), "all {after} paths were there before the restart");
            ok(pushing.await??).context("push")?;
            ensure!(published(&scene).await? == closure.len());
            let reader = scene.putter();
            for info in &closure {
                let narinfo = reader.narinfo(digest::hash_part(&info.path)).await?.context("a path is missing")?;
                reader.check(&narinfo).await?;
            }
            let store = FreshStore::of(&scene.release)?;
            ok(scene.stranger()?.substitute(&store, scene.uri(), scene.key(), &[&top]).await?).context("pull")
        })
        .await;
}

#[tokio::test]
async fn nix_42_no_secrets_in_logs_and_no_queries_in_keys() {
    let check =
        Check::new("nix 17.42", "no credentials in logs and metrics; a query behind a NAR's name changes nothing");
    check
        .over_http(async {
            let scene = open().await;
            let (draft, narinfo) = pushed(&scene, "quiet", small(1), "zstd", &[]).await;
            let url = narinfo.get("URL").unwrap();
            let plain = ask(&scene, url, &[]).await;
            for query in ["?x=1", "?iglu_secret=query", "?", "?a=b&c=d%2f.."] {
                let reply = ask(&scene, &format!("{url}{query}"), &[]).await;
                assert_eq!((reply.status.as_u16(), &reply.body), (200, &plain.body), "{query}");
                assert_eq!(reply.header("etag"), plain.header("etag"), "{query}");
            }
            // Good, bad and misplaced credentials, and requests that fail.
            let user = STANDARD.encode(format!("anyone:{}", scene.push));
            for value in
                [format!("Bearer {}", scene.push), format!("Basic {user}"), "Bearer iglu_wrongsecret".to_owned()]
            {
                ask(&scene, "nix-cache-info", &[("authorization", &value)]).await;
                ask(&scene, &format!("log/x.drv?token={}", scene.pull), &[("authorization", &value)]).await;
            }
            let reader = scene.server.putter("main", &scene.pull);
            assert_eq!(reader.put_file(&draft).await.unwrap().status, 403);
            let metrics = scene.server.http().get(&format!("{}/metrics", scene.server.ops_url())).await.unwrap();
            assert_eq!(metrics.status, 200);
            for (what, text) in [("log", scene.server.log()), ("metrics", metrics.text())] {
                for secret in [&scene.push, &scene.pull, &user, "iglu_wrongsecret", "iglu_secret=query"] {
                    assert!(!text.contains(secret), "the {what} holds {secret}:\n{text}");
                }
            }
            assert!(!metrics.text().contains(draft.hash()), "metrics have one series for each path");
        })
        .await;
}
