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
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

use crate::inference::Predictor;
use timbre_core::progress::Printer;

mod access;
mod responses;
mod api;
mod query;
mod assets;
mod multipart;
mod state;
mod metrics;
mod openapi;
mod write_timeout;
mod problem;
mod upload;
mod served_models;

pub use access::AccessPolicy;
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

    /// The ids of the models; the first is the default.
    pub fn ids(&self) -> Vec<&str> {
        self.0.models.iter().map(|model| model.id.as_str()).collect()
    }
}

/// Serves on `address` until SIGINT or SIGTERM.
pub fn serve(service: Service, address: &str, printer: Printer) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --addr HOST:PORT"))?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let local = listener.local_addr()?;
        // Stdout may be closed; that must not stop the server.
        let _ = writeln!(std::io::stdout(), "listening on http://{local}");
        printer.message(&format!("models: {}; stop with Ctrl-C", service.ids().join(", ")));
        if !local.ip().is_loopback() && !service.0.access_policy.has_token() {
            printer.message(&format!(
                "everyone who can reach {local} can use the server: set TIMBRE_TOKEN to require a token"
            ));
        }
        serve_on(listener, service, stop_signal(interrupt, terminate, printer)).await;
        Ok(())
    });
    // Do not wait for predictions whose clients have disconnected.
    runtime.shutdown_background();
    ended
}

/// Returns at the first signal; a second one ends the program at once.
async fn stop_signal(mut interrupt: Signal, mut terminate: Signal, printer: Printer) {
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    printer.message("stopping after the requests in progress; interrupt again to stop at once");
    tokio::spawn(async move {
        let code = tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
        std::process::exit(code);
    });
}

/// Serves on `listener` until `stop`, then finishes the requests in progress.
pub async fn serve_on(listener: TcpListener, service: Service, stop: impl Future<Output = ()>) {
    let state = service.0;
    let (router, limits) = (api::router(state.clone()), state.limits);
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(64 << 10);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! { accepted = accepted => accepted, () = &mut stop => break };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the client has disconnected: try again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Responses are written in one piece: Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(WriteTimeoutStream::new(stream, limits.pause));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A broken connection needs no handling.
            let _ = connection.await;
            drop(permit);
        });
    }
    state.close();
    drop(listener);
    let _ = tokio::time::timeout(limits.stop, graceful.shutdown()).await;
}
