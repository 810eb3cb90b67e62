//! Where recordings wait and are heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use axum::body::Body;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use super::access::AccessPolicy;
use super::metrics::Metrics;
use super::problem::Problem;
use super::query::PredictQuery;
use super::responses::Took;
use super::served_models::{ServedModel, voices};
use super::upload::{PIECE, receive, refuse};
use crate::inference::{Prediction, PredictionCallback, Predictor};
use timbre_signal::audio::DecodeLimits;

/// What all requests share.
pub struct AppState {
    pub voices: Vec<ServedModel>,
    pub limits: Limits,
    pub doors: AccessPolicy,
    pub metrics: Metrics,
    /// Recordings that are received, wait, or are heard.
    places: Arc<Semaphore>,
    /// Recordings that are heard.
    jobs: Arc<Semaphore>,
    /// For bodies, in pieces.
    memory: Arc<Semaphore>,
    is_open: AtomicBool,
}

/// A recording that was heard, as it was asked for.
pub struct CompletedRequest<'a> {
    pub voice: &'a ServedModel,
    pub ask: PredictQuery,
    pub heard: Prediction,
    pub took: Took,
}

/// What a route takes.
#[derive(Clone, Copy)]
pub struct InputSpec {
    pub parameters: &'static [&'static str],
    /// Whether a recording must come in a form.
    pub form_only: bool,
}

impl AppState {
    pub fn new(models: Vec<(Predictor, Option<f64>)>, limits: Limits, doors: AccessPolicy) -> Result<AppState> {
        let windows = DecodeLimits { seconds: limits.seconds, samples: usize::MAX, channels: limits.channels };
        // Recordings with more samples a second than is usual may be so much shorter.
        let samples = (limits.clip_seconds * f64::from(USUAL_RATE)) as usize;
        let clips = DecodeLimits { seconds: limits.clip_seconds, samples, channels: limits.channels };
        Ok(AppState {
            voices: voices(models, windows, clips)?,
            places: Semaphore::new(limits.places).into(),
            jobs: Semaphore::new(limits.jobs).into(),
            memory: Semaphore::new((limits.memory / PIECE).min(Semaphore::MAX_PERMITS)).into(),
            limits,
            doors,
            metrics: Metrics::default(),
            is_open: AtomicBool::new(true),
        })
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Recordings in hand are still heard, and no more are taken.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// Places and turns in use.
    pub fn in_use(&self) -> (usize, usize) {
        (self.limits.places - self.places.available_permits(), self.limits.jobs - self.jobs.available_permits())
    }

    /// Receives the recording of a request and lets it be heard.
    pub async fn listen(
        self: &Arc<Self>,
        head: &Parts,
        body: Body,
        taking: InputSpec,
    ) -> Result<CompletedRequest<'_>, Problem> {
        let began = Instant::now();
        let (ask, at, place) = match self.admit(head, taking) {
            Ok(admitted) => admitted,
            Err(problem) => return Err(refuse(problem, &head.headers, body).await),
        };
        let upload = receive(&head.headers, body, taking.form_only, &self.limits, &self.memory).await?;
        let mut took = Took { receive: began.elapsed().as_secs_f64(), ..Took::default() };
        let turn = self.jobs.clone().acquire_owned().await.expect("the semaphore is never closed");
        took.wait = began.elapsed().as_secs_f64() - took.receive;
        // Dropped with this future when the client leaves: then nobody needs the rest of the work.
        let here = Here(Arc::new(AtomicBool::new(true)));
        let (state, client) = (self.clone(), Client(here.0.clone()));
        let heard = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request: a client that leaves frees no place that is still in use.
            let _held = (place, turn);
            let (bytes, extension) = upload.recording();
            state.voices[at].predict(bytes, extension, client)
        });
        let heard = heard.await.map_err(|error| Problem::failed(&error))??;
        (took.decode, took.features, took.model) = (heard.timings.decode, heard.timings.features, heard.timings.model);
        took.total = began.elapsed().as_secs_f64();
        self.metrics.heard(&heard, &took);
        Ok(CompletedRequest { voice: &self.voices[at], ask, heard, took })
    }

    fn admit(&self, head: &Parts, taking: InputSpec) -> Result<(PredictQuery, usize, OwnedSemaphorePermit), Problem> {
        if !self.is_open() {
            return Err(Problem::stopping());
        }
        let query = head.uri.query().unwrap_or_default();
        let ask = PredictQuery::read(query, taking.parameters).map_err(Problem::bad_parameter)?;
        let at = match &ask.model {
            None => 0,
            Some(id) => self.voices.iter().position(|voice| voice.id == *id).ok_or_else(|| {
                let ids: Vec<&str> = self.voices.iter().map(|voice| voice.id.as_str()).collect();
                Problem::bad_parameter(format!("there is no model of that name: there are {}", ids.join(", ")))
            })?,
        };
        if ask.fraction.is_some() && self.voices[at].lead().window().is_none() {
            let detail = "this model hears one clip of a recording, so there is no fraction of windows: leave it out";
            return Err(Problem::bad_parameter(detail));
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| Problem::full())?;
        Ok((ask, at, place))
    }
}

/// A recording that is held as a whole may have as many samples as one of this rate that is as long as is allowed.
const USUAL_RATE: u32 = 48_000;

/// As long as it lives, somebody waits.
struct Here(Arc<AtomicBool>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Who has sent a recording, seen from the work.
struct Client(Arc<AtomicBool>);

impl PredictionCallback for Client {
    fn is_cancelled(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}
