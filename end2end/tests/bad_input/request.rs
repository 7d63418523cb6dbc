//! Requests that nobody may make, or that come in an unusual way.

use crate::{door, small};
use iglu_end2end::cachix::wire::Compression;
use iglu_end2end::http::{Credentials, Raw};
use iglu_end2end::put::{Draft, compress};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::Scope;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_suffice_say_so_before_the_body_is_read() {
    let door = door().await;
    door.server.cache("other", false).unwrap();
    let draft = Draft::new("unwelcome", 1, small(1), "none", &[]).await.unwrap();
    let reader = door.server.token_named("laptop", Some("main"), Scope::Pull, None).unwrap();
    let foreign = door.server.token_named("ci-other", Some("other"), Scope::Push, None).unwrap();
    for (token, name) in [(&reader, "laptop"), (&foreign, "ci-other")] {
        let putter = door.server.putter("main", token);
        for reply in [
            putter.put_file(&draft).await.unwrap(),
            putter.put_narinfo(&draft, &draft.narinfo).await.unwrap(),
            putter.put("nix-cache-info", "text/x-nix-cache-info", b"StoreDir: /nix/store\n".to_vec()).await.unwrap(),
        ] {
            let refusal = Refusal::of(&reply).unwrap();
            assert_eq!(refusal.status, 403, "{}", refusal.text);
            assert!(refusal.says(&[name, "main", "push"]), "{}", refusal.text);
            assert!(!refusal.text.contains(token.as_str()), "the secret is in the message");
        }
    }
    // With 100-continue, a megabyte is never sent.
    let authorization = Credentials::Bearer(reader).header().unwrap();
    let head = format!(
        "PUT /main/{} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n\
         Content-Length: 5000000\r\nExpect: 100-continue\r\n\r\n",
        draft.url,
        door.server.address()
    );
    let mut raw = Raw::connect(&door.server.address()).await.unwrap();
    raw.write(head).await.unwrap();
    let answer = raw.head(Duration::from_secs(1)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_names_itself() {
    let door = door().await;
    door.server.cache("secret", true).unwrap();
    let token = door.server.token_named("last-year", Some("secret"), Scope::Push, Some("1s")).unwrap();
    let client = door.server.cachix(Some(&token));
    client.cache("secret").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let refusal = Refusal::of_call(client.cache("secret").await).unwrap();
    assert_eq!(refusal.status, 401);
    assert!(refusal.says(&["last-year", "expired"]), "{}", refusal.text);
    let refusal = Refusal::of_call(client.create("secret", Compression::Zstd).await).unwrap();
    assert_eq!(refusal.status, 401);
    assert!(refusal.says(&["last-year", "expired"]), "{}", refusal.text);
    let reply = door.server.putter("secret", &token).get("nix-cache-info").await.unwrap();
    assert_eq!(reply.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn continue_is_answered_at_once() {
    let door = door().await;
    let draft = Draft::new("continued", 1, small(1), "none", &[]).await.unwrap();
    let authorization = door.putter.credentials.header().unwrap();
    for (name, body) in [
        (draft.url.clone(), draft.file.clone()),
        (format!("{}.narinfo", draft.hash()), draft.narinfo.text().into_bytes()),
    ] {
        let head = format!(
            "PUT /main/{name} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            door.server.address(),
            body.len()
        );
        let mut raw = Raw::connect(&door.server.address()).await.unwrap();
        raw.write(head).await.unwrap();
        let interim = raw.head(Duration::from_millis(100)).await.unwrap();
        assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
        raw.write(body).await.unwrap();
        let answer = raw.head(Duration::from_secs(5)).await.unwrap();
        let status = &answer["HTTP/1.1 ".len()..][..3];
        assert!(matches!(status, "200" | "201" | "204"), "{answer}");
    }
    door.has(draft.hash()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_info_is_not_for_clients_to_write() {
    let door = door().await;
    let address = door.putter.url("nix-cache-info");
    let before = door.putter.get("nix-cache-info").await.unwrap();
    let put = async |credentials: Credentials, body: &'static str| {
        door.server.http().call(http::Method::PUT, &address, &credentials, &[], body).await.unwrap()
    };
    let anonymous = put(Credentials::None, "StoreDir: /evil\n").await;
    assert_eq!(Refusal::of(&anonymous).unwrap().status, 401);
    assert_eq!(put(Credentials::Bearer("iglu_bad".to_owned()), "StoreDir: /nix/store\n").await.status, 401);
    assert_eq!(put(door.putter.credentials.clone(), "StoreDir: /nix/store\n").await.status, 200);
    assert_eq!(put(door.putter.credentials.clone(), "StoreDir: /evil\n").await.status, 400);
    assert_eq!(door.putter.get("nix-cache-info").await.unwrap().body, before.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_again_by_put_keeps_the_first_and_collects_signatures() {
    let door = door().await;
    let draft = Draft::new("again", 1, small(1), "zstd", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let first = door.putter.narinfo(draft.hash()).await.unwrap().unwrap();
    door.putter.push(&draft).await.unwrap();
    assert_eq!(door.putter.narinfo(draft.hash()).await.unwrap().unwrap(), first);
    // The same path, signed by somebody else too.
    let builder = nix_compat::signing::SigningKey::from_seed("builder-1", [7; 32]).unwrap();
    let sig = builder.sign(&draft.fingerprint()).to_string();
    let reply = door.putter.put_narinfo(&draft, &draft.narinfo.clone().and("Sig", &sig)).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let signed = door.putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let mut union: Vec<&str> = first.all("Sig");
    union.push(&sig);
    union.sort_unstable();
    assert_eq!(signed.all("Sig"), union);
    // Other content under the same path: the first stays, and the client is not stopped.
    let other = Draft::of(draft.path.clone(), small(2), compress("zstd", &small(2)).await.unwrap(), "zstd", &[]);
    door.putter.push(&other).await.unwrap();
    assert_eq!(door.putter.narinfo(draft.hash()).await.unwrap().unwrap(), signed);
}
