//! What the program says of itself while it runs: the log, and traces for a collector of OpenTelemetry where one is named.

use crate::settings::{LogFormat, ServeSettings};
use anyhow::Context;
use axum::{
    extract::MatchedPath,
    http::{HeaderValue, Request},
    response::Response,
};
use std::io::IsTerminal;
use tracing::Span;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// What has to be ended for all that was seen to be told.
pub struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<traces::Traces>,
}

impl Telemetry {
    /// Begins to log and to trace, for the whole process.
    pub fn start(serve: &ServeSettings) -> anyhow::Result<Telemetry> {
        let filter = EnvFilter::try_new(serve.log.as_deref().unwrap_or("info")).context("the log filter")?;
        let log = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let log = match serve.log_format.unwrap_or_default() {
            LogFormat::Text => log.boxed(),
            LogFormat::Json => log.json().boxed(),
        };
        let registry = tracing_subscriber::registry().with(log.with_filter(filter));
        #[cfg(feature = "otel")]
        {
            let traces = serve.otlp_endpoint.as_deref().map(traces::Traces::start).transpose()?;
            registry.with(traces.as_ref().map(traces::Traces::layer)).init();
            Ok(Telemetry { traces })
        }
        #[cfg(not(feature = "otel"))]
        {
            registry.init();
            Ok(Telemetry {})
        }
    }

    /// Tells the collector what it does not know yet, for a few seconds at most.
    pub async fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}

/// A request on its way through the program: as traces have it, and as lines of the log name it.
pub struct Passage {
    /// What is done for the request is done within both of them, this one outside.
    pub traced: Span,
    pub span: Span,
}

impl Passage {
    /// Begins one. The trace that a proxy began goes on, where the proxy is believed.
    pub fn of<B>(request: &Request<B>, id: &HeaderValue, is_from_proxy: bool) -> Passage {
        let id = id.to_str().unwrap_or_default();
        // Not for the log, whose lines would all begin with this.
        let traced = tracing::debug_span!(
            "http",
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            http.request.method = request.method().as_str(),
            http.route = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
            id,
        );
        #[cfg(feature = "otel")]
        if is_from_proxy {
            traces::go_on(&traced, request.headers());
        }
        #[cfg(not(feature = "otel"))]
        let _ = is_from_proxy;
        let span = tracing::info_span!(parent: &traced, REQUEST, id);
        Passage { traced, span }
    }

    /// Notes what came of it. `route` is a pattern: what stands in an address can be a secret.
    pub fn ends(&self, method: &str, route: &str, response: &Response) {
        if self.traced.is_disabled() {
            return;
        }
        let status = response.status();
        #[cfg(feature = "otel")]
        traces::name(&self.traced, format!("{method} {route}"));
        #[cfg(not(feature = "otel"))]
        let _ = method;
        self.traced.record("http.route", route);
        self.traced.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            self.traced.record("otel.status_code", "ERROR");
        }
    }
}

/// The pattern that a router found, which its answer carries.
pub fn route(response: &Response) -> &str {
    response.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str)
}

/// The name of spans that say in the log which request a line belongs to.
const REQUEST: &str = "request";

#[cfg(feature = "otel")]
mod traces {
    use super::{Context, Layer, REQUEST, Span};
    use axum::http::HeaderMap;
    use opentelemetry::{
        propagation::{Extractor, TextMapPropagator},
        trace::{TraceContextExt, TracerProvider},
    };
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
    use std::time::Duration;
    use tracing::{Level, Subscriber};
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::{filter::filter_fn, registry::LookupSpan};

    /// How long the end of the program waits for the collector, and a collector may take to answer.
    const PATIENCE: Duration = Duration::from_secs(5);

    pub struct Traces(SdkTracerProvider);

    impl Traces {
        /// Begins to send to a collector: OTLP over HTTP. How much is sampled, and what goes along, say the variables that
        /// OpenTelemetry has for it.
        pub fn start(endpoint: &str) -> anyhow::Result<Traces> {
            let url = endpoint.trim_end_matches('/');
            let is_whole = url.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
            let url = if is_whole { url.to_owned() } else { format!("{url}/v1/traces") };
            let _ = rustls::crypto::ring::default_provider().install_default();
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(&url)
                .with_timeout(PATIENCE)
                .build()
                .with_context(|| format!("sending traces to {url}"))?;
            let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
                Some(_) => Resource::builder(),
                None => Resource::builder().with_service_name("iglu"),
            };
            Ok(Traces(
                SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build(),
            ))
        }

        /// Takes what this program does; not what its libraries do, the exporter's among them.
        pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
            let ours = filter_fn(|metadata| {
                // Lines of the log have paths and causes in them.
                metadata.is_span()
                    && metadata.target().starts_with("iglu")
                    && *metadata.level() <= Level::DEBUG
                    && metadata.name() != REQUEST
            });
            tracing_opentelemetry::layer().with_tracer(self.0.tracer("iglu")).with_filter(ours)
        }

        pub async fn end(self) {
            let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(PATIENCE)).await;
            if let Ok(Err(error)) = ended {
                tracing::warn!(%error, "the last traces were not sent");
            }
        }
    }

    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(axum::http::HeaderName::as_str).collect()
        }
    }

    /// Names a span that has begun: a field for that counts before only.
    pub fn name(span: &Span, name: String) {
        span.context().span().update_name(name);
    }

    /// Makes a span part of the trace that the headers name.
    pub fn go_on(span: &Span, headers: &HeaderMap) {
        if headers.contains_key("traceparent") && !span.is_disabled() {
            // A span whose trace is decided already has none of its own to lose.
            let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
        }
    }
}
