//! What is done where the master key is lost.

use super::*;
use crate::{Error, key_loss, key_loss::LostKeys};
use iglu_api::key::KeyState;

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
    let location = location(home.folder.path(), home.postgres.as_ref());
    let (right, fresh) = (MasterKey::from_bytes(&[1; 32]), MasterKey::from_bytes(&[2; 32]));
    assert_eq!(key_loss::find(&location, Some(&right)).await.unwrap(), []);
    assert_eq!(key_loss::replace(&location, &right, core.now()).await.unwrap(), [], "good keys stay");

    if home.postgres.is_some() {
        let member = core.join("one");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !core.is_leader() {
            assert!(std::time::Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let refused = key_loss::replace(&location, &fresh, core.now()).await;
        assert!(matches!(&refused, Err(Error::Conflict { message, .. }) if message.contains("stop")), "{refused:?}");
        member.leave().await;
    }

    let lost = |cache: &str, names: &[&str]| LostKeys {
        cache: cache.to_owned(),
        lost: names.iter().map(ToString::to_string).collect(),
        public_key: None,
    };
    let all = [lost("main", &["main.127.0.0.1-1"]), lost("other", &["other.127.0.0.1-1", "other.127.0.0.1-2"])];
    for master in [None, Some(&fresh)] {
        assert_eq!(key_loss::find(&location, master).await.unwrap(), all);
    }
    let mut replaced = key_loss::replace(&location, &fresh, core.now()).await.unwrap();
    let keys: Vec<_> = replaced.iter_mut().map(|one| one.public_key.take().unwrap()).collect();
    assert_eq!(replaced, all);
    assert!(keys[0].starts_with("main.127.0.0.1-2:") && keys[1].starts_with("other.127.0.0.1-3:"), "{keys:?}");
    assert_eq!(key_loss::find(&location, Some(&fresh)).await.unwrap(), [], "once is enough");

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
    assert_eq!(signers(&old.claim.store_path).await, ["main.127.0.0.1-1", "main.127.0.0.1-2"]);
    let new = thing("new", &[]);
    push(&core, &Caller::Operator, "main", &new).await.unwrap();
    assert_eq!(signers(&new.claim.store_path).await, ["main.127.0.0.1-2"]);
    let listed = core.key().list(&Caller::Operator, "main").await.unwrap();
    assert!(matches!(listed[0].state, KeyState::Retired { .. }) && listed[1].public_key == keys[0], "{listed:?}");
}
