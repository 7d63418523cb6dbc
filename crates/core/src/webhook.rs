//! Calls of forges: whose they are, what they say, and whether that starts a run. Each is noted, also those that were refused.

use crate::{
    Core,
    builder::{Builders, spec_of},
    caller::Caller,
    db::{BuilderFound, NewDelivery},
    error::{Error, Result},
    run::Asked,
};
use hmac::{Hmac, KeyInit, Mac};
use iglu_api::{
    Reference, Timestamp,
    builder::{BuilderSpec, DeliveryRow, Webhook, WebhookDetail},
    cache::Permission,
    run::Trigger,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

/// Longest body that is read, in bytes. Forges send no more than 25 MiB, and of that only what a push with very many commits needs.
pub const LONGEST: usize = 4 << 20;
/// Deliveries of a builder that are kept.
const KEPT: i64 = 100;
/// Changed files that are looked at.
const MOST_PATHS: usize = 20_000;

/// The headers that forges send.
#[derive(Clone, Debug, Default)]
pub struct Signed {
    pub github_event: Option<String>,
    pub github_signature: Option<String>,
    pub gitlab_event: Option<String>,
    pub gitlab_token: Option<String>,
    pub gitea_event: Option<String>,
    pub gitea_signature: Option<String>,
    pub signature: Option<String>,
}

/// What a forge was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub status: u16,
    pub message: String,
    pub run: Option<u64>,
}

/// What a call says of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    /// A branch or tag without `refs/heads/`, or where a request for a pull can be fetched.
    reference: String,
    commit: Option<String>,
    /// Files that it changed; `None` where it does not say.
    paths: Option<Vec<String>>,
    /// Who pushed.
    by: String,
    is_request: bool,
    is_fork: bool,
}

/// What became of a call.
enum Read {
    Change(Change),
    /// Nothing to build, and why.
    Nothing(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Forge {
    Github,
    Gitlab,
    Gitea,
    Generic,
}

impl Forge {
    fn as_str(self) -> &'static str {
        match self {
            Forge::Github => "github",
            Forge::Gitlab => "gitlab",
            Forge::Gitea => "gitea",
            Forge::Generic => "generic",
        }
    }
}

impl Signed {
    /// Gitea and Forgejo send the headers of GitHub as well.
    fn forge(&self) -> (Forge, &str) {
        let text = |value: &Option<String>| value.is_some();
        match self {
            _ if text(&self.gitea_event) => (Forge::Gitea, self.gitea_event.as_deref().unwrap_or_default()),
            _ if text(&self.github_event) => (Forge::Github, self.github_event.as_deref().unwrap_or_default()),
            _ if text(&self.gitlab_event) => (Forge::Gitlab, self.gitlab_event.as_deref().unwrap_or_default()),
            _ => (Forge::Generic, "push"),
        }
    }

    fn is_good(&self, forge: Forge, secret: &str, body: &[u8]) -> bool {
        let by_hash = |hex: Option<&str>| {
            let hex = hex.map(|hex| hex.strip_prefix("sha256=").unwrap_or(hex));
            let given = hex.and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
            mac.update(body);
            // In constant time.
            given.is_some_and(|given| mac.verify_slice(&given).is_ok())
        };
        match forge {
            Forge::Github => by_hash(self.github_signature.as_deref()),
            Forge::Gitea => by_hash(self.gitea_signature.as_deref()),
            Forge::Generic => by_hash(self.signature.as_deref()),
            // It sends the secret itself.
            Forge::Gitlab => self
                .gitlab_token
                .as_deref()
                .is_some_and(|token| subtle::ConstantTimeEq::ct_eq(token.as_bytes(), secret.as_bytes()).into()),
        }
    }
}

impl Builders<'_> {
    /// Where forges call a builder, with what secret, and their last calls. For whoever maintains its cache.
    pub async fn webhook(&self, caller: &Caller, name: &str) -> Result<WebhookDetail> {
        let core = self.0;
        let (found, _) = self.open(caller, name, Permission::Admin).await?;
        let deliveries = core.db.delivery_list(found.id, KEPT).await?;
        Ok(WebhookDetail {
            url: format!("{}/hooks/{}", core.public_url(), found.name),
            secret: core.webhook_secret(&found),
            deliveries: deliveries
                .into_iter()
                .map(|row| DeliveryRow {
                    id: row.id.unsigned_abs(),
                    at: Timestamp(row.at),
                    forge: row.forge,
                    event: row.event,
                    reference: row.reference,
                    commit: row.commit_hash,
                    status: u16::try_from(row.status).unwrap_or(0),
                    message: row.message,
                    run: row.run_id.map(i64::unsigned_abs),
                    can_repeat: row.change.is_some(),
                })
                .collect(),
        })
    }

    /// Makes another secret; the old one is worth nothing from then on.
    pub async fn webhook_renew(&self, caller: &Caller, name: &str) -> Result<()> {
        let core = self.0;
        let (found, cache) = self.open(caller, name, Permission::Admin).await?;
        let audit = core.audit(caller, "builder.webhook_renew", &format!("{name} of {}", cache.name)).of(cache.id);
        core.db.builder_renew_webhook(found.id, &audit).await
    }

    /// Takes a call again that was signed.
    pub async fn webhook_repeat(&self, caller: &Caller, name: &str, delivery: u64) -> Result<Received> {
        let core = self.0;
        let (found, _) = self.open(caller, name, Permission::Admin).await?;
        let id = i64::try_from(delivery).unwrap_or(0);
        let rows = core.db.delivery_list(found.id, KEPT).await?;
        let row = rows.into_iter().find(|row| row.id == id);
        let absent = || Error::NotFound(format!("builder {name} has no delivery {delivery} that can be taken again"));
        let row = row.ok_or_else(absent)?;
        let change = row.change.as_deref().and_then(|json| serde_json::from_str::<Change>(json).ok());
        let change = change.ok_or_else(absent)?;
        let spec = spec_of(&found)?;
        let received = core.change_take(&found, &spec, &change).await?;
        core.delivery_note(&found, (&row.forge, &row.event), Some(&change), &received).await?;
        Ok(received)
    }
}

impl Core {
    fn webhook_secret(&self, found: &BuilderFound) -> String {
        self.master.capability(&format!("webhook {} {} {}", found.id, found.created_at, found.webhook_round))
    }

    /// Takes a call of a forge. What is wrong with it is told and noted; a builder that is not there, or that hears no calls, is 404.
    pub async fn webhook_receive(&self, name: &str, signed: &Signed, body: &[u8]) -> Result<Received> {
        let absent = || Error::NotFound("nothing is called here".to_owned());
        let found = self.db.builder_get(name).await?.ok_or_else(absent)?;
        let spec = spec_of(&found)?;
        if spec.triggers.webhook.is_none() {
            return Err(absent());
        }
        let (forge, event) = signed.forge();
        let event: String = event.chars().take(60).collect();
        let said = (forge.as_str(), event.as_str());
        if !signed.is_good(forge, &self.webhook_secret(&found), body) {
            let message = "the signature is not that of this builder's secret".to_owned();
            let received = Received { status: 401, message, run: None };
            // A stranger's calls may be many; one a second is told of.
            let newest = self.db.delivery_list(found.id, 1).await?;
            if newest.first().is_none_or(|row| row.status != 401 || self.now().0 - row.at > Timestamp::SECOND) {
                self.delivery_note(&found, said, None, &received).await?;
            }
            return Ok(received);
        }
        let (change, received) = match read(forge, &event, body) {
            Ok(Read::Change(change)) => {
                let received = self.change_take(&found, &spec, &change).await?;
                (Some(change), received)
            }
            Ok(Read::Nothing(why)) => (None, Received { status: 200, message: why.to_owned(), run: None }),
            Err(why) => (None, Received { status: 400, message: why, run: None }),
        };
        self.delivery_note(&found, said, change.as_ref(), &received).await?;
        Ok(received)
    }

    async fn delivery_note(
        &self,
        found: &BuilderFound,
        (forge, event): (&str, &str),
        change: Option<&Change>,
        received: &Received,
    ) -> Result<()> {
        let json = change.map(serde_json::to_string).transpose();
        let json = json.map_err(|_| Error::internal("a change cannot be written as JSON"))?;
        let delivery = NewDelivery {
            builder_id: found.id,
            at: self.now().0,
            forge,
            event,
            change: json.as_deref(),
            reference: change.map_or("", |change| &change.reference),
            commit: change.and_then(|change| change.commit.as_deref()),
            status: received.status.into(),
            message: &received.message,
            run_id: received.run.and_then(|run| i64::try_from(run).ok()),
        };
        self.db.delivery_insert(&delivery, KEPT).await
    }

    /// Queues a run for a change, if the builder wants it.
    async fn change_take(&self, found: &BuilderFound, spec: &BuilderSpec, change: &Change) -> Result<Received> {
        let nothing = |message: &str| Ok(Received { status: 200, message: message.to_owned(), run: None });
        let Some(webhook) = &spec.triggers.webhook else { return nothing("the builder hears no calls any more") };
        if !found.is_enabled {
            return nothing("the builder is switched off");
        }
        if let Some(why) = unwanted(webhook, &spec.reference, change) {
            return nothing(why);
        }
        let wrong = |message: String| Ok(Received { status: 400, message, run: None });
        let reference = match Reference::parse(&change.reference) {
            Ok(reference) => reference,
            Err(error) => return wrong(error.to_string()),
        };
        let commit = match change.commit.as_deref().map(Reference::parse).transpose() {
            Ok(commit) => commit.filter(Reference::is_commit),
            Err(error) => return wrong(error.to_string()),
        };
        let asked = Asked {
            trigger: Trigger::Webhook,
            by: change.by.chars().take(100).collect(),
            reference: &reference,
            commit: commit.as_ref().map(Reference::as_str),
            priority: 0,
            dedupe: Some(format!("commit {}", commit.as_ref().unwrap_or(&reference))),
        };
        let (id, is_new) = self.run().insert(found.id, spec, &asked, None).await?;
        let message = if is_new { "queued" } else { "the same commit is in the queue already" };
        Ok(Received { status: 200, message: message.to_owned(), run: Some(id.unsigned_abs()) })
    }
}

/// Why a change starts nothing.
fn unwanted(webhook: &Webhook, own: &Reference, change: &Change) -> Option<&'static str> {
    if change.is_request {
        if !webhook.pull_requests {
            return Some("pull requests start nothing here");
        }
        if change.is_fork && !webhook.forks {
            return Some("it comes from a fork, and forks start nothing here");
        }
    } else {
        let is_wanted = if webhook.branches.is_empty() {
            change.reference == own.as_str()
        } else {
            webhook.branches.iter().any(|pattern| matches(pattern, &change.reference))
        };
        if !is_wanted {
            return Some("the builder does not build this branch");
        }
    }
    let changes_nothing =
        |paths: &Vec<String>| !paths.iter().any(|path| webhook.paths.iter().any(|pattern| matches(pattern, path)));
    (!webhook.paths.is_empty() && change.paths.as_ref().is_some_and(changes_nothing))
        .then_some("it changes none of the files that the builder looks at")
}

/// Whether a text is as a pattern says, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What a signed call says.
fn read(forge: Forge, event: &str, body: &[u8]) -> std::result::Result<Read, String> {
    let json: Value =
        serde_json::from_slice(body).map_err(|_| "the body is no JSON; choose that in the forge".to_owned())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let commit = |value: &Value| value.as_str().filter(|hash| hash.bytes().any(|byte| byte != b'0')).map(str::to_owned);
    let request = |number: &Value, folder: &str| match number.as_u64() {
        Some(number) => Ok(format!("refs/{folder}/{number}/head")),
        None => Err("it names no request".to_owned()),
    };
    match (forge, event) {
        (Forge::Github | Forge::Gitea, "ping") => Ok(Read::Nothing("heard: the secret is right")),
        (Forge::Github | Forge::Gitea, "push") | (Forge::Gitlab, "Push Hook" | "Tag Push Hook") => {
            let Some(hash) = commit(&json["after"]) else { return Ok(Read::Nothing("a branch was removed")) };
            let by = [&json["pusher"]["name"], &json["pusher"]["login"], &json["user_username"], &json["user_name"]];
            Ok(Read::Change(Change {
                reference: plain_reference(&text(&json["ref"])),
                commit: Some(json["checkout_sha"].as_str().map_or(hash, str::to_owned)),
                paths: changed(&json["commits"]),
                by: by.into_iter().map(text).find(|name| !name.is_empty()).unwrap_or_else(|| forge.as_str().to_owned()),
                is_request: false,
                is_fork: false,
            }))
        }
        (Forge::Github | Forge::Gitea, "pull_request" | "pull_request_sync") => {
            let action = text(&json["action"]);
            if !matches!(action.as_str(), "opened" | "reopened" | "synchronize" | "synchronized") {
                return Ok(Read::Nothing("this is no new commit of the request"));
            }
            let pull = &json["pull_request"];
            Ok(Read::Change(Change {
                reference: request(&pull["number"], "pull")?,
                commit: commit(&pull["head"]["sha"]),
                paths: None,
                by: text(&json["sender"]["login"]),
                is_request: true,
                // Where it does not say, it is not ours.
                is_fork: pull["head"]["repo"]["full_name"].as_str().is_none()
                    || pull["head"]["repo"]["full_name"] != pull["base"]["repo"]["full_name"],
            }))
        }
        (Forge::Gitlab, "Merge Request Hook") => {
            let about = &json["object_attributes"];
            let is_new = matches!(text(&about["action"]).as_str(), "open" | "reopen")
                || (about["action"] == "update" && about["oldrev"].is_string());
            if !is_new {
                return Ok(Read::Nothing("this is no new commit of the request"));
            }
            Ok(Read::Change(Change {
                reference: request(&about["iid"], "merge-requests")?,
                commit: commit(&about["last_commit"]["id"]),
                paths: None,
                by: text(&json["user"]["username"]),
                is_request: true,
                is_fork: about["source_project_id"].as_u64().is_none()
                    || about["source_project_id"] != about["target_project_id"],
            }))
        }
        (Forge::Generic, _) => {
            let reference = plain_reference(&text(&json["reference"]));
            if reference.is_empty() {
                return Err("the body is {\"reference\": …, \"commit\": …}".to_owned());
            }
            let paths = json["paths"].as_array().map(|paths| paths.iter().map(text).take(MOST_PATHS).collect());
            let by = match text(&json["by"]) {
                name if name.is_empty() => "webhook".to_owned(),
                name => name,
            };
            let commit = commit(&json["commit"]);
            Ok(Read::Change(Change { reference, commit, paths, by, is_request: false, is_fork: false }))
        }
        _ => Ok(Read::Nothing("events of this kind start nothing")),
    }
}

fn plain_reference(reference: &str) -> String {
    let plain = reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"));
    plain.unwrap_or(reference).to_owned()
}

/// The files that commits changed; `None` where the forge does not tell of them all.
fn changed(commits: &Value) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for commit in commits.as_array()? {
        for list in ["added", "modified", "removed"] {
            let list = commit[list].as_array().into_iter().flatten().filter_map(Value::as_str);
            paths.extend(list.map(str::to_owned));
        }
    }
    // Forges cut long pushes short.
    (!paths.is_empty() && paths.len() < MOST_PATHS && commits.as_array()?.len() < 20).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("main", "main", true),
            ("main", "maintenance", false),
            ("release/*", "release/1.2", true),
            ("*", "anything/at/all", true),
            ("*.nix", "a/b.nix", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*a", "a", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_unwanted() {
        let own = Reference::parse("main").unwrap();
        let change = |reference: &str| Change {
            reference: reference.to_owned(),
            commit: None,
            paths: Some(vec!["docs/a.md".to_owned()]),
            by: String::new(),
            is_request: false,
            is_fork: false,
        };
        let webhook = Webhook::default();
        assert_eq!(unwanted(&webhook, &own, &change("main")), None);
        assert!(unwanted(&webhook, &own, &change("other")).is_some());
        let paths = Webhook { paths: vec!["*.nix".to_owned()], ..Webhook::default() };
        assert!(unwanted(&paths, &own, &change("main")).is_some());
        let request = Change { is_request: true, is_fork: true, paths: None, ..change("refs/pull/1/head") };
        assert!(unwanted(&webhook, &own, &request).is_some());
        let requests = Webhook { pull_requests: true, ..Webhook::default() };
        assert!(unwanted(&requests, &own, &request).is_some());
        assert_eq!(unwanted(&requests, &own, &Change { is_fork: false, ..request.clone() }), None);
        assert_eq!(unwanted(&Webhook { forks: true, ..requests }, &own, &request), None);
    }
}
