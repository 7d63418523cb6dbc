//! Builders, the queue, and what nodes tell, on both engines.

use super::*;
use crate::{Error, node::Node, webhook::Signed};
use iglu_api::{
    BuilderName, Reference, Repository,
    builder::{BuilderChange, BuilderCreate, BuilderSpec, Credential, RunLimits, Triggers, Webhook, What},
    member::Role,
    node::{Assignment, FailedBefore, Heard, Hello, Outcome, Report, RunEvent},
    probe::{ProbeAnswer, ProbeStart},
    run::{DerivationState, RunStart, RunState},
};

on_both! {
    the_queue_has_an_order
    what_a_node_tells_counts_once
    a_lost_node_loses_its_runs
    builders_are_kept
    logs_are_packed_and_runs_forgotten
    repositories_are_looked_at
}

pub(crate) fn spec() -> BuilderSpec {
    BuilderSpec {
        repository: Repository::parse("https://example.org/a.git").unwrap(),
        reference: Reference::parse("main").unwrap(),
        what: What::Flake { folder: String::new(), outputs: vec!["packages".to_owned()] },
        systems: Vec::new(),
        substituters: Vec::new(),
        trusted_keys: Vec::new(),
        keep_going: false,
        full_history: false,
        limits: RunLimits::default(),
        keep_runs: 0,
        triggers: Triggers::default(),
        status: None,
    }
}

pub(super) async fn builder(core: &Core, name: &str, cache: &str, spec: BuilderSpec) {
    let create = BuilderCreate {
        name: BuilderName::parse(name).unwrap(),
        cache: CacheName::parse(cache).unwrap(),
        spec,
        credential: None,
        status_token: None,
    };
    core.builder().create(&Caller::Operator, &create).await.unwrap();
}

/// Starts a node of this name, once more where it is there.
pub(super) async fn node(core: &Core, secret: &str, epoch: &str) -> Node {
    let hello = Hello {
        epoch: epoch.to_owned(),
        systems: vec!["x86_64-linux".to_owned()],
        features: Vec::new(),
        capacity: 4,
        version: "1".to_owned(),
        nix_version: "2".to_owned(),
    };
    core.node().greet(&core.node().by_secret(secret).await.unwrap(), &hello).await.unwrap();
    core.node().by_secret(secret).await.unwrap()
}

pub(super) fn probe(cache: &str) -> ProbeStart {
    let (repository, reference) = (spec().repository, spec().reference);
    let cache = CacheName::parse(cache).unwrap();
    ProbeStart { cache, repository, reference, folder: String::new(), credential: None, builder: None }
}

async fn start(core: &Core, builder: &str, priority: i32) -> u64 {
    core.run().start(&Caller::Operator, builder, &RunStart { reference: None, priority }).await.unwrap()
}

async fn tell(core: &Core, node: &Node, has: &Assignment, first: u64, events: Vec<RunEvent>) -> Result<Heard> {
    core.run().tell(node, has.run, &Report { lease: has.lease.clone(), first, events, waiting: String::new() }).await
}

fn line(text: &str) -> RunEvent {
    RunEvent::Line { derivation: Some(3), text: text.to_owned() }
}

fn finished(outcome: Outcome) -> RunEvent {
    RunEvent::Finished { outcome, reason: "because".to_owned() }
}

/// A row of everything, in cache `main`.
pub(super) async fn furnish(core: &Core) {
    builder(core, "b", "main", spec()).await;
    let secret = core.node().create(&Caller::Operator, "n").await.unwrap();
    let node = node(core, &secret, "e").await;
    core.builder().probe(&Caller::Operator, &probe("main")).await.unwrap();
    start(core, "b", 0).await;
    let has = core.run().claim(&node).await.unwrap().unwrap();
    let built = RunEvent::Derivation {
        number: 0,
        drv: "x-tool.drv".to_owned(),
        state: DerivationState::Built,
        at: core.now(),
        reason: String::new(),
    };
    let pushed = RunEvent::Pushed { path: "y-tool".to_owned(), nar_size: 7 };
    tell(core, &node, &has, 0, vec![line("one"), built, pushed]).await.unwrap();
    let triggers = Triggers { webhook: Some(Webhook::default()), ..Triggers::default() };
    let change = BuilderChange { spec: Some(BuilderSpec { triggers, ..spec() }), ..BuilderChange::default() };
    core.builder().change(&Caller::Operator, "b", &change).await.unwrap();
    assert_eq!(core.webhook_receive("b", &Signed::default(), b"{}").await.unwrap().status, 401);
}

async fn the_queue_has_an_order(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let limits = RunLimits { runs: 2, ..RunLimits::default() };
    for name in ["busy", "quiet"] {
        builder(core, name, "main", BuilderSpec { limits, ..spec() }).await;
    }
    let arm = BuilderSpec { systems: vec!["aarch64-linux".to_owned()], ..spec() };
    builder(core, "arm", "main", arm).await;
    let secret = core.node().create(&Caller::Operator, "n1").await.unwrap();
    let node = node(core, &secret, "e1").await;

    let busy = [start(core, "busy", 0).await, start(core, "busy", 0).await, start(core, "busy", 0).await];
    let elsewhere = start(core, "arm", 0).await;
    let quiet = start(core, "quiet", 0).await;
    let urgent = start(core, "quiet", 5).await;
    let mut order = Vec::new();
    let mut has = Vec::new();
    for _ in 0..4 {
        let assignment = core.run().claim(&node).await.unwrap().unwrap();
        order.push(assignment.run);
        has.push(assignment);
    }
    // The urgent one first; then whoever has least gets most; two of a builder at a time; what the node cannot build waits.
    assert_eq!(order, [urgent, busy[0], quiet, busy[1]]);
    let queue = core.run().queue(&Caller::Operator).await.unwrap();
    let waiting: Vec<_> = queue.iter().filter(|run| run.state == RunState::Queued).collect();
    assert_eq!(waiting.len(), 2);
    let hint = waiting.iter().find(|run| run.id == elsewhere).unwrap();
    assert!(hint.reason.starts_with("no node can build aarch64-linux"), "{}", hint.reason);
    tell(core, &node, &has[1], 0, vec![finished(Outcome::Failed)]).await.unwrap();
    assert_eq!(core.run().claim(&node).await.unwrap().unwrap().run, busy[2]);

    // A queued run ends at once, and its node hears of a running one's end.
    core.run().cancel(&Caller::Operator, elsewhere).await.unwrap();
    assert_eq!(core.run().get(&Caller::Operator, elsewhere).await.unwrap().run.state, RunState::Cancelled);
    assert!(matches!(core.run().cancel(&Caller::Operator, elsewhere).await, Err(Error::Conflict { .. })));
    assert!(!tell(core, &node, &has[0], 0, Vec::new()).await.unwrap().cancel);
    core.run().cancel(&Caller::Operator, urgent).await.unwrap();
    assert!(tell(core, &node, &has[0], 0, Vec::new()).await.unwrap().cancel);
    assert!(core.run().get(&Caller::Operator, urgent).await.unwrap().is_ending);

    core.node().drain(&Caller::Operator, "n1", true).await.unwrap();
    start(core, "quiet", 0).await;
    let drained = core.node().by_secret(&secret).await.unwrap();
    let asked = tokio::time::timeout(std::time::Duration::from_millis(200), core.run().claim(&drained)).await;
    assert!(asked.is_err(), "a drained node got {asked:?}");
}

async fn what_a_node_tells_counts_once(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    builder(core, "b", "main", spec()).await;
    let secret = core.node().create(&Caller::Operator, "n1").await.unwrap();
    let node = node(core, &secret, "e1").await;
    let id = start(core, "b", 0).await;
    let has = core.run().claim(&node).await.unwrap().unwrap();
    assert_eq!((has.run, has.attempt, has.tries_again), (id, 1, true));

    // Its token pushes to its cache and to no other, and changes nothing.
    home.cache("other", Visibility::Private).await;
    let caller = core.token().caller(&has.token, "").await.unwrap();
    core.cache().open(&caller, "main", Permission::Push, Discretion::Hide).await.unwrap();
    assert!(core.cache().open(&caller, "main", Permission::Admin, Discretion::Hide).await.is_err());
    assert!(core.cache().open(&caller, "other", Permission::Pull, Discretion::Hide).await.is_err());

    let commit = RunEvent::Commit { commit: "a".repeat(40), subject: "first".to_owned() };
    let failed = |state| RunEvent::Derivation {
        number: 3,
        drv: "x-tool.drv".to_owned(),
        state,
        at: core.now(),
        reason: "builder failed with exit code 3".to_owned(),
    };
    let events = vec![commit, failed(DerivationState::Building), line("one"), line("two\nwith a break")];
    assert_eq!(tell(core, &node, &has, 0, events.clone()).await.unwrap().next, 4);
    // The answer was lost, and the node tells again: nothing is there twice.
    assert_eq!(tell(core, &node, &has, 0, events).await.unwrap().next, 4);
    // What is missing in between is not made up.
    assert_eq!(tell(core, &node, &has, 7, vec![line("seven")]).await.unwrap().next, 4);
    let pushed = RunEvent::Pushed { path: "y-tool".to_owned(), nar_size: 7 };
    let events = vec![line("three"), failed(DerivationState::Failed), pushed];
    assert_eq!(tell(core, &node, &has, 4, events).await.unwrap().next, 7);
    let log = core.run().log(&Caller::Operator, id, 1, 10).await.unwrap();
    assert_eq!(log.line_count, 3);
    let lines: Vec<_> = log.lines.iter().map(|line| (line.derivation, line.text.as_str())).collect();
    assert_eq!(lines, [(Some(3), "two with a break"), (Some(3), "three")]);
    let detail = core.run().get(&Caller::Operator, id).await.unwrap();
    assert_eq!((detail.run.state, detail.run.subject.as_str()), (RunState::Running, "first"));
    assert_eq!(detail.derivations[0].state, DerivationState::Failed);
    assert!(detail.derivations[0].started_at.is_some() && detail.derivations[0].ended_at.is_some());
    assert_eq!(detail.pushed[0].nar_size, 7);

    let drvs = vec!["x-tool.drv".to_owned(), "y-other.drv".to_owned()];
    let asked = FailedBefore { lease: has.lease.clone(), drvs };
    assert_eq!(core.run().failed_before(&node, id, &asked).await.unwrap(), ["x-tool.drv"]);

    assert!(tell(core, &node, &has, 7, vec![finished(Outcome::Failed), line("later")]).await.is_err());
    tell(core, &node, &has, 7, vec![finished(Outcome::Failed)]).await.unwrap();
    let detail = core.run().get(&Caller::Operator, id).await.unwrap();
    assert_eq!((detail.run.state, detail.run.reason.as_str()), (RunState::Failed, "because"));
    // The token died with the run, and so did the lease.
    let caller = core.token().caller(&has.token, "").await.unwrap();
    let refused = core.cache().open(&caller, "main", Permission::Push, Discretion::Hide).await.unwrap_err();
    assert!(refused.to_string().contains("the run that this token was for is over"), "{refused}");
    assert!(matches!(tell(core, &node, &has, 8, vec![line("x")]).await, Err(Error::Conflict { .. })));

    // Whoever may not pull from the cache sees neither run nor log.
    let stranger = person("stranger", false);
    assert!(matches!(core.run().get(&stranger, id).await, Err(Error::NotFound(_))));
    assert!(matches!(core.run().log(&Caller::ANONYMOUS, id, 0, 1).await, Err(Error::Unauthenticated(_))));
    assert!(core.run().queue(&stranger).await.unwrap().is_empty());
    // What is hidden and what is not there are told alike, but for what was asked for.
    let words = |error: Error| error.to_string().replace("\"b\"", "it").replace("\"nothing\"", "it");
    for caller in [Caller::ANONYMOUS, stranger, token(9, Some(-1), Permission::Push)] {
        let private = core.builder().get(&caller, "b").await.unwrap_err();
        let absent = core.builder().get(&caller, "nothing").await.unwrap_err();
        assert_eq!(words(private), words(absent));
    }
}

async fn a_lost_node_loses_its_runs(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    builder(core, "b", "main", spec()).await;
    let secrets = [
        core.node().create(&Caller::Operator, "n1").await.unwrap(),
        core.node().create(&Caller::Operator, "n2").await.unwrap(),
    ];
    let (n1, n2) = (node(core, &secrets[0], "a").await, node(core, &secrets[1], "a").await);
    let id = start(core, "b", 0).await;
    let first = core.run().claim(&n1).await.unwrap().unwrap();
    tell(core, &n1, &first, 0, vec![line("begun")]).await.unwrap();
    // Somebody else's lease, or the right one at another node, tells nothing.
    assert!(tell(core, &n2, &first, 1, vec![line("x")]).await.is_err());
    home.clock.advance(core.limits().run_lease - 1000);
    Reconciler::Runs.tick(core).await.unwrap();
    assert_eq!(core.run().get(&Caller::Operator, id).await.unwrap().run.state, RunState::Running);
    home.clock.advance(2000);
    Reconciler::Runs.tick(core).await.unwrap();
    let second = core.run().claim(&n2).await.unwrap().unwrap();
    assert_eq!((second.run, second.attempt), (id, 2));
    assert!(matches!(tell(core, &n1, &first, 1, vec![line("late")]).await, Err(Error::Conflict { .. })));
    tell(core, &n2, &second, 0, vec![line("again")]).await.unwrap();
    let log = core.run().log(&Caller::Operator, id, 0, 10).await.unwrap();
    let lines: Vec<_> = log.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["begun", "node n1 was lost; queued again", "again"]);

    // A node that starts anew does not know what it had: that is lost at once, and the third time is the last.
    let n2 = node(core, &secrets[1], "b").await;
    let third = core.run().claim(&n2).await.unwrap().unwrap();
    assert_eq!(third.attempt, 3);
    core.node().remove(&Caller::Operator, "n2").await.unwrap();
    assert!(core.node().by_secret(&secrets[1]).await.is_err());
    Reconciler::Runs.tick(core).await.unwrap();
    let run = core.run().get(&Caller::Operator, id).await.unwrap().run;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.reason.contains("n2 was lost"), "{}", run.reason);
}

async fn builders_are_kept(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret words\n-----END OPENSSH PRIVATE KEY-----\n";
    let ssh = BuilderSpec { repository: Repository::parse("git@example.org:a.git").unwrap(), ..spec() };
    let create = BuilderCreate {
        name: BuilderName::parse("b").unwrap(),
        cache: CacheName::parse("main").unwrap(),
        spec: ssh.clone(),
        credential: Some(Credential::Key { key: key.to_owned() }),
        status_token: None,
    };
    let maintainer = |role| {
        let roles = HashMap::from([(core.cache_remembered("main").unwrap().id, role)]);
        person_with("mia", Rights { is_admin: false, roles })
    };
    let refused = core.builder().create(&maintainer(Role::Pusher), &create).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    core.builder().create(&maintainer(Role::Maintainer), &create).await.unwrap();
    assert!(matches!(core.builder().create(&Caller::Operator, &create).await, Err(Error::Conflict { .. })));

    let detail = core.builder().get(&Caller::Operator, "b").await.unwrap();
    assert!(detail.has_credential);
    assert!(!serde_json::to_string(&detail).unwrap().contains("secret words"));
    let found = core.db.builder_get("b").await.unwrap().unwrap();
    assert!(!found.credential.as_ref().unwrap().windows(6).any(|bytes| bytes == b"secret"));
    let opened = core.builder().credential("b", found.credential.as_deref()).unwrap();
    assert_eq!(opened, Some(Credential::Key { key: key.to_owned() }));

    // The second of two who change the same builder is told; where the repository is another one, the credential is forgotten.
    let elsewhere = BuilderSpec { repository: Repository::parse("git@elsewhere.org:a.git").unwrap(), ..ssh };
    let change = BuilderChange { spec: Some(elsewhere), revision: Some(1), ..BuilderChange::default() };
    core.builder().change(&Caller::Operator, "b", &change).await.unwrap();
    assert!(!core.builder().get(&Caller::Operator, "b").await.unwrap().has_credential);
    assert!(matches!(core.builder().change(&Caller::Operator, "b", &change).await, Err(Error::Conflict { .. })));

    let off = BuilderChange { is_enabled: Some(false), ..BuilderChange::default() };
    core.builder().change(&Caller::Operator, "b", &off).await.unwrap();
    let refused = core.run().start(&Caller::Operator, "b", &RunStart::default()).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    for (bad, field) in [
        (What::Flake { folder: "../x".to_owned(), outputs: vec!["packages".to_owned()] }, "folder"),
        (What::Flake { folder: String::new(), outputs: Vec::new() }, "outputs"),
        (What::Flake { folder: String::new(), outputs: vec!["--impure".to_owned()] }, "outputs"),
        (What::File { file: "/etc/passwd".to_owned(), attributes: Vec::new() }, "file"),
        (What::Command { command: " ".to_owned() }, "command"),
    ] {
        let change = BuilderChange { spec: Some(BuilderSpec { what: bad, ..spec() }), ..BuilderChange::default() };
        let refused = core.builder().change(&Caller::Operator, "b", &change).await;
        assert!(matches!(refused, Err(Error::Invalid { field: at, .. }) if at == field), "{field}: {refused:?}");
    }
    core.builder().remove(&Caller::Operator, "b").await.unwrap();
    assert!(matches!(core.builder().get(&Caller::Operator, "b").await, Err(Error::NotFound(_))));
}

async fn logs_are_packed_and_runs_forgotten(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Public).await;
    let limits = RunLimits { runs: 100, ..RunLimits::default() };
    builder(core, "b", "main", BuilderSpec { limits, ..spec() }).await;
    let secret = core.node().create(&Caller::Operator, "n").await.unwrap();
    let node = node(core, &secret, "e").await;
    let run = start(core, "b", 0).await;
    let has = core.run().claim(&node).await.unwrap().unwrap();
    for report in 0..50_u64 {
        let lines = (0..100).map(|at| line(&format!("line {}", report * 100 + at))).collect();
        tell(core, &node, &has, report * 100, lines).await.unwrap();
    }
    let operator = &Caller::Operator;
    let before = core.run().log(operator, run, 0, 5000).await.unwrap();
    // While it runs, nothing is packed.
    assert_eq!(core.logs_pack_some().await.unwrap(), 0);
    tell(core, &node, &has, 5000, vec![finished(Outcome::Succeeded)]).await.unwrap();
    assert_eq!(core.logs_pack_some().await.unwrap(), 1);
    assert_eq!(core.logs_pack_some().await.unwrap(), 0);
    let blocks = core.db.run_log(1, 0, 5000).await.unwrap();
    assert_eq!(blocks.len(), 3);
    assert!(blocks.iter().map(|block| block.lines.len()).sum::<usize>() < 25_000);
    assert_eq!(core.run().log(operator, run, 0, 5000).await.unwrap(), before);
    let part = core.run().log(operator, run, 1999, 2).await.unwrap();
    assert_eq!(part.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["line 1999", "line 2000"]);
    assert_eq!(core.run().find(operator, run, "LINE 4999", Some(3), 0).await.unwrap().lines, [4999]);

    for _ in 0..25 {
        let run = start(core, "b", 0).await;
        core.run().cancel(operator, run).await.unwrap();
    }
    let later = core.now().plus(1).0;
    assert_eq!(core.db.run_forget_some(later, 20).await.unwrap(), 6);
    assert_eq!(core.db.run_forget_some(later, 20).await.unwrap(), 0);
    assert!(core.run().get(operator, run).await.is_err());
    assert_eq!(core.builder().get(operator, "b").await.unwrap().runs.len(), 20);
    assert!(core.db.run_log(1, 0, 5000).await.unwrap().is_empty());
}

async fn repositories_are_looked_at(home: Home) {
    let core = &home.core;
    home.cache("main", Visibility::Private).await;
    let admin = Caller::Operator;
    let refused = core.builder().probe(&admin, &probe("main")).await.unwrap_err().to_string();
    assert!(refused.contains("no node is there that could look"), "{refused}");
    let one = node(core, &core.node().create(&admin, "one").await.unwrap(), "e").await;
    let two = node(core, &core.node().create(&admin, "two").await.unwrap(), "e").await;

    // The credential of a builder goes to its own repository and nowhere else.
    builder(core, "b", "main", spec()).await;
    let credential = Credential::Password { user: "u".to_owned(), password: "p".to_owned() };
    let change = BuilderChange { credential: Some(credential.clone()), ..BuilderChange::default() };
    core.builder().change(&admin, "b", &change).await.unwrap();
    let of_builder = ProbeStart { builder: Some(BuilderName::parse("b").unwrap()), ..probe("main") };
    let id = core.builder().probe(&admin, &of_builder).await.unwrap();
    let task = core.node().probe_claim(&one).await.unwrap().unwrap();
    assert_eq!((task.id, &task.credential), (id, &Some(credential)));
    let elsewhere = ProbeStart { repository: Repository::parse("https://evil.example/a.git").unwrap(), ..of_builder };
    core.builder().probe(&admin, &elsewhere).await.unwrap();
    assert_eq!(core.node().probe_claim(&one).await.unwrap().unwrap().credential, None);

    let answer = ProbeAnswer::Failed { reason: "no such host".to_owned() };
    assert!(core.node().probe_tell(&two, id, answer.clone()).await.is_err(), "another node has it");
    core.node().probe_tell(&one, id, answer.clone()).await.unwrap();
    assert!(core.node().probe_tell(&one, id, answer.clone()).await.is_err(), "it is told once");
    assert_eq!(core.builder().probe_answer(&admin, id).await.unwrap(), Some(answer));
    let stranger = Caller::ANONYMOUS;
    assert!(core.builder().probe_answer(&stranger, id).await.is_err());

    for _ in 0..19 {
        core.builder().probe(&admin, &probe("main")).await.unwrap();
    }
    assert!(matches!(core.builder().probe(&admin, &probe("main")).await, Err(Error::TooMany { .. })));
    home.clock.advance(11 * Timestamp::MINUTE);
    assert_eq!(home.core.db.probe_forget(core.now().0 - crate::probe::KEPT).await.unwrap(), 21);
}
