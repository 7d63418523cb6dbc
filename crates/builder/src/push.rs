//! Paths of the node's store, on their way into the cache: what it lacks, references first.

use crate::{
    process::{capture, spawn},
    report::Reporter,
    run::Failure,
    sandbox::{Room, Sandbox},
    server::{Server, ServerError, patiently},
};
use iglu_api::{attic::UploadPathInfo, node::RunEvent};
use nix_compat::{
    nixhash::Sha256,
    store_path::{StorePath, StorePathHash},
};
use serde_json::Value;
use std::{collections::HashSet, process::Stdio, sync::Mutex};
use tokio_util::io::ReaderStream;

/// Bytes of a NAR that are read at a time.
const BLOCK: usize = 256 << 10;

/// Pushes with the token of a run into its cache.
pub struct Pusher<'a> {
    pub sandbox: &'a Sandbox,
    pub room: &'a Room,
    pub server: Server,
    pub cache: String,
    pub reporter: &'a Reporter,
    pub pushed: Mutex<HashSet<String>>,
}

impl Pusher<'_> {
    /// Pushes what the cache lacks of these paths and of everything that they refer to.
    pub async fn push(&self, paths: &[String]) -> Result<(), Failure> {
        if paths.is_empty() {
            return Ok(());
        }
        let mut args = vec!["--query", "--requisites"];
        args.extend(paths.iter().map(String::as_str));
        // In the order that builds need: references first.
        let closure = self.nix("nix-store", &args).await?;
        let known = |path: &str| self.pushed.lock().is_ok_and(|pushed| pushed.contains(path));
        let closure: Vec<&str> = closure.lines().filter(|path| !known(path)).collect();
        let hashes: Vec<StorePathHash> = closure.iter().filter_map(|path| hash_part(path)).collect();
        let missing = patiently!(self.server.missing(&self.cache, &hashes))?;
        let missing: HashSet<StorePathHash> = missing.into_iter().collect();
        for path in &closure {
            if hash_part(path).is_some_and(|hash| missing.contains(&hash)) {
                self.push_one(path).await?;
            }
        }
        if let Ok(mut pushed) = self.pushed.lock() {
            pushed.extend(closure.iter().map(|path| (*path).to_owned()));
        }
        Ok(())
    }

    async fn push_one(&self, path: &str) -> Result<(), Failure> {
        let json = self.nix("nix", &["path-info", "--json", path]).await?;
        let info = upload_info(&self.cache, path, &json)
            .ok_or_else(|| Failure::Failed(format!("nix says of {path} what this node cannot read")))?;
        let pushed = patiently!(self.upload(path, &info));
        pushed.map_err(|error| Failure::Failed(format!("pushing {path}: {error}")))?;
        let name = path.trim_start_matches("/nix/store/").to_owned();
        self.reporter.tell(&RunEvent::Pushed { path: name, nar_size: info.nar_size });
        Ok(())
    }

    async fn upload(&self, path: &str, info: &UploadPathInfo) -> Result<(), ServerError> {
        let mut command = self.sandbox.command(self.room, "nix", ["store", "dump-path", path]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut dump = spawn(self.room, command).map_err(ServerError::here)?;
        let out = dump.stdout.take().ok_or_else(|| ServerError::here("a pipe is missing"))?;
        self.server.upload(info, ReaderStream::with_capacity(out, BLOCK)).await
    }

    async fn nix(&self, program: &str, args: &[&str]) -> Result<String, Failure> {
        let told = capture(self.sandbox, self.room, program, args, None).await?;
        if told.status.success() {
            return Ok(told.stdout);
        }
        Err(Failure::Failed(format!("{program}: {}", told.stderr.trim().chars().take(500).collect::<String>())))
    }

    /// Keeps the log of a derivation's build in the cache.
    pub async fn push_log(&self, drv: &str, log: Vec<u8>) -> Result<(), Failure> {
        Ok(patiently!(self.server.log_put(&self.cache, drv, log.clone()))?)
    }
}

fn hash_part(path: &str) -> Option<StorePathHash> {
    StorePath::parse_absolute(path).ok().map(|path| path.hash())
}

/// What `nix path-info --json` says of one path, in the form of any release: an array, an object by paths, or one with `info`.
fn upload_info(cache: &str, path: &str, json: &str) -> Option<UploadPathInfo> {
    let said: Value = serde_json::from_str(json).ok()?;
    let base = path.strip_prefix("/nix/store/")?;
    let said = said.get("info").unwrap_or(&said);
    let info = said.get(0).or_else(|| said.get(path)).or_else(|| said.get(base))?;
    let texts = |name: &str| -> Vec<String> {
        let values = info.get(name).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let nar_hash = info.get("narHash")?.as_str()?;
    let nar_hash = Sha256::parse(nar_hash).ok()?;
    Some(UploadPathInfo {
        cache: cache.to_owned(),
        store_path_hash: hash_part(path)?.to_string(),
        store_path: path.to_owned(),
        references: texts("references").iter().map(|path| path.trim_start_matches("/nix/store/").to_owned()).collect(),
        system: None,
        deriver: info.get("deriver").and_then(Value::as_str).map(str::to_owned),
        sigs: texts("signatures"),
        ca: info.get("ca").and_then(Value::as_str).map(str::to_owned),
        nar_hash: format!("sha256:{}", nar_hash.to_hex()),
        nar_size: info.get("narSize")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms of 2.8, of 2.19 and later, and of the newest.
    #[test]
    fn every_release_says_it_in_its_own_form() {
        let path = "/nix/store/4a9yw74r6rpc3pszpnbqcz6pbbhc3wz1-leaf-a";
        let hash = "sha256-DDBxQY5jVuYUiYyE7QZMqV6IVRvAgRtTS98ZUuza5TQ=";
        let facts = format!(
            r#""narHash":"{hash}","narSize":1248,"references":["{path}"],"deriver":"/nix/store/x.drv","signatures":["k:s"]"#
        );
        for json in [
            format!(r#"[{{"path":"{path}",{facts}}}]"#),
            format!(r#"{{"{path}":{{{facts}}}}}"#),
            format!(r#"{{"version":2,"info":{{"{}":{{{facts}}}}}}}"#, &path[11..]),
        ] {
            let info = upload_info("main", path, &json).unwrap();
            assert_eq!(info.nar_size, 1248, "{json}");
            assert!(info.nar_hash.starts_with("sha256:0c307141"), "{}", info.nar_hash);
            assert_eq!(info.references, [&path[11..]]);
            assert_eq!(info.sigs, ["k:s"]);
        }
        assert!(upload_info("main", path, "[null]").is_none());
    }
}
