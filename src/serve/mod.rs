//! Serves saved models over HTTP: a web page and an API.
//!
//! Every resource that a client can use is limited: connections, bytes and seconds of a request, seconds and channels of a
//! recording, memory, and recordings that wait or are predicted at once. Recordings are decoded and predicted on blocking
//! threads, never on those that read requests, and concurrent requests to a model share batches.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::inference::Predictor;
use timbre_core::progress::Printer;

mod access;
mod examples;
mod connections;
mod responses;
mod api;
mod query;
mod assets;
mod multipart;
mod state;
mod metrics;
mod openapi;
mod operation;
mod write_timeout;
mod problem;
mod upload;
mod served_models;

pub use access::{ANY_ORIGIN, AccessPolicy};
use connections::Connections;
use served_models::ServedModel;
use state::AppState;
use write_timeout::WriteTimeoutStream;

/// Limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// Bytes of a request's body.
    pub bytes: usize,
    /// Bytes of all bodies in memory.
    pub memory: usize,
    /// Seconds of a recording for a model that uses windows: a small file may hold many hours.
    pub seconds: f64,
    /// Seconds of a recording for a model that uses one clip: the whole recording is in memory until the clip is cut.
    pub clip_seconds: f64,
    /// Channels of a recording.
    pub channels: u16,
    /// Recordings that are being received, wait, or are being predicted; more are refused with `Retry-After`.
    pub places: usize,
    /// Recordings that are being predicted.
    pub jobs: usize,
    /// Timeout for the head of a request, also for the next request on a kept-alive connection.
    pub head: Duration,
    /// Timeout between two pieces of a body, and for progress in writing a response.
    pub pause: Duration,
    /// Timeout for a whole body.
    pub body: Duration,
    /// Timeout for requests in progress when the server stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            bytes: 64 << 20,
            memory: 512 << 20,
            seconds: 3600.0,
            clip_seconds: 600.0,
            channels: 64,
            places: 128,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            head: Duration::from_secs(15),
            pause: Duration::from_secs(15),
            body: Duration::from_secs(90),
            stop: Duration::from_secs(120),
        }
    }
}

/// Models, limits and access policy, ready to serve.
#[derive(Clone)]
pub struct Service(Arc<AppState>);

impl Service {
    /// `models` come with an optional weight in the ensemble.
    pub fn new(models: Vec<(Predictor, Option<f64>)>, limits: Limits, access_policy: AccessPolicy) -> Result<Service> {
        Ok(Service(Arc::new(AppState::new(models, limits, access_policy)?)))
    }

    /// The ids of the models with the data sets of their runs; the first is the default.
    fn described(&self) -> Vec<String> {
        let one = |model: &ServedModel| match model.is_ensemble() {
            true => model.id.clone(),
            false => format!("{} (trained on {})", model.id, model.primary().run_scores().data),
        };
        self.0.models.iter().map(one).collect()
    }
}

/// Serves on `address` until SIGINT, SIGTERM or SIGHUP.
pub fn serve(mut service: Service, address: &str, printer: Printer) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --addr HOST:PORT"))?;
        let stop = stop_signal(printer)?;
        let local = listener.local_addr()?;
        let state = Arc::get_mut(&mut service.0).expect("the server has not started");
        let policy = Arc::get_mut(&mut state.access_policy).expect("the server has not started");
        policy.check_hosts_on(local.ip());
        // Stdout may be closed; that must not stop the server.
        let _ = writeln!(std::io::stdout(), "listening on http://{local}");
        printer.message(&format!("models: {}; stop with Ctrl-C", service.described().join(", ")));
        if !local.ip().is_loopback() && !service.0.access_policy.has_token() {
            printer.message(&format!(
                "everyone who can reach {local} can use the server: set TIMBRE_TOKEN to require a token"
            ));
        }
        serve_on(listener, service, stop).await;
        Ok(())
    });
    // Do not wait for predictions whose clients have disconnected.
    runtime.shutdown_background();
    ended
}

/// A future that ends at the first signal; a second one ends the program at once.
fn stop_signal(printer: Printer) -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // `nohup` ignores it, and the server shall survive its terminal then.
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(async move {
        next_signal(&mut interrupt, &mut terminate, &mut hangup).await;
        printer.message("stopping after the requests in progress; interrupt again to stop at once");
        tokio::spawn(async move {
            let code = next_signal(&mut interrupt, &mut terminate, &mut hangup).await;
            std::process::exit(code);
        });
    })
}

/// The exit code of a program that the next signal ends.
async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Option<Signal>) -> i32 {
    let hangup = async {
        match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143, _ = hangup => 129 }
}

/// Whether the program was started with SIGHUP ignored, where the system tells it (Linux).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Serves on `listener` until `stop`, then finishes the requests in progress.
pub async fn serve_on(listener: TcpListener, service: Service, stop: impl Future<Output = ()>) {
    let state = service.0;
    let (router, limits) = (api::router(state.clone()), state.limits);
    let connections = Connections::new(limits.connections);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(64 << 10);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            (accepted, connections.room().await)
        };
        let (accepted, permit) = tokio::select! { accepted = accepted => accepted, () = &mut stop => break };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the client has disconnected: try again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Responses are written in one piece: Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        connections.serve(permit, WriteTimeoutStream::new(stream, limits.pause), &http, router.clone());
    }
    state.close();
    drop(listener);
    let _ = tokio::time::timeout(limits.stop, connections.finish()).await;
}
