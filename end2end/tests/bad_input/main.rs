//! Whatever is wrong with an upload is refused with one line that says what, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

mod abuse;
mod attic;
mod attic_config;
mod bombs;
mod cachix;
mod calls;
mod content_address;
mod encoding;
mod legacy;
mod narinfo;
mod pack;
mod probe;
mod request;
mod routes;
mod side_files;
mod signatures;
mod smuggling;
mod stream;
mod tenants;
mod url;

use iglu_end2end::cachix::Client;
use iglu_end2end::digest::{self, Random};
use iglu_end2end::nar;
use iglu_end2end::put::{Draft, Narinfo, Putter};
use iglu_end2end::refusal::Refusal;
use iglu_end2end::server::{Scope, Server, Setup};

const MIB: u64 = 1024 * 1024;

struct Door {
    server: Server,
    putter: Putter,
    client: Client,
    key: String,
    token: String,
}

/// A public cache `main` and a token that may push to it.
async fn door() -> Door {
    door_of(Setup::default()).await
}

async fn door_of(setup: Setup) -> Door {
    let server = setup.start().await.unwrap();
    let cache = server.cache("main", false).unwrap();
    let token = server.token("main", Scope::Push).unwrap();
    let (putter, client) = (server.putter("main", &token), server.cachix(Some(&token)));
    Door { server, putter, client, key: cache.public_keys[0].clone(), token }
}

impl Door {
    /// Neither visible nor counted as present.
    async fn has_not(&self, hash: &str, why: &str) {
        assert_eq!(self.putter.narinfo(hash).await.unwrap(), None, "{why}: visible");
        assert_eq!(self.client.missing("main", &[hash.to_owned()]).await.unwrap(), [hash], "{why}: counted as present");
    }

    /// Present for pushers, but not shown as long as its references are not there.
    async fn has_not_shown(&self, hash: &str) {
        assert_eq!(self.putter.narinfo(hash).await.unwrap(), None, "shown without its references");
        assert!(self.client.missing("main", &[hash.to_owned()]).await.unwrap().is_empty(), "forgotten");
    }

    async fn has(&self, hash: &str) {
        let narinfo = self.putter.narinfo(hash).await.unwrap().unwrap();
        self.putter.check(&narinfo).await.unwrap();
    }
}

fn small(seed: u64) -> Vec<u8> {
    nar::archive(&nar::regular(&Random::new(seed).bytes(2000)))
}

/// A NAR in which the made-up store paths of these names occur, as those do that a path refers to.
fn mentioning(names: &[&str], seed: u64) -> Vec<u8> {
    let paths: String = names.iter().map(|name| digest::made_up_path(name, 1) + "\n").collect();
    nar::archive(&nar::regular(&[paths.as_bytes(), &Random::new(seed).bytes(2000)].concat()))
}

/// Sends the narinfo of a draft with one thing changed, and expects 400.
async fn refused_narinfo(door: &Door, draft: &Draft, narinfo: &Narinfo, what: &str) -> Refusal {
    let reply = door.putter.put_narinfo(draft, narinfo).await.unwrap();
    assert_eq!(reply.status, 400, "{what}: {}", reply.text());
    door.has_not(draft.hash(), what).await;
    Refusal::of(&reply).unwrap_or_else(|error| panic!("{what}: {error}"))
}
