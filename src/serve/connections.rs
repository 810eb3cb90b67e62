//! The open connections: limits their number, makes room for a new one, and finishes all of them when the server stops.
//!
//! A client that sends nothing, or its head byte by byte, holds a connection until the timeout of the head. At the limit a new
//! client replaces the one that has been idle for the longest time, so that such clients cannot delay others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::write_timeout::WriteTimeoutStream;

/// How long a closed connection may take to leave before the next one is closed.
const LEAVE: Duration = Duration::from_millis(50);

pub struct Connections {
    limit: usize,
    permits: Arc<Semaphore>,
    idle: Arc<Idle>,
    stop: watch::Sender<bool>,
}

/// Connections without a request in progress, in the order in which they became idle.
#[derive(Default)]
struct Idle {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

impl Idle {
    fn enter(&self, close: &Arc<Notify>) -> u64 {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().expect("no holder panics").insert(place, close.clone());
        place
    }

    fn leave(&self, place: u64) {
        self.waiting.lock().expect("no holder panics").remove(&place);
    }

    fn close_oldest(&self) {
        if let Some((_, close)) = self.waiting.lock().expect("no holder panics").pop_first() {
            close.notify_one();
        }
    }
}

impl Connections {
    pub fn new(limit: usize) -> Connections {
        let permits = Arc::new(Semaphore::new(limit));
        Connections { limit, permits, idle: Arc::default(), stop: watch::Sender::new(false) }
    }

    /// Waits for room for a connection. At the limit an idle one is closed; requests in progress are never interrupted.
    pub async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return permit;
            }
            self.idle.close_oldest();
            if let Ok(permit) = timeout(LEAVE, self.permits.clone().acquire_owned()).await {
                return permit.expect("the semaphore is never closed");
            }
        }
    }

    /// Serves a connection in a task of its own.
    pub fn serve(
        &self,
        permit: OwnedSemaphorePermit,
        stream: WriteTimeoutStream,
        http: &http1::Builder,
        router: Router,
    ) {
        let close = Arc::new(Notify::new());
        let connection = Arc::new(Connection {
            place: self.idle.enter(&close).into(),
            idle: self.idle.clone(),
            close,
            has_begun: AtomicBool::new(false),
        });
        let (service, of_requests) = (TowerToHyperService::new(router), connection.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (response, connection) = (service.call(request), of_requests.clone());
            connection.begin();
            async move {
                let response = response.await;
                connection.end();
                response
            }
        });
        let served = http.serve_connection(TokioIo::new(stream), service);
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            let mut served = pin!(served);
            // A broken connection needs no handling.
            let is_finished = tokio::select! {
                _ = served.as_mut() => true,
                () = connection.close.notified() => !connection.has_begun.load(Ordering::Relaxed),
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !is_finished {
                // Finishes the request in progress.
                served.as_mut().graceful_shutdown();
                let _ = served.await;
            }
            connection.idle.leave(connection.place.load(Ordering::Relaxed));
            drop(permit);
        });
    }

    /// Finishes the requests in progress, and closes every connection after them.
    pub async fn finish(&self) {
        self.stop.send_replace(true);
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }
}

struct Connection {
    /// In `idle`, while no request is in progress.
    place: AtomicU64,
    idle: Arc<Idle>,
    /// Tells the connection to close after the request in progress.
    close: Arc<Notify>,
    /// Whether a request has arrived.
    has_begun: AtomicBool,
}

impl Connection {
    fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
        self.idle.leave(self.place.load(Ordering::Relaxed));
    }

    fn end(&self) {
        self.place.store(self.idle.enter(&self.close), Ordering::Relaxed);
    }
}
