//! Who may read and write, as the Nix protocol tells it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use iglu_end2end::conformance::Check;
use iglu_end2end::digest;
use iglu_end2end::http::{Credentials, Raw};
use iglu_end2end::nix::{self, FreshStore, said};
use iglu_end2end::put::Draft;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::scene::{Scene, refused};

use crate::relay::{Fate, Relay};
use crate::{closed, open, pushed, small};

#[tokio::test]
async fn nix_18_private_cache_asks_for_credentials() {
    let check = Check::new(
        "nix 17.18",
        "a private cache is 401 with Basic for strangers: cache info, narinfo, NAR, log and the rest",
    );
    check
        .over_http(async {
            let scene = closed().await;
            let (draft, narinfo) = pushed(&scene, "hidden", small(1), "zstd", &[]).await;
            let log = "log/00bgd045z0d4icpbc2yyz4gx48ak44la-hidden.drv";
            let put = scene.putter().put(log, "text/plain", b"secret".to_vec()).await.unwrap();
            assert_eq!(put.status, 200);
            let absent = digest::made_up_path("absent", 1);
            let names = [
                "nix-cache-info".to_owned(),
                format!("{}.narinfo", draft.hash()),
                format!("{}.narinfo", digest::hash_part(&absent)),
                format!("{}.ls", draft.hash()),
                narinfo.get("URL").unwrap().to_owned(),
                log.to_owned(),
                format!("realisations/sha256:{}!out.doi", "0a".repeat(32)),
                format!("debuginfo/{}", "0a".repeat(20)),
            ];
            for name in names {
                for method in [Method::GET, Method::HEAD] {
                    let reply = scene.ask(method.clone(), &name, &Credentials::None, &[], "").await.unwrap();
                    assert_eq!(reply.status, 401, "{method} {name}");
                    let how = reply.header("www-authenticate").unwrap_or_default();
                    assert!(how.starts_with("Basic "), "{method} {name}: {how}");
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_19_token_opens_in_each_form_at_once() {
    let check = Check::new(
        "nix 17.19",
        "a token opens from netrc with any login or none and from the URL, on the first request",
    );
    check
        .with_each_nix(async |release| {
            let scene = Scene::private(release).await?;
            let (top, closure) = nix::chain_of(&scene.release, "private").await?;
            for nix in [scene.stranger()?, scene.holder("iglu_nonsense")?] {
                refused(nix.copy_to(scene.uri(), &[&top]).await?, "pushed without a token")?;
            }
            scene.push("", &[&top]).await?;
            let relay = Relay::start(&scene.server.address(), "", |_| Fate::Pass).await;
            let uri = format!("{}/main", relay.url());
            let mut clients = Vec::new();
            for netrc in ["password TOKEN", "login ci password TOKEN", "login someone@example.org\n  password TOKEN"] {
                let text = format!("machine 127.0.0.1 {}\n", netrc.replace("TOKEN", &scene.pull));
                clients.push((scene.stranger()?.with_netrc(&text)?, uri.clone(), netrc));
            }
            let text = format!("default login x password {}\n", scene.pull);
            clients.push((scene.stranger()?.with_netrc(&text)?, uri.clone(), "default"));
            let with_user = uri.replacen("://", &format!("://anyone:{}@", scene.pull), 1);
            clients.push((scene.stranger()?, with_user, "in the URL"));
            let mut seen = 0;
            for (nix, uri, form) in clients {
                scene.pulls_back(&nix, &uri, &[&top], &closure).await.with_context(|| form.to_owned())?;
                let heads = relay.heads();
                let bare = heads[seen..].iter().find(|head| !head.contains("\r\nauthorization: basic "));
                ensure!(bare.is_none(), "{form}: {bare:?}");
                ensure!(heads.len() > seen + 6, "{form}: only {} requests", heads.len() - seen);
                seen = heads.len();
            }
            for nix in [scene.stranger()?, scene.holder("iglu_nonsense")?] {
                let store = FreshStore::of(&scene.release)?;
                let got = nix.substitute(&store, scene.uri(), scene.key(), &[&top]).await?;
                refused(got, "pulled without a token")?;
                ensure!(!store.locate(&top).exists());
            }
            Ok(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_20_reader_is_refused_before_the_body() {
    let check = Check::new("nix 17.20", "a PUT with a read-only token is 403 before its body is read");
    check
        .over_http(async {
            let scene = open().await;
            let draft = Draft::new("unwelcome", 1, small(1), "none", &[]).await.unwrap();
            let reader = scene.server.putter("main", &scene.pull);
            assert_eq!(reader.get("nix-cache-info").await.unwrap().status, 200);
            for reply in [
                reader.put_file(&draft).await.unwrap(),
                reader.put_narinfo(&draft, &draft.narinfo).await.unwrap(),
                reader
                    .put("nix-cache-info", "text/x-nix-cache-info", b"StoreDir: /nix/store\n".to_vec())
                    .await
                    .unwrap(),
            ] {
                let refusal = Refusal::of(&reply).unwrap();
                assert!(refusal.status == 403 && refusal.says(&["main", "push"]), "{refusal:?}");
                assert!(!refusal.text.contains(&scene.pull), "the secret is in the message");
            }
            // Who asks first gets the answer instead of 100; who does not still hears it.
            for expect in ["Expect: 100-continue\r\n", ""] {
                let mut raw = Raw::connect(&scene.server.address()).await.unwrap();
                let head = format!(
                    "PUT /main/{} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: 5000000\r\n{expect}\r\n",
                    draft.url,
                    scene.server.address(),
                    reader.credentials.header().unwrap()
                );
                raw.write(head).await.unwrap();
                let answer = raw.head(Duration::from_secs(2)).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 403"), "{expect:?}: {answer}");
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nix_20_client_sees_the_403() {
    let check =
        Check::new("nix 17.20 (client)", "`nix copy` with a read-only token shows HTTP 403, and can still read");
    check
        .with_each_nix(async |release| {
            let scene = Scene::private(release).await?;
            let (bulky, closure) = scene.shape("bulky").await?;
            let denied =
                scene.holder(&scene.pull)?.copy_to(&format!("{}?compression=none", scene.uri()), &[&bulky]).await?;
            ensure!(said(&denied).contains("403"), "{}", said(&denied));
            refused(denied, "pushed with a reader's token")?;
            scene.push("", &[&bulky]).await?;
            scene.pulls_back(&scene.holder(&scene.pull)?, scene.uri(), &[&bulky], &closure).await
        })
        .await;
}
