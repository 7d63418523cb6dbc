//! What a server and a node are told besides where data is.

use super::Span;
use clap::Args;
use ipnet::IpNet;
use std::{net::SocketAddr, path::PathBuf};

/// The settings of the server.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeSettings {
    /// Address for pages, APIs and caches [default: 127.0.0.1:8080]
    #[arg(long, env = "IGLU_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address for /live, /serving, /ready and /metrics [default: 127.0.0.1:9464]
    #[arg(long, env = "IGLU_OPS_LISTEN", value_name = "ADDR")]
    pub ops_listen: Option<SocketAddr>,

    /// Networks of proxies whose X-Forwarded-For is believed, with commas between [default: 127.0.0.0/8,::1/128]
    #[arg(long, env = "IGLU_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<IpNet>>,

    /// File with the certificate and those above it (PEM): with it, this server speaks HTTPS itself. Read again when it changes
    #[arg(long, env = "IGLU_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,

    /// File with the certificate's key (PEM)
    #[arg(long, env = "IGLU_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,

    /// How long a client may take nothing of what it is sent, such as 60s [default: 60s]
    #[arg(long, env = "IGLU_SEND_TIMEOUT", value_name = "TIME")]
    pub send_timeout: Option<Span>,

    /// Whom to tell of a hole, for /.well-known/security.txt: mailto:security@example.org, or an address with https:// [default: nobody]
    #[arg(long, env = "IGLU_SECURITY_CONTACT", value_name = "URI", value_parser = contact)]
    pub security_contact: Option<String>,

    /// Whether each request is logged when it is answered [default: false]
    #[arg(long, env = "IGLU_ACCESS_LOG", value_name = "BOOL")]
    pub access_log: Option<bool>,

    /// What to log: error, warn, info, debug, or a filter such as iglu_core=debug [default: info]
    #[arg(long, env = "IGLU_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log [default: text]
    #[arg(long, env = "IGLU_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Collector of OpenTelemetry that traces are sent to, by OTLP over HTTP: http://127.0.0.1:4318 [default: no traces]
    #[cfg(feature = "otel")]
    #[arg(long, env = "IGLU_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// How fast stored files are read again to find damage, in MiB a second; 0 for never [default: 10]
    #[arg(long, env = "IGLU_SCRUB_RATE", value_name = "MIB")]
    pub scrub_rate: Option<u32>,

    /// Connections at a time; who comes above that is told to come again [default: 8192]
    #[arg(long, env = "IGLU_CONNECTIONS", value_name = "COUNT")]
    pub connections: Option<u32>,

    /// Requests under way at a time, those that memory answers aside [default: 1024]
    #[arg(long, env = "IGLU_REQUESTS", value_name = "COUNT")]
    pub requests: Option<u32>,

    /// Requests a minute of one address without a token or login, at all servers together; 0 for no limit [default: 0]
    #[arg(long, env = "IGLU_ANONYMOUS_RATE", value_name = "COUNT")]
    pub anonymous_rate: Option<u32>,

    /// Requests a minute with one token, at all servers together; 0 for no limit [default: 0]
    #[arg(long, env = "IGLU_TOKEN_RATE", value_name = "COUNT")]
    pub token_rate: Option<u32>,

    /// Open multipart uploads of one token or person [default: 1000]
    #[arg(long, env = "IGLU_OPEN_UPLOADS", value_name = "COUNT")]
    pub open_uploads: Option<u32>,

    /// How long requests go on being taken after /serving and /ready said no, until load balancers noticed, such as 10s [default: not at all]
    #[arg(long, env = "IGLU_DRAIN_DELAY", value_name = "TIME")]
    pub drain_delay: Option<Span>,

    /// How long requests under way may take once the server was told to end, such as 30s [default: 30s]
    #[arg(long, env = "IGLU_DRAIN", value_name = "TIME")]
    pub drain: Option<Span>,

    /// How long a node may be silent before its runs go to other nodes, such as 2m [default: 2m]
    #[arg(long, env = "IGLU_RUN_LEASE", value_name = "TIME")]
    pub run_lease: Option<Span>,

    /// Whether this server executes runs itself, with a node of its own beside it [default: true]
    #[arg(long, env = "IGLU_EMBEDDED_NODE", value_name = "BOOL")]
    pub embedded_node: Option<bool>,

    #[command(flatten)]
    pub node: NodeSettings,
}

/// One line that is a URI, as the standard wants it.
fn contact(text: &str) -> Result<String, String> {
    let is_uri = ["mailto:", "https://", "tel:"].iter().any(|scheme| text.starts_with(scheme));
    if is_uri && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Ok(text.to_owned())
    } else {
        Err("write mailto:security@example.org, or an address with https://".to_owned())
    }
}

/// How a node works, the server's own or one far away.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeSettings {
    /// Folder of the node: its stores, and runs while they last [default: node in the data folder, or here]
    #[arg(long, env = "IGLU_NODE_STATE", value_name = "DIR")]
    pub node_state: Option<PathBuf>,

    /// Runs that the node takes at a time [default: 1]
    #[arg(long, env = "IGLU_NODE_CAPACITY", value_name = "COUNT")]
    pub node_capacity: Option<u32>,

    /// Whether runs build with this machine's nix-daemon instead of stores of the node [default: false]
    #[arg(long, env = "IGLU_NODE_DAEMON", value_name = "BOOL")]
    pub node_daemon: Option<bool>,

    /// The user that runs are where the node is root, by number [default: 65534, nobody]
    #[arg(long, env = "IGLU_NODE_USER", value_name = "UID")]
    pub node_user: Option<u32>,

    /// More lines of nix.conf for runs, such as "sandbox-paths = /bin/sh"; may be given more than once
    #[arg(long, env = "IGLU_NODE_NIX_OPTIONS", value_name = "LINE", value_delimiter = '\n')]
    pub node_nix_options: Option<Vec<String>>,

    /// Image of the pods that runs are executed in, each as a Kubernetes Job; without it, runs are executed on this machine
    #[arg(long, env = "IGLU_NODE_KUBERNETES_IMAGE", value_name = "IMAGE")]
    pub node_kubernetes_image: Option<String>,

    /// Namespace of the Jobs [default: that of the account that asks]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_NAMESPACE", value_name = "NAME")]
    pub node_kubernetes_namespace: Option<String>,

    /// File with what every Job says besides: a Job in YAML of which everything else is left out
    #[arg(long, env = "IGLU_NODE_KUBERNETES_TEMPLATE", value_name = "FILE")]
    pub node_kubernetes_template: Option<PathBuf>,

    /// URL under which pods find the server [default: that of its pages]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_SERVER", value_name = "URL")]
    pub node_kubernetes_server: Option<String>,

    /// System of the pods, as Nix names it [default: this machine's]
    #[arg(long, env = "IGLU_NODE_KUBERNETES_SYSTEM", value_name = "SYSTEM")]
    pub node_kubernetes_system: Option<String>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
