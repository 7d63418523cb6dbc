//! The demo's builders: a forge that calls, nodes that take runs and tell of them, all through the doors of core that real ones use.

use super::{Dice, OPERATOR, Team};
use anyhow::Context;
use iglu_api::{
    BuilderName, CacheName, Reference, Repository, Timestamp,
    builder::{BuilderCreate, BuilderSpec, RunLimits, Triggers, Webhook, What},
    node::{Assignment, Hello, Outcome, Report, RunEvent},
    run::{DerivationState, RunStart},
};
use iglu_core::{Core, Node, clock::Clock, webhook::Signed};
use nix_compat::{nixhash::Sha256, store_path::StorePathHash};

/// What a run builds, with the minutes that each takes.
type Derivations = &'static [(&'static str, i64)];
/// Builders: name, cache, and what they build.
const BUILDERS: [(&str, &str, Derivations); 3] = [
    ("website", "main", &[("orders-web", 3), ("design-system", 1), ("orders-api", 4), ("website-checks", 2)]),
    ("infrastructure", "main", &[("infra-tools", 2), ("nixos-system-web", 6), ("nixos-system-db", 5)]),
    ("firmware", "nightly", &[("cross-toolchain", 11), ("firmware-image", 7)]),
];
const SUBJECTS: [&str; 8] = [
    "Show prices with tax",
    "Update nixpkgs",
    "Retry when the queue is full",
    "Remove the old login",
    "Search in two languages",
    "Bump dependencies",
    "Answer faster when nothing changed",
    "Fix the footer on small screens",
];

/// The builders and nodes of a demo.
pub struct Builds<'a> {
    core: &'a Core,
    clock: &'a Clock,
    nodes: Vec<Node>,
    /// Where forges call, with what.
    secrets: Vec<String>,
}

impl<'a> Builds<'a> {
    /// Makes them.
    pub async fn begin(core: &'a Core, clock: &'a Clock) -> anyhow::Result<Builds<'a>> {
        let mut builds = Builds { core, clock, nodes: Vec::new(), secrets: Vec::new() };
        for (name, capacity) in [("build-1", 4), ("build-2", 2)] {
            let secret = core.node().create(&OPERATOR, name).await?;
            let node = core.node().by_secret(&secret).await?;
            let features = ["big-parallel", "kvm"].map(str::to_owned).to_vec();
            let hello = Hello {
                epoch: "demo".to_owned(),
                systems: vec!["x86_64-linux".to_owned()],
                features,
                capacity,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                nix_version: "2.34.1".to_owned(),
            };
            core.node().greet(&node, &hello).await?;
            builds.nodes.push(core.node().by_secret(&secret).await?);
        }
        for (name, cache, _) in BUILDERS {
            let spec = BuilderSpec {
                repository: Repository::parse(&format!("https://git.example.org/team/{name}.git"))?,
                reference: Reference::parse("main")?,
                what: What::Flake { folder: String::new(), outputs: vec!["packages".to_owned(), "checks".to_owned()] },
                systems: Vec::new(),
                substituters: Vec::new(),
                trusted_keys: Vec::new(),
                keep_going: true,
                full_history: false,
                limits: RunLimits::default(),
                keep_runs: 1,
                triggers: Triggers { webhook: Some(Webhook::default()), ..Triggers::default() },
                status: None,
            };
            let create = BuilderCreate {
                name: BuilderName::parse(name)?,
                cache: CacheName::parse(cache)?,
                spec,
                credential: None,
                status_token: None,
            };
            core.builder().create(&OPERATOR, &create).await?;
            builds.secrets.push(core.builder().webhook(&OPERATOR, name).await?.secret);
        }
        Ok(builds)
    }

    /// What is built on one day. How long that took, in milliseconds.
    pub async fn day(&self, team: &mut Team<'_>, day: i64) -> anyhow::Result<i64> {
        let began = self.core.now().0;
        for (at, (name, cache, derivations)) in BUILDERS.into_iter().enumerate() {
            let runs = if day % 7 >= 5 { team.dice.between(0, 2) } else { team.dice.between(1, 4) };
            for _ in 0..runs {
                self.ask(&mut team.dice, name, &self.secrets[at]).await?;
                let node = &self.nodes[team.dice.between(0, self.nodes.len() as u64) as usize];
                let claimed = self.core.run().claim(node).await?.context("a run was queued")?;
                self.execute(team, node, &claimed, (cache, derivations), day).await?;
            }
        }
        Ok(self.core.now().0 - began)
    }

    /// Most runs begin with a call of the forge, some by hand.
    async fn ask(&self, dice: &mut Dice, builder: &str, secret: &str) -> anyhow::Result<()> {
        if dice.between(0, 5) == 0 {
            self.core.run().start(&OPERATOR, builder, &RunStart::default()).await?;
            return Ok(());
        }
        let signed = Signed {
            gitlab_event: Some("Push Hook".to_owned()),
            gitlab_token: Some(secret.to_owned()),
            ..Signed::default()
        };
        let who = ["grace", "linus", "barbara"][dice.between(0, 3) as usize];
        let call = serde_json::json!({
            "ref": "refs/heads/main", "after": commit(dice), "user_username": who, "commits": [],
        });
        let received = self.core.webhook_receive(builder, &signed, call.to_string().as_bytes()).await?;
        received.run.map(drop).with_context(|| received.message)
    }

    async fn execute(
        &self,
        team: &mut Team<'_>,
        node: &Node,
        claimed: &Assignment,
        (cache, derivations): (&str, Derivations),
        day: i64,
    ) -> anyhow::Result<()> {
        let (mut next, minute) = (0, Timestamp::MINUTE);
        let pusher = self.core.token().caller(&claimed.token, "192.0.2.30").await?;
        let reference = claimed.reference.as_str();
        let commit = if claimed.reference.is_commit() { reference.to_owned() } else { commit(&mut team.dice) };
        let subject = SUBJECTS[team.dice.between(0, SUBJECTS.len() as u64) as usize].to_owned();
        let note = |text: &str| line(None, &format!("\u{1b}[2m{text}\u{1b}[0m"));
        self.clock.advance(team.dice.between(2, 40) as i64 * Timestamp::SECOND);
        let begun = vec![
            note(&format!("fetching {reference} of {}", claimed.spec.repository)),
            note(&format!("checked out {commit}")),
            RunEvent::Commit { commit, subject },
            note("evaluating"),
            note(&format!("building {} derivations and what they need", derivations.len())),
        ];
        self.tell(node, claimed, &mut next, begun).await?;
        // One run in eight fails, in one of its derivations.
        let failing = team.dice.between(0, 8 * derivations.len() as u64) as usize;
        for (at, (name, minutes)) in derivations.iter().enumerate() {
            let number = u32::try_from(at)?;
            let hash = StorePathHash::fold(&Sha256::digest(&team.dice.roll().to_le_bytes()));
            let state = |state, reason: &str| RunEvent::Derivation {
                number,
                drv: format!("{hash}-{name}.drv"),
                state,
                at: self.core.now(),
                reason: reason.to_owned(),
            };
            if at > 0 && team.dice.between(0, 3) == 0 && at != failing {
                self.tell(node, claimed, &mut next, vec![state(DerivationState::Substituted, "")]).await?;
                continue;
            }
            let mut events = vec![state(DerivationState::Building, "")];
            for step in ["unpacking sources", "configuring", "building", "running tests"] {
                events.push(line(Some(number), step));
            }
            let tests = team.dice.between(8, 40);
            events.extend(
                (1..=tests).map(|test| line(Some(number), &format!("test {test} of {tests} … \u{1b}[32mok\u{1b}[0m"))),
            );
            self.tell(node, claimed, &mut next, events).await?;
            self.clock.advance(minutes * minute * team.dice.between(70, 140) as i64 / 100);
            if at == failing {
                let said = "\u{1b}[31merror:\u{1b}[0m connection to the test database refused";
                let reason = format!("{name} failed: builder exited with 1");
                let failed = vec![line(Some(number), said), state(DerivationState::Failed, "builder exited with 1")];
                self.tell(node, claimed, &mut next, failed).await?;
                let finished = vec![note(&reason), RunEvent::Finished { outcome: Outcome::Failed, reason }];
                return self.tell(node, claimed, &mut next, finished).await;
            }
            let output = format!("{name}-run{}", claimed.run);
            let kib = team.dice.between(10, 60);
            let path = team.push(&pusher, cache, &output, day, kib, Vec::new()).await?;
            let pushed = RunEvent::Pushed { path: path.to_string(), nar_size: kib << 10 };
            self.tell(node, claimed, &mut next, vec![state(DerivationState::Built, ""), pushed]).await?;
        }
        let finished = vec![RunEvent::Finished { outcome: Outcome::Succeeded, reason: String::new() }];
        self.tell(node, claimed, &mut next, finished).await
    }

    async fn tell(
        &self,
        node: &Node,
        claimed: &Assignment,
        next: &mut u64,
        events: Vec<RunEvent>,
    ) -> anyhow::Result<()> {
        let report = Report { lease: claimed.lease.clone(), first: *next, events, waiting: String::new() };
        *next = self.core.run().tell(node, claimed.run, &report).await?.next;
        Ok(())
    }
}

fn line(derivation: Option<u32>, text: &str) -> RunEvent {
    RunEvent::Line { derivation, text: text.to_owned() }
}

fn commit(dice: &mut Dice) -> String {
    (0..5).map(|_| format!("{:08x}", dice.roll() >> 32)).collect()
}
