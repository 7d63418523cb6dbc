//! Several servers over one PostgreSQL and one S3 bucket, behind one address. What it is made of goes when it is dropped.

use std::process::ExitStatus;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::postgres::Postgres;
use crate::s3::S3Server;
use crate::server::{Server, Setup, free_port};

/// Every server has to know it.
const MASTER_KEY: &str = "6967c5756967c5756967c5756967c5756967c5756967c5756967c5756967c575";

/// The servers and what they stand on.
#[derive(Debug)]
pub struct Cluster {
    /// What clients talk to.
    pub balancer: Balancer,
    /// Each with a folder of its own, which holds nothing that matters.
    pub replicas: Vec<Server>,
    /// The database.
    pub postgres: Postgres,
    /// The storage.
    pub bucket: S3Server,
    setup: Setup,
}

impl Cluster {
    /// So many servers that are set up alike.
    pub async fn start(setup: Setup, count: usize) -> anyhow::Result<Self> {
        let postgres = Postgres::start()?;
        let bucket = S3Server::s3s_fs().await?;
        let port = free_port()?;
        let setup = setup
            .with_environment("IGLU_DATABASE_URL", &postgres.url())
            .with_environment("IGLU_MASTER_KEY", MASTER_KEY)
            .with_bucket(&bucket, &format!("http://{}", bucket.address()))
            .with_public_url(&format!("http://127.0.0.1:{port}"));
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(setup.clone().start_alone().await?);
        }
        let addresses: Vec<String> = replicas.iter().map(Server::address).collect();
        let balancer = Balancer::start(port, &addresses).await?;
        Ok(Self { balancer, replicas, postgres, bucket, setup })
    }

    /// What clients talk to: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.balancer.address())
    }

    /// One more server, which the balancer does not know.
    pub async fn one_more(&self) -> anyhow::Result<Server> {
        self.setup.clone().start_alone().await
    }

    /// Waits until one of them has ended by itself.
    pub(crate) async fn one_ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            for replica in &mut self.replicas {
                if let Some(status) = replica.has_ended()? {
                    return Ok(status);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills all of them at once.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.replicas.iter_mut().try_for_each(Server::kill)
    }

    /// Starts all of them again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        for replica in &mut self.replicas {
            replica.restart().await?;
        }
        Ok(())
    }
}
