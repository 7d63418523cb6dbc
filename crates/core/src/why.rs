//! Why a path was not substituted: what Nix would find, step by step, and what cures it.

use crate::{
    blob::Kind,
    caller::{Caller, Discretion},
    db::{AsideFound, NarinfoRow},
    directory::Cache,
    error::{Error, Result},
    path::{Paths, render},
};
use iglu_api::{
    Timestamp,
    cache::Permission,
    format,
    why::{Verdict, WhyAnswer, WhyCheck},
};
use nix_compat::{
    narinfo::NarInfo,
    nixhash::Sha256,
    store_path::{STORE_DIR, StorePath, StorePathHash},
};

/// Nix remembers so long that a cache lacks a path, in milliseconds (narinfo-cache-negative-ttl).
const NEGATIVE_TTL: i64 = Timestamp::HOUR;
/// Missing references that are named.
const MOST_NAMED: usize = 5;

impl Paths<'_> {
    /// What keeps a path from being substituted. `asked` is a store path, its base name, its hash part, or the address of its narinfo.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no hash part in `asked`.
    pub async fn why(&self, caller: &Caller, cache: &str, asked: &str) -> Result<WhyAnswer> {
        let core = self.0;
        let cache = core.cache().open(caller, cache, Permission::Pull, Discretion::Hide).await?;
        let (hash, name) = understood(asked)?;
        let path = match &name {
            Some(name) => format!("{STORE_DIR}/{hash}-{name}"),
            None => hash.to_string(),
        };
        let mut checks = vec![visibility(&cache, &core.public_url())];
        checks.extend(networks(&cache));
        let facts = core.db.path_facts(cache.id, &hash.to_string()).await?;
        match facts {
            None => checks.push(match core.db.aside_find(cache.id, &hash.to_string()).await? {
                Some(aside) => set_aside(&cache, &aside, core.now()),
                None => bad(
                    format!("It is not in cache \"{}\", and was not lately.", cache.name),
                    "Push it with all that it needs.",
                    format!("cachix push {} {path}", cache.name),
                ),
            }),
            Some(facts) => {
                let row = core.db.path_row(cache.id, &hash.to_string()).await?;
                let is_held = row.as_ref().is_some_and(|row| row.held);
                if let Some(name) = name.filter(|name| *name != facts.name) {
                    checks.push(bad(
                        format!("The cache has this hash part with another name: {}, not {name}.", facts.name),
                        "Nix refuses a narinfo of another path; ask for the path that it names.",
                        String::new(),
                    ));
                }
                let missing = self.missing_references(&cache, &facts).await?;
                checks.push(presence(&cache, &facts, is_held, &missing));
                if !is_held {
                    if !missing.is_empty() {
                        checks.push(incomplete(&cache, &facts, &missing));
                    }
                    checks.push(signed(&cache, &facts));
                    checks.push(self.bytes(&facts).await?);
                    if let Some(row) = row {
                        checks.extend(remembered_absent(row.pushed_at, core.now()));
                    }
                    checks.push(order(&cache));
                }
                return Ok(WhyAnswer {
                    path: format!("{STORE_DIR}/{hash}-{}", facts.name),
                    hash: Some(hash.to_string()),
                    checks,
                });
            }
        }
        Ok(WhyAnswer { path, hash: None, checks })
    }

    /// Base names of references that neither the cache nor an upstream has to give.
    async fn missing_references(&self, cache: &Cache, facts: &NarinfoRow) -> Result<Vec<String>> {
        let core = self.0;
        let names: Vec<StorePath> = facts.refs.split(' ').filter_map(|name| StorePath::parse(name).ok()).collect();
        let hashes: Vec<String> =
            names.iter().map(|path| path.hash().to_string()).filter(|hash| *hash != facts.hash).collect();
        let here = core.db.paths_present(cache.id, &hashes, true).await?;
        let absent = |path: &&StorePath| {
            let hash = path.hash().to_string();
            hash != facts.hash && !here.contains(&hash)
        };
        let mut missing: Vec<&StorePath> = names.iter().filter(absent).collect();
        if !missing.is_empty() && !cache.upstreams.is_empty() {
            let elsewhere = core.upstream().present(cache, missing.iter().map(|path| path.hash()).collect()).await;
            missing.retain(|path| !elsewhere.contains(&path.hash()));
        }
        Ok(missing.into_iter().map(StorePath::to_string).collect())
    }

    /// Whether the NAR file is there, in its length. What is in it is read by the scrubber and by `iglu check --full`.
    async fn bytes(&self, facts: &NarinfoRow) -> Result<WhyCheck> {
        let size = facts.file_size.unsigned_abs();
        let hash = <[u8; 32]>::try_from(facts.file_hash.as_slice()).map_err(|_| {
            Error::internal(format!("store path {}-{} in the database: its file", facts.hash, facts.name))
        })?;
        Ok(match self.0.blob.size(Kind::Nar, &Sha256::from_bytes(hash)).await {
            Ok(Some(found)) if found == size => {
                good(format!("Its NAR file is there: {} to download.", format::bytes(size)))
            }
            Ok(_) => bad(
                "Its NAR file is not there as it should be.".to_owned(),
                "Push the path again; the server takes it out of sight as soon as it has looked.",
                String::new(),
            ),
            Err(_) => bad(
                "The storage does not answer at this moment.".to_owned(),
                "Look at the server's storage.",
                String::new(),
            ),
        })
    }
}

/// The hash part that was asked about, and the name where one came along.
fn understood(asked: &str) -> Result<(StorePathHash, Option<String>)> {
    let invalid = || Error::invalid("path", "paste a store path, such as /nix/store/…-hello-2.12, or its hash part");
    let text = asked.trim().trim_end_matches('/');
    if text.len() > 1000 {
        return Err(invalid());
    }
    // A file inside a path is asked about as the path.
    let base = match text.strip_prefix(STORE_DIR) {
        Some(below) => below.trim_start_matches('/').split('/').next().unwrap_or_default(),
        None => text.rsplit('/').next().unwrap_or_default(),
    };
    let base = base.strip_suffix(".narinfo").unwrap_or(base);
    if let Ok(path) = StorePath::parse(base) {
        return Ok((path.hash(), Some(path.name().to_owned())));
    }
    Ok((StorePathHash::parse(base).map_err(|_| invalid())?, None))
}

fn good(finding: String) -> WhyCheck {
    WhyCheck { verdict: Verdict::Good, finding, cure: String::new(), command: String::new() }
}

fn hint(finding: String, cure: &str, command: String) -> WhyCheck {
    WhyCheck { verdict: Verdict::Hint, finding, cure: cure.to_owned(), command }
}

fn bad(finding: String, cure: &str, command: String) -> WhyCheck {
    WhyCheck { verdict: Verdict::Bad, finding, cure: cure.to_owned(), command }
}

fn visibility(cache: &Cache, public_url: &str) -> WhyCheck {
    if cache.is_public() {
        return good("The cache is public: nobody needs a token to pull.".to_owned());
    }
    let host = public_url.split("://").nth(1).unwrap_or(public_url);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    hint(
        "The cache is private: a machine without a token is told that nothing is there.".to_owned(),
        "Each machine needs a line with a token that may pull in the file that netrc-file names. The daemon reads it, not the user.",
        format!("machine {host} password TOKEN"),
    )
}

/// From where a machine must ask.
fn networks(cache: &Cache) -> Option<WhyCheck> {
    (!cache.networks.is_everywhere()).then(|| {
        hint(
            format!("Only machines in certain networks may use the cache: {}.", cache.networks.texts().join(", ")),
            "A machine elsewhere is refused. Behind a proxy, its own address counts only if the server believes the proxy (--trusted-proxies).",
            String::new(),
        )
    })
}

fn presence(cache: &Cache, facts: &NarinfoRow, is_held: bool, missing: &[String]) -> WhyCheck {
    if is_held {
        return bad(
            format!("It was pushed, and waits until what it refers to is here: {}.", named(missing)),
            "Push its whole closure.",
            format!("cachix push {} {STORE_DIR}/{}-{}", cache.name, facts.hash, facts.name),
        );
    }
    good(format!("It is in cache \"{}\", and can be seen.", cache.name))
}

fn incomplete(cache: &Cache, facts: &NarinfoRow, missing: &[String]) -> WhyCheck {
    bad(
        format!("The cache lacks what it refers to: {}. Nix gets those elsewhere or builds them.", named(missing)),
        "Push its whole closure.",
        format!("cachix push {} {STORE_DIR}/{}-{}", cache.name, facts.hash, facts.name),
    )
}

fn named(paths: &[String]) -> String {
    let others = paths.len().saturating_sub(MOST_NAMED);
    let named = paths[..paths.len() - others].join(", ");
    match (paths.is_empty(), others) {
        (true, _) => "paths that wait themselves".to_owned(),
        (false, 0) => named,
        (false, others) => format!("{named} and {others} more"),
    }
}

fn set_aside(cache: &Cache, aside: &AsideFound, now: Timestamp) -> WhyCheck {
    let when = Timestamp(aside.since).relative_to(now);
    let push = format!("cachix push {} {STORE_DIR}/{}-{}", cache.name, aside.hash, aside.name);
    match aside.reason.as_str() {
        "damaged" => bad(
            format!("Its stored file was found to be damaged {when}: {}.", aside.why),
            "Push it again; that heals it.",
            push,
        ),
        "deleted" => bad(
            format!("Somebody removed it {when}."),
            "Undo that on the Retention page within a day, or push it again.",
            push,
        ),
        _ => bad(
            format!("The rules of the cache removed it {when}: {}.", aside.why),
            "Push it again. A pin keeps what must stay.",
            push,
        ),
    }
}

/// Whether a key that the cache hands out signed what the narinfo says.
fn signed(cache: &Cache, facts: &NarinfoRow) -> WhyCheck {
    let narinfo = render(facts.clone()).ok().and_then(|rendered| NarInfo::parse(&rendered.text).ok());
    let Some(narinfo) = narinfo else {
        return bad("Its narinfo cannot be read.".to_owned(), "Push it again.", String::new());
    };
    let fingerprint = narinfo.fingerprint();
    let verified = |key: &nix_compat::signing::VerifyingKey| {
        narinfo
            .signatures
            .iter()
            .any(|signature| signature.key_name == key.name() && key.verify(&fingerprint, signature))
    };
    let keys: Vec<String> = crate::cache::public_keys(cache);
    let own = cache.keys.iter().map(|key| key.verifying_key()).find(|key| verified(key));
    let signer = own.or_else(|| cache.client_keys.iter().find(|key| verified(key)).cloned());
    match signer {
        Some(key) => hint(
            format!("The key {} signed it.", key.name()),
            "A machine takes it only if it trusts that key. Compare with what the machine says: nix config show trusted-public-keys",
            key.to_string(),
        ),
        None if narinfo.signatures.is_empty() => bad(
            "Nobody signed it.".to_owned(),
            "Sign it where it was built and push it again, or add a key that the server signs with.",
            String::new(),
        ),
        None => bad(
            "No key that this cache hands out signed it.".to_owned(),
            "Wait until the cache's key has signed what is older than it, or push the path again signed with one of these.",
            keys.join("\n"),
        ),
    }
}

/// A machine that asked before the push was told that nothing is here, and believes that for a while.
fn remembered_absent(pushed_at: Timestamp, now: Timestamp) -> Option<WhyCheck> {
    (now.0 - pushed_at.0 < NEGATIVE_TTL).then(|| {
        hint(
            format!(
                "It was pushed {}. A machine that asked before that remembers for up to an hour that it is not here.",
                pushed_at.relative_to(now)
            ),
            "Ask again without that memory.",
            "nix build --option narinfo-cache-negative-ttl 0".to_owned(),
        )
    })
}

fn order(cache: &Cache) -> WhyCheck {
    if cache.priority >= 40 {
        hint(
            format!("The cache has priority {}: machines ask cache.nixos.org (40) before it.", cache.priority),
            "What both have comes from there; nothing is wrong with that.",
            String::new(),
        )
    } else {
        good(format!("The cache has priority {}: machines ask it before cache.nixos.org (40).", cache.priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_is_understood() {
        let hash = "4a9yw74r4a9yw74r4a9yw74r4a9yw74r";
        for (asked, name) in [
            (format!("/nix/store/{hash}-hello-2.12"), Some("hello-2.12")),
            (format!(" /nix/store/{hash}-hello-2.12/bin/hello\n"), Some("hello-2.12")),
            (format!("{hash}-hello-2.12"), Some("hello-2.12")),
            (hash.to_owned(), None),
            (format!("https://cache.example.org/main/{hash}.narinfo"), None),
        ] {
            let (found, found_name) = understood(&asked).unwrap();
            assert_eq!((found.to_string().as_str(), found_name.as_deref()), (hash, name), "{asked}");
        }
        for wrong in ["", "hello", "/nix/store/", "/nix/store/short-hello", &"x".repeat(2000)] {
            assert!(understood(wrong).is_err(), "{wrong}");
        }
    }
}
