//! One commit of a repository, as files. Credentials are in files that only git sees, and gone before anything of the repository is
//! looked at.

use crate::{
    process::capture,
    report::Reporter,
    run::Failure,
    sandbox::{Room, Sandbox},
};
use iglu_api::{builder::Credential, node::Assignment, node::RunEvent};
use std::fs;

/// Answers git's questions from the files beside it.
const ASK: &str = "#!/bin/sh\ncase \"$1\" in Username*) cat /credential/user ;; *) cat /credential/password ;; esac\n";
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
    -o UserKnownHostsFile=/build/home/known_hosts";

/// Fetches what the assignment names into `src` of the room's folder. The commit.
pub async fn checkout(
    sandbox: &Sandbox,
    room: &Room,
    assignment: &Assignment,
    reporter: &Reporter,
) -> Result<String, Failure> {
    let spec = &assignment.spec;
    let url = spec.repository.as_str();
    reporter.note(&format!("fetching {} of {url}", assignment.reference));
    let mut room = room.clone();
    let mut given = Vec::new();
    if let Some(credential) = &assignment.credential {
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
    let fetched = fetch(sandbox, &room, assignment, &given).await;
    if let Some(folder) = &room.credential {
        fs::remove_dir_all(folder)?;
    }
    fetched?;
    let room = Room { credential: None, ..room };
    git(sandbox, &room, &["-C", "src", "checkout", "--quiet", "--detach", "FETCH_HEAD"]).await?;
    let told = git(sandbox, &room, &["-C", "src", "log", "-1", "--format=%H%n%s"]).await?;
    let (commit, subject) = told.split_once('\n').unwrap_or((&told, ""));
    reporter.note(&format!("checked out {commit}"));
    reporter.tell(&RunEvent::Commit { commit: commit.to_owned(), subject: subject.trim().to_owned() });
    Ok(commit.to_owned())
}

async fn fetch(sandbox: &Sandbox, room: &Room, assignment: &Assignment, given: &[String]) -> Result<(), Failure> {
    git(sandbox, room, &["init", "--quiet", "src"]).await?;
    let mut args = vec!["-C", "src"];
    for setting in given {
        args.extend(["-c", setting]);
    }
    args.extend(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]);
    if !assignment.spec.full_history {
        args.push("--depth=1");
    }
    // Nothing behind this is an option, whatever it looks like.
    args.extend(["--", assignment.spec.repository.as_str(), assignment.reference.as_str()]);
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
