//! One commit of a repository, as files. Credentials are in files that only git sees, and gone before anything of the repository is
//! looked at.

use crate::{
    process::capture,
    report::Reporter,
    run::Failure,
    sandbox::{Room, Sandbox},
};
use iglu_api::{Reference, Repository, builder::Credential};
use std::fs;

/// Answers git's questions from the files beside it.
const ASK: &str = "#!/bin/sh\ncase \"$1\" in Username*) cat /credential/user ;; *) cat /credential/password ;; esac\n";
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
    -o UserKnownHostsFile=/build/home/known_hosts";

/// What is fetched from where.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub repository: &'a Repository,
    pub reference: &'a Reference,
    pub credential: Option<&'a Credential>,
    /// All commits instead of the newest.
    pub full_history: bool,
}

/// Fetches a source into `src` of the room's folder. The commit, and the first line of its message.
pub async fn checkout(
    sandbox: &Sandbox,
    room: &Room,
    source: &Source<'_>,
    reporter: &Reporter,
) -> Result<(String, String), Failure> {
    let url = source.repository.as_str();
    reporter.note(&format!("fetching {} of {url}", source.reference));
    let mut room = room.clone();
    let mut given = Vec::new();
    if let Some(credential) = source.credential {
        let folder = room.folder.with_extension("credential");
        sandbox.folder(&folder)?;
        match credential {
            Credential::Password { user, password } => {
                sandbox.file(&folder.join("user"), user, 0o600)?;
                sandbox.file(&folder.join("password"), password, 0o600)?;
                sandbox.file(&folder.join("ask"), ASK, 0o700)?;
                given.push("core.askPass=/credential/ask".to_owned());
            }
            Credential::Key { key } => {
                sandbox.file(&folder.join("key"), &format!("{}\n", key.trim_end()), 0o600)?;
                given.push(format!("core.sshCommand={SSH} -i /credential/key"));
            }
        }
        room.credential = Some(folder);
    } else {
        given.push(format!("core.sshCommand={SSH}"));
    }
    let fetched = fetch(sandbox, &room, source, &given).await;
    if let Some(folder) = &room.credential {
        fs::remove_dir_all(folder)?;
    }
    fetched?;
    let room = Room { credential: None, ..room };
    git(sandbox, &room, &["-C", "src", "checkout", "--quiet", "--detach", "FETCH_HEAD"]).await?;
    let told = git(sandbox, &room, &["-C", "src", "log", "-1", "--format=%H%n%s"]).await?;
    let (commit, subject) = told.split_once('\n').unwrap_or((&told, ""));
    reporter.note(&format!("checked out {commit}"));
    Ok((commit.to_owned(), subject.trim().to_owned()))
}

async fn fetch(sandbox: &Sandbox, room: &Room, source: &Source<'_>, given: &[String]) -> Result<(), Failure> {
    git(sandbox, room, &["init", "--quiet", "src"]).await?;
    let mut args = vec!["-C", "src"];
    for setting in given {
        args.extend(["-c", setting]);
    }
    args.extend(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]);
    if !source.full_history {
        args.push("--depth=1");
    }
    // Nothing behind this is an option, whatever it looks like.
    args.extend(["--", source.repository.as_str(), source.reference.as_str()]);
    git(sandbox, room, &args).await.map(drop)
}

async fn git(sandbox: &Sandbox, room: &Room, args: &[&str]) -> Result<String, Failure> {
    let told = capture(sandbox, room, "git", args, None).await?;
    if told.status.success() {
        return Ok(told.stdout);
    }
    let said = told.stderr.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("; ");
    Err(Failure::Failed(format!("git: {}", said.chars().take(1000).collect::<String>())))
}
