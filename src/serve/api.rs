//! What can be asked of the server: one list, from which the router and its description are made.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;

use super::access;
use super::answers::{Answer, Models, instruments, judge_for};
use super::assets::ASSETS;
use super::hall::{Hall, Taking};
use super::metrics;
use super::openapi;
use super::problem::Problem;

/// A route of the API.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub handler: MethodRouter<Arc<Hall>>,
    pub answer: Said,
    /// What it takes, if it takes a recording.
    pub taking: Option<Taking>,
}

/// What an operation answers when all is well.
#[derive(Clone, Copy)]
pub enum Said {
    Text(&'static str),
    /// [`Answer`].
    Answer,
    /// [`Models`].
    Models,
    /// A list of codes.
    Codes,
    /// Any JSON object.
    Description,
}

const PREDICT: Taking = Taking { parameters: &["model", "cutoff", "fraction", "timeline"], form_only: false };
const LUMEN: Taking = Taking { parameters: &["model", "cutoff", "fraction"], form_only: true };
const PLAIN: &str = "text/plain; charset=utf-8";

/// Everything but the page.
pub fn operations() -> Vec<Operation> {
    let operation =
        |method, path, summary, handler, answer, taking| Operation { method, path, summary, handler, answer, taking };
    vec![
        operation(Method::POST, "/api/v1/predict", "Hear a recording", post(predict), Said::Answer, Some(PREDICT)),
        operation(Method::GET, "/api/v1/models", "What is loaded", get(models), Said::Models, None),
        operation(
            Method::POST,
            "/lumen/api/processFile/",
            "The codes of the instruments that are decided for a recording",
            post(lumen),
            Said::Codes,
            Some(LUMEN),
        ),
        operation(Method::GET, "/healthz", "Whether the process lives", get(healthz), Said::Text(PLAIN), None),
        operation(Method::GET, "/readyz", "Whether recordings are taken", get(readyz), Said::Text(PLAIN), None),
        operation(
            Method::GET,
            "/metrics",
            "What was done so far, for Prometheus",
            get(measures),
            Said::Text(METRICS),
            None,
        ),
        operation(Method::GET, "/openapi.json", "This description", get(description), Said::Description, None),
    ]
}

pub fn router(hall: Arc<Hall>) -> Router {
    let mut router = Router::new();
    for Operation { path, handler, .. } in operations() {
        let counted = from_fn_with_state((hall.clone(), path), counted);
        router = router.route(path, handler.layer(counted));
    }
    for asset in ASSETS {
        router = router.route(asset.path, get(move || async move { content(asset.kind, asset.text) }));
    }
    router
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here: the page is at /"))
        // The limits are kept where bodies are received.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(explained))
        .layer(from_fn_with_state(hall.clone(), access::guard))
        .with_state(hall)
}

async fn counted(State((hall, path)): State<(Arc<Hall>, &'static str)>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    hall.metrics.answered(path, response.status().as_u16(), began.elapsed());
    response
}

/// A refusal of the router becomes a problem, too; which methods are allowed stays in its head.
async fn explained(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let detail = "this method is not allowed here: recordings are sent to /api/v1/predict with POST";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    let mut explained = problem.into_response();
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        explained.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    explained
}

fn content(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind)], text.into()).into_response()
}

fn json(answer: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_string(answer).map_err(|error| Problem::failed(&error))?;
    Ok(content("application/json", text))
}

async fn predict(State(hall): State<Arc<Hall>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let listened = hall.listen(&head, body, PREDICT).await?;
    json(&Answer::new(listened.voice, &listened.ask, &listened.heard, listened.took))
}

async fn lumen(State(hall): State<Arc<Hall>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let listened = hall.listen(&head, body, LUMEN).await?;
    let lead = listened.voice.lead();
    let instruments = instruments(&judge_for(&listened.ask, lead), &listened.heard, lead);
    let decided = instruments.into_iter().filter(|instrument| instrument.decided);
    json(&decided.map(|instrument| instrument.code).collect::<Vec<String>>())
}

async fn models(State(hall): State<Arc<Hall>>) -> Result<Response, Problem> {
    json(&Models::new(&hall.voices, &hall.limits))
}

async fn healthz() -> Response {
    content(PLAIN, "ok\n")
}

async fn readyz(State(hall): State<Arc<Hall>>) -> Result<Response, Problem> {
    if hall.is_open() { Ok(content(PLAIN, "ready\n")) } else { Err(Problem::stopping()) }
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn measures(State(hall): State<Arc<Hall>>) -> Response {
    content(METRICS, metrics::text(&hall))
}

async fn description(State(hall): State<Arc<Hall>>) -> Result<Response, Problem> {
    let ids: Vec<&str> = hall.voices.iter().map(|voice| voice.id.as_str()).collect();
    json(&openapi::document(&operations(), &ids))
}
