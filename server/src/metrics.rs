//! What Prometheus sees. The fast path counts into handles made once; the rest goes through the recorder; what core counts is
//! read when somebody scrapes.

use axum::{
    extract::{MatchedPath, Request},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use iglu_api::run::RunState;
use iglu_core::{Core, reconcile::Reconciler};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Every metric: name, kind, what it says. A test compares it with what a scrape shows.
const TABLE: &[(&str, Kind, &str)] = &[
    ("iglu_build_info", Kind::Gauge, "Always 1; the label tells the version"),
    ("iglu_http_requests_total", Kind::Counter, "HTTP requests by route pattern and status"),
    ("iglu_http_request_seconds", Kind::Histogram, "Time from a request to the head of its answer, by route pattern"),
    ("iglu_narinfo_hits_total", Kind::Counter, "Narinfo lookups that found a path, by cache"),
    ("iglu_narinfo_misses_total", Kind::Counter, "Narinfo lookups that found nothing, by cache"),
    ("iglu_nar_bytes_sent_total", Kind::Counter, "Bytes of NAR files sent, by cache"),
    ("iglu_nar_requests_total", Kind::Counter, "NAR files asked for and found, by cache"),
    ("iglu_pushed_paths_total", Kind::Counter, "Store paths pushed, by cache"),
    ("iglu_push_bytes_received_total", Kind::Counter, "Bytes of NAR files received"),
    ("iglu_verification_failures_total", Kind::Counter, "Pushes refused because the bytes were not what was claimed"),
    ("iglu_signatures_total", Kind::Counter, "Signatures made with keys of caches"),
    ("iglu_signatures_due", Kind::Gauge, "Signatures that new keys have yet to make on older paths"),
    ("iglu_uploads_open", Kind::Gauge, "Multipart uploads under way"),
    (
        "iglu_upload_oldest_timestamp_seconds",
        Kind::Gauge,
        "When the oldest open upload began, since 1970; 0 where none is open",
    ),
    ("iglu_authentication_failures_total", Kind::Counter, "Tokens, passwords and addresses that were no good, by kind"),
    ("iglu_database_errors_total", Kind::Counter, "Failures of the database"),
    ("iglu_storage_errors_total", Kind::Counter, "Failures of the storage"),
    ("iglu_cache_paths", Kind::Gauge, "Store paths, by cache"),
    ("iglu_cache_bytes", Kind::Gauge, "Bytes of the NAR files of a cache's paths"),
    (
        "iglu_files_bytes",
        Kind::Gauge,
        "Bytes of the NAR files of all caches, each once: less than the sum of iglu_cache_bytes by what caches share",
    ),
    ("iglu_files_unpacked_bytes", Kind::Gauge, "Bytes of what is in them, without compression"),
    ("iglu_storage_free_bytes", Kind::Gauge, "Free bytes of the storage's file system"),
    ("iglu_storage_total_bytes", Kind::Gauge, "Bytes of the storage's file system"),
    ("iglu_storage_seconds", Kind::Histogram, "Time of one storage operation, by operation"),
    ("iglu_database_seconds", Kind::Histogram, "Time of one read or write transaction, by kind"),
    ("iglu_reconcile_seconds", Kind::Histogram, "Time of one run of background work, by work"),
    ("iglu_reconcile_failures_total", Kind::Counter, "Runs of background work that failed, by work"),
    ("iglu_work_last_run_timestamp_seconds", Kind::Gauge, "When background work ended last, since 1970, by work"),
    ("iglu_work_failing", Kind::Gauge, "1 where the last run of background work failed, by work"),
    ("iglu_work_done", Kind::Gauge, "How much of its present run background work has done, by work"),
    ("iglu_work_planned", Kind::Gauge, "How much there is to do in the present run, by work"),
    ("iglu_storage_trouble", Kind::Gauge, "1 while the storage is not there or not this server's"),
    ("iglu_paths_damaged", Kind::Gauge, "Paths out of sight because their file is damaged"),
    ("iglu_paths_departed", Kind::Gauge, "Paths that were taken out and can still be put back or read"),
    ("iglu_paths_departed_bytes", Kind::Gauge, "Bytes of the NAR files of departed paths"),
    ("iglu_files_dead", Kind::Gauge, "Stored files on their way out"),
    ("iglu_files_dead_bytes", Kind::Gauge, "Bytes of stored files on their way out"),
    ("iglu_damaged_files_total", Kind::Counter, "Stored files found damaged"),
    ("iglu_scrubbed_bytes_total", Kind::Counter, "Bytes of stored files read again to find damage"),
    ("iglu_shed_total", Kind::Counter, "Connections and requests that were told to come again, by what was too much"),
    ("iglu_rate_limited_total", Kind::Counter, "Requests beyond a limit of one sender, by the limit"),
    (
        "iglu_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the certificate that this server speaks HTTPS with ends, since 1970; 0 where a proxy does that",
    ),
    ("iglu_leader", Kind::Gauge, "1 at the server that does the background work that is done once for a database"),
    ("iglu_replicas", Kind::Gauge, "Servers of this database that this one hears, itself included"),
    (
        "iglu_clock_skew_seconds",
        Kind::Gauge,
        "By how much this server's clock is ahead of the database's; 0 with SQLite",
    ),
    ("iglu_live_listeners", Kind::Gauge, "Open streams of live pages"),
    ("iglu_runs_total", Kind::Counter, "Runs of builders that ended, by state"),
    ("iglu_run_seconds", Kind::Histogram, "Time from the start of a run to its end"),
    ("iglu_run_wait_seconds", Kind::Histogram, "Time that runs waited in the queue"),
    ("iglu_runs_open", Kind::Gauge, "Runs that are not over, by state"),
    (
        "iglu_queue_oldest_timestamp_seconds",
        Kind::Gauge,
        "When the run that waits longest was queued, since 1970; 0 where none waits",
    ),
    ("iglu_nodes", Kind::Gauge, "Nodes that take work"),
    ("iglu_node_capacity", Kind::Gauge, "Runs that they take at a time"),
    ("iglu_connections_open", Kind::Gauge, "Connections of clients and proxies"),
    ("iglu_requests_open", Kind::Gauge, "Requests under way, those that memory answers aside"),
    ("process_cpu_seconds_total", Kind::Counter, "Seconds of processor time of this server"),
    ("process_open_fds", Kind::Gauge, "Open files and connections of this server"),
    ("process_max_fds", Kind::Gauge, "Open files and connections that the system lets it have"),
    ("process_resident_memory_bytes", Kind::Gauge, "Memory that this server has, in bytes"),
    ("process_virtual_memory_bytes", Kind::Gauge, "Addresses that this server has, in bytes"),
    ("process_virtual_memory_max_bytes", Kind::Gauge, "Addresses that the system lets it have, in bytes"),
    ("process_start_time_seconds", Kind::Gauge, "When this server started, since 1970"),
    ("process_threads", Kind::Gauge, "Threads of this server"),
    ("iglu_cache_derivation_count", Kind::Gauge, "Store paths, by cache (name of the earlier Iglu)"),
    ("iglu_cache_size", Kind::Gauge, "Bytes of a cache (name of the earlier Iglu)"),
    ("iglu_cache_requests_total", Kind::Counter, "Narinfo and NAR requests, by cache (name of the earlier Iglu)"),
];

/// Every metric with its kind and meaning.
#[cfg(test)]
pub fn described() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.iter().map(|(name, kind, help)| {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        (*name, kind, *help)
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Bounds in seconds of what builders do: from a flake that was built before to a long night.
const RUN_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0];

/// Bounds in seconds, from a narinfo out of memory to a slow disk.
const SECONDS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

pub fn install() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Prefix("iglu_run_".to_owned()), RUN_SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|error| anyhow::anyhow!("installing the metrics recorder: {error}"))?;
    for (name, kind, help) in TABLE {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, *help),
        }
    }
    // What has not happened yet is 0: an absent series looks like a mistake, and its first event would not be seen by rate().
    for name in [
        "iglu_damaged_files_total",
        "iglu_database_errors_total",
        "iglu_scrubbed_bytes_total",
        "iglu_storage_errors_total",
    ] {
        counter!(name).absolute(0);
    }
    for what in ["connections", "requests", "strangers"] {
        counter!("iglu_shed_total", "what" => what).absolute(0);
    }
    for limit in ["anonymous", "token", "guesses", "login"] {
        counter!("iglu_rate_limited_total", "limit" => limit).absolute(0);
    }
    for kind in ["token", "password", "network"] {
        counter!("iglu_authentication_failures_total", "kind" => kind).absolute(0);
    }
    for state in RunState::ALL.into_iter().filter(|state| state.is_over()) {
        counter!("iglu_runs_total", "state" => state.as_str()).absolute(0);
    }
    for name in ["iglu_run_seconds", "iglu_run_wait_seconds"] {
        drop(histogram!(name));
    }
    gauge!("iglu_certificate_expiry_timestamp_seconds").set(0.0);
    gauge!("iglu_clock_skew_seconds").set(0.0);
    gauge!("iglu_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// The routes of the Nix door; their handles are made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NixRoute {
    CacheInfo,
    Narinfo,
    Nar,
    NarUrl,
    Listing,
    Log,
    Realisation,
    DebugInfo,
    Member,
    AtticConfig,
}

impl NixRoute {
    const ALL: [NixRoute; 10] = [
        NixRoute::CacheInfo,
        NixRoute::Narinfo,
        NixRoute::Nar,
        NixRoute::NarUrl,
        NixRoute::Listing,
        NixRoute::Log,
        NixRoute::Realisation,
        NixRoute::DebugInfo,
        NixRoute::Member,
        NixRoute::AtticConfig,
    ];

    pub fn pattern(self) -> &'static str {
        match self {
            NixRoute::CacheInfo => "/{cache}/nix-cache-info",
            NixRoute::Narinfo => "/{cache}/{hash}.narinfo",
            NixRoute::Nar => "/{cache}/nar/{file}",
            NixRoute::Listing => "/{cache}/{hash}.ls",
            NixRoute::NarUrl => "/{cache}/narurl/{file}",
            NixRoute::Log => "/{cache}/log/{derivation}",
            NixRoute::Realisation => "/{cache}/realisations/{id}.doi",
            NixRoute::DebugInfo => "/{cache}/debuginfo/{id}",
            NixRoute::Member => "/{cache}/serve/{hash}/{path}",
            NixRoute::AtticConfig => "/{cache}/attic-cache-info",
        }
    }
}

struct Handles {
    seconds: Histogram,
    ok: Counter,
    missing: Counter,
}

static NIX: LazyLock<[Handles; NixRoute::ALL.len()]> = LazyLock::new(|| {
    NixRoute::ALL.map(|route| Handles {
        seconds: histogram!("iglu_http_request_seconds", "route" => route.pattern()),
        ok: counter!("iglu_http_requests_total", "route" => route.pattern(), "status" => "200"),
        missing: counter!("iglu_http_requests_total", "route" => route.pattern(), "status" => "404"),
    })
});

pub fn nix_request(route: NixRoute, status: StatusCode, started: Instant) {
    let handles = &NIX[route as usize];
    match status {
        StatusCode::OK => handles.ok.increment(1),
        StatusCode::NOT_FOUND => handles.missing.increment(1),
        other => {
            let status = other.as_str().to_owned();
            counter!("iglu_http_requests_total", "route" => route.pattern(), "status" => status).increment(1);
        }
    }
    handles.seconds.record(started.elapsed());
}

/// Counts the requests of all other doors.
pub async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    // Whoever traces the request learns it from here.
    if let Some(matched) = matched {
        response.extensions_mut().insert(matched);
    }
    histogram!("iglu_http_request_seconds", "route" => route.clone()).record(started.elapsed());
    let status = response.status().as_str().to_owned();
    counter!("iglu_http_requests_total", "route" => route, "status" => status).increment(1);
    response
}

/// Counts what was too much to be taken.
pub fn shed(what: &'static str) {
    counter!("iglu_shed_total", "what" => what).increment(1);
}

pub fn reconciled(work: Reconciler, took: Duration) {
    histogram!("iglu_reconcile_seconds", "work" => work.name()).record(took);
}

pub fn reconcile_failed(work: Reconciler) {
    counter!("iglu_reconcile_failures_total", "work" => work.name()).increment(1);
}

/// Something that is open for as long as this lives.
pub struct Open(Gauge);

impl Open {
    fn new(gauge: &'static LazyLock<Gauge>) -> Open {
        gauge.increment(1);
        Open((**gauge).clone())
    }

    pub fn connection() -> Open {
        static CONNECTIONS: LazyLock<Gauge> = LazyLock::new(|| gauge!("iglu_connections_open"));
        Open::new(&CONNECTIONS)
    }

    pub fn request() -> Open {
        static REQUESTS: LazyLock<Gauge> = LazyLock::new(|| gauge!("iglu_requests_open"));
        Open::new(&REQUESTS)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Takes over what core counts by itself, and what the system knows of this process.
pub async fn collect(core: &Core) {
    metrics_process::Collector::default().collect();
    for cache in core.caches() {
        let name = || cache.name.to_string();
        let counters = cache.counters();
        let (hits, misses) = (counters.narinfo_hits.get(), counters.narinfo_misses.get());
        let nars = counters.nar_requests.get();
        counter!("iglu_narinfo_hits_total", "cache" => name()).absolute(hits);
        counter!("iglu_narinfo_misses_total", "cache" => name()).absolute(misses);
        counter!("iglu_nar_requests_total", "cache" => name()).absolute(nars);
        counter!("iglu_nar_bytes_sent_total", "cache" => name()).absolute(counters.nar_bytes.get());
        counter!("iglu_pushed_paths_total", "cache" => name()).absolute(counters.pushed_paths.get());
        counter!("iglu_cache_requests_total", "cache" => name()).absolute(hits + misses + nars);
        // A gauge is a double: exact up to 8 PiB.
        let (paths, bytes) = (cache.path_count() as f64, cache.stored_bytes() as f64);
        gauge!("iglu_cache_paths", "cache" => name()).set(paths);
        gauge!("iglu_cache_derivation_count", "cache" => name()).set(paths);
        gauge!("iglu_cache_bytes", "cache" => name()).set(bytes);
        gauge!("iglu_cache_size", "cache" => name()).set(bytes);
    }
    counter!("iglu_push_bytes_received_total").absolute(core.totals.push_bytes.get());
    counter!("iglu_verification_failures_total").absolute(core.totals.verification_failures.get());
    counter!("iglu_signatures_total").absolute(core.totals.signatures.get());
    if let Ok(due) = core.signatures_due().await {
        gauge!("iglu_signatures_due").set(due as f64);
    }
    if let Ok(bytes) = core.nar_bytes().await {
        gauge!("iglu_files_bytes").set(bytes.files as f64);
        gauge!("iglu_files_unpacked_bytes").set(bytes.unpacked as f64);
    }
    gauge!("iglu_leader").set(f64::from(u8::from(core.is_leader())));
    gauge!("iglu_replicas").set(core.replica_count() as f64);
    gauge!("iglu_live_listeners").set(core.events.listeners() as f64);
    if let Ok((open, oldest)) = core.push().open_uploads().await {
        gauge!("iglu_uploads_open").set(open as f64);
        gauge!("iglu_upload_oldest_timestamp_seconds").set(oldest.map_or(0.0, |at| at.0 as f64 / 1000.0));
    }
    for work in core.work_list().into_iter().filter(|work| core.is_leader() || !work.is_common) {
        let name = || work.name.clone();
        // Seconds since 1970; a double is exact to the microsecond.
        if let Some(ended) = work.last_ended_at {
            gauge!("iglu_work_last_run_timestamp_seconds", "work" => name()).set(ended.0 as f64 / 1000.0);
        }
        gauge!("iglu_work_failing", "work" => name()).set(f64::from(u8::from(work.last_error.is_some())));
        let (done, all) = work.progress.unwrap_or_default();
        gauge!("iglu_work_done", "work" => name()).set(done as f64);
        gauge!("iglu_work_planned", "work" => name()).set(all as f64);
    }
    if let Ok(open) = core.runs_open().await {
        let mut oldest = 0.0;
        for state in RunState::ALL.into_iter().filter(|state| !state.is_over()) {
            let found = open.iter().find(|(other, ..)| *other == state);
            gauge!("iglu_runs_open", "state" => state.as_str()).set(found.map_or(0.0, |(_, count, _)| *count as f64));
            if let Some((RunState::Queued, _, since)) = found {
                oldest = since.0 as f64 / 1000.0;
            }
        }
        gauge!("iglu_queue_oldest_timestamp_seconds").set(oldest);
    }
    if let Ok((nodes, capacity)) = core.nodes_at_hand().await {
        gauge!("iglu_nodes").set(nodes as f64);
        gauge!("iglu_node_capacity").set(capacity as f64);
    }
    if let Ok(status) = core.storage_status().await {
        gauge!("iglu_storage_trouble").set(f64::from(u8::from(status.trouble.is_some())));
        gauge!("iglu_paths_damaged").set(status.damaged_paths as f64);
        gauge!("iglu_paths_departed").set(status.departed_paths as f64);
        gauge!("iglu_paths_departed_bytes").set(status.departed_bytes as f64);
        gauge!("iglu_files_dead").set(status.dead_files as f64);
        gauge!("iglu_files_dead_bytes").set(status.dead_bytes as f64);
    }
    if let Ok(Some(space)) = core.push().space() {
        gauge!("iglu_storage_free_bytes").set(space.free as f64);
        gauge!("iglu_storage_total_bytes").set(space.total as f64);
    }
}
