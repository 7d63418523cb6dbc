//! `iglu admin retention`, `limits` and `path`: what caches keep, what may be pushed, and taking paths out by hand.

use crate::size::Size;
use clap::Subcommand;
use iglu_api::{
    format,
    pin::{Keep, PinCreate},
    retention::{PushLimits, Removal, Retention},
};
use iglu_core::{Caller, Core};
use nix_compat::{
    STORE_DIR,
    store_path::{StorePath, StorePathHash},
};
use serde_json::{Value, json};

/// A number, or `none`.
#[derive(Clone, Copy, Debug)]
pub struct Perhaps<T>(Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for Perhaps<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Perhaps<T>, T::Err> {
        if text == "none" { Ok(Perhaps(None)) } else { text.parse().map(|value| Perhaps(Some(value))) }
    }
}

impl<T: Copy> Perhaps<T> {
    /// What is named replaces what was; what is not named stays.
    fn over(this: Option<Perhaps<T>>, before: Option<T>) -> Option<T> {
        this.map_or(before, |Perhaps(value)| value)
    }
}

#[derive(Subcommand)]
pub enum RetentionCommand {
    /// Print the rules of a cache and its last removals
    Show { cache: String },
    /// Change what is named, and nothing else; `none` ends a rule
    Set {
        cache: String,
        /// Paths go that were not pushed, nor needed by a push, for so many days
        #[arg(long, value_name = "DAYS")]
        pushed_days: Option<Perhaps<u32>>,
        /// Paths go that were not pulled or pushed for so many days
        #[arg(long, value_name = "DAYS")]
        used_days: Option<Perhaps<u32>>,
        /// The least recently used closures go beyond this size, such as 50GiB
        #[arg(long, value_name = "SIZE")]
        bytes: Option<Perhaps<Size>>,
        /// So many revisions of each pin protect what they pin
        #[arg(long, value_name = "COUNT")]
        revisions: Option<Perhaps<u32>>,
        /// Go ahead even if the rules would remove everything
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub enum LimitsCommand {
    /// Print what may be pushed to a cache
    Show { cache: String },
    /// Change what is named, and nothing else; `none` ends a limit
    Set {
        cache: String,
        /// All NAR files together, such as 200GiB; pushes are refused beyond it
        #[arg(long, value_name = "SIZE")]
        cache_bytes: Option<Perhaps<Size>>,
        /// One NAR file, such as 5GiB
        #[arg(long, value_name = "SIZE")]
        upload_bytes: Option<Perhaps<Size>>,
    },
}

#[derive(Subcommand)]
pub enum PathCommand {
    /// Take paths out of a cache; it can be undone for a day
    Remove {
        cache: String,
        /// Store paths, or their hash parts
        #[arg(required = true)]
        paths: Vec<String>,
        /// What refers to them goes too
        #[arg(long)]
        with_referrers: bool,
    },
    /// Put back what a removal took out
    Undo { cache: String, removal: i64 },
    /// Print the paths that are out of sight because their file is damaged
    Damaged { cache: String },
}

#[derive(Subcommand)]
pub enum PinCommand {
    /// Print the pins of a cache
    List { cache: String },
    /// Pin a path; a name that exists gets one more revision
    Create {
        cache: String,
        name: String,
        /// A store path of the cache
        path: String,
        /// This revision stays for so many days
        #[arg(long, value_name = "DAYS", conflicts_with = "keep_revisions")]
        keep_days: Option<u32>,
        /// The newest so many revisions stay
        #[arg(long, value_name = "COUNT")]
        keep_revisions: Option<u32>,
    },
    /// End a pin, or one revision of it
    Remove {
        cache: String,
        name: String,
        #[arg(long)]
        revision: Option<u64>,
    },
}

pub async fn pin(core: &Core, command: PinCommand) -> anyhow::Result<(Value, String)> {
    let operator = Caller::Operator;
    let cache = match command {
        PinCommand::List { cache } => cache,
        PinCommand::Create { cache, name, path, keep_days, keep_revisions } => {
            let keep = match (keep_days, keep_revisions) {
                (Some(days), _) => Keep::Days(days),
                (None, Some(count)) => Keep::Revisions(count),
                (None, None) => Keep::Forever,
            };
            let create = PinCreate { name, store_path: path, artifacts: Vec::new(), keep };
            core.pin().create(&operator, &cache, &create).await?;
            cache
        }
        PinCommand::Remove { cache, name, revision } => {
            core.pin().remove(&operator, &cache, &name, revision).await?;
            cache
        }
    };
    let pins = core.pin().list(&operator, &cache).await?;
    let lines = pins.iter().flat_map(|pin| {
        pin.revisions.iter().map(move |revision| {
            let until = revision.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
            format!("{} {} {}{until}, by {}", pin.name, revision.number, revision.store_path, revision.created_by)
        })
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok((json!({ "pins": pins }), text))
}

pub async fn retention(core: &Core, command: RetentionCommand) -> anyhow::Result<(Value, String)> {
    let operator = Caller::Operator;
    let cache = match command {
        RetentionCommand::Show { cache } => cache,
        RetentionCommand::Set { cache, pushed_days, used_days, bytes, revisions, yes } => {
            let (before, _) = core.retention().get(&operator, &cache).await?;
            let bytes = bytes.map(|Perhaps(size)| Perhaps(size.map(|Size(bytes)| bytes)));
            let rules = Retention {
                pushed_days: Perhaps::over(pushed_days, before.pushed_days),
                used_days: Perhaps::over(used_days, before.used_days),
                bytes: Perhaps::over(bytes, before.bytes),
                revisions: Perhaps::over(revisions, before.revisions),
            };
            core.retention().set(&operator, &cache, &rules, yes).await?;
            cache
        }
    };
    let (rules, _) = core.retention().get(&operator, &cache).await?;
    let removals = core.retention().removals(&operator, &cache).await?;
    let mut lines = rules_in_words(&rules);
    lines.extend(removals.iter().map(removal_in_words));
    Ok((json!({ "retention": rules, "removals": removals }), lines.join("\n")))
}

fn rules_in_words(rules: &Retention) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(rules.pushed_days.map(|days| format!("goes when not pushed for {days} days")));
    lines.extend(rules.used_days.map(|days| format!("goes when not used for {days} days")));
    lines.extend(rules.bytes.map(|bytes| format!("least recently used closures go beyond {}", format::bytes(bytes))));
    lines.extend(rules.revisions.map(|count| format!("pins protect their newest {count} revisions")));
    if !rules.collects() {
        lines.push("nothing goes by rules".to_owned());
    }
    lines
}

fn removal_in_words(removal: &Removal) -> String {
    let note = if removal.note.is_empty() { String::new() } else { format!(", {}", removal.note) };
    let undo = removal.undo_until.map(|until| format!(", can be undone until {until}")).unwrap_or_default();
    let bytes = format::bytes(removal.bytes);
    let Removal { id, asked_at, asked_by, state, paths, .. } = removal;
    format!("removal {id} of {asked_at} by {asked_by}: {}, {paths} paths, {bytes}{note}{undo}", state.as_str())
}

pub async fn limits(core: &Core, command: LimitsCommand) -> anyhow::Result<(Value, String)> {
    let operator = Caller::Operator;
    let cache = match command {
        LimitsCommand::Show { cache } => cache,
        LimitsCommand::Set { cache, cache_bytes, upload_bytes } => {
            let (_, before) = core.retention().get(&operator, &cache).await?;
            let plain = |size: Option<Perhaps<Size>>| size.map(|Perhaps(size)| Perhaps(size.map(|Size(bytes)| bytes)));
            let limits = PushLimits {
                cache_bytes: Perhaps::over(plain(cache_bytes), before.cache_bytes),
                upload_bytes: Perhaps::over(plain(upload_bytes), before.upload_bytes),
            };
            core.retention().limits_set(&operator, &cache, &limits).await?;
            cache
        }
    };
    let (_, limits) = core.retention().get(&operator, &cache).await?;
    let word = |bytes: Option<u64>| bytes.map_or_else(|| "no limit".to_owned(), format::bytes);
    let text = format!("cache: {}\none file: {}", word(limits.cache_bytes), word(limits.upload_bytes));
    Ok((json!({ "limits": limits }), text))
}

pub async fn path(core: &Core, command: PathCommand) -> anyhow::Result<(Value, String)> {
    let operator = Caller::Operator;
    let removal = match command {
        PathCommand::Remove { cache, paths, with_referrers } => {
            let hashes = paths.iter().map(|path| hash_part(path)).collect::<anyhow::Result<Vec<_>>>()?;
            core.retention().remove(&operator, &cache, &hashes, with_referrers).await?
        }
        PathCommand::Undo { cache, removal } => core.retention().undo(&operator, &cache, removal).await?,
        PathCommand::Damaged { cache } => {
            let damaged = core.path().damaged(&operator, &cache).await?;
            let lines =
                damaged.iter().map(|path| format!("{}-{}: {} ({})", path.hash, path.name, path.why, path.since));
            let text = lines.collect::<Vec<_>>().join("\n");
            return Ok((json!({ "damaged": damaged }), text));
        }
    };
    Ok((json!({ "removal": removal }), removal_in_words(&removal)))
}

/// The hash part of what a person wrote: a store path with or without its folder, or the hash part itself.
fn hash_part(text: &str) -> anyhow::Result<StorePathHash> {
    let base = text.strip_prefix(STORE_DIR).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    match StorePath::parse(base) {
        Ok(path) => Ok(path.hash()),
        Err(_) => {
            Ok(StorePathHash::parse(base).map_err(|error| anyhow::anyhow!("\"{text}\" is no store path: {error}"))?)
        }
    }
}
