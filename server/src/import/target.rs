//! The cache that an import fills: made with what the source says of it where it is absent, and given the keys that its machines trust.

use super::ImportCommand;
use anyhow::{Context, bail};
use iglu_api::{
    CacheName, Timestamp,
    cache::{CacheCreate, Permission, Visibility},
    retention::Retention,
};
use iglu_core::{Cache, Caller, Core, Discretion, Error};
use iglu_import::ForeignCache;
use nix_compat::signing::SigningKey;
use std::sync::Arc;

/// What people are told of the cache.
pub struct Prepared {
    pub was_created: bool,
    /// Public keys that were taken over by this run.
    pub new_keys: Vec<String>,
}

/// Opens the cache, or makes it, and takes over the keys that sign elsewhere. Doing it again changes nothing.
pub async fn prepare(core: &Core, command: &ImportCommand, source: &ForeignCache) -> anyhow::Result<Prepared> {
    let caller = Caller::Operator;
    let mut keys = source.signing_keys.clone();
    for file in &command.signing_key_file {
        let text = super::source::read_secret(file)?;
        let key = SigningKey::parse(&text);
        keys.push(key.with_context(|| format!("{}: this is no secret key (name:base64)", file.display()))?);
    }
    let mut prepared = Prepared { was_created: false, new_keys: Vec::new() };
    match open(core, &command.cache).await {
        Ok(_) => {}
        Err(Error::NotFound(why)) if !command.create => bail!("{why}; --create makes it"),
        Err(Error::NotFound(_)) => {
            create(core, command, source, keys.first()).await?;
            prepared.was_created = true;
            prepared.new_keys.extend(keys.first().map(public));
        }
        Err(error) => return Err(error.into()),
    }
    for key in &keys {
        let cache = open(core, &command.cache).await?;
        match cache.public_key(key.name()) {
            Some((known, _)) if known.as_bytes() == key.verifying_key().as_bytes() => {}
            Some(_) => bail!(
                "cache \"{}\" has another key \"{}\": the keys of two caches of this name cannot live in one",
                cache.name,
                key.name()
            ),
            None => {
                core.key().import(&caller, &command.cache, &key.to_secret_text()).await?;
                prepared.new_keys.push(public(key));
            }
        }
    }
    Ok(prepared)
}

/// The cache as it is now.
pub async fn open(core: &Core, name: &str) -> Result<Arc<Cache>, Error> {
    core.cache().open(&Caller::Operator, name, Permission::Admin, Discretion::Tell).await
}

async fn create(
    core: &Core,
    command: &ImportCommand,
    source: &ForeignCache,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    let caller = Caller::Operator;
    let name = CacheName::parse(&command.cache)?;
    // What nobody said is public is private.
    let visibility = match (command.visibility, source.is_public) {
        (Some(seen), _) => seen.into(),
        (None, Some(true)) => Visibility::Public,
        (None, _) => Visibility::Private,
    };
    let create = CacheCreate {
        priority: source.priority.unwrap_or(CacheCreate::DEFAULT_PRIORITY),
        client_filter_keys: source.upstream_key_names.clone(),
        ..CacheCreate::new(name, visibility)
    };
    match key {
        Some(key) => core.cache().create_with_key(&caller, &create, key).await?,
        None => core.cache().create(&caller, &create).await?,
    }
    if let Some(seconds) = source.retention_seconds.filter(|seconds| *seconds > 0) {
        let day = Timestamp::DAY.unsigned_abs() / 1000;
        let days = u32::try_from(seconds.div_ceil(day)).unwrap_or(u32::MAX).min(36_500);
        let rules = Retention { used_days: Some(days), ..Retention::default() };
        core.retention().set(&caller, &command.cache, &rules, true).await?;
    }
    Ok(())
}

fn public(key: &SigningKey) -> String {
    key.verifying_key().to_string()
}
