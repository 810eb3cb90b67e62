//! Application state: the models, the limits, and the way of a request to its prediction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use axum::body::Body;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use super::access::AccessPolicy;
use super::examples::{Example, examples};
use super::metrics::{Metrics, ServerFigures};
use super::problem::Problem;
use super::query::PredictQuery;
use super::responses::RequestTimings;
use super::served_models::{ServedModel, served_models};
use super::upload::{MEMORY_UNIT, receive, refuse};
use crate::inference::{Prediction, PredictionCallback, Predictor, Timings};
use timbre_signal::audio::DecodeLimits;

/// State shared by all requests.
pub struct AppState {
    pub models: Vec<ServedModel>,
    pub limits: Limits,
    pub access_policy: Arc<AccessPolicy>,
    pub metrics: Metrics,
    /// Recordings to try on the page.
    pub examples: Vec<Example>,
    /// One permit per recording that is being received, waits, or is being predicted.
    places: Arc<Semaphore>,
    /// One permit per recording that is being predicted.
    jobs: Arc<Semaphore>,
    /// Memory for bodies, in units of [`MEMORY_UNIT`].
    memory: Arc<Semaphore>,
    is_open: AtomicBool,
}

/// A predicted recording.
pub struct CompletedRequest<'a> {
    pub model: &'a ServedModel,
    pub query: PredictQuery,
    pub prediction: Prediction,
    pub timings: RequestTimings,
}

/// The input of a route.
#[derive(Clone, Copy)]
pub struct InputSpec {
    pub parameters: &'static [&'static str],
    /// The recording must be a form field.
    pub form_only: bool,
}

impl AppState {
    pub fn new(models: Vec<(Predictor, Option<f64>)>, limits: Limits, access_policy: AccessPolicy) -> Result<AppState> {
        let windows =
            DecodeLimits { seconds: limits.seconds, samples: usize::MAX, channels: limits.channels, key: None };
        // At a higher sample rate a recording may be shorter by the same factor.
        let samples = (limits.clip_seconds * f64::from(CLIP_LIMIT_RATE)) as usize;
        let clips = DecodeLimits { seconds: limits.clip_seconds, samples, channels: limits.channels, key: None };
        let models = served_models(models, windows, clips)?;
        let default = models[0].primary();
        Ok(AppState {
            examples: examples(default.classes(), default.decision_rule().task),
            models,
            places: Semaphore::new(limits.places).into(),
            jobs: Semaphore::new(limits.jobs).into(),
            memory: Semaphore::new((limits.memory / MEMORY_UNIT).min(Semaphore::MAX_PERMITS)).into(),
            limits,
            access_policy: access_policy.into(),
            metrics: Metrics::default(),
            is_open: AtomicBool::new(true),
        })
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Refuses new recordings; recordings in progress continue.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// What the server does now.
    pub fn figures(&self) -> ServerFigures<'_> {
        let models = self.models.iter().filter(|model| !model.is_ensemble());
        ServerFigures {
            places: self.limits.places,
            places_in_use: self.limits.places - self.places.available_permits(),
            jobs: self.limits.jobs,
            jobs_in_use: self.limits.jobs - self.jobs.available_permits(),
            is_open: self.is_open(),
            models: models.map(|model| (model.id.as_str(), model.primary().batch_stats())).collect(),
        }
    }

    /// Receives the recording of a request and predicts it.
    pub async fn predict(
        self: &Arc<Self>,
        head: &Parts,
        body: Body,
        input: InputSpec,
    ) -> Result<CompletedRequest<'_>, Problem> {
        let began = Instant::now();
        let (query, index, place) = match self.admit(head, input) {
            Ok(admitted) => admitted,
            Err(problem) => return Err(refuse(problem, &head.headers, body).await),
        };
        let upload = receive(&head.headers, body, input.form_only, &self.limits, &self.memory).await?;
        let mut timings = RequestTimings { receive: began.elapsed().as_secs_f64(), ..RequestTimings::default() };
        let job = self.jobs.clone().acquire_owned().await.expect("the semaphore is never closed");
        timings.wait = began.elapsed().as_secs_f64() - timings.receive;
        // Dropped with this future when the client disconnects, which cancels the prediction.
        let connection = Connection(Arc::new(AtomicBool::new(true)));
        let (state, callback) = (self.clone(), CancelOnDisconnect(connection.0.clone()));
        let prediction = tokio::task::spawn_blocking(move || {
            // The task owns the permits, not the request: a client that disconnects frees nothing that is still in use.
            let _permits = (place, job);
            let (bytes, extension) = upload.recording();
            state.models[index].predict(bytes, extension, callback)
        });
        let prediction = prediction.await.map_err(|error| Problem::failed(&error))??;
        let Timings { decode, features, model } = prediction.timings;
        timings = RequestTimings { decode, features, model, total: began.elapsed().as_secs_f64(), ..timings };
        self.metrics.count_recording(&prediction, &timings);
        Ok(CompletedRequest { model: &self.models[index], query, prediction, timings })
    }

    fn admit(&self, head: &Parts, input: InputSpec) -> Result<(PredictQuery, usize, OwnedSemaphorePermit), Problem> {
        if !self.is_open() {
            return Err(Problem::stopping());
        }
        let text = head.uri.query().unwrap_or_default();
        let query = PredictQuery::parse(text, input.parameters).map_err(Problem::bad_parameter)?;
        let index = match &query.model {
            None => 0,
            Some(id) => self.models.iter().position(|model| model.id == *id).ok_or_else(|| {
                let ids: Vec<&str> = self.models.iter().map(|model| model.id.as_str()).collect();
                Problem::bad_parameter(format!("no such model; the models are {}", ids.join(", ")))
            })?,
        };
        if query.fraction.is_some() && self.models[index].primary().window().is_none() {
            let detail = "this model uses one clip of a recording and has no windows: leave out `fraction`";
            return Err(Problem::bad_parameter(detail));
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| Problem::full())?;
        Ok((query, index, place))
    }
}

/// A recording that is kept in memory as a whole may have as many samples as the longest allowed one has at this sample rate.
const CLIP_LIMIT_RATE: u32 = 48_000;

/// True until the client disconnects.
struct Connection(Arc<AtomicBool>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Cancels the prediction after [`Connection`] is dropped.
struct CancelOnDisconnect(Arc<AtomicBool>);

impl PredictionCallback for CancelOnDisconnect {
    fn is_cancelled(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}
