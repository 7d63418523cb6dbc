//! Builds derivations with Nix, follows each of them, and pushes what one made as soon as it is done.

use crate::{
    nixlog::{self, Said},
    process::{capture, read_line, spawn},
    push::Pusher,
    report::Reporter,
    run::Failure,
    sandbox::{BUILD, Room, Sandbox},
};
use iglu_api::{
    node::RunEvent,
    run::DerivationState::{self, Building, Built, Failed, FailedBefore, Queued, Substituted},
};
use std::{
    collections::{HashMap, HashSet},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, BufReader},
    sync::mpsc,
};

/// Bytes of a derivation's log that are kept for the cache; a longer one is cut.
const LONGEST_LOG: usize = 8 << 20;
/// Lines of an error that stand at the top of a run.
const ERROR_LINES: usize = 6;

/// A derivation that a run has to do with.
struct Followed {
    drv: String,
    state: DerivationState,
    reason: String,
    log: Vec<u8>,
}

/// The derivations of a run, by number. Each change is told.
struct Following<'a> {
    all: Vec<Followed>,
    by_drv: HashMap<String, u32>,
    reporter: &'a Reporter,
}

impl Following<'_> {
    /// The number of a derivation; one that is new waits.
    fn number(&mut self, drv: &str) -> u32 {
        if let Some(number) = self.by_drv.get(drv) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.by_drv.insert(drv.to_owned(), number);
        self.all.push(Followed { drv: drv.to_owned(), state: Queued, reason: String::new(), log: Vec::new() });
        self.set(number, Queued);
        number
    }

    fn get(&mut self, number: u32) -> Option<&mut Followed> {
        self.all.get_mut(number as usize)
    }

    fn set(&mut self, number: u32, state: DerivationState) {
        let reporter = self.reporter;
        let Some(one) = self.get(number) else { return };
        one.state = state;
        reporter.tell(&RunEvent::Derivation {
            number,
            drv: base(&one.drv).to_owned(),
            state,
            at: crate::run::now(),
            reason: one.reason.clone(),
        });
    }
}

/// What one build needs.
pub struct Build<'a> {
    pub sandbox: &'a Sandbox,
    pub room: &'a Room,
    pub reporter: &'a Arc<Reporter>,
    pub pusher: &'a Pusher<'a>,
    pub keep_going: bool,
}

impl Build<'_> {
    /// Builds these derivations, leaving out those that failed before, and says why it did not come to an end.
    pub async fn derivations(&self, drvs: &[String], failed_before: &HashSet<String>) -> Result<(), Failure> {
        let following = Mutex::new(Following { all: Vec::new(), by_drv: HashMap::new(), reporter: self.reporter });
        let planned = self.planned(drvs).await?;
        let mut known_bad = Vec::new();
        for drv in drvs.iter().chain(&planned) {
            let mut following = lock(&following);
            let number = following.number(drv);
            if failed_before.contains(base(drv)) && !known_bad.contains(drv) {
                known_bad.push(drv.clone());
                if let Some(one) = following.get(number) {
                    "it failed in an earlier run; run it by hand to try again".clone_into(&mut one.reason);
                }
                following.set(number, FailedBefore);
            }
        }
        if let Some(bad) = known_bad.first().filter(|_| !self.keep_going) {
            return Err(Failure::Failed(format!("{} failed before", name_of(bad))));
        }
        let wanted: Vec<&String> = drvs.iter().filter(|drv| !known_bad.contains(drv)).collect();
        if wanted.is_empty() {
            return Err(Failure::Failed("everything that is to be built failed before".to_owned()));
        }
        let realised = self.realise(&wanted, &following).await;
        // What Nix found in the store or fetched was never begun.
        for drv in &wanted {
            let number = lock(&following).number(drv);
            if lock(&following).get(number).is_some_and(|one| one.state == Queued) {
                let outputs = self.outputs(drv).await;
                if !outputs.is_empty() {
                    self.pusher.push(&outputs).await?;
                    lock(&following).set(number, Substituted);
                }
            }
        }
        realised?;
        match known_bad.first() {
            Some(bad) => Err(Failure::Failed(format!("{} failed before", name_of(bad)))),
            None => Ok(()),
        }
    }

    /// Lets Nix build, and pushes beside it, so that what is done is there for everybody however the rest ends.
    async fn realise(&self, wanted: &[&String], following: &Mutex<Following<'_>>) -> Result<(), Failure> {
        let mut args = vec!["--realise", "--log-format", "internal-json", "--add-root", "/build/roots/result"];
        if self.keep_going {
            args.push("--keep-going");
        }
        args.extend(wanted.iter().map(|drv| drv.as_str()));
        let mut command = self.sandbox.command(self.room, "nix-store", &args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn(self.room, command)?;
        let stderr = child.stderr.take().ok_or_else(|| Failure::Failed("a pipe is missing".to_owned()))?;
        let (ended, mut to_push) = mpsc::unbounded_channel::<u32>();
        let follow = async {
            let last_error = self.follow(following, stderr, &ended).await;
            drop(ended);
            last_error
        };
        let push = async {
            let mut problem = None;
            while let Some(number) = to_push.recv().await {
                problem = self.settle(following, number).await.err().or(problem);
            }
            problem
        };
        let (last_error, problem) = tokio::join!(follow, push);
        let status = child.wait().await?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        if status.success() {
            return Ok(());
        }
        let following = lock(following);
        let failed = following.all.iter().find(|one| one.state == Failed);
        Err(Failure::Failed(match failed {
            Some(one) if one.reason.is_empty() => format!("{} failed", name_of(&one.drv)),
            Some(one) => format!("{} {}", name_of(&one.drv), one.reason),
            None if last_error.is_empty() => format!("nix ended with {status} and without a word"),
            None => last_error,
        }))
    }

    /// A derivation's build is over: pushes what it made, and keeps its log.
    async fn settle(&self, following: &Mutex<Following<'_>>, number: u32) -> Result<(), Failure> {
        let (drv, log) = match lock(following).get(number) {
            Some(one) => (one.drv.clone(), std::mem::take(&mut one.log)),
            None => return Ok(()),
        };
        let outputs = self.outputs(&drv).await;
        let pushed = self.pusher.push(&outputs).await;
        lock(following).set(number, if outputs.is_empty() { Failed } else { Built });
        if !log.is_empty()
            && let Err(error) = self.pusher.push_log(base(&drv), log).await
        {
            self.reporter.note(&format!("the log of {} was not kept: {error}", name_of(&drv)));
        }
        pushed
    }

    /// Derivations that Nix is going to build.
    async fn planned(&self, drvs: &[String]) -> Result<Vec<String>, Failure> {
        let mut args = vec!["--realise", "--dry-run"];
        args.extend(drvs.iter().map(String::as_str));
        let said = capture(self.sandbox, self.room, "nix-store", &args, None).await?.stderr;
        let listed =
            said.lines().map(str::trim).filter(|line| line.starts_with("/nix/store/") && line.ends_with(".drv"));
        Ok(listed.map(str::to_owned).collect())
    }

    /// The outputs of a derivation, if all of them are there.
    pub async fn outputs(&self, drv: &str) -> Vec<String> {
        let query = ["--query", "--outputs", drv];
        let Ok(told) = capture(self.sandbox, self.room, "nix-store", &query, None).await else { return Vec::new() };
        let outputs: Vec<String> = told.stdout.lines().map(str::to_owned).collect();
        let mut args = vec!["--check-validity"];
        args.extend(outputs.iter().map(String::as_str));
        match capture(self.sandbox, self.room, "nix-store", &args, None).await {
            Ok(checked) if checked.status.success() => outputs,
            _ => Vec::new(),
        }
    }

    /// Reads what Nix says until it ends. Its last error.
    async fn follow(
        &self,
        following: &Mutex<Following<'_>>,
        stderr: impl AsyncRead + Unpin,
        ended: &mpsc::UnboundedSender<u32>,
    ) -> String {
        let mut last_error = String::new();
        // Nix's numbers of activities, and ours of their derivations.
        let mut activities: HashMap<u64, u32> = HashMap::new();
        let (mut reader, mut line) = (BufReader::new(stderr), Vec::new());
        while read_line(&mut reader, &mut line).await {
            let text = String::from_utf8_lossy(&line);
            match nixlog::read(text.trim_end_matches(['\r', '\n'])) {
                Some(Said::BuildBegan { id, drv }) => {
                    let mut following = lock(following);
                    let number = following.number(&drv);
                    activities.insert(id, number);
                    following.set(number, Building);
                }
                Some(Said::Line { id, text }) => {
                    let number = activities.get(&id).copied();
                    self.reporter.line(number, &text);
                    if let Some(number) = number
                        && let Some(one) = lock(following).get(number)
                        && one.log.len() + text.len() < LONGEST_LOG
                    {
                        one.log.extend_from_slice(text.as_bytes());
                        one.log.push(b'\n');
                    }
                }
                Some(Said::Ended { id }) => {
                    if let Some(number) = activities.remove(&id) {
                        let _ = ended.send(number);
                    }
                }
                Some(Said::SubstituteBegan { path }) => self.reporter.note(&format!("fetching {path}")),
                Some(Said::Message { is_error, text }) => {
                    if let Some((drv, how)) = nixlog::failure(&text) {
                        let mut following = lock(following);
                        let number = following.number(&drv);
                        if let Some(one) = following.get(number) {
                            one.reason = how;
                            let state = one.state;
                            following.set(number, state);
                        }
                    }
                    if is_error {
                        last_error = in_short(&nixlog::plain(&text));
                    }
                    for line in text.lines() {
                        self.reporter.line(None, line);
                    }
                }
                None => {}
            }
        }
        last_error
    }

    /// Runs a command in the repository. The paths that it names as what it made.
    pub async fn command(&self, command: &str) -> Result<Vec<String>, Failure> {
        let script = format!("cd {BUILD}/src || exit\n{command}");
        let mut command = self.sandbox.command(self.room, "sh", ["-c", &script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(self.room, command)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::Failed("a pipe is missing".to_owned()));
        };
        let mut made = Vec::new();
        let read_out = async {
            let (mut reader, mut line) = (BufReader::new(stdout), Vec::new());
            while read_line(&mut reader, &mut line).await {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\r', '\n']);
                self.reporter.line(None, text);
                if text.starts_with("/nix/store/") && made.len() < MOST_MADE {
                    made.push(text.trim().to_owned());
                }
            }
        };
        let read_err = async {
            let (mut reader, mut line) = (BufReader::new(stderr), Vec::new());
            while read_line(&mut reader, &mut line).await {
                self.reporter.line(None, String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            }
        };
        tokio::join!(read_out, read_err);
        let status = child.wait().await?;
        if !status.success() {
            return Err(Failure::Failed(format!("the command ended with {status}")));
        }
        for entry in std::fs::read_dir(self.room.folder.join("src"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("result")
                && let Ok(target) = std::fs::read_link(entry.path())
                && target.starts_with("/nix/store")
            {
                made.push(target.to_string_lossy().into_owned());
            }
        }
        // What it printed may be anything; what it made is in the store.
        made.sort();
        made.dedup();
        Ok(made)
    }
}

/// Store paths that a command may name.
const MOST_MADE: usize = 10_000;

fn lock<'a, 'b>(following: &'a Mutex<Following<'b>>) -> MutexGuard<'a, Following<'b>> {
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first lines of an error, as one.
pub fn in_short(error: &str) -> String {
    let lines = error.lines().map(str::trim).filter(|line| !line.is_empty()).take(ERROR_LINES);
    lines.collect::<Vec<_>>().join(" ").chars().take(1000).collect()
}

/// A store path without the store's folder.
fn base(path: &str) -> &str {
    path.trim_start_matches("/nix/store/")
}

fn name_of(drv: &str) -> &str {
    let base = base(drv);
    base.split_once('-').map_or(base, |(_, name)| name).trim_end_matches(".drv")
}
