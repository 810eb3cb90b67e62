//! Saved models over HTTP: a page and an API.
//!
//! What a stranger may cost is bounded everywhere: connections, bytes and seconds of a request, seconds and channels of a
//! recording, memory, recordings that wait or are heard at once. Recordings are decoded and heard on threads of their own,
//! never where requests are read, and what is asked of a model at the same time is asked together.

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

/// What the server allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// Of a request's body.
    pub bytes: usize,
    /// Of all bodies that are in hand.
    pub memory: usize,
    /// Of a recording that is heard in windows: a small file may hold many hours.
    pub seconds: f64,
    /// Of a recording of which one clip is heard: it is held as a whole until the clip is cut out.
    pub clip_seconds: f64,
    /// Of a recording.
    pub channels: u16,
    /// Recordings that are being received, waiting or being heard; one more is told to come again.
    pub places: usize,
    /// Recordings that are being heard.
    pub jobs: usize,
    /// For the head of a request, also for the next one on a connection that is kept.
    pub head: Duration,
    /// Between two pieces of a body, and between two pieces of an answer that the client takes.
    pub pause: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For what is in hand when the server stops.
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

/// Models and what is allowed, ready to answer.
#[derive(Clone)]
pub struct Service(Arc<AppState>);

impl Service {
    /// The models, some of them with a weight in the ensemble.
    pub fn new(models: Vec<(Predictor, Option<f64>)>, limits: Limits, doors: AccessPolicy) -> Result<Service> {
        Ok(Service(Arc::new(AppState::new(models, limits, doors)?)))
    }

    /// The names of the models, the one first that is asked unless told.
    pub fn ids(&self) -> Vec<&str> {
        self.0.voices.iter().map(|voice| voice.id.as_str()).collect()
    }
}

/// Listens on `address` until the program is told to stop.
pub fn serve(service: Service, address: &str, printer: Printer) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --addr HOST:PORT"))?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let here = listener.local_addr()?;
        // Whoever started the server need not listen.
        let _ = writeln!(std::io::stdout(), "listening on http://{here}");
        printer.message(&format!("heard by {}; Ctrl-C stops", service.ids().join(", ")));
        if !here.ip().is_loopback() && !service.0.doors.has_token() {
            printer.message(&format!("everyone who can reach {here} can use it: set TIMBRE_TOKEN to ask for a token"));
        }
        serve_on(listener, service, told_to_stop(interrupt, terminate, printer)).await;
        Ok(())
    });
    // What a client that has left still lets us compute is not waited for.
    runtime.shutdown_background();
    ended
}

/// Returns at the first signal; the second ends the program at once.
async fn told_to_stop(mut interrupt: Signal, mut terminate: Signal, printer: Printer) {
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    printer.message("stopping: finishing what is in hand; the same again stops at once");
    tokio::spawn(async move {
        let code = tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
        std::process::exit(code);
    });
}

/// Answers on `listener` until `stop`, then finishes what is in hand.
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
            let place = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! { accepted = accepted => accepted, () = &mut stop => break };
        let Ok((stream, _)) = accepted else {
            // No file handle is free, or the client has left: the next one may do better.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Answers are small and whole: nothing comes that would be worth waiting for.
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(WriteTimeoutStream::new(stream, limits.pause));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    state.close();
    drop(listener);
    let _ = tokio::time::timeout(limits.stop, graceful.shutdown()).await;
}
