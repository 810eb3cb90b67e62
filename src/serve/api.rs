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
use super::assets::ASSETS;
use super::metrics;
use super::openapi;
use super::problem::Problem;
use super::responses::{Answer, Models, decision_rule_for, instruments};
use super::state::{AppState, InputSpec};

/// A route of the API.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub handler: MethodRouter<Arc<AppState>>,
    pub answer: ResponseBody,
    /// What it takes, if it takes a recording.
    pub taking: Option<InputSpec>,
}

/// What an operation answers when all is well.
#[derive(Clone, Copy)]
pub enum ResponseBody {
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

const PREDICT: InputSpec = InputSpec { parameters: &["model", "cutoff", "fraction", "timeline"], form_only: false };
const LUMEN: InputSpec = InputSpec { parameters: &["model", "cutoff", "fraction"], form_only: true };
const PLAIN: &str = "text/plain; charset=utf-8";

/// Everything but the page.
pub fn operations() -> Vec<Operation> {
    let operation =
        |method, path, summary, handler, answer, taking| Operation { method, path, summary, handler, answer, taking };
    vec![
        operation(
            Method::POST,
            "/api/v1/predict",
            "Hear a recording",
            post(predict),
            ResponseBody::Answer,
            Some(PREDICT),
        ),
        operation(Method::GET, "/api/v1/models", "What is loaded", get(models), ResponseBody::Models, None),
        operation(
            Method::POST,
            "/lumen/api/processFile/",
            "The codes of the instruments that are decided for a recording",
            post(lumen),
            ResponseBody::Codes,
            Some(LUMEN),
        ),
        operation(Method::GET, "/healthz", "Whether the process lives", get(healthz), ResponseBody::Text(PLAIN), None),
        operation(Method::GET, "/readyz", "Whether recordings are taken", get(readyz), ResponseBody::Text(PLAIN), None),
        operation(
            Method::GET,
            "/metrics",
            "What was done so far, for Prometheus",
            get(measures),
            ResponseBody::Text(METRICS),
            None,
        ),
        operation(Method::GET, "/openapi.json", "This description", get(description), ResponseBody::Description, None),
    ]
}

pub fn router(state: Arc<AppState>) -> Router {
    let mut router = Router::new();
    for Operation { path, handler, .. } in operations() {
        let counted = from_fn_with_state((state.clone(), path), counted);
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
        .layer(from_fn_with_state(state.clone(), access::guard))
        .with_state(state)
}

async fn counted(State((state, path)): State<(Arc<AppState>, &'static str)>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    state.metrics.answered(path, response.status().as_u16(), began.elapsed());
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

async fn predict(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let listened = state.listen(&head, body, PREDICT).await?;
    json(&Answer::new(listened.voice, &listened.ask, &listened.heard, listened.took))
}

async fn lumen(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let listened = state.listen(&head, body, LUMEN).await?;
    let lead = listened.voice.lead();
    let instruments = instruments(&decision_rule_for(&listened.ask, lead), &listened.heard, lead);
    let decided = instruments.into_iter().filter(|instrument| instrument.decided);
    json(&decided.map(|instrument| instrument.code).collect::<Vec<String>>())
}

async fn models(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    json(&Models::new(&state.voices, &state.limits))
}

async fn healthz() -> Response {
    content(PLAIN, "ok\n")
}

async fn readyz(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    if state.is_open() { Ok(content(PLAIN, "ready\n")) } else { Err(Problem::stopping()) }
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn measures(State(state): State<Arc<AppState>>) -> Response {
    content(METRICS, metrics::text(&state))
}

async fn description(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    let ids: Vec<&str> = state.voices.iter().map(|voice| voice.id.as_str()).collect();
    json(&openapi::document(&operations(), &ids))
}
