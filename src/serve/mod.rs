//! A saved model over HTTP: a page and a small API.
//!
//! What a stranger may cost is bounded everywhere: connections, bytes and seconds of a request, recordings that are held or
//! heard at once. Recordings are decoded and heard on threads of their own, never where requests are read.

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

use crate::predictor::Predictor;
use crate::progress::Show;

mod api;
mod problem;

/// What the server allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// Of a request's body.
    pub bytes: usize,
    /// Of a recording that is heard in windows: a small file may hold many hours.
    pub seconds: f64,
    /// Recordings that are being received, waiting or being heard; one more is told to come again.
    pub places: usize,
    /// Recordings that are being heard.
    pub jobs: usize,
    /// For the head of a request, also for the next one on a connection that is kept.
    pub head: Duration,
    /// Between two pieces of a body.
    pub pause: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For what is in hand when the server stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Limits {
            connections: 256,
            bytes: 64 << 20,
            seconds: 3600.0,
            places: jobs + 8,
            jobs,
            head: Duration::from_secs(15),
            pause: Duration::from_secs(15),
            body: Duration::from_secs(90),
            stop: Duration::from_secs(120),
        }
    }
}

/// Listens on `address` until the program is told to stop.
pub fn serve(predictor: Predictor, address: &str, show: Show) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --addr HOST:PORT"))?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let here = listener.local_addr()?;
        // Whoever started the server need not listen.
        let _ = writeln!(std::io::stdout(), "listening on http://{here}");
        show.say(&format!("{} hears {} classes; Ctrl-C stops", predictor.name(), predictor.classes().len()));
        if !here.ip().is_loopback() {
            show.say(&format!("everyone who can reach {here} can use it: there is no password"));
        }
        serve_on(listener, predictor, Limits::default(), told_to_stop(interrupt, terminate, show)).await;
        Ok(())
    });
    // What a client that has left still lets us compute is not waited for.
    runtime.shutdown_background();
    ended
}

/// Returns at the first signal; the second ends the program at once.
async fn told_to_stop(mut interrupt: Signal, mut terminate: Signal, show: Show) {
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    show.say("stopping: finishing what is in hand; the same again stops at once");
    tokio::spawn(async move {
        let code = tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
        std::process::exit(code);
    });
}

/// Answers on `listener` until `stop`, then finishes what is in hand.
pub async fn serve_on(listener: TcpListener, predictor: Predictor, limits: Limits, stop: impl Future<Output = ()>) {
    let router = api::router(predictor, limits);
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
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.stop, graceful.shutdown()).await;
}
