//! A forge, a server with one cache, and what builders of it are asked and told.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use serde_json::{Value, json};

use super::{Cluster, Forge, Node};
use crate::http::{Credentials, request};
use crate::server::{CacheShown, Scope, Server, Setup};

/// All that a test of builders needs.
#[derive(Debug)]
pub struct Workshop {
    /// Its repositories.
    pub forge: Forge,
    /// The server.
    pub server: Server,
    /// The cache `main` of it.
    pub cache: CacheShown,
    token: String,
}

impl Workshop {
    /// A server without a node of its own.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(Setup::default()).await
    }

    /// A server of this kind.
    pub async fn with(setup: Setup) -> anyhow::Result<Self> {
        let server = setup.start().await?;
        let cache = server.cache("main", false)?;
        let token = server.token("main", Scope::Admin)?;
        Ok(Self { forge: Forge::start()?, server, cache, token })
    }

    /// Adds a node to the server, and starts it.
    pub async fn node(&self, name: &str) -> anyhow::Result<Node> {
        self.node_at(name, &self.server.url(), &[]).await
    }

    /// The same with more flags, or by way of another address.
    pub async fn node_at(&self, name: &str, url: &str, flags: &[&str]) -> anyhow::Result<Node> {
        let node = Node::start(name, url, &self.node_secret(name)?, flags)?;
        node.ready(1).await?;
        Ok(node)
    }

    /// Adds a node whose runs become Jobs of a cluster.
    pub async fn node_of(&self, name: &str, cluster: &Cluster, flags: &[&str]) -> anyhow::Result<Node> {
        let secret = self.node_secret(name)?;
        let flags = [&["--node-kubernetes-image", "registry.example/iglu:1"], flags].concat();
        let node = Node::with(name, &self.server.url(), &secret, &flags, Some(cluster.kubeconfig()))?;
        node.ready(1).await?;
        Ok(node)
    }

    fn node_secret(&self, name: &str) -> anyhow::Result<String> {
        let made: Value = serde_json::from_str(&self.server.admin(&["nodes", "add", name], "")?)?;
        made["node"]["secret"].as_str().map(str::to_owned).context("no secret")
    }

    /// A call of the API with the token of somebody who maintains the cache; the answer, or the words of a refusal.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/{path}", self.server.url());
        let bearer = Credentials::Bearer(self.token.clone());
        let request = request(method, &url, &bearer, &[], body.to_string())?;
        let reply = self.server.http().send(request).await?;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        ensure!(reply.status.is_success(), "{}: {}", reply.status.as_u16(), answer["message"].as_str().unwrap_or("?"));
        Ok(answer)
    }

    /// Makes a builder of the repository `demo`; what `spec` names replaces the usual.
    pub async fn builder(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        self.builder_with(name, spec, &Value::Null).await
    }

    /// The same with a credential.
    pub async fn builder_with(&self, name: &str, spec: &Value, credential: &Value) -> anyhow::Result<()> {
        let body = json!({ "name": name, "cache": "main", "spec": self.spec(spec)?, "credential": credential });
        self.call(Method::POST, "builders", &body).await.map(drop)
    }

    /// The specification that [`Workshop::builder`] sends.
    pub fn spec(&self, spec: &Value) -> anyhow::Result<Value> {
        let mut whole = json!({
            "repository": self.forge.repository("demo"),
            "reference": "main",
            "what": { "kind": "flake", "outputs": ["hello"] },
        });
        for (name, value) in spec.as_object().context("an object")? {
            whole[name] = value.clone();
        }
        Ok(whole)
    }

    /// Starts a run by hand.
    pub async fn run(&self, builder: &str) -> anyhow::Result<u64> {
        let started = self.call(Method::POST, &format!("builders/{builder}/runs"), &json!({})).await?;
        started["id"].as_u64().context("no id")
    }

    /// All about a run.
    pub async fn get(&self, run: u64) -> anyhow::Result<Value> {
        self.call(Method::GET, &format!("runs/{run}"), &Value::Null).await
    }

    /// Waits until a run is so.
    pub async fn wait(&self, run: u64, what: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let now = self.get(run).await?;
            if is(&now) {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("run {run} is not {what}: {now}\n{}", self.log(run).await?.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the end of a run.
    pub async fn ended(&self, run: u64) -> anyhow::Result<Value> {
        self.wait(run, "over", |now| !now["run"]["ended_at"].is_null()).await
    }

    /// Makes a builder, runs it once, and tells how that ended.
    pub async fn once(&self, name: &str, spec: &Value) -> anyhow::Result<Value> {
        self.builder(name, spec).await?;
        self.ended(self.run(name).await?).await
    }

    /// The lines of a run's log, as they were written.
    pub async fn log(&self, run: u64) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let path = format!("runs/{run}/log?first={}&most=5000", lines.len());
            let part = self.call(Method::GET, &path, &Value::Null).await?;
            let some = part["lines"].as_array().context("lines")?;
            lines.extend(some.iter().map(|line| line["text"].as_str().unwrap_or_default().to_owned()));
            if some.is_empty() {
                return Ok(lines);
            }
        }
    }
}
