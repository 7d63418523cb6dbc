//! The keys of a cache: rotation, moving a cache with its key, and people who sign on their own machines.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use iglu_end2end::cachix::{PushOptions, Signer};
use iglu_end2end::object::Object;
use iglu_end2end::put::Draft;
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server};
use nix_compat::signing::SigningKey;

/// Of the seed 00 01 … 1f.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

/// Names of the keys whose signatures a narinfo carries.
fn signers(draft: &[&str]) -> Vec<String> {
    draft.iter().map(|sig| sig.split(':').next().unwrap().to_owned()).collect()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not happen within 30 s");
}

#[tokio::test]
async fn a_new_key_signs_what_comes_and_what_is_there_and_the_old_one_retires() {
    let server = Server::start().await.unwrap();
    let before = server.cache("main", false).unwrap();
    let putter = server.putter("main", &server.token("main", Scope::Push).unwrap());
    let old = Draft::new("old", 1, iglu_end2end::nar::archive(&iglu_end2end::nar::regular(b"old")), "none", &[]).await;
    let old = old.unwrap();
    putter.push(&old).await.unwrap();

    // The only key stays.
    let first = before.public_keys[0].split(':').next().unwrap().to_owned();
    let refused = server.admin(&["key", "retire", "main", &first], "").unwrap_err().to_string();
    assert!(refused.contains("only key"), "{refused}");

    server.admin(&["key", "add", "main"], "").unwrap();
    let both = server.cache_show("main").unwrap().public_keys;
    assert_eq!((both.len(), &both[0]), (2, &before.public_keys[0]));
    let second = both[1].split(':').next().unwrap().to_owned();
    assert_eq!(second, first.replace("-1", "-2"));

    // What was there before gets the new signature by itself, and both verify.
    eventually("signing again", async || {
        let narinfo = putter.narinfo(old.hash()).await.unwrap().unwrap();
        signers(&narinfo.all("Sig")) == [first.clone(), second.clone()]
    })
    .await;
    putter.check(&putter.narinfo(old.hash()).await.unwrap().unwrap()).await.unwrap();
    eventually("the end of signing again", async || {
        server.admin(&["key", "list", "main"], "").unwrap().matches("\"active\"").count() == 2
    })
    .await;

    server.admin(&["key", "retire", "main", &first], "").unwrap();
    assert_eq!(server.cache_show("main").unwrap().public_keys, both[1..]);
    // The running server takes it over within a second.
    let new = Draft::new("new", 2, iglu_end2end::nar::archive(&iglu_end2end::nar::regular(b"new")), "none", &[]).await;
    let new = new.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    putter.push(&new).await.unwrap();
    let narinfo = putter.narinfo(new.hash()).await.unwrap().unwrap();
    assert_eq!(signers(&narinfo.all("Sig")), std::slice::from_ref(&second));
    // What the old one signed stays signed.
    let narinfo = putter.narinfo(old.hash()).await.unwrap().unwrap();
    assert_eq!(signers(&narinfo.all("Sig")), [first.clone(), second]);
    let listed = server.admin(&["key", "list", "main"], "").unwrap();
    assert!(listed.contains("\"retired\"") && !listed.contains("secret"), "{listed}");
    assert!(server.admin(&["key", "retire", "main", &first], "").is_err(), "retired twice");
}

#[tokio::test]
async fn a_moved_cache_keeps_its_key() {
    let server = Server::start().await.unwrap();
    server.cache("main", false).unwrap();
    for wrong in ["", "no key", "name:AAAA", &format!(":{SECRET}"), &SECRET.replace('A', "B")] {
        let refused = server.admin(&["key", "import", "main"], wrong).unwrap_err().to_string();
        assert!(refused.contains("secret key") && refused.lines().count() == 1, "{wrong:?}: {refused}");
    }
    server.admin(&["key", "import", "main"], &format!("moved.example.org-1:{SECRET}\n")).unwrap();
    let keys = server.cache_show("main").unwrap().public_keys;
    assert_eq!(keys[1], format!("moved.example.org-1:{PUBLIC}"));
    let again = server.admin(&["key", "import", "main"], &format!("moved.example.org-1:{SECRET}")).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");

    tokio::time::sleep(Duration::from_secs(2)).await;
    let putter = server.putter("main", &server.token("main", Scope::Push).unwrap());
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(b"moved"));
    let draft = Draft::new("moved", 1, nar, "none", &[]).await.unwrap();
    putter.push(&draft).await.unwrap();
    let narinfo = putter.narinfo(draft.hash()).await.unwrap().unwrap();
    let key = SigningKey::parse(&format!("moved.example.org-1:{SECRET}")).unwrap();
    let expected = key.sign(&draft.fingerprint()).to_string();
    assert!(narinfo.all("Sig").contains(&expected.as_str()), "{narinfo:?}");
}

#[tokio::test]
async fn a_cache_that_clients_sign_takes_nothing_unsigned() {
    let server = Server::start().await.unwrap();
    server.admin(&["cache", "create", "main", "--client-signed"], "").unwrap();
    assert!(server.cache_show("main").unwrap().public_keys.is_empty());
    let admin = server.cachix(Some(&server.token("main", Scope::Admin).unwrap()));
    let pusher = server.cachix(Some(&server.token("main", Scope::Push).unwrap()));
    let object = Object::synthetic("signed", 5_000, 1);
    let own = PushOptions { signer: Some(Signer::parse(SECRET).unwrap()), ..PushOptions::default() };
    let other_key = SigningKey::from_seed("other", [7; 32]).unwrap().to_secret_text();
    let other = PushOptions { signer: Some(Signer::parse(&other_key).unwrap()), ..PushOptions::default() };

    let refused = Refusal::of_call(pusher.push_one("main", &object, &own).await).unwrap();
    assert!(refused.status == 400 && refused.says(&["no key is registered", "generate-keypair"]), "{refused:?}");
    let refused = Refusal::of_call(pusher.key("main", PUBLIC).await).unwrap();
    assert!(refused.status == 403 && refused.says(&["admin"]), "{refused:?}");
    admin.key("main", PUBLIC).await.unwrap();
    admin.key("main", PUBLIC).await.unwrap();
    let keys = server.cache_show("main").unwrap().public_keys;
    assert_eq!((keys.len(), keys[0].ends_with(&format!("-1:{PUBLIC}"))), (1, true), "{keys:?}");

    let refused = Refusal::of_call(pusher.push_one("main", &object, &PushOptions::default()).await).unwrap();
    assert!(refused.status == 400 && refused.says(&["no signature", "CACHIX_SIGNING_KEY"]), "{refused:?}");
    let refused = Refusal::of_call(pusher.push_one("main", &object, &other).await).unwrap();
    assert!(refused.status == 400 && refused.says(&["no registered key"]), "{refused:?}");
    pusher.push_one("main", &object, &own).await.unwrap();
    let putter = server.putter("main", &server.token("main", Scope::Push).unwrap());
    let narinfo = putter.narinfo(object.hash()).await.unwrap().unwrap();
    assert_eq!(signers(&narinfo.all("Sig")), [keys[0].split(':').next().unwrap()]);
    putter.check(&narinfo).await.unwrap();

    // By PUT the key's name comes along, and must be the registered one.
    let nar = iglu_end2end::nar::archive(&iglu_end2end::nar::regular(b"put"));
    let draft = Draft::new("put", 3, nar, "none", &[]).await.unwrap();
    putter.put_file(&draft).await.unwrap();
    let refused = Refusal::of(&putter.put_narinfo(&draft, &draft.narinfo).await.unwrap()).unwrap();
    assert!(refused.status == 400 && refused.says(&["no signature"]), "{refused:?}");
    let name = keys[0].split(':').next().unwrap();
    let key = SigningKey::parse(&format!("{name}:{SECRET}")).unwrap();
    let signed = draft.narinfo.clone().and("Sig", &key.sign(&draft.fingerprint()).to_string());
    assert_eq!(putter.put_narinfo(&draft, &signed).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_registered_signature_stays_beside_that_of_the_server() {
    let server = Server::start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let admin = server.cachix(Some(&server.token("main", Scope::Admin).unwrap()));
    admin.key("main", PUBLIC).await.unwrap();
    let keys = server.cache_show("main").unwrap().public_keys;
    assert_eq!((keys.len(), &keys[0]), (2, &cache.public_keys[0]));
    let own = PushOptions { signer: Some(Signer::parse(SECRET).unwrap()), ..PushOptions::default() };
    let (with, without) = (Object::synthetic("with", 4_000, 1), Object::synthetic("without", 4_000, 2));
    admin.push_one("main", &with, &own).await.unwrap();
    admin.push_one("main", &without, &PushOptions::default()).await.unwrap();
    let putter = server.putter("main", &server.token("main", Scope::Push).unwrap());
    let names: Vec<String> = keys.iter().map(|key| key.split(':').next().unwrap().to_owned()).collect();
    let narinfo = putter.narinfo(with.hash()).await.unwrap().unwrap();
    assert_eq!(signers(&narinfo.all("Sig")), names);
    let narinfo = putter.narinfo(without.hash()).await.unwrap().unwrap();
    assert_eq!(signers(&narinfo.all("Sig")), names[..1]);
}
