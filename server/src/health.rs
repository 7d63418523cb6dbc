//! Asks the server on this machine how it is: for probes of containers, which have nothing else to ask with.

use crate::{boot, out::say};
use anyhow::Context;
use clap::Args;
use std::{net::SocketAddr, process::ExitCode, time::Duration};

/// What `iglu health` is told.
#[derive(Args)]
pub struct HealthCommand {
    /// Address of the server's /ready [default: 127.0.0.1:9464]
    #[arg(long, env = "IGLU_OPS_LISTEN", value_name = "ADDR")]
    ops_listen: Option<SocketAddr>,
}

impl HealthCommand {
    /// Says what the server says of itself.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mut address = self.ops_listen.unwrap_or(boot::DEFAULT_OPS_LISTEN);
        // What listens for everybody listens for IPv4 too; containers often have no ::1.
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let url = format!("http://{address}/ready");
        let reply = client.get(&url).send().await.with_context(|| format!("no server answers at {url}"))?;
        let is_ready = reply.status().is_success();
        say!("{}", reply.text().await?.trim_end());
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
