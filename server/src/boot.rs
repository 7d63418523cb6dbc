//! Builds the core and the listeners, runs the reconcilers, and ends in order: no new requests, those under way finish, what
//! was counted is written.

use crate::{
    embedded,
    http::{Doors, Room, listen, ops, proxies::Proxies, tls::Certificate},
    metrics,
    out::say,
    settings::{ServeSettings, Span, StoreSettings},
    signals::Signals,
    site::Site,
    telemetry::Telemetry,
};
use anyhow::{Context, bail};
use iglu_api::{Timestamp, instance::Setting};
use iglu_core::{
    Core, CoreConfig, Error, Limits, Location, Rates, Schema, StorageSettings, clock::Clock, key_loss,
    reconcile::Reconciler,
};
use ops::Condition;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use tracing::Instrument;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
pub const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
/// Memory for rendered narinfos, in bytes: about 90 000 of them.
const NARINFO_MEMORY: u64 = 64 << 20;
/// Clients remember narinfos for 30 days.
const NAR_GRACE: i64 = 31 * Timestamp::DAY;
/// How long requests under way may take once the server was told to end, in milliseconds.
const DRAIN: i64 = 30 * Timestamp::SECOND;
/// How long a client may take nothing of what it is sent, in milliseconds.
const SEND_TIMEOUT: i64 = 60 * Timestamp::SECOND;
/// The longest pause between two tries to reach the database at the start.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Connections, and requests that are not answered from memory, at a time.
const CONNECTIONS: usize = 8192;
const REQUESTS: usize = 1024;
/// Descriptors for everything but connections: the database, files of uploads, the log.
const OWN_DESCRIPTORS: usize = 256;
/// Between two times that histograms are added up.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long closing the database may take: what still asks it may wait for a machine that is gone.
const CLOSE: Duration = Duration::from_secs(10);
/// Connections that wait to be taken.
const BACKLOG: u32 = 4096;

/// Opens database and storage. `listen` is where the server is found if nobody says otherwise.
pub async fn open_core(store: &StoreSettings, limits: Limits, listen: Option<&str>) -> anyhow::Result<Core> {
    open_core_at(store, limits, listen, Clock::default()).await
}

/// The same of data that is there already: whoever looks at a folder that is none means another.
pub async fn open_existing(store: &StoreSettings) -> anyhow::Result<Core> {
    require_database(store)?;
    open_core(store, Limits::default(), None).await
}

pub fn require_database(store: &StoreSettings) -> anyhow::Result<()> {
    match store.location() {
        Location::Sqlite(path) if !path.exists() => {
            bail!("there is no database {}; --data, or IGLU_DATA, says where it is", path.display())
        }
        _ => Ok(()),
    }
}

/// The same by another clock.
pub async fn open_core_at(
    store: &StoreSettings,
    limits: Limits,
    listen: Option<&str>,
    clock: Clock,
) -> anyhow::Result<Core> {
    let data = store.data();
    std::fs::create_dir_all(&data).with_context(|| format!("making the data folder {}", data.display()))?;
    if !store.has_master_key() && key_loss::is_needed(&store.location(), store.opening()).await? {
        // A fresh key would open nothing, and look like the right one.
        bail!(
            "the master key {} is missing, and the database was filled with one: put it back from where a copy is kept, or \
             see `iglu admin replace-keys` where there is none",
            store.master_key_place()
        );
    }
    let config = CoreConfig {
        database: store.location(),
        opening: store.opening(),
        storage: store.storage()?,
        master: store.master_key()?,
        public_url: store.public_url.clone(),
        listen_url: listen.map(str::to_owned),
        cache_domain: store.cache_domain.clone(),
        limits,
        narinfo_memory: NARINFO_MEMORY,
        nar_grace: store.nar_grace.map_or(NAR_GRACE, |Span(millis)| millis),
        clock,
    };
    Core::open(config).await.with_context(|| format!("opening the data in {}", data.display()))
}

/// Brings the schema up to date and says what that was. Servers may be running: what is added is not in the way of older ones.
pub async fn migrate(store: StoreSettings) -> anyhow::Result<()> {
    require_database(&store)?;
    let Schema { before, after } = Core::migrate(&store.location()).await?;
    match before == after {
        true => say!("The database has schema {after}, which this version needs. Nothing was to be done."),
        false => say!("The database had schema {before} and has schema {after} now."),
    }
    Ok(())
}

/// Keeps a second server from the same SQLite folder: each would miss what the other remembers. `None` with PostgreSQL, which is for many.
pub fn alone(store: &StoreSettings) -> anyhow::Result<Option<File>> {
    if matches!(store.location(), Location::Postgres(_)) {
        return Ok(None);
    }
    let path = store.data().join("serve.lock");
    std::fs::create_dir_all(store.data())
        .with_context(|| format!("making the data folder {}", store.data().display()))?;
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.with_context(|| {
        let owner = rustix::process::geteuid();
        format!("opening {}: the data folder has to be writable by the user that runs Iglu ({owner})", path.display())
    })?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            write!(file, "{}", std::process::id())?;
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            bail!(
                "another server (process {}) uses the data in {}; stop it first, or use PostgreSQL for several",
                if pid.is_empty() { "unknown" } else { &pid },
                store.data().display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Runs the server until it is told to end. `shown` are its settings for administrators.
pub async fn serve(store: StoreSettings, serve: ServeSettings, shown: Vec<Setting>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let telemetry = Telemetry::start(&serve)?;
    let recorder = metrics::install()?;
    let upkeep = recorder.clone();
    tokio::spawn(async move {
        // What histograms were told is kept one by one until somebody adds it up, also where nobody ever scrapes.
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    // The address is ours from now on; connections are refused until there is somebody to answer them.
    let socket = bound("listening", serve.listen.unwrap_or(DEFAULT_LISTEN))?;
    let ops_socket = bound("listening for metrics", serve.ops_listen.unwrap_or(DEFAULT_OPS_LISTEN))?;
    let address = socket.local_addr()?;
    let certificate = match (&serve.tls_certificate, &serve.tls_key) {
        (Some(chain), Some(key)) => Some(Certificate::load(chain, key)?),
        (None, None) => None,
        // In a settings file, where no flag asks for the other.
        (Some(_), None) => bail!("a certificate needs its key: --tls-key, or tls_key in the settings file"),
        (None, Some(_)) => {
            bail!("a key needs its certificate: --tls-certificate, or tls_certificate in the settings file")
        }
    };
    let listen_url = format!("{}://{address}", if certificate.is_some() { "https" } else { "http" });
    let condition = Arc::new(Condition::default());
    let ops = axum::serve(listening(ops_socket)?, ops::router(condition.clone(), recorder));
    let ops = tokio::spawn(ops.into_future());
    if store.scratch.is_some() && matches!(store.storage()?, StorageSettings::Folder(_)) {
        bail!(
            "--scratch is for storage in a bucket: in a folder files come in beside their place, so that storing one is a rename"
        );
    }
    let alone = alone(&store)?;
    let mut limits = Limits::default();
    if let Some(rate) = serve.scrub_rate {
        limits.scrub_bytes_per_second = (rate > 0).then(|| u64::from(rate) << 20);
    }
    limits.rates = Rates {
        anonymous: serve.anonymous_rate.and_then(NonZeroU32::new),
        token: serve.token_rate.and_then(NonZeroU32::new),
    };
    limits.run_lease = millis(serve.run_lease, limits.run_lease);
    limits.open_uploads = serve.open_uploads.unwrap_or(limits.open_uploads);
    let core = tokio::select! {
        core = open_patiently(&store, limits, &listen_url, &condition) => core?,
        () = signals.asked_to_stop() => return Ok(()),
    };
    core.configuration_show(shown);
    if alone.is_some() {
        core.take_over().await?;
    }

    let (stop, stopping) = watch::channel(false);
    let site = Arc::new(Site::load()?);
    let most = connections(&serve);
    let room = Room {
        requests: serve.requests.map_or(REQUESTS, |count| count as usize).max(1),
        is_logged: serve.access_log.unwrap_or_default(),
    };
    let proxies = serve.trusted_proxies.map_or_else(Proxies::loopback, Proxies::new);
    let doors =
        Doors::new(core.clone(), site, proxies, condition.clone(), room, serve.security_contact, stopping.clone());
    let membership = core.join(&host_name());
    let manner = listen::Manner {
        most,
        send_timeout: Duration::from_millis(millis(serve.send_timeout, SEND_TIMEOUT).unsigned_abs()),
        tls: certificate.as_ref().map(Certificate::acceptor).transpose()?,
    };
    if let Some(certificate) = &certificate {
        let clock = core.clone();
        tokio::spawn(certificate.clone().keep(move || clock.now(), stopping.clone()));
    }
    let main = tokio::spawn(listen::serve(listening(socket)?, doors, manner, stopping.clone()));
    let reconcilers: Vec<_> =
        Reconciler::ALL.into_iter().map(|one| tokio::spawn(reconcile(one, core.clone(), stopping.clone()))).collect();
    condition.serves(core.clone());
    let node = serve.embedded_node.unwrap_or(true).then(|| {
        // A certificate is for the name that others know.
        let server = if certificate.is_some() { core.public_url() } else { here(address) };
        tokio::spawn(embedded::keep(core.clone(), store.clone(), serve.node.clone(), server, stopping.clone()))
    });
    if let Err(error) = greet(&core).await {
        // It serves already, whether or not anybody reads that.
        tracing::warn!(%error, "where the server is could not be printed");
    }

    signals.asked_to_stop().await;
    signals.end_at_once();
    condition.ends();
    if let Some(Span(delay)) = serve.drain_delay {
        tracing::info!(seconds = delay / Timestamp::SECOND, "stopping: load balancers are given time to notice");
        tokio::time::sleep(Duration::from_millis(delay.unsigned_abs())).await;
    }
    tracing::info!("stopping: requests under way may finish");
    stop.send_replace(true);
    let drain = Duration::from_millis(millis(serve.drain, DRAIN).unsigned_abs());
    if tokio::time::timeout(drain, main).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "some requests did not finish in time");
    }
    if let Some(node) = node {
        // It was told together with everything else, and ends what it started.
        let _ = tokio::time::timeout(Duration::from_secs(15), node).await;
    }
    for one in reconcilers {
        // Each may be stopped anywhere and run again; what it began is not waited for.
        let stop = one.abort_handle();
        if tokio::time::timeout(Duration::from_secs(5), one).await.is_err() {
            stop.abort();
        }
    }
    membership.leave().await;
    let closed = tokio::time::timeout(CLOSE, core.close()).await;
    ops.abort();
    telemetry.end().await;
    closed.context("the database does not let go")??;
    Ok(())
}

/// As many descriptors as the system gives at most are asked for, and no more connections are taken than they are enough for.
fn connections(serve: &ServeSettings) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|count| usize::try_from(count).ok());
    // A download has a connection and a file.
    let enough_for = descriptors.map_or(usize::MAX, |count| count.saturating_sub(OWN_DESCRIPTORS).max(32) / 2);
    let wanted = serve.connections.map_or(CONNECTIONS, |count| count as usize).max(1);
    if wanted > enough_for {
        tracing::warn!(
            wanted,
            taken = enough_for,
            "fewer connections are taken than were asked for: raise the limit of open files (LimitNOFILE, ulimit -n)"
        );
    }
    wanted.min(enough_for)
}

/// How this machine reaches its own server.
fn here(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    format!("http://{host}:{}", address.port())
}

fn millis(span: Option<Span>, default: i64) -> i64 {
    span.map_or(default, |Span(millis)| millis)
}

/// Two that wait to start have the same address, until one of them listens.
fn listening(socket: TcpSocket) -> anyhow::Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.listen(BACKLOG).map_err(|error| not_ours("listening", address, &error))
}

fn not_ours(what: &'static str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{what} on {address}: {error}: another program listens there; end it, or choose another address"
        ),
        _ => anyhow::anyhow!("{what} on {address}: {error}"),
    }
}

fn bound(what: &'static str, address: SocketAddr) -> anyhow::Result<TcpSocket> {
    // Where the system has no IPv6, everybody is everybody with IPv4.
    let has_none = address.is_ipv6() && address.ip().is_unspecified() && TcpSocket::new_v6().is_err();
    let address = if has_none { SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()) } else { address };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port of a server that ended a moment ago is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address).map_err(|error| not_ours(what, address, &error))?;
    Ok(socket)
}

/// The name of this machine or pod, for people.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Opens the core, and waits for a database that cannot be reached yet: its operator, or the cluster, may be starting it too.
async fn open_patiently(
    store: &StoreSettings,
    limits: Limits,
    listen: &str,
    condition: &Condition,
) -> anyhow::Result<Core> {
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match open_core(store, limits, Some(listen)).await {
            Ok(core) => return Ok(core),
            Err(error) => error,
        };
        let is_remote = store.location().is_remote() || matches!(store.storage(), Ok(StorageSettings::Bucket { .. }));
        let may_pass = matches!(error.downcast_ref::<Error>(), Some(Error::Unavailable { .. }));
        if !is_remote || !may_pass {
            return Err(error);
        }
        let why = format!("{error:#}");
        tracing::warn!(why, again_in_seconds = pause.as_secs(), "waiting to start");
        condition.waits_for(why);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs one reconciler until the end. A failed run is logged and tried again at the next.
async fn reconcile(one: Reconciler, core: Core, mut stopping: watch::Receiver<bool>) {
    loop {
        let started = std::time::Instant::now();
        // What another server does is looked at again after as long: it may have ended by then.
        if core.work_is_ours(one) {
            match core.work_run(one).instrument(tracing::debug_span!("work", otel.name = one.name())).await {
                Ok(()) => metrics::reconciled(one, started.elapsed()),
                Err(error) => {
                    metrics::reconcile_failed(one);
                    tracing::error!(error = %error, cause = ?std::error::Error::source(&error), work = one.name(), "background work failed");
                }
            }
        }
        tokio::select! {
            () = core.work_due(one) => {}
            _ = stopping.changed() => return,
        }
    }
}

/// What a person who just started the server needs.
async fn greet(core: &Core) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "Iglu is at {}", core.public_url())?;
    if core.setup().is_needed().await? {
        writeln!(
            out,
            "Set it up with this link, good once and for a day:\n\n    {}\n",
            core.setup().link_create().await?
        )?;
    }
    Ok(out.flush()?)
}
