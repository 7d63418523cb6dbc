//! Looks at repositories for whoever is about to make a builder: fetches one, and lists what its flake offers.

use crate::{
    checkout::{Source, checkout},
    evaluate::offered,
    report::Reporter,
    run::Failure,
    sandbox::{Room, Sandbox},
    server::Server,
};
use iglu_api::probe::{ProbeAnswer, ProbeTask};
use std::{fs, time::Duration};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of lines that nobody reads.
const LOG: u64 = 1 << 20;
const RETRY: Duration = Duration::from_secs(5);

/// Looks at whatever the server asks for, one at a time and beside the node's runs, for as long as it is polled.
pub async fn serve(server: &Server, sandbox: &Sandbox) {
    loop {
        match server.probe_claim().await {
            Ok(None) => {}
            Ok(Some(task)) => {
                let id = task.id;
                let answer = look(sandbox, task).await;
                if let Err(error) = server.probe_tell(id, &answer).await {
                    tracing::warn!(%error, "telling what a repository is like");
                }
            }
            // Whether the server knows this node, the node's runs find out.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn look(sandbox: &Sandbox, task: ProbeTask) -> ProbeAnswer {
    let folder = sandbox.runs().join(format!("probe-{}", task.id));
    let clean = || {
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::remove_dir_all(folder.with_extension("credential"));
        let _ = fs::remove_file(folder.with_extension("events"));
    };
    clean();
    let failed = |why: String| ProbeAnswer::Failed { reason: why };
    let answer = match tokio::time::timeout(PATIENCE, seen(sandbox, &folder, &task)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => failed(failure.to_string()),
        Err(_) => failed(format!("it took longer than {} seconds", PATIENCE.as_secs())),
    };
    clean();
    answer
}

async fn seen(sandbox: &Sandbox, folder: &std::path::Path, task: &ProbeTask) -> Result<ProbeAnswer, Failure> {
    for below in ["", "home", "store"] {
        sandbox.folder(&folder.join(below))?;
    }
    let (reporter, _) = Reporter::new(&folder.with_extension("events"), LOG)?;
    let config = sandbox.nix_config(&[], &[], 1, 1);
    let room = sandbox.room(folder, &folder.join("store"), config);
    let source = Source {
        repository: &task.repository,
        reference: &task.reference,
        credential: task.credential.as_ref(),
        full_history: false,
    };
    let (commit, subject) = checkout(sandbox, &room, &source, &reporter).await?;
    let room = Room { git_protocols: "https:http:ssh:file", ..room };
    let has_flake = folder.join("src").join(&task.folder).join("flake.nix").is_file();
    let (outputs, trouble) = if has_flake {
        match offered(sandbox, &room, &task.folder, &reporter).await {
            Ok(outputs) => (outputs, String::new()),
            Err(failure) => (Vec::new(), failure.to_string()),
        }
    } else {
        let place = if task.folder.is_empty() { "at the top" } else { task.folder.as_str() };
        (Vec::new(), format!("there is no flake.nix {place}"))
    };
    Ok(ProbeAnswer::Found { commit, subject, outputs, trouble })
}
