//! What is done where the master key is lost.

use super::*;
use crate::{Error, Opening, key_loss, key_loss::LostKeys};
use iglu_api::key::KeyState;
use nix_compat::signing::SigningKey;

on_both! {
    keys_that_nobody_opens_are_replaced
}

async fn keys_that_nobody_opens_are_replaced(home: Home) {
    let core = &home.core;
    for name in ["main", "other"] {
        home.cache(name, Visibility::Public).await;
    }
    core.key().add(&Caller::Operator, "other").await.unwrap();
    let old = thing("old", &[]);
    push(core, &Caller::Operator, "main", &old).await.unwrap();
    // Somebody who signs has the name that would be next.
    let theirs = SigningKey::from_seed("x".to_owned(), [9; 32]).unwrap().verifying_key().to_string();
    assert_eq!(core.key().register(&Caller::Operator, "main", &theirs).await.unwrap(), "main.127.0.0.1-2");
    let location = location(home.folder.path(), home.postgres.as_ref());
    let (right, fresh) = (MasterKey::from_bytes(&[1; 32]), MasterKey::from_bytes(&[2; 32]));
    let replace = async |master: &MasterKey| key_loss::replace(&location, Opening::default(), master, core.now()).await;
    if home.postgres.is_some() {
        let refused = replace(&fresh).await;
        assert!(matches!(&refused, Err(Error::Conflict { message, .. }) if message.contains("stop")), "{refused:?}");
    }
    core.close().await.unwrap();
    assert!(key_loss::is_needed(&location, Opening::default()).await.unwrap());
    assert_eq!(key_loss::find(&location, &right).await.unwrap(), []);
    assert_eq!(replace(&right).await.unwrap(), [], "good keys stay");

    let lost = |cache: &str, names: &[&str]| LostKeys {
        cache: cache.to_owned(),
        lost: names.iter().map(ToString::to_string).collect(),
        public_key: None,
    };
    let all = [lost("main", &["main.127.0.0.1-1"]), lost("other", &["other.127.0.0.1-1", "other.127.0.0.1-2"])];
    assert_eq!(key_loss::find(&location, &fresh).await.unwrap(), all);
    let mut replaced = replace(&fresh).await.unwrap();
    let keys: Vec<_> = replaced.iter_mut().map(|one| one.public_key.take().unwrap()).collect();
    assert_eq!(replaced, all);
    assert!(keys[0].starts_with("main.127.0.0.1-3:") && keys[1].starts_with("other.127.0.0.1-3:"), "{keys:?}");
    assert_eq!(key_loss::find(&location, &fresh).await.unwrap(), [], "once is enough");

    // A server starts with the new key, and signs what is there.
    let config = |master| CoreConfig { master, ..config(home.folder.path(), location.clone(), &home.clock) };
    assert!(Core::open(config(right)).await.is_err());
    let core = Core::open(config(fresh)).await.unwrap();
    let signers = async |path: &StorePath| {
        let narinfo = narinfo(&core, "main", path).await.unwrap();
        narinfo.signatures.into_iter().map(|signature| signature.key_name).collect::<Vec<_>>()
    };
    assert_eq!(signers(&old.claim.store_path).await, ["main.127.0.0.1-1"], "what was signed stays signed");
    Reconciler::Resign.tick(&core).await.unwrap();
    assert_eq!(signers(&old.claim.store_path).await, ["main.127.0.0.1-1", "main.127.0.0.1-3"]);
    let new = thing("new", &[]);
    push(&core, &Caller::Operator, "main", &new).await.unwrap();
    assert_eq!(signers(&new.claim.store_path).await, ["main.127.0.0.1-3"]);
    let listed = core.key().list(&Caller::Operator, "main").await.unwrap();
    assert!(matches!(listed[0].state, KeyState::Retired { .. }) && listed[1].public_key == keys[0], "{listed:?}");
}
