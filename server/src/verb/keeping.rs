//! `retention`, `limits` and `pin`: what caches keep, and what may be pushed.

use super::{
    Said,
    api::{Api, segment},
    path::removal_in_words,
};
use crate::size::Size;
use clap::Subcommand;
use iglu_api::{
    format,
    pin::{Keep, PinCreate, PinRow},
    retention::{Preview, PushLimits, Removal, Retention},
};
use serde_json::json;

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
    Show {
        /// Name of the cache
        cache: String,
    },
    /// Change what is named, and nothing else; `none` ends a rule
    Set {
        /// Name of the cache
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
    /// Print what the rules would take out at this moment, and change nothing
    Preview {
        /// Name of the cache
        cache: String,
    },
    /// Take out what the rules say, in the background
    Run {
        /// Name of the cache
        cache: String,
        /// Go ahead even if the rules would remove everything
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub enum LimitsCommand {
    /// Print what may be pushed to a cache
    Show {
        /// Name of the cache
        cache: String,
    },
    /// Change what is named, and nothing else; `none` ends a limit
    Set {
        /// Name of the cache
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
pub enum PinCommand {
    /// Print the pins of a cache
    List {
        /// Name of the cache
        cache: String,
    },
    /// Pin a path; a name that exists gets one more revision
    Create {
        /// Name of the cache
        cache: String,
        /// Name of the pin
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
        /// Name of the cache
        cache: String,
        /// Name of the pin
        name: String,
        /// Only this revision; without it, the pin with all of them
        #[arg(long)]
        revision: Option<u64>,
    },
}

pub async fn pin(api: &Api, command: PinCommand) -> Said {
    let of = |cache: &str| format!("caches/{}/pins", segment(cache));
    let cache = match command {
        PinCommand::List { cache } => cache,
        PinCommand::Create { cache, name, path, keep_days, keep_revisions } => {
            let keep = match (keep_days, keep_revisions) {
                (Some(days), _) => Keep::Days(days),
                (None, Some(count)) => Keep::Revisions(count),
                (None, None) => Keep::Forever,
            };
            let create = PinCreate { name, store_path: path, artifacts: Vec::new(), keep };
            let () = api.post(&of(&cache), create).await?;
            cache
        }
        PinCommand::Remove { cache, name, revision } => {
            let revision = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
            let () = api.delete(&format!("{}/{}{revision}", of(&cache), segment(&name))).await?;
            cache
        }
    };
    let pins: Vec<PinRow> = api.get(&of(&cache)).await?;
    let lines = pins.iter().flat_map(|pin| {
        pin.revisions.iter().map(move |revision| {
            let until = revision.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
            format!("{} {} {}{until}, by {}", pin.name, revision.number, revision.store_path, revision.created_by)
        })
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok((json!({ "pins": pins }), text))
}

pub async fn retention(api: &Api, command: RetentionCommand) -> Said {
    let of = |cache: &str| format!("caches/{}/retention", segment(cache));
    let removals_of = |cache: &str| format!("caches/{}/removals", segment(cache));
    let cache = match command {
        RetentionCommand::Show { cache } => cache,
        RetentionCommand::Set { cache, pushed_days, used_days, bytes, revisions, yes } => {
            let before: Retention = api.get(&of(&cache)).await?;
            let bytes = bytes.map(|Perhaps(size)| Perhaps(size.map(|Size(bytes)| bytes)));
            let rules = Retention {
                pushed_days: Perhaps::over(pushed_days, before.pushed_days),
                used_days: Perhaps::over(used_days, before.used_days),
                bytes: Perhaps::over(bytes, before.bytes),
                revisions: Perhaps::over(revisions, before.revisions),
            };
            let _: Retention = api.put(&format!("{}?confirm={yes}", of(&cache)), rules).await?;
            cache
        }
        RetentionCommand::Preview { cache } => {
            let rules: Retention = api.get(&of(&cache)).await?;
            let preview: Preview = api.post(&format!("{}/preview", of(&cache)), rules).await?;
            let Preview { all_paths, paths, freed_bytes, pinned_paths, .. } = &preview;
            let text = format!(
                "{paths} of {all_paths} paths would go, {} would become free; pins protect {pinned_paths} paths",
                format::bytes(*freed_bytes)
            );
            return Ok((json!({ "preview": preview }), text));
        }
        RetentionCommand::Run { cache, yes } => {
            let removal: Removal = api.post(&format!("{}?confirm={yes}", removals_of(&cache)), ()).await?;
            return Ok((json!({ "removal": removal }), removal_in_words(&removal)));
        }
    };
    let rules: Retention = api.get(&of(&cache)).await?;
    let removals: Vec<Removal> = api.get(&removals_of(&cache)).await?;
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

pub async fn limits(api: &Api, command: LimitsCommand) -> Said {
    let of = |cache: &str| format!("caches/{}/limits", segment(cache));
    let cache = match command {
        LimitsCommand::Show { cache } => cache,
        LimitsCommand::Set { cache, cache_bytes, upload_bytes } => {
            let before: PushLimits = api.get(&of(&cache)).await?;
            let plain = |size: Option<Perhaps<Size>>| size.map(|Perhaps(size)| Perhaps(size.map(|Size(bytes)| bytes)));
            let limits = PushLimits {
                cache_bytes: Perhaps::over(plain(cache_bytes), before.cache_bytes),
                upload_bytes: Perhaps::over(plain(upload_bytes), before.upload_bytes),
            };
            let _: PushLimits = api.put(&of(&cache), limits).await?;
            cache
        }
    };
    let limits: PushLimits = api.get(&of(&cache)).await?;
    let word = |bytes: Option<u64>| bytes.map_or_else(|| "no limit".to_owned(), format::bytes);
    let text = format!("cache: {}\none file: {}", word(limits.cache_bytes), word(limits.upload_bytes));
    Ok((json!({ "limits": limits }), text))
}
