//! Several servers over one PostgreSQL and one folder.

use super::*;
use crate::{Client, Error, replica::Membership};
use iglu_api::{event::LiveEvent, token::TokenCreate};
use std::time::{Duration, Instant};

/// Two servers that know of each other.
struct Pair {
    home: Home,
    other: Core,
    first: Option<Membership>,
    second: Option<Membership>,
}

impl Pair {
    async fn new() -> Pair {
        let home = Home::postgres().await;
        let other = home.beside().await;
        let first = home.core.join("one");
        until("the first leads", async || home.core.is_leader()).await;
        let second = other.join("two");
        let pair = Pair { home, other, first: Some(first), second: Some(second) };
        for core in [&pair.home.core, &pair.other] {
            until("both hear both", async || core.hears() && core.replica_list().len() == 2).await;
        }
        pair
    }

    /// What the server's timers do.
    async fn refreshing(core: &Core) {
        core.work_due(Reconciler::DirectoryRefresh).await;
        core.work_run(Reconciler::DirectoryRefresh).await.unwrap();
    }
}

/// Waits for what must come to be soon.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "not so after 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn remembers(core: &Core, cache: &str, thing: &Thing) -> bool {
    let cache = core.cache_remembered(cache).unwrap();
    core.path().narinfo_remembered(&cache, thing.claim.store_path.hash()).is_some()
}

#[tokio::test]
async fn what_one_does_the_others_know() {
    let pair = Pair::new().await;
    let (one, two, operator) = (&pair.home.core, &pair.other, &Caller::Operator);
    pair.home.cache("main", Visibility::Public).await;
    let leaf = thing("leaf", &[]);
    // Asked for at one server, then brought to the other one: at once there, however often it was asked for.
    assert!(narinfo(two, "main", &leaf.claim.store_path).await.is_none());
    assert!(narinfo(two, "main", &leaf.claim.store_path).await.is_none());
    push(one, operator, "main", &leaf).await.unwrap();
    assert!(narinfo(two, "main", &leaf.claim.store_path).await.is_some());
    until("the counts of the other's push", async || {
        Pair::refreshing(two).await;
        two.cache_remembered("main").unwrap().path_count() == 1
    })
    .await;
    // Present ones are remembered, and forgotten when the other server takes them out.
    until("it is remembered", async || {
        narinfo(two, "main", &leaf.claim.store_path).await.unwrap();
        remembers(two, "main", &leaf)
    })
    .await;
    one.retention().remove(operator, "main", &[leaf.claim.store_path.hash()], false).await.unwrap();
    Reconciler::Collect.tick(one).await.unwrap();
    until("what was taken out is forgotten", async || !remembers(two, "main", &leaf)).await;
    assert!(narinfo(two, "main", &leaf.claim.store_path).await.is_none());

    // A token ends everywhere.
    let create = TokenCreate {
        name: "ci".to_owned(),
        cache: None,
        scope: Permission::Pull,
        expires_at: None,
        is_of_cache: false,
    };
    let made = one.token().create(operator, &create).await.unwrap();
    two.token().caller(&made.token, "").await.unwrap();
    let id = one.token().list(operator).await.unwrap()[0].id;
    one.token().revoke(operator, id).await.unwrap();
    until("the token ended", async || {
        Pair::refreshing(two).await;
        matches!(two.token().caller(&made.token, "").await.unwrap(), Caller::Anonymous { .. })
    })
    .await;

    // A page of one server shows what was pushed to the other.
    let mut events = two.events.subscribe();
    until("the first knows of the page", async || one.somebody_watches()).await;
    let seen = thing("seen", &[]);
    push(one, operator, "main", &seen).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let LiveEvent::PathPushed { path, .. } = &*events.recv().await.unwrap() {
                return path.name.clone();
            }
        }
    });
    assert_eq!(heard.await.unwrap(), "seen");
}

#[tokio::test]
async fn one_of_them_leads() {
    let mut pair = Pair::new().await;
    let (one, two) = (pair.home.core.clone(), pair.other.clone());
    until("one leads", async || one.is_leader() != two.is_leader()).await;
    assert!(one.is_leader() && one.work_is_ours(Reconciler::Scrub) && !two.work_is_ours(Reconciler::Scrub));
    assert!(two.work_is_ours(Reconciler::ActivityFlush));
    let shown = async |core: &Core| core.instance().get(&Caller::Operator).await.unwrap();
    until("the other says who leads", async || {
        shown(&two).await.replicas.iter().any(|replica| replica.name == "one" && replica.is_leader && !replica.is_this)
    })
    .await;
    one.work_run(Reconciler::Sweep).await.unwrap();
    until("how its work goes is seen at the other", async || {
        let work = shown(&two).await.work;
        work.iter().any(|work| work.name == "sweep" && work.last_ended_at.is_some())
    })
    .await;
    // What a person asks for at one server is done by the other.
    let woken = tokio::spawn({
        let one = one.clone();
        async move {
            one.work_due(Reconciler::Retain).await;
            one.work_due(Reconciler::Retain).await;
        }
    });
    two.work_wake(Reconciler::Retain);
    until("the leader was woken", async || {
        two.work_wake(Reconciler::Retain);
        woken.is_finished()
    })
    .await;
    pair.first.take().unwrap().leave().await;
    until("the other leads", async || two.is_leader() && !one.is_leader()).await;
    until("who left is not listed", async || two.replica_list().len() == 1).await;
    pair.second.take().unwrap().leave().await;
    assert!(!two.is_leader());
}

#[tokio::test]
async fn what_was_not_heard_is_made_up_for() {
    let pair = Pair::new().await;
    let (one, two, operator) = (&pair.home.core, &pair.other, &Caller::Operator);
    pair.home.cache("main", Visibility::Public).await;
    let leaf = thing("leaf", &[]);
    push(one, operator, "main", &leaf).await.unwrap();
    narinfo(two, "main", &leaf.claim.store_path).await.unwrap();
    assert!(remembers(two, "main", &leaf));
    // Every connection that listens is cut, and the leader's.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE (query LIKE 'LISTEN%' OR query LIKE 'SELECT 1%' OR query LIKE '%advisory%') AND pid <> pg_backend_pid()";
    one.db.test_execute(cut).await.unwrap();
    until("they are deaf", async || !two.hears()).await;
    assert!(narinfo(two, "main", &leaf.claim.store_path).await.is_some(), "it is still served");
    until("they hear again", async || one.hears() && two.hears()).await;
    until("one of them leads again", async || one.is_leader() != two.is_leader()).await;
    until("what was remembered is forgotten", async || !remembers(two, "main", &leaf)).await;
    narinfo(two, "main", &leaf.claim.store_path).await.unwrap();
    assert!(remembers(two, "main", &leaf));
}

#[tokio::test]
async fn more_servers_do_not_mean_more_tries() {
    let pair = Pair::new().await;
    let client = Client { address: "192.0.2.1".to_owned(), ..Client::default() };
    let (mut refused, mut tried) = (0, 0);
    for core in [&pair.home.core, &pair.other].repeat(5) {
        match core.account().session_create("ada", "not the password", &client).await {
            Err(Error::TooMany { retry_after_seconds, .. }) => {
                assert!((1..=60).contains(&retry_after_seconds), "{retry_after_seconds}");
                refused += 1;
            }
            Err(_) => tried += 1,
            Ok(_) => unreachable!("there is no ada"),
        }
    }
    assert_eq!((tried, refused), (6, 4));
}

#[tokio::test]
async fn an_upload_goes_on_at_another_server() {
    let pair = Pair::new().await;
    let (one, two, operator) = (&pair.home.core, &pair.other, &Caller::Operator);
    pair.home.cache("main", Visibility::Public).await;
    let leaf = thing("leaf", &[]);
    let id = one.push().multipart_create(operator, "main", Compression::None).await.unwrap();
    for (number, part) in (1..).zip(leaf.nar.chunks(40)) {
        let core = if number % 2 == 0 { one } else { two };
        let md5 = STANDARD.encode(Md5::digest(part));
        let url = core.push().part_url(operator, "main", id, number, &md5).await.unwrap().0;
        let (md5, proof) = capability(&url);
        let other = if number % 2 == 0 { two } else { one };
        other.push().part_put(id, number, &md5, &proof, body(part)).await.unwrap();
    }
    // Asked of both at once: the client gave up waiting for the first.
    let (first, second) = (one.push(), two.push());
    let (first, second) = tokio::join!(
        first.complete(operator, "main", id, None, leaf.claim.clone()),
        second.complete(operator, "main", id, None, leaf.claim.clone()),
    );
    first.unwrap();
    second.unwrap();
    assert!(narinfo(one, "main", &leaf.claim.store_path).await.is_some());
    assert_eq!(pair.home.stored_files(), 1);
}

/// A push signs with the keys that the cache has when it ends, whichever server added one since it began.
#[tokio::test]
async fn a_push_signs_with_the_newest_keys() {
    let pair = Pair::new().await;
    let (one, two, operator) = (&pair.home.core, &pair.other, &Caller::Operator);
    pair.home.cache("main", Visibility::Public).await;
    two.refresh().await.unwrap();
    let leaf = thing("leaf", &[]);
    let begun = upload(two, operator, "main", &[&leaf.nar]).await.unwrap();
    one.key().add(operator, "main").await.unwrap();
    two.push().complete(operator, "main", begun, None, leaf.claim.clone()).await.unwrap();
    let signed = narinfo(two, "main", &leaf.claim.store_path).await.unwrap();
    assert_eq!(signed.signatures.len(), 2);
}

/// A server that leads anew removes no file until whoever led before has let go of what it took.
#[tokio::test]
async fn a_new_leader_waits_before_it_removes_files() {
    let mut pair = Pair::new().await;
    let (one, two) = (pair.home.core.clone(), pair.other.clone());
    one.db.file_set_dead("nar", &[7; 32], 1, 0).await.unwrap();
    assert!(one.leads_for().is_some_and(|led| led < crate::storage::SETTLED) && two.leads_for().is_none());
    assert_eq!(one.files_remove().await.unwrap(), (0, 0));
    assert_eq!(one.db.dead_file_count().await.unwrap().0, 1);
    pair.first.take().unwrap().leave().await;
    until("the second leads", async || two.is_leader()).await;
    assert!(one.leads_for().is_none() && two.leads_for().is_some());
    assert!(two.leads_anew() && !two.leads_anew(), "once in a term");
}

/// A leader that stood still with both its clocks may find its files to be another's, or brought back by a push.
#[tokio::test]
async fn a_file_that_is_no_longer_ours_is_not_removed() {
    let home = Home::postgres().await;
    let (core, hash) = (&home.core, [7; 32]);
    core.db.file_set_dead("nar", &hash, 1, 0).await.unwrap();
    let taken_at = core.now();
    let taken = core.db.dead_files_take(taken_at.0, 1000, taken_at.0).await.unwrap().unwrap();
    let is_ours = async || core.db.dead_file_is_taken(&taken[0], taken_at.0).await.unwrap();
    assert!(is_ours().await);
    // What was taken a moment ago is not let go of: whoever took it may be at it.
    core.db.dead_files_release(taken_at.plus(-1000).0).await.unwrap();
    assert!(is_ours().await && !core.db.file_revive("nar", &hash).await.unwrap());
    core.db.dead_files_release(taken_at.plus(1).0).await.unwrap();
    assert!(!is_ours().await);
    assert!(core.db.file_revive("nar", &hash).await.unwrap());
    assert!(!is_ours().await);
}

/// What is kept for a time would go too early.
#[tokio::test]
async fn a_server_whose_clock_is_wrong_does_not_lead() {
    let pair = Pair::new().await;
    let (one, two) = (&pair.home.core, &pair.other);
    assert!(one.is_leader());
    pair.home.clock.advance(10 * Timestamp::MINUTE);
    until("nobody leads", async || !one.is_leader() && !two.is_leader()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!one.is_leader() && !two.is_leader());
    pair.home.clock.advance(-10 * Timestamp::MINUTE);
    until("one leads", async || one.is_leader() != two.is_leader()).await;
}
