//! Builders: what of which repository is built into which cache. Whoever maintains the cache says so; whoever may pull from it sees it.

use crate::{
    Core,
    caller::{Caller, Discretion},
    db::BuilderFound,
    directory::Cache,
    error::{Error, Result},
    run::run_row,
    status,
    trigger::{self, Due},
};
use iglu_api::{
    BuilderName, Timestamp,
    builder::{BuilderChange, BuilderCreate, BuilderDetail, BuilderRow, BuilderSpec, Credential, What},
    cache::Permission,
    run::RunRow,
};
use nix_compat::signing::VerifyingKey;
use std::{collections::HashMap, sync::Arc};

/// Longest list of outputs, attributes, systems, caches or keys.
const MOST: usize = 100;
/// Longest single text of a builder, in bytes.
const LONGEST: usize = 4096;
/// Longest credential, in bytes.
const LONGEST_CREDENTIAL: usize = 16 << 10;
/// Runs on a builder's page.
const RUNS_SHOWN: i64 = 50;

/// The methods of the noun.
pub struct Builders<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn builder(&self) -> Builders<'_> {
        Builders(self)
    }
}

impl Builders<'_> {
    /// Makes a builder for a cache that the caller may change.
    pub async fn create(&self, caller: &Caller, create: &BuilderCreate) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, create.cache.as_str(), Permission::Admin, Discretion::Hide).await?;
        check_spec(&create.spec)?;
        trigger::check(&create.spec, core.now())?;
        let due = Due::after(&create.spec, true, core.now());
        let name = create.name.as_str();
        let credential = create.credential.as_ref().map(|credential| self.sealed(name, &create.spec, credential));
        let status_token = self.sealed_status_token(name, &create.spec, create.status_token.as_deref())?;
        let audit = core.audit(caller, "builder.create", &format!("{name} of {}", cache.name)).of(cache.id);
        let spec = spec_json(&create.spec)?;
        let (credential, status_token) = (credential.transpose()?, status_token);
        let sealed = (credential.as_deref(), status_token.as_deref());
        if !core.db.builder_insert(name, cache.id, &spec, sealed, due, &audit).await? {
            let message = format!("there is a builder \"{name}\" already");
            return Err(Error::Conflict { field: "name", message });
        }
        Ok(())
    }

    /// The builders of caches that the caller may pull from, by name.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<BuilderRow>> {
        let core = self.0;
        let mut newest: HashMap<i64, Vec<RunRow>> = HashMap::new();
        for run in core.db.run_list_last().await? {
            if let Some(cache) = core.directory.get_by_id(run.cache_id) {
                newest.entry(run.builder_id).or_default().push(run_row(run, &cache)?);
            }
        }
        let mut rows = Vec::new();
        for found in core.db.builder_list().await? {
            let Some(cache) = core.directory.get_by_id(found.cache_id) else { continue };
            if caller.permission(&cache) < Some(Permission::Pull) {
                continue;
            }
            let spec = spec_of(&found)?;
            rows.push(BuilderRow {
                name: name_of(&found.name)?,
                cache: cache.name.clone(),
                repository: spec.repository,
                reference: spec.reference,
                is_enabled: found.is_enabled,
                runs: newest.remove(&found.id).unwrap_or_default(),
            });
        }
        Ok(rows)
    }

    /// All about a builder, with its newest runs.
    pub async fn get(&self, caller: &Caller, name: &str) -> Result<BuilderDetail> {
        let core = self.0;
        let (found, cache) = self.open(caller, name, Permission::Pull).await?;
        let runs = core.db.run_list(found.id, i64::MAX, RUNS_SHOWN).await?;
        Ok(BuilderDetail {
            permission: caller.permission(&cache),
            name: name_of(&found.name)?,
            cache: cache.name.clone(),
            spec: spec_of(&found)?,
            next_at: found.schedule_at.map(Timestamp),
            has_status_token: found.status_token.is_some(),
            has_credential: found.credential.is_some(),
            is_enabled: found.is_enabled,
            revision: found.revision.unsigned_abs(),
            created_at: Timestamp(found.created_at),
            created_by: found.created_by,
            runs: runs.into_iter().map(|run| run_row(run, &cache)).collect::<Result<_>>()?,
        })
    }

    /// Changes what the caller names of a builder. Somebody else's change meanwhile is told where `revision` says what this one was made from.
    pub async fn change(&self, caller: &Caller, name: &str, change: &BuilderChange) -> Result<()> {
        let core = self.0;
        let (mut found, cache) = self.open(caller, name, Permission::Admin).await?;
        let other = || Error::Conflict {
            field: "revision",
            message: format!("somebody changed builder \"{name}\" meanwhile; look at it and change it again"),
        };
        if change.revision.is_some_and(|revision| revision != found.revision.unsigned_abs()) {
            return Err(other());
        }
        let was = spec_of(&found)?;
        let spec = change.spec.as_ref().unwrap_or(&was);
        check_spec(spec)?;
        trigger::check(spec, core.now())?;
        if spec.repository != was.repository && change.credential.is_none() {
            // It was given for one place; another one must not be sent it.
            found.credential = None;
        }
        if let Some(credential) = &change.credential {
            found.credential = Some(self.sealed(name, spec, credential)?);
        }
        if change.without_credential {
            found.credential = None;
        }
        if spec.status != was.status || spec.repository != was.repository {
            found.status_token = None;
        }
        if change.status_token.is_some() {
            found.status_token = self.sealed_status_token(name, spec, change.status_token.as_deref())?;
        }
        found.spec = spec_json(spec)?;
        found.is_enabled = change.is_enabled.unwrap_or(found.is_enabled);
        let due = Due::after(spec, found.is_enabled, core.now());
        (found.schedule_at, found.poll_at) = (due.schedule_at, due.poll_at);
        let audit = core.audit(caller, "builder.change", &format!("{name} of {}", cache.name)).of(cache.id);
        if core.db.builder_update(&found, &audit).await? { Ok(()) } else { Err(other()) }
    }

    /// Removes a builder with its runs and their logs. What it built stays.
    pub async fn remove(&self, caller: &Caller, name: &str) -> Result<()> {
        let core = self.0;
        let (found, cache) = self.open(caller, name, Permission::Admin).await?;
        let audit = core.audit(caller, "builder.remove", &format!("{name} of {}", cache.name)).of(cache.id);
        core.db.builder_delete(found.id, &audit).await
    }

    /// The builder with its cache, if the caller may do so much there. One of a cache that the caller may not see is not there.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        name: &str,
        needed: Permission,
    ) -> Result<(BuilderFound, Arc<Cache>)> {
        let core = self.0;
        let hidden = || hidden(caller, &format!("builder \"{}\"", name.escape_default()));
        let found = core.db.builder_get(name).await?.ok_or_else(hidden)?;
        let cache = core.directory.get_by_id(found.cache_id).ok_or_else(hidden)?;
        if caller.permission(&cache).is_none() {
            return Err(hidden());
        }
        caller.require(&cache, needed, Discretion::Hide)?;
        Ok((found, cache))
    }

    fn sealed(&self, name: &str, spec: &BuilderSpec, credential: &Credential) -> Result<Vec<u8>> {
        let refuse = |message: &str| Err(Error::invalid("credential", message));
        let is_ssh = spec.repository.is_ssh();
        let bytes = match credential {
            Credential::Password { user, password } => {
                if is_ssh {
                    return refuse("a repository that is reached by ssh is opened by a private key");
                }
                if password.is_empty() || user.contains(char::is_control) || password.contains(char::is_control) {
                    return refuse("the password or token is one line");
                }
                user.len() + password.len()
            }
            Credential::Key { key } => {
                if !is_ssh {
                    return refuse("a repository that is reached by https is opened by a password or token");
                }
                if !key.contains("PRIVATE KEY-----") {
                    return refuse("the key is a private key in OpenSSH's form, with its first and last line");
                }
                key.len()
            }
        };
        if bytes > LONGEST_CREDENTIAL {
            return refuse("the credential is too long to be one");
        }
        let json =
            serde_json::to_vec(credential).map_err(|_| Error::internal("a credential cannot be written as JSON"))?;
        Ok(self.0.master.seal(&purpose(name), &json))
    }

    fn sealed_status_token(&self, name: &str, spec: &BuilderSpec, token: Option<&str>) -> Result<Option<Vec<u8>>> {
        let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) else { return Ok(None) };
        let refuse = |message: &str| Err(Error::invalid("status_token", message));
        if spec.status.is_none() {
            return refuse("say which forge it is for");
        }
        if token.len() > LONGEST || token.contains(|c: char| !c.is_ascii_graphic()) {
            return refuse("a token of a forge is one word");
        }
        Ok(Some(self.0.master.seal(&status_purpose(name), token.as_bytes())))
    }

    pub(crate) fn status_token(&self, name: &str, sealed: &[u8]) -> Result<String> {
        let token = self.0.master.open(&status_purpose(name), sealed);
        let token = token.and_then(|token| String::from_utf8(token.to_vec()).ok());
        let broken =
            || Error::internal(format!("the forge's token of builder {name} cannot be opened with this master key"));
        token.ok_or_else(broken)
    }

    pub(crate) fn credential(&self, name: &str, sealed: Option<&[u8]>) -> Result<Option<Credential>> {
        let Some(sealed) = sealed else { return Ok(None) };
        let broken =
            || Error::internal(format!("the credential of builder {name} cannot be opened with this master key"));
        let json = self.0.master.open(&purpose(name), sealed).ok_or_else(broken)?;
        serde_json::from_slice(&json).map(Some).map_err(|_| broken())
    }
}

/// What is said of a thing that is not there, and of one in a cache that the caller may not see: the same.
pub(crate) fn hidden(caller: &Caller, what: &str) -> Error {
    match caller {
        Caller::Anonymous { problem, .. } => {
            let problem = problem.as_deref().unwrap_or("no token was sent");
            Error::Unauthenticated(format!("{problem}; {what} may need a token for its cache"))
        }
        Caller::Token(token) if !caller.sees_all_caches() => {
            Error::Unauthenticated(format!("token \"{}\" has no right on {what}, or there is none", token.name))
        }
        _ => Error::NotFound(format!("there is no {what}")),
    }
}

/// What a builder's credential is sealed for.
fn purpose(name: &str) -> String {
    format!("credential of builder {name}")
}

fn status_purpose(name: &str) -> String {
    format!("forge token of builder {name}")
}

fn spec_json(spec: &BuilderSpec) -> Result<String> {
    serde_json::to_string(spec).map_err(|_| Error::internal("a builder cannot be written as JSON"))
}

pub(crate) fn spec_of(found: &BuilderFound) -> Result<BuilderSpec> {
    let broken = |_| Error::internal(format!("builder {} in the database cannot be read", found.name));
    serde_json::from_str(&found.spec).map_err(broken)
}

pub(crate) fn name_of(name: &str) -> Result<BuilderName> {
    BuilderName::parse(name).map_err(|error| Error::internal(format!("a builder in the database: {error}")))
}

fn check_spec(spec: &BuilderSpec) -> Result<()> {
    match &spec.what {
        What::Flake { folder, outputs } => {
            check_relative("folder", folder)?;
            check_list("outputs", outputs, is_attribute)?;
            if outputs.is_empty() {
                return Err(Error::invalid("outputs", "name what to build: packages, checks, or an attribute"));
            }
        }
        What::File { file, attributes } => {
            check_relative("file", file)?;
            if file.is_empty() {
                return Err(Error::invalid("file", "name the Nix file"));
            }
            check_list("attributes", attributes, is_attribute)?;
        }
        What::Command { command } => {
            if command.trim().is_empty() || command.len() > LONGEST || command.contains('\0') {
                return Err(Error::invalid("command", format!("a command is 1 to {LONGEST} bytes")));
            }
        }
    }
    check_list("systems", &spec.systems, |system| {
        system.contains('-') && system.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    })?;
    check_list("substituters", &spec.substituters, |url| {
        ["https://", "http://", "s3://"].iter().any(|scheme| url.starts_with(scheme))
            && !url.contains(char::is_whitespace)
    })?;
    check_list("trusted_keys", &spec.trusted_keys, |key| VerifyingKey::parse(key).is_ok())?;
    if let Some(status) = &spec.status {
        status::check(status)?;
        if spec.repository.host_and_path().is_none() {
            return Err(Error::invalid(
                "repository",
                "a forge is told of a project: its address ends in /team/project",
            ));
        }
    }
    if let Some(webhook) = &spec.triggers.webhook {
        let is_pattern = |text: &str| !text.contains(char::is_control);
        check_list("branches", &webhook.branches, is_pattern)?;
        check_list("paths", &webhook.paths, is_pattern)?;
    }
    let limits = &spec.limits;
    let within = |field: &'static str, value: u32, least: u32, most: u32| {
        let message = || format!("{field} is from {least} to {most}");
        if (least..=most).contains(&value) { Ok(()) } else { Err(Error::invalid(field, message())) }
    };
    within("cores", limits.cores, 0, 1024)?;
    within("jobs", limits.jobs, 1, 256)?;
    within("memory_mib", limits.memory_mib, 0, 16 << 20)?;
    within("timeout_minutes", limits.timeout_minutes, 1, 7 * 24 * 60)?;
    within("log_mib", limits.log_mib, 1, 1024)?;
    within("runs", limits.runs, 1, 100)?;
    within("keep_runs", spec.keep_runs, 0, 1000)
}

fn check_list(field: &'static str, list: &[String], good: impl Fn(&str) -> bool) -> Result<()> {
    if list.len() > MOST {
        return Err(Error::invalid(field, format!("at most {MOST} are taken")));
    }
    match list.iter().find(|text| text.is_empty() || text.len() > LONGEST || !good(text)) {
        Some(bad) => {
            let shown: String = bad.chars().take(80).collect();
            Err(Error::invalid(field, format!("\"{}\" cannot be one of {field}", shown.escape_default())))
        }
        None => Ok(()),
    }
}

/// A path of attributes as Nix reads it, and nothing that a program would take for an option.
fn is_attribute(text: &str) -> bool {
    !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.'\"+".contains(c))
}

/// A path inside the repository.
fn check_relative(field: &'static str, path: &str) -> Result<()> {
    let is_bad = path.len() > LONGEST
        || path.starts_with(['/', '-'])
        || path.split('/').any(|part| part == "..")
        || path.contains(|c: char| c.is_control() || "?#\"'`$\\".contains(c));
    if is_bad {
        Err(Error::invalid(field, "this is a path inside the repository, without .. and quotes"))
    } else {
        Ok(())
    }
}
