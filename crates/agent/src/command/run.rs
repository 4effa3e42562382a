//! The agent itself: start, serve, wait for a signal, drain.

use std::{net::SocketAddr, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use config::Plan;
use net::server::{self, ServerOptions, ServerTls};
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::RunFlags,
    command,
    complaint::complaint,
    house::House,
    http,
    load_metrics::{ActiveSeries, LoadMetrics},
    logging::{self, LogLevel},
    process_metrics,
    stored_secrets::StoredSecrets,
    supervisor,
};

pub fn run(flags: RunFlags) -> ExitCode {
    if let Some(mode) = std::env::var("AGENT_MODE").ok().filter(|mode| !mode.is_empty() && mode != "static") {
        return command::fail(&format!(
            "AGENT_MODE is {mode:?}: sigpost runs static-mode files only; unset it, or set it to static"
        ));
    }
    let Some(file) = flags.config_file.clone() else {
        return command::fail("give a configuration file: -config.file=agent.yaml");
    };
    let plan =
        match command::load(&file, flags.expand_env, flags.wal_directory.as_deref(), flags.extra_scrape_metrics()) {
            Ok(plan) => plan,
            Err(code) => return code,
        };
    let format = match plan.server.log_format {
        config::LogFormat::Logfmt => logging::Format::Logfmt,
        config::LogFormat::Json => logging::Format::Json,
    };
    let log_level = logging::install(level(&plan), format);
    say_warnings(&plan);
    let accepted = flags.accepted.given();
    if !accepted.is_empty() {
        tracing::info!(flags = accepted.join(" "), "these flags are accepted and change nothing");
    }
    for feature in flags.unknown_features() {
        tracing::warn!(feature, "this feature of -enable-features does not exist here and changes nothing");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return command::fail(&format!("starting the runtime: {error}")),
    };
    let served = runtime.block_on(serve(&flags, &file, &plan, &log_level));
    // A thread that waits for a disk that hangs is not waited for: everything that counts is on disk by now.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = complaint(error.as_ref()), "cannot start");
            ExitCode::from(1)
        }
    }
}

async fn serve(flags: &RunFlags, file: &Path, plan: &Plan, log_level: &LogLevel) -> Result<()> {
    // First of all: until they are listened for, both end the process, in the middle of a start.
    let mut hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let asked = StopSignal::listen()?;
    let listener = bind(&flags.http_address).await?;
    let address = listener.local_addr()?;
    let options = server_options(flags, plan)?;
    let front = http::Front::default();
    let stop = CancellationToken::new();
    // Before the queue, whose recovery may take long: who asks is told that we live and are not ready.
    let server = tokio::spawn(server::serve(listener, http::service(front.clone()), options, stop.clone()));
    let mut registry = Registry::default();
    process_metrics::register(&mut registry);
    let loads = LoadMetrics::register(&mut registry);
    let series = ActiveSeries::register(&mut registry);
    let secrets = StoredSecrets::of(plan).await?;
    secrets.register(&mut registry);
    let house = Arc::new(House::start(plan, &mut registry)?);
    loads.succeeded();
    let (reload, mut reloads) = mpsc::channel(1);
    let shown = Arc::new(RwLock::new(plan.render_masked()));
    front.open(http::Site {
        house: Arc::clone(&house),
        registry: Arc::new(registry),
        series,
        config: flags.enable_read_api.then(|| Arc::clone(&shown)),
        metrics: flags.register_instrumentation,
        reload,
    });
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %address,
        instances = house.instances().len() + house.log_instances().len() + house.trace_instances().len(),
        destinations = house.destinations().len(),
        "sigpost is running"
    );
    supervisor::ready(&house);
    let alive = tokio::spawn(supervisor::tend(Arc::clone(&house)));
    let tended = tokio::spawn(House::tend(Arc::downgrade(&house)));

    let asked = asked.received();
    tokio::pin!(asked);
    loop {
        let answer: Option<oneshot::Sender<Result<(), String>>> = tokio::select! {
            () = &mut asked => break,
            Some(answer) = reloads.recv() => Some(answer),
            _ = hang_up.recv() => None,
        };
        supervisor::reloading();
        let outcome = reload_from(file, flags, plan, &house, &secrets, log_level, &shown).await;
        match &outcome {
            Ok(()) => {
                loads.succeeded();
                tracing::info!(file = %file.display(), "configuration loaded");
            }
            Err(why) => {
                loads.failed();
                tracing::error!(file = %file.display(), why, "configuration not loaded; the old one stays in force");
            }
        }
        supervisor::ready(&house);
        if let Some(answer) = answer {
            // The client may have gone.
            let _ = answer.send(outcome);
        }
    }
    tracing::info!("asked to stop; draining");
    supervisor::stopping();
    let impatient = async {
        stop_signal().await;
        tracing::warn!("asked again; stopping at once, what is pending stays on disk");
    };
    // Cut short, workers end with the process: what they held is unsettled and therefore still in the queue.
    tokio::select! {
        () = house.drain(flags.graceful_shutdown_timeout) => {}
        () = impatient => {}
    }
    alive.abort();
    tended.abort();
    stop.cancel();
    server.await.context("the HTTP server")??;
    Ok(())
}

async fn reload_from(
    file: &Path,
    flags: &RunFlags,
    started: &Plan,
    house: &Arc<House>,
    secrets: &StoredSecrets,
    log_level: &LogLevel,
    shown: &RwLock<String>,
) -> Result<(), String> {
    let plan = command::read(file, flags.expand_env, flags.wal_directory.as_deref(), flags.extra_scrape_metrics())?;
    let stores = secrets.follow(&plan).await.map_err(|error| complaint(error.as_ref()))?;
    if let Err(error) = house.reload(&plan).await {
        secrets.back_to(&stores);
        return Err(complaint(error.as_ref()));
    }
    say_warnings(&plan);
    let waiting = needs_restart(started, &plan);
    if !waiting.is_empty() {
        tracing::warn!(
            keys = waiting.join(" "),
            "these keys differ from those of the start and come into force at the next start"
        );
    }
    log_level.set(level(&plan));
    *shown.write() = plan.render_masked();
    Ok(())
}

/// Keys that a reload leaves as they were: some of the queue, the listener and the logger.
fn needs_restart(started: &Plan, now: &Plan) -> Vec<&'static str> {
    let (queue, other) = (&started.queue, &now.queue);
    let changes = [
        ("queue.directory", queue.directory != other.directory),
        ("queue.commit_interval", queue.commit_interval != other.commit_interval),
        ("server.log_format", started.server.log_format != now.server.log_format),
        ("server.http_tls_config", started.server.http_tls != now.server.http_tls),
    ];
    changes.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}

fn level(plan: &Plan) -> &'static str {
    match plan.server.log_level {
        config::LogLevel::Debug => "debug",
        config::LogLevel::Info => "info",
        config::LogLevel::Warn => "warn",
        config::LogLevel::Error => "error",
    }
}

fn say_warnings(plan: &Plan) {
    for warning in &plan.warnings {
        tracing::warn!(
            place = format!("{}:{}:{}", warning.file, warning.line, warning.column),
            key = warning.path,
            help = warning.suggestion.as_deref().unwrap_or_default(),
            "{}",
            warning.message
        );
    }
}

async fn bind(address: &str) -> Result<TcpListener> {
    let hint = || format!("listening on {address}: choose another with -server.http.address");
    // `:12345`, as Go programs take it, means every interface.
    let whole = address.strip_prefix(':').map_or_else(|| address.to_owned(), |port| format!("0.0.0.0:{port}"));
    match whole.parse::<SocketAddr>() {
        Ok(parsed) => TcpListener::bind(parsed).await.with_context(hint),
        Err(_) => TcpListener::bind(whole).await.with_context(hint),
    }
}

fn server_options(flags: &RunFlags, plan: &Plan) -> Result<ServerOptions> {
    let mut options = ServerOptions::default();
    if flags.http_conn_limit > 0 {
        options.connection_limit = flags.http_conn_limit;
    }
    if flags.http_enable_tls {
        let tls = plan.server.http_tls.as_ref().context(
            "-server.http.enable-tls is set and server.http_tls_config is missing: write cert_file and key_file there",
        )?;
        let served = ServerTls {
            cert: net::Pem::File(tls.cert_file.clone()),
            key: net::Pem::File(tls.key_file.clone()),
            client_ca: tls.client_ca_file.clone().map(net::Pem::File),
            require_client_cert: matches!(
                tls.client_auth,
                config::ClientAuthType::RequireAnyClientCert | config::ClientAuthType::RequireAndVerifyClientCert
            ),
            versions: net::TlsVersions { min: tls.min_version, max: tls.max_version },
        };
        served.check().context("preparing TLS for the HTTP API (server.http_tls_config)")?;
        options.tls = Some(served);
    }
    Ok(options)
}

/// Resolves at the next SIGINT or SIGTERM.
pub async fn stop_signal() {
    match StopSignal::listen() {
        Ok(asked) => asked.received().await,
        // No signal handling: only SIGKILL can end the process, and the queue is made for that.
        Err(_) => std::future::pending().await,
    }
}

/// SIGINT and SIGTERM, caught from `listen` on.
struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for SIGINT and SIGTERM");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn received(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_cannot_change_is_named() {
        let plan = |text: &str| config::load(text, config::LoadOptions::new("a.yaml", &|_| None)).unwrap();
        let started = plan("metrics: {}\n");
        assert!(needs_restart(&started, &started).is_empty());
        let now = plan(
            "queue: {directory: /q, max_bytes: 1GiB, commit_interval: 1s}\nserver: {log_format: json, log_level: debug}\n",
        );
        assert_eq!(needs_restart(&started, &now), ["queue.directory", "queue.commit_interval", "server.log_format"]);
    }
}
