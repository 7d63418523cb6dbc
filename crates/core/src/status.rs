//! Tells forges what became of the runs of a commit. The state of a run that its forge knows is in the database: whoever starts again
//! goes on telling.

use crate::{
    Core,
    db::StatusDue,
    error::{Error, Result},
};
use iglu_api::{
    Timestamp,
    builder::{BuilderSpec, ForgeKind, Status},
    run::RunState,
};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a state is told that a forge does not take.
const TRIES: i64 = 8;
/// Nothing is told of runs that were queued longer ago, in milliseconds.
const OLD: i64 = Timestamp::DAY;
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest description; GitHub takes no more.
const LONGEST: usize = 140;

/// A call of a forge.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    url: String,
    header: (&'static str, String),
    body: Value,
}

/// The word of a forge for a state.
fn word(forge: ForgeKind, state: RunState) -> &'static str {
    match (forge, state) {
        (ForgeKind::Gitlab, RunState::Starting | RunState::Running) => "running",
        (_, RunState::Queued | RunState::Starting | RunState::Running) => "pending",
        (_, RunState::Succeeded) => "success",
        (ForgeKind::Gitlab, RunState::Cancelled) => "canceled",
        (ForgeKind::Gitlab, RunState::Failed | RunState::TimedOut) => "failed",
        (_, RunState::Failed | RunState::TimedOut) => "failure",
        (_, RunState::Cancelled) => "error",
    }
}

/// The call that tells of a run.
fn call(spec: &BuilderSpec, status: &Status, token: &str, run: &StatusDue, page: &str) -> Option<Call> {
    let state = RunState::parse(&run.state)?;
    let (host, path) = spec.repository.host_and_path()?;
    let description = match (state.is_over(), run.reason.is_empty()) {
        (true, false) => run.reason.chars().take(LONGEST).collect(),
        _ => state.word().to_owned(),
    };
    let api = status.api.trim_end_matches('/');
    let api = match (status.forge, api) {
        (ForgeKind::Github, "") if host == "github.com" => "https://api.github.com".to_owned(),
        (ForgeKind::Github, "") => format!("https://{host}/api/v3"),
        (ForgeKind::Gitlab, "") => format!("https://{host}/api/v4"),
        (ForgeKind::Gitea, "") => format!("https://{host}/api/v1"),
        (_, api) => api.to_owned(),
    };
    let (word, context) = (word(status.forge, state), format!("iglu/{}", run.builder));
    let commit = &run.commit_hash;
    Some(match status.forge {
        ForgeKind::Github | ForgeKind::Gitea => Call {
            url: format!("{api}/repos/{path}/statuses/{commit}"),
            header: ("authorization", format!("token {token}")),
            body: json!({ "state": word, "target_url": page, "description": description, "context": context }),
        },
        ForgeKind::Gitlab => Call {
            url: format!("{api}/projects/{}/statuses/{commit}", path.replace('/', "%2F")),
            header: ("private-token", token.to_owned()),
            body: json!({ "state": word, "target_url": page, "description": description, "name": context }),
        },
    })
}

/// Refuses an address of an API that is none.
pub(crate) fn check(status: &Status) -> Result<()> {
    let is_good = status.api.is_empty()
        || Url::parse(&status.api).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
        });
    if is_good { Ok(()) } else { Err(Error::invalid("api", "the address of a forge's API begins with https://")) }
}

impl Core {
    /// Tells forges what they do not know yet. How many states.
    pub(crate) async fn statuses_tell(&self) -> Result<usize> {
        let now = self.now();
        let mut told = 0;
        for run in self.db.status_list_due(now.0, now.plus(-OLD).0, TRIES).await? {
            let page = format!("{}/runs/{}", self.public_url(), run.id);
            // One that cannot be told keeps no other from being told.
            let made = self.builder().status_token(&run.builder, &run.status_token).map_err(|error| error.to_string());
            let made = made.and_then(|token| {
                let spec = serde_json::from_str::<BuilderSpec>(&run.spec);
                let spec = spec.map_err(|_| "its builder cannot be read by this version".to_owned())?;
                let call = spec.status.as_ref().and_then(|status| call(&spec, status, &token, &run, &page));
                call.ok_or_else(|| "the repository's address names no project".to_owned())
            });
            let answer = match made {
                Ok(call) => self.forge_call(&call).await,
                Err(why) => Err(why),
            };
            match answer {
                Ok(()) => {
                    self.db.status_told(run.id, &run.state).await?;
                    told += 1;
                }
                Err(why) => {
                    tracing::warn!(run = run.id, builder = run.builder, why, "the forge was not told");
                    let wait = Timestamp::SECOND * 5 * (1 << run.told_tries.clamp(0, 8));
                    self.db.status_failed(run.id, now.plus(wait).0).await?;
                }
            }
        }
        Ok(told)
    }

    async fn forge_call(&self, call: &Call) -> std::result::Result<(), String> {
        // Without the address, which may say more than a log should hold.
        let plain = |error: reqwest::Error| error.without_url().to_string();
        let client = self.upstream().client().map_err(plain)?;
        let url = Url::parse(&call.url).map_err(|error| error.to_string())?;
        let (name, value) = &call.header;
        let request = client.request(Method::POST, url).timeout(PATIENCE).header(*name, value);
        let request = request.header("content-type", "application/json").header("user-agent", "iglu");
        let response = request.body(call.body.to_string()).send().await.map_err(plain)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the forge answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::runs::spec;
    use iglu_api::Repository;

    #[test]
    fn each_forge_is_called_in_its_way() {
        let mut run = StatusDue {
            id: 7,
            state: "failed".to_owned(),
            reason: "broken failed".to_owned(),
            commit_hash: "abc".to_owned(),
            builder: "web".to_owned(),
            spec: String::new(),
            status_token: Vec::new(),
            told_tries: 0,
        };
        let of = |address: &str, forge, api: &str, run: &StatusDue| {
            let spec = BuilderSpec { repository: Repository::parse(address).unwrap(), ..spec() };
            call(&spec, &Status { forge, api: api.to_owned() }, "t", run, "https://iglu/runs/7").unwrap()
        };
        let github = of("https://github.com/team/web.git", ForgeKind::Github, "", &run);
        assert_eq!(github.url, "https://api.github.com/repos/team/web/statuses/abc");
        assert_eq!((&github.body["state"], &github.body["context"]), (&json!("failure"), &json!("iglu/web")));
        assert_eq!(github.body["description"], "broken failed");
        let gitlab = of("git@git.example.org:group/sub/web.git", ForgeKind::Gitlab, "", &run);
        assert_eq!(gitlab.url, "https://git.example.org/api/v4/projects/group%2Fsub%2Fweb/statuses/abc");
        assert_eq!((gitlab.header.0, &gitlab.body["state"]), ("private-token", &json!("failed")));
        run.state = "running".to_owned();
        let gitea = of("ssh://git@host:2222/team/web", ForgeKind::Gitea, "http://host:3000/api/v1/", &run);
        assert_eq!(gitea.url, "http://host:3000/api/v1/repos/team/web/statuses/abc");
        assert_eq!((&gitea.body["state"], &gitea.body["description"]), (&json!("pending"), &json!("running")));
    }
}
