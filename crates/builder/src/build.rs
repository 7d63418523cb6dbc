//! Builds derivations with Nix, follows each of them, and pushes what one made as soon as it is done.

use crate::{
    nixlog::{self, Said},
    push::Pusher,
    report::Reporter,
    run::Failure,
    sandbox::{BUILD, Room, Sandbox, watch_memory},
};
use iglu_api::{
    node::RunEvent,
    run::DerivationState::{self, Building, Built, Failed, FailedBefore, Queued, Substituted},
};
use std::{
    collections::{HashMap, HashSet},
    process::Stdio,
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::mpsc,
};

/// Bytes of a derivation's log that are kept for the cache; a longer one is cut.
const LONGEST_LOG: usize = 8 << 20;
/// Bytes of a line that are read; what follows is another line.
const LONGEST_LINE: usize = 64 << 10;

/// A derivation that a run has to do with.
struct Followed {
    drv: String,
    state: DerivationState,
    reason: String,
    log: Vec<u8>,
}

/// The derivations of a run, by number.
#[derive(Default)]
pub struct Following {
    all: Vec<Followed>,
    by_drv: HashMap<String, u32>,
    /// Nix's number of an activity, and ours of its derivation.
    by_activity: HashMap<u64, u32>,
}

impl Following {
    fn number(&mut self, drv: &str, reporter: &Reporter) -> u32 {
        if let Some(number) = self.by_drv.get(drv) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.by_drv.insert(drv.to_owned(), number);
        self.all.push(Followed { drv: drv.to_owned(), state: Queued, reason: String::new(), log: Vec::new() });
        self.tell(number, reporter);
        number
    }

    fn set(&mut self, number: u32, state: DerivationState, reason: &str, reporter: &Reporter) {
        if let Some(one) = self.all.get_mut(number as usize) {
            let reason = if reason.is_empty() { std::mem::take(&mut one.reason) } else { reason.to_owned() };
            (one.state, one.reason) = (state, reason);
            self.tell(number, reporter);
        }
    }

    fn tell(&self, number: u32, reporter: &Reporter) {
        if let Some(one) = self.all.get(number as usize) {
            reporter.tell(&RunEvent::Derivation {
                number,
                drv: one.drv.trim_start_matches("/nix/store/").to_owned(),
                state: one.state,
                at: crate::run::now(),
                reason: one.reason.clone(),
            });
        }
    }
}

/// What one build needs.
pub struct Build<'a> {
    pub sandbox: &'a Sandbox,
    pub room: &'a Room,
    pub reporter: &'a Arc<Reporter>,
    pub pusher: &'a Pusher<'a>,
    pub memory: u64,
    pub keep_going: bool,
}

impl Build<'_> {
    /// Builds these derivations, leaving out those that failed before, and says why it did not come to an end.
    pub async fn derivations(&self, drvs: &[String], failed_before: &HashSet<String>) -> Result<(), Failure> {
        let mut following = Following::default();
        let planned = self.planned(drvs).await?;
        let mut known_bad = Vec::new();
        for drv in drvs.iter().chain(&planned) {
            let number = following.number(drv, self.reporter);
            if failed_before.contains(drv.trim_start_matches("/nix/store/")) {
                known_bad.push(drv.clone());
                following.set(
                    number,
                    FailedBefore,
                    "it failed in an earlier run; run it by hand to try again",
                    self.reporter,
                );
            }
        }
        if let Some(bad) = known_bad.first().filter(|_| !self.keep_going) {
            return Err(Failure::Failed(format!("{} failed before", name_of(bad))));
        }
        let wanted: Vec<&String> = drvs.iter().filter(|drv| !known_bad.contains(drv)).collect();
        let mut args = vec!["--realise", "--log-format", "internal-json", "--add-root", "/build/roots/result"];
        if self.keep_going {
            args.push("--keep-going");
        }
        args.extend(wanted.iter().map(|drv| drv.as_str()));
        if wanted.is_empty() {
            return Err(Failure::Failed("everything that is to be built failed before".to_owned()));
        }
        let mut child =
            self.sandbox.command(self.room, "nix-store", &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (ended, mut to_push) = mpsc::unbounded_channel::<(u32, String)>();
        let root = child.id();
        let (is_over_memory, watch) = watch_memory(&child, self.memory, move || {
            if let Some(root) = root.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
                // Its children are in namespaces of its own and end with it.
                let _ = rustix::process::kill_process(root, rustix::process::Signal::KILL);
            }
        });
        let stderr = child.stderr.take();
        let mut last_error = String::new();
        let follow = async {
            if let Some(stderr) = stderr {
                last_error = self.follow(&mut following, stderr, &ended).await;
            }
            drop(ended);
            following
        };
        // Beside the build, so that what is done is there for everybody however the rest ends.
        let push = async {
            let mut done = Vec::new();
            let mut problem = None;
            while let Some((number, drv)) = to_push.recv().await {
                let outputs = self.outputs(&drv).await;
                let is_built = !outputs.is_empty();
                if is_built && problem.is_none() {
                    problem = self.pusher.push(&outputs).await.err();
                }
                done.push((number, is_built));
            }
            (done, problem)
        };
        let (mut following, (done, problem)) = tokio::join!(follow, push);
        watch.abort();
        let status = child.wait().await?;
        for (number, is_built) in done {
            following.set(number, if is_built { Built } else { Failed }, "", self.reporter);
        }
        for one in &mut following.all {
            let log = std::mem::take(&mut one.log);
            let drv = one.drv.trim_start_matches("/nix/store/");
            if !log.is_empty()
                && let Err(error) = self.pusher.push_log(drv, log).await
            {
                self.reporter.note(&format!("the log of {drv} was not kept: {error}"));
            }
        }
        if is_over_memory.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Failure::Failed(format!("more than {} MiB of memory were used", self.memory >> 20)));
        }
        for drv in &wanted {
            let number = following.number(drv, self.reporter);
            let waits = matches!(following.all[number as usize].state, Queued);
            let outputs = if waits { self.outputs(drv).await } else { Vec::new() };
            if !outputs.is_empty() {
                following.set(number, Substituted, "", self.reporter);
                self.pusher.push(&outputs).await?;
            }
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        if status.success() && known_bad.is_empty() {
            return Ok(());
        }
        let failed = following.all.iter().find(|one| one.state == Failed);
        Err(Failure::Failed(match failed {
            Some(one) if one.reason.is_empty() => format!("{} failed", name_of(&one.drv)),
            Some(one) => format!("{} {}", name_of(&one.drv), one.reason),
            None if last_error.is_empty() => "nix ended without a word".to_owned(),
            None => last_error,
        }))
    }

    /// Derivations that Nix is going to build.
    async fn planned(&self, drvs: &[String]) -> Result<Vec<String>, Failure> {
        let mut args = vec!["--realise", "--dry-run"];
        args.extend(drvs.iter().map(String::as_str));
        let output = self.sandbox.output(self.room, "nix-store", &args).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let listed =
            said.lines().map(str::trim).filter(|line| line.starts_with("/nix/store/") && line.ends_with(".drv"));
        Ok(listed.map(str::to_owned).collect())
    }

    /// The outputs of a derivation, if all of them are there.
    pub async fn outputs(&self, drv: &str) -> Vec<String> {
        let Ok(output) = self.sandbox.output(self.room, "nix-store", &["--query", "--outputs", drv]).await else {
            return Vec::new();
        };
        let outputs: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        let mut args = vec!["--check-validity"];
        args.extend(outputs.iter().map(String::as_str));
        match self.sandbox.output(self.room, "nix-store", &args).await {
            Ok(checked) if checked.status.success() => outputs,
            _ => Vec::new(),
        }
    }

    /// Reads what Nix says until it ends. Its last error.
    async fn follow(
        &self,
        following: &mut Following,
        stderr: impl AsyncRead + Unpin,
        ended: &mpsc::UnboundedSender<(u32, String)>,
    ) -> String {
        let mut last_error = String::new();
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while read_line(&mut reader, &mut line).await {
            let text = String::from_utf8_lossy(&line);
            match nixlog::read(text.trim_end_matches(['\r', '\n'])) {
                Some(Said::BuildBegan { id, drv }) => {
                    let number = following.number(&drv, self.reporter);
                    following.by_activity.insert(id, number);
                    following.set(number, Building, "", self.reporter);
                }
                Some(Said::Line { id, text }) => {
                    let number = following.by_activity.get(&id).copied();
                    self.reporter.line(number, &text);
                    if let Some(one) = number.and_then(|number| following.all.get_mut(number as usize))
                        && one.log.len() + text.len() < LONGEST_LOG
                    {
                        one.log.extend_from_slice(text.as_bytes());
                        one.log.push(b'\n');
                    }
                }
                Some(Said::Ended { id }) => {
                    if let Some(number) = following.by_activity.remove(&id) {
                        let drv = following.all[number as usize].drv.clone();
                        let _ = ended.send((number, drv));
                    }
                }
                Some(Said::SubstituteBegan { path }) => self.reporter.note(&format!("fetching {path}")),
                Some(Said::Message { is_error, text }) => {
                    if let Some((drv, how)) = nixlog::failure(&text) {
                        let number = following.number(&drv, self.reporter);
                        following.all[number as usize].reason = how;
                    }
                    if is_error {
                        last_error = nixlog::plain(&text).lines().map(str::trim).take(6).collect::<Vec<_>>().join(" ");
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
        let mut child = self
            .sandbox
            .command(self.room, "sh", ["-c", &format!("cd {BUILD}/src && {command}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::Failed("a pipe is missing".to_owned()));
        };
        let read = async |stream: &mut (dyn AsyncRead + Unpin + Send), is_out: bool| {
            let (mut reader, mut line, mut made) = (BufReader::new(stream), Vec::new(), Vec::new());
            while read_line(&mut reader, &mut line).await {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\r', '\n']);
                self.reporter.line(None, text);
                if is_out && text.starts_with("/nix/store/") {
                    made.push(text.trim().to_owned());
                }
            }
            made
        };
        let (mut stdout, mut stderr) = (stdout, stderr);
        let (mut made, _) = tokio::join!(read(&mut stdout, true), read(&mut stderr, false));
        let status = child.wait().await?;
        if !status.success() {
            return Err(Failure::Failed(format!("the command ended with {status}")));
        }
        let source = self.room.folder.join("src");
        for entry in std::fs::read_dir(source)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("result")
                && let Ok(target) = std::fs::read_link(entry.path())
                && target.starts_with("/nix/store")
            {
                made.push(target.to_string_lossy().into_owned());
            }
        }
        Ok(made)
    }
}

/// Reads a line of bounded length. False at the end.
async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> bool {
    line.clear();
    loop {
        let Ok(there) = reader.fill_buf().await else { return !line.is_empty() };
        if there.is_empty() {
            return !line.is_empty();
        }
        let end = there.iter().position(|&byte| byte == b'\n').map_or(there.len(), |at| at + 1);
        let taken = end.min(LONGEST_LINE - line.len());
        line.extend_from_slice(&there[..taken]);
        reader.consume(taken);
        if line.last() == Some(&b'\n') || line.len() == LONGEST_LINE {
            return true;
        }
    }
}

fn name_of(drv: &str) -> &str {
    let base = drv.trim_start_matches("/nix/store/");
    base.split_once('-').map_or(base, |(_, name)| name).trim_end_matches(".drv")
}
