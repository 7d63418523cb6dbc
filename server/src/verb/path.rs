//! `path`: what is in a cache, why something is not, and taking it out by hand.

use super::{
    Said,
    api::{Api, query, segment},
};
use clap::{Subcommand, ValueEnum};
use iglu_api::{
    Timestamp,
    check::DamagedPath,
    format,
    path::{PathDetail, PathFilter, PathPage, PathRow, PathSort, PathsRemove},
    retention::Removal,
    why::{Verdict, WhyAnswer},
};
use nix_compat::{
    STORE_DIR,
    store_path::{StorePath, StorePathHash},
};
use serde_json::json;

#[derive(Subcommand)]
pub enum PathCommand {
    /// Print paths of a cache, fifty at a time
    List {
        /// Name of the cache
        cache: String,
        /// Words, each the beginning of a hash or of a part of a name between hyphens
        search: Vec<String>,
        /// In which order
        #[arg(long, default_value = "newest")]
        sort: Sort,
        /// Only what this token (`token ci`) or person pushed
        #[arg(long, value_name = "WHO", default_value = "")]
        pushed_by: String,
        /// Which of them
        #[arg(long, default_value = "all")]
        only: Only,
        /// Counted from 1
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        page: u32,
    },
    /// Print what is known about a path
    Show {
        /// Name of the cache
        cache: String,
        /// A store path, or its hash part
        path: String,
    },
    /// Say whether a path is substituted, and why not
    Why {
        /// Name of the cache
        cache: String,
        /// A store path, or its hash part
        path: String,
    },
    /// Take paths out of a cache; it can be undone for a day
    Remove {
        /// Name of the cache
        cache: String,
        /// Store paths, or their hash parts
        #[arg(required = true)]
        paths: Vec<String>,
        /// What refers to them goes too
        #[arg(long)]
        with_referrers: bool,
    },
    /// Put back what a removal took out
    Undo {
        /// Name of the cache
        cache: String,
        /// Number of the removal
        removal: i64,
    },
    /// Print the paths that are out of sight because their file is damaged
    Damaged {
        /// Name of the cache
        cache: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Sort {
    Newest,
    Name,
    Largest,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Only {
    All,
    Pinned,
    NeverPulled,
    Held,
}

pub async fn perform(api: &Api, command: PathCommand) -> Said {
    match command {
        PathCommand::List { cache, search, sort, pushed_by, only, page } => {
            let sort = match sort {
                Sort::Newest => PathSort::Newest,
                Sort::Name => PathSort::Name,
                Sort::Largest => PathSort::Largest,
            };
            let filter = match only {
                Only::All => PathFilter::All,
                Only::Pinned => PathFilter::Pinned,
                Only::NeverPulled => PathFilter::NeverPulled,
                Only::Held => PathFilter::Held,
            };
            let query = query(&[
                ("search", &search.join(" ")),
                ("sort", sort.as_str()),
                ("pushed_by", &pushed_by),
                ("filter", filter.as_str()),
                ("page", &(page - 1).to_string()),
            ]);
            let found: PathPage = api.get(&format!("caches/{}/paths?{query}", segment(&cache))).await?;
            let mut lines: Vec<String> = found.rows.iter().map(row_in_words).collect();
            if found.has_next {
                lines.push(format!("… more with --page {}", page + 1));
            }
            Ok((json!(found), lines.join("\n")))
        }
        PathCommand::Show { cache, path } => {
            let found: PathDetail = api.get(&format!("caches/{}/paths/{}", segment(&cache), hash_part(&path)?)).await?;
            let text = detail_in_words(&found);
            Ok((json!(found), text))
        }
        PathCommand::Why { cache, path } => {
            let query = query(&[("path", &path)]);
            let answer: WhyAnswer = api.get(&format!("caches/{}/why?{query}", segment(&cache))).await?;
            let text = why_in_words(&answer);
            Ok((json!(answer), text))
        }
        PathCommand::Remove { cache, paths, with_referrers } => {
            let hashes = paths.iter().map(|path| hash_part(path)).collect::<anyhow::Result<Vec<_>>>()?;
            let remove = PathsRemove { hashes, with_referrers };
            removed(&api.post(&format!("caches/{}/paths/remove", segment(&cache)), remove).await?)
        }
        PathCommand::Undo { cache, removal } => {
            removed(&api.post(&format!("caches/{}/removals/{removal}/undo", segment(&cache)), ()).await?)
        }
        PathCommand::Damaged { cache } => {
            let damaged: Vec<DamagedPath> = api.get(&format!("caches/{}/damaged", segment(&cache))).await?;
            let lines =
                damaged.iter().map(|path| format!("{}-{}: {} ({})", path.hash, path.name, path.why, path.since));
            let text = lines.collect::<Vec<_>>().join("\n");
            Ok((json!({ "damaged": damaged }), text))
        }
    }
}

fn row_in_words(row: &PathRow) -> String {
    let PathRow { hash, name, nar_size, pushed_at, pushed_by, held, .. } = row;
    let held = if *held { ", waits for references" } else { "" };
    format!("{STORE_DIR}/{hash}-{name}  {}, {pushed_at} by {pushed_by}{held}", format::bytes(*nar_size))
}

fn detail_in_words(path: &PathDetail) -> String {
    let mut lines = vec![
        row_in_words(&path.row),
        format!("NAR {}, file {} ({})", path.nar_hash, format::bytes(path.row.file_size), path.compression),
    ];
    lines.extend(path.deriver.iter().map(|deriver| format!("made by {STORE_DIR}/{deriver}")));
    lines.extend(path.signatures.iter().map(|signature| format!("signed by {}", signature.key)));
    lines.extend(path.pins.iter().map(|pin| format!("pinned as {pin}")));
    lines.push(format!(
        "closure of {} paths, {}; {} paths refer to it; downloaded {} times",
        path.closure.paths,
        format::bytes(path.closure.nar_bytes),
        path.referrer_count,
        path.pull_count
    ));
    lines.extend(path.references.iter().map(|other| format!("refers to {STORE_DIR}/{}-{}", other.hash, other.name)));
    lines.join("\n")
}

fn why_in_words(answer: &WhyAnswer) -> String {
    let mut lines = Vec::new();
    for check in &answer.checks {
        let mark = match check.verdict {
            Verdict::Good => "✓",
            Verdict::Hint => "?",
            Verdict::Bad => "✗",
        };
        lines.push(format!("{mark} {}", check.finding));
        lines.extend(
            [&check.cure, &check.command]
                .into_iter()
                .filter(|say| !say.is_empty())
                .flat_map(|say| say.lines().map(|line| format!("    {line}"))),
        );
    }
    lines.join("\n")
}

fn removed(removal: &Removal) -> Said {
    Ok((json!({ "removal": removal }), removal_in_words(removal)))
}

pub(super) fn removal_in_words(removal: &Removal) -> String {
    let note = if removal.note.is_empty() { String::new() } else { format!(", {}", removal.note) };
    let until = |until: Timestamp| format!(", can be undone until {until}");
    let undo = removal.undo_until.map(until).unwrap_or_default();
    let bytes = format::bytes(removal.bytes);
    let Removal { id, asked_at, asked_by, state, paths, .. } = removal;
    format!("removal {id} of {asked_at} by {asked_by}: {}, {paths} paths, {bytes}{note}{undo}", state.as_str())
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
