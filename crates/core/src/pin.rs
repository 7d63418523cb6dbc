//! Pins: names for store paths that must stay, with revisions.

use crate::{
    Core,
    caller::{Caller, Discretion},
    db::NewPin,
    error::{Error, Result},
};
use iglu_api::{
    Timestamp,
    cache::Permission,
    pin::{Keep, PinCreate, PinRevision, PinRow},
};
use nix_compat::{STORE_DIR, store_path::StorePath};

const LONGEST_NAME: usize = 255;
const MOST_ARTIFACTS: usize = 1000;
const MOST_ARTIFACT_BYTES: usize = 64 << 10;

/// The methods of the noun.
pub struct Pins<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn pin(&self) -> Pins<'_> {
        Pins(self)
    }
}

impl Pins<'_> {
    /// Pins a path of the cache; a name that exists gets one more revision.
    pub async fn create(&self, caller: &Caller, cache: &str, create: &PinCreate) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        check_name(&create.name)?;
        let bytes: usize = create.artifacts.iter().map(String::len).sum();
        if create.artifacts.len() > MOST_ARTIFACTS || bytes > MOST_ARTIFACT_BYTES {
            return Err(Error::invalid("artifacts", format!("at most {MOST_ARTIFACTS} artifacts are taken")));
        }
        let path = StorePath::parse_absolute(&create.store_path).map_err(|error| {
            Error::invalid("storePath", format!("storePath \"{}\": {error}", create.store_path.escape_default()))
        })?;
        let hash = path.hash().to_string();
        let mut known = core.db.path_row(cache.id, &hash).await?;
        if known.is_none() {
            // Rules took it out since it was pushed.
            let back = core.db.collected_put_back(cache.id, vec![hash.clone()]).await?;
            core.forget(&back.visible);
            if back.paths > 0 {
                core.directory.reload(&core.db, &core.master).await?;
            }
            known = core.db.path_row(cache.id, &hash).await?;
        }
        if known.is_none_or(|known| known.name != path.name()) {
            return Err(Error::NotFound(format!(
                "{path} is not in cache \"{}\"; push it before pinning it",
                cache.name
            )));
        }
        let (expires_at, revisions) = match create.keep {
            Keep::Days(0) | Keep::Revisions(0) => {
                return Err(Error::invalid("keep", "keep at least one day or one revision"));
            }
            Keep::Days(days) => (Some(core.now().plus(i64::from(days) * Timestamp::DAY).0), None),
            Keep::Revisions(count) => (None, Some(i64::from(count))),
            Keep::Forever => (None, None),
        };
        let broken = |_| Error::internal("a pin cannot be written as JSON");
        let pin = NewPin {
            cache_id: cache.id,
            name: &create.name,
            store_path: &format!("{STORE_DIR}/{path}"),
            hash: &hash,
            artifacts: &serde_json::to_string(&create.artifacts).map_err(broken)?,
            keep: &serde_json::to_string(&create.keep).map_err(broken)?,
            expires_at,
            revisions,
        };
        let audit = core.audit(caller, "pin.create", &format!("{} of {}", create.name, cache.name)).of(cache.id);
        let Some(back) = core.db.pin_insert(&pin, &audit).await? else {
            return Err(Error::NotFound(format!(
                "{path} was just removed from cache \"{}\"; push it before pinning it",
                cache.name
            )));
        };
        core.forget(&back.visible);
        if back.paths > 0 {
            core.directory.reload(&core.db, &core.master).await?;
        }
        Ok(())
    }

    /// Ends a pin: one revision of it, or all. What only it protected may go by the rules of the cache.
    pub async fn remove(&self, caller: &Caller, cache: &str, name: &str, revision: Option<u64>) -> Result<()> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Push, Discretion::Hide).await?;
        let audit = core.audit(caller, "pin.remove", &format!("{name} of {}", cache.name)).of(cache.id);
        let revision = revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX));
        if core.db.pin_delete(cache.id, name, revision, &audit).await? {
            return Ok(());
        }
        Err(Error::NotFound(format!("cache \"{}\" has no such pin", cache.name)))
    }

    /// The pins of a cache by name, each with its revisions, the newest first.
    pub async fn list(&self, caller: &Caller, cache: &str) -> Result<Vec<PinRow>> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let mut pins: Vec<PinRow> = Vec::new();
        for row in core.db.pin_list(cache.id, core.now().0).await? {
            let broken = |_| Error::internal(format!("pin {} in the database cannot be read", row.name));
            let revision = PinRevision {
                number: row.revision.unsigned_abs(),
                store_path: row.store_path,
                artifacts: serde_json::from_str(&row.artifacts).map_err(broken)?,
                keep: serde_json::from_str(&row.keep).map_err(broken)?,
                created_at: Timestamp(row.created_at),
                created_by: row.created_by,
                expires_at: row.expires_at.map(Timestamp),
            };
            match pins.last_mut().filter(|pin| pin.name == row.name) {
                Some(pin) => {
                    pin.created_at = revision.created_at;
                    pin.revisions.push(revision);
                }
                None => {
                    pins.push(PinRow { name: row.name, created_at: revision.created_at, revisions: vec![revision] });
                }
            }
        }
        Ok(pins)
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.trim() != name || name.contains(char::is_control) {
        return Err(Error::invalid(
            "name",
            format!("the name of a pin is 1 to {LONGEST_NAME} bytes without control characters"),
        ));
    }
    Ok(())
}
