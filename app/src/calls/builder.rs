//! Builders: list, one, create, change, remove.

#![allow(clippy::too_many_arguments, reason = "a form's secrets stand beside what may come back to its page")]

use super::UiError;
use iglu_api::{
    builder::{BuilderDetail, BuilderRow, WebhookDetail},
    probe::ProbeAnswer,
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use server_fn::codec::GetUrl;

/// A builder's specification as a form has it: everything is text, lists have a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecForm {
    pub repository: String,
    pub reference: String,
    /// `flake`, `file` or `command`.
    pub kind: String,
    pub folder: String,
    pub outputs: String,
    pub file: String,
    pub attributes: String,
    pub command: String,
    pub systems: String,
    pub substituters: String,
    pub trusted_keys: String,
    /// `on` where the box is ticked.
    pub keep_going: String,
    pub full_history: String,
    pub cores: String,
    pub jobs: String,
    pub memory_mib: String,
    pub timeout_minutes: String,
    pub log_mib: String,
    pub runs: String,
    pub keep_runs: String,
    /// Empty for none.
    pub cron: String,
    pub time_zone: String,
    pub poll_minutes: String,
    pub webhook: String,
    pub branches: String,
    pub paths: String,
    pub pull_requests: String,
    pub forks: String,
    /// `github`, `gitlab`, `gitea`, or empty for none.
    pub status_forge: String,
    pub status_api: String,
}

#[cfg(feature = "ssr")]
impl SpecForm {
    /// What of it says where to fetch from.
    fn source(&self) -> Result<(iglu_api::Repository, iglu_api::Reference), UiError> {
        use iglu_api::{Reference, Repository};
        let wrong = |field: &str, message: String| UiError::Invalid { field: format!("spec[{field}]"), message };
        let reference = if self.reference.trim().is_empty() { "HEAD" } else { self.reference.trim() };
        Ok((
            Repository::parse(self.repository.trim()).map_err(|error| wrong("repository", error.to_string()))?,
            Reference::parse(reference).map_err(|error| wrong("reference", error.to_string()))?,
        ))
    }

    fn spec(&self) -> Result<iglu_api::builder::BuilderSpec, UiError> {
        use iglu_api::builder::{BuilderSpec, ForgeKind, RunLimits, Schedule, Status, Triggers, Webhook, What};
        let wrong = |field: &str, message: String| UiError::Invalid { field: format!("spec[{field}]"), message };
        let number = |field: &'static str, text: &str| {
            text.trim().parse::<u32>().map_err(|_| wrong(field, "write a whole number".to_owned()))
        };
        let list = |text: &str| -> Vec<String> {
            text.split([',', '\n']).map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
        };
        let (repository, reference) = self.source()?;
        Ok(BuilderSpec {
            repository,
            reference,
            what: match self.kind.as_str() {
                "file" => What::File { file: self.file.trim().to_owned(), attributes: list(&self.attributes) },
                "command" => What::Command { command: self.command.trim().replace("\r\n", "\n") },
                _ => What::Flake { folder: self.folder.trim().to_owned(), outputs: list(&self.outputs) },
            },
            systems: list(&self.systems),
            substituters: list(&self.substituters),
            trusted_keys: list(&self.trusted_keys),
            keep_going: !self.keep_going.is_empty(),
            full_history: !self.full_history.is_empty(),
            limits: RunLimits {
                cores: number("cores", &self.cores)?,
                jobs: number("jobs", &self.jobs)?,
                memory_mib: number("memory_mib", &self.memory_mib)?,
                timeout_minutes: number("timeout_minutes", &self.timeout_minutes)?,
                log_mib: number("log_mib", &self.log_mib)?,
                runs: number("runs", &self.runs)?,
            },
            keep_runs: number("keep_runs", &self.keep_runs)?,
            status: match self.status_forge.as_str() {
                "github" => Some(ForgeKind::Github),
                "gitlab" => Some(ForgeKind::Gitlab),
                "gitea" => Some(ForgeKind::Gitea),
                _ => None,
            }
            .map(|forge| Status { forge, api: self.status_api.trim().to_owned() }),
            triggers: Triggers {
                schedule: (!self.cron.trim().is_empty()).then(|| Schedule {
                    cron: self.cron.trim().to_owned(),
                    time_zone: self.time_zone.trim().to_owned(),
                }),
                poll_minutes: match self.poll_minutes.trim() {
                    "" => None,
                    text => Some(number("poll_minutes", text)?),
                },
                webhook: (!self.webhook.is_empty()).then(|| Webhook {
                    branches: list(&self.branches),
                    paths: list(&self.paths),
                    pull_requests: !self.pull_requests.is_empty(),
                    forks: !self.forks.is_empty(),
                }),
            },
        })
    }
}

/// Core's fields of a specification, as the form names them.
#[cfg(feature = "ssr")]
fn in_form(error: impl Into<UiError>) -> UiError {
    match error.into() {
        UiError::Invalid { field, message } => {
            let is_top = field.is_empty() || matches!(field.as_str(), "name" | "cache" | "revision" | "status_token");
            let field = match field.as_str() {
                "credential" => "password".to_owned(),
                "api" => "spec[status_api]".to_owned(),
                _ if is_top || field.starts_with("spec[") => field,
                _ => format!("spec[{field}]"),
            };
            UiError::Invalid { field, message }
        }
        other => other,
    }
}

/// What was typed as the credential; which kind it is, the repository's address says.
#[cfg(feature = "ssr")]
fn credential(is_ssh: bool, user: &str, password: &str, key: &str) -> Option<iglu_api::builder::Credential> {
    use iglu_api::builder::Credential;
    if is_ssh && !key.trim().is_empty() {
        return Some(Credential::Key { key: key.replace("\r\n", "\n") });
    }
    let user = if user.trim().is_empty() { "token" } else { user.trim() };
    (!password.is_empty()).then(|| Credential::Password { user: user.to_owned(), password: password.to_owned() })
}

/// The builders that the caller may see, by name.
#[server(input = GetUrl)]
pub async fn builder_list() -> Result<Vec<BuilderRow>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().list(&call.caller).await?)
}

/// All about a builder but its credential.
#[server(input = GetUrl)]
pub async fn builder_get(name: String) -> Result<BuilderDetail, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().get(&call.caller, &name).await?)
}

/// The caches that the caller may make builders for.
#[server(input = GetUrl)]
pub async fn builder_caches() -> Result<Vec<String>, UiError> {
    use iglu_api::cache::Permission;
    let call = super::context::Call::logged_in()?;
    let names = call.core.cache().names(&call.caller).into_iter();
    let mine: Vec<String> = names
        .filter(|name| {
            let cache = call.core.cache_remembered(name.as_str());
            cache.is_some_and(|cache| call.caller.permission(&cache) >= Some(Permission::Admin))
        })
        .map(|name| name.to_string())
        .collect();
    if mine.is_empty() {
        let why = "a builder fills a cache, and you maintain none; ask the owner of one";
        return Err(UiError::Forbidden(why.to_owned()));
    }
    Ok(mine)
}

/// Makes a builder, and leads to its page.
#[server]
pub async fn builder_create(
    name: String,
    cache: String,
    spec: SpecForm,
    #[server(default)] user: String,
    #[server(default)] password: String,
    #[server(default)] key: String,
    #[server(default)] status_token: String,
) -> Result<(), UiError> {
    use iglu_api::{BuilderName, CacheName, builder::BuilderCreate};
    let call = super::context::Call::here()?;
    let wrong = |field: &str, message: String| UiError::Invalid { field: field.to_owned(), message };
    let spec = spec.spec()?;
    let create = BuilderCreate {
        name: BuilderName::parse(name.trim()).map_err(|error| wrong("name", error.to_string()))?,
        cache: CacheName::parse(&cache).map_err(|error| wrong("cache", error.to_string()))?,
        credential: credential(spec.repository.is_ssh(), &user, &password, &key),
        status_token: (!status_token.is_empty()).then_some(status_token),
        spec,
    };
    call.core.builder().create(&call.caller, &create).await.map_err(in_form)?;
    leptos_axum::redirect(&format!("/builders/{}", create.name));
    Ok(())
}

/// Changes a builder. An empty credential leaves the one that is kept.
#[server]
pub async fn builder_change(
    builder: String,
    revision: u64,
    spec: SpecForm,
    #[server(default)] user: String,
    #[server(default)] password: String,
    #[server(default)] key: String,
    #[server(default)] without_credential: String,
    #[server(default)] status_token: String,
) -> Result<(), UiError> {
    use iglu_api::builder::BuilderChange;
    let call = super::context::Call::here()?;
    let spec = spec.spec()?;
    let change = BuilderChange {
        credential: credential(spec.repository.is_ssh(), &user, &password, &key),
        spec: Some(spec),
        without_credential: !without_credential.is_empty(),
        status_token: (!status_token.is_empty()).then_some(status_token),
        is_enabled: None,
        revision: Some(revision),
    };
    call.core.builder().change(&call.caller, &builder, &change).await.map_err(in_form)
}

/// Switches a builder `on` or `off`.
#[server]
pub async fn builder_switch(builder: String, to: String) -> Result<(), UiError> {
    use iglu_api::builder::BuilderChange;
    let call = super::context::Call::here()?;
    let change = BuilderChange { is_enabled: Some(to == "on"), ..BuilderChange::default() };
    Ok(call.core.builder().change(&call.caller, &builder, &change).await?)
}

/// Removes a builder with its runs, and leads to the list. `confirm` is its name, typed again.
#[server]
pub async fn builder_remove(builder: String, confirm: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    if confirm.trim() != builder {
        let message = format!("type {builder} to remove it");
        return Err(UiError::Invalid { field: "confirm".to_owned(), message });
    }
    call.core.builder().remove(&call.caller, &builder).await?;
    leptos_axum::redirect("/builders");
    Ok(())
}

/// Where forges call a builder, with what secret, and their last calls.
#[server(input = GetUrl)]
pub async fn webhook_get(builder: String) -> Result<WebhookDetail, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().webhook(&call.caller, &builder).await?)
}

/// Makes another secret for a builder's webhook.
#[server]
pub async fn webhook_renew(builder: String) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().webhook_renew(&call.caller, &builder).await?)
}

/// Takes a call of a forge again.
#[server]
pub async fn delivery_repeat(builder: String, delivery: u64) -> Result<(), UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().webhook_repeat(&call.caller, &builder, delivery).await.map(drop)?)
}

/// Lets a node look at the repository that a form names. The number to ask [`builder_probed`] with. Without a password or key, what
/// `builder` keeps is used.
#[server]
pub async fn builder_probe(
    cache: String,
    #[server(default)] builder: String,
    repository: String,
    reference: String,
    #[server(default)] folder: String,
    #[server(default)] user: String,
    #[server(default)] password: String,
    #[server(default)] key: String,
) -> Result<u64, UiError> {
    use iglu_api::{BuilderName, CacheName, probe::ProbeStart};
    let call = super::context::Call::here()?;
    let spec = SpecForm { repository, reference, ..SpecForm::default() }.source()?;
    let wrong = |field: &str, message: String| UiError::Invalid { field: field.to_owned(), message };
    let start = ProbeStart {
        cache: CacheName::parse(&cache).map_err(|error| wrong("cache", error.to_string()))?,
        credential: credential(spec.0.is_ssh(), &user, &password, &key),
        repository: spec.0,
        reference: spec.1,
        folder: folder.trim().to_owned(),
        builder: BuilderName::parse(&builder).ok(),
    };
    Ok(call.core.builder().probe(&call.caller, &start).await?)
}

/// What came of a look, waiting a while for it; `None` where nothing came yet.
#[server(input = GetUrl)]
pub async fn builder_probed(probe: u64) -> Result<Option<ProbeAnswer>, UiError> {
    let call = super::context::Call::here()?;
    Ok(call.core.builder().probe_answer(&call.caller, probe).await?)
}
