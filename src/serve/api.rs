//! The routes of the API: one list from which the router and the OpenAPI description are made.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::json as object;

use super::access;
use super::assets::{ASSETS, Asset, HTML, NOT_FOUND};
use super::openapi;
use super::operation::{Operation, ResponseBody};
use super::problem::Problem;
use super::responses::{ModelsResponse, PredictResponse, decision_rule_for, instruments};
use super::state::{AppState, InputSpec};

const PREDICT: InputSpec = InputSpec { parameters: &["model", "cutoff", "fraction", "timeline"], form_only: false };
const LUMEN: InputSpec = InputSpec { parameters: &["model", "cutoff", "fraction"], form_only: true };
const PLAIN: &str = "text/plain; charset=utf-8";

/// All routes except those of the page.
pub fn operations() -> Vec<Operation> {
    let operation =
        |method, path, summary, handler, response, input| Operation { method, path, summary, handler, response, input };
    vec![
        operation(
            Method::POST,
            "/api/v1/predict",
            "Predict the classes of a recording",
            post(predict),
            ResponseBody::Prediction,
            Some(PREDICT),
        ),
        operation(Method::GET, "/api/v1/", "List the endpoints", get(endpoints), ResponseBody::Object, None),
        operation(Method::GET, "/api/v1/models", "List the loaded models", get(models), ResponseBody::Models, None),
        operation(
            Method::POST,
            "/lumen/api/processFile/",
            "Predict a recording and return only the codes of the decided classes",
            post(lumen),
            ResponseBody::Codes,
            Some(LUMEN),
        ),
        operation(Method::GET, "/healthz", "Liveness check", get(healthz), ResponseBody::Text(PLAIN), None),
        operation(
            Method::GET,
            "/readyz",
            "Readiness check: fails while the server stops",
            get(readyz),
            ResponseBody::Text(PLAIN),
            None,
        ),
        operation(
            Method::GET,
            "/metrics",
            "Metrics in the Prometheus text format",
            get(prometheus),
            ResponseBody::Text(METRICS),
            None,
        ),
        operation(Method::GET, "/openapi.json", "This API description", get(description), ResponseBody::Object, None),
    ]
}

pub fn router(state: Arc<AppState>) -> Router {
    let mut router = Router::new();
    for Operation { path, handler, .. } in operations() {
        let counted = from_fn_with_state((state.clone(), path), counted);
        router = router.route(path, handler.layer(counted));
    }
    for asset in ASSETS {
        let file = Arc::new(PageFile::new(asset));
        router = router.route(asset.path, get(async move |headers: HeaderMap| file.response(&headers)));
    }
    router = router.route("/examples/{name}", get(example));
    router
        .fallback(not_found)
        // `upload.rs` limits the size of bodies.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(method_problem))
        .layer(from_fn_with_state(Arc::clone(&state.access_policy), access::guard))
        .with_state(state)
}

/// For a browser that opens an address a page, for programs a problem.
async fn not_found(headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return (StatusCode::NOT_FOUND, content(HTML, NOT_FOUND)).into_response();
    }
    Problem::new(StatusCode::NOT_FOUND, "not_found", "no such route: the page is at /").into_response()
}

/// A file of the page. A browser asks each time whether the file that it keeps is still that of the program.
struct PageFile {
    asset: &'static Asset,
    tag: String,
    gzipped: Vec<u8>,
}

impl PageFile {
    fn new(asset: &'static Asset) -> PageFile {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(asset.text.as_bytes()).expect("a vector takes all bytes");
        let gzipped = encoder.finish().expect("a vector takes all bytes");
        let tag = format!("\"{}\"", &blake3::hash(asset.text.as_bytes()).to_hex()[..16]);
        PageFile { asset, tag, gzipped }
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let contains = |name, word: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(word))
        };
        // The tag is weak, because it stands for both encodings.
        let caching = [
            (header::ETAG, format!("W/{}", self.tag)),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::VARY, "origin, accept-encoding".to_owned()),
        ];
        if contains(header::IF_NONE_MATCH, &self.tag) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let kind = (header::CONTENT_TYPE, self.asset.kind);
        match contains(header::ACCEPT_ENCODING, "gzip") {
            true => (caching, [kind, (header::CONTENT_ENCODING, "gzip")], self.gzipped.clone()).into_response(),
            false => (caching, [kind], self.asset.text).into_response(),
        }
    }
}

async fn counted(State((state, path)): State<(Arc<AppState>, &'static str)>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    state.metrics.count_request(path, response.status().as_u16(), began.elapsed());
    response
}

/// Turns the router's 405 into a problem and keeps its header `Allow`.
async fn method_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let detail = "method not allowed: send recordings to /api/v1/predict with POST";
    let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    problem
}

fn content(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind)], text.into()).into_response()
}

fn json(value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_string(value).map_err(|error| Problem::failed(&error))?;
    Ok(content("application/json", text))
}

async fn predict(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let done = state.predict(&head, body, PREDICT).await?;
    json(&PredictResponse::new(done.model, &done.query, &done.prediction, done.timings))
}

async fn lumen(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let done = state.predict(&head, body, LUMEN).await?;
    let model = done.model.primary();
    let decision_rule = decision_rule_for(&done.query, &done.prediction, model);
    let instruments = instruments(&decision_rule, &done.prediction, model);
    let decided = instruments.into_iter().filter(|instrument| instrument.decided);
    json(&decided.map(|instrument| instrument.code).collect::<Vec<String>>())
}

async fn endpoints() -> Result<Response, Problem> {
    let list = operations().into_iter().map(|operation| {
        object!({ "method": operation.method.as_str(), "path": operation.path, "summary": operation.summary })
    });
    json(&object!({ "endpoints": list.collect::<Vec<_>>(), "description": "/openapi.json", "page": "/" }))
}

async fn models(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    json(&ModelsResponse::new(&state.models, &state.examples, &state.limits))
}

/// A recording to try on the page, made at the first request. It is public like the page, so none is made twice.
async fn example(State(state): State<Arc<AppState>>, uri: Uri) -> Result<Response, Problem> {
    let is_found = state.examples.iter().any(|example| example.card.path == uri.path());
    if !is_found {
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "no such recording: the page is at /"));
    }
    let made = tokio::task::spawn_blocking(move || {
        let found = state.examples.iter().find(|example| example.card.path == uri.path()).expect("it was found");
        found.wav().to_vec()
    });
    let bytes = made.await.map_err(|error| Problem::failed(&error))?;
    Ok(([(header::CONTENT_TYPE, "audio/wav")], bytes).into_response())
}

async fn healthz() -> Response {
    content(PLAIN, "ok\n")
}

async fn readyz(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    if state.is_open() { Ok(content(PLAIN, "ready\n")) } else { Err(Problem::stopping()) }
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn prometheus(State(state): State<Arc<AppState>>) -> Response {
    content(METRICS, state.metrics.text(&state.figures()))
}

async fn description(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    let ids: Vec<&str> = state.models.iter().map(|model| model.id.as_str()).collect();
    json(&openapi::document(&operations(), &ids))
}
