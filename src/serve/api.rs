//! What can be asked of the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Limits;
use super::problem::Problem;
use crate::predictor::{ModelName, Predictor, Timings};

/// Raised when an answer changes its form.
const SCHEMA: u32 = 1;
/// How long the rest of a refused body is read and thrown away: a browser that is cut off while it sends shows no answer.
const HEAR_OUT: Duration = Duration::from_secs(5);

struct Hall {
    predictor: Predictor,
    limits: Limits,
    places: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
}

pub fn router(predictor: Predictor, limits: Limits) -> Router {
    let (places, jobs) = (Semaphore::new(limits.places), Semaphore::new(limits.jobs));
    let predictor = predictor.hearing_at_most(limits.seconds);
    let hall = Hall { predictor, limits, places: places.into(), jobs: jobs.into() };
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(async || asset("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(async || asset("text/javascript; charset=utf-8", include_str!("page/page.js"))))
        .route("/healthz", get(async || asset("text/plain; charset=utf-8", "ok\n")))
        .route("/api/v1/models", get(models))
        .route("/api/v1/predict", post(predict))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here: the page is at /"))
        .method_not_allowed_fallback(async || {
            let detail = "this method is not allowed here: recordings are sent to /api/v1/predict with POST";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        // `receive` keeps the limit, also for bodies that are no forms.
        .layer(DefaultBodyLimit::disable())
        .layer(map_response(guard))
        .with_state(Arc::new(hall))
}

/// What every answer carries: nothing of another site runs in the page, and no other site shows it.
async fn guard(mut response: Response) -> Response {
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

fn json(answer: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(answer).map_err(|error| failed(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn failed(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!("a request failed: {error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the server failed on this recording; its log says more")
}

#[derive(Serialize)]
struct Models<'a> {
    schema: u32,
    models: [Model<'a>; 1],
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(flatten)]
    name: &'a ModelName,
    classes: &'a [String],
    /// How much of a recording is heard; all of it where this is null.
    clip_seconds: Option<f64>,
    limit_bytes: usize,
}

async fn models(State(hall): State<Arc<Hall>>) -> Result<Response, Problem> {
    let (predictor, limit_bytes) = (&hall.predictor, hall.limits.bytes);
    let (name, classes) = (predictor.name(), predictor.classes().names());
    json(&Models {
        schema: SCHEMA,
        models: [Model { name, classes, clip_seconds: predictor.clip_seconds(), limit_bytes }],
    })
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    model: &'a ModelName,
    classes: Vec<ClassShare<'a>>,
    seconds: f64,
    timings: Timings,
}

#[derive(Serialize)]
struct ClassShare<'a> {
    code: &'a str,
    probability: f32,
}

async fn predict(State(hall): State<Arc<Hall>>, request: Request) -> Result<Response, Problem> {
    let Ok(place) = hall.places.clone().try_acquire_owned() else {
        let (head, body) = request.into_parts();
        return Err(refuse(Problem::full(), &head.headers, body).await);
    };
    let (extension, bytes) = recording(request, &hall.limits).await?;
    let turn = hall.jobs.clone().acquire_owned().await.expect("the semaphore is never closed");
    let job = hall.clone();
    let heard = tokio::task::spawn_blocking(move || {
        // Held by the work, not by the request: a client that leaves frees no place that is still in use.
        let _held = (place, turn);
        job.predictor.hear(&bytes, extension.as_deref())
    });
    let heard = heard.await.map_err(|error| failed(&error))??;
    let predictor = &hall.predictor;
    let ranked = heard.ranked(predictor.classes()).into_iter();
    let classes = ranked.map(|(code, probability)| ClassShare { code, probability }).collect();
    let (model, seconds, timings) = (predictor.name(), heard.seconds, heard.timings);
    json(&Answer { schema: SCHEMA, model, classes, seconds, timings })
}

/// The recording of a request (its body, or the field `file` of a form), with the extension of its name if it has one.
async fn recording(request: Request, limits: &Limits) -> Result<(Option<String>, Vec<u8>), Problem> {
    let (head, mut body) = request.into_parts();
    let received = match timeout(limits.body, receive(&mut body, limits)).await {
        Ok(received) => received,
        Err(_) => Err(Problem::too_slow()),
    };
    let bytes = match received {
        Ok(bytes) => bytes,
        Err(problem) if problem.is_too_large() => return Err(refuse(problem, &head.headers, body).await),
        Err(problem) => return Err(problem),
    };
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Ok((None, bytes));
    }
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail);
    let unreadable = |error: &dyn std::fmt::Display| bad(format!("the form cannot be read: {error}"));
    let request = Request::from_parts(head, Body::from(bytes));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| unreadable(&error.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error.body_text()))? {
        if field.name() == Some("file") {
            let name = field.file_name().unwrap_or_default().to_owned();
            let extension = Path::new(&name).extension().and_then(|extension| extension.to_str()).map(str::to_owned);
            let bytes = field.bytes().await.map_err(|error| unreadable(&error.body_text()))?;
            return Ok((extension, bytes.into()));
        }
    }
    Err(bad("the form has no field `file`: send the recording in it, or as the whole body".to_owned()))
}

async fn receive(body: &mut Body, limits: &Limits) -> Result<Vec<u8>, Problem> {
    // No memory is set aside for what a head promises: only for what has come.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(Problem::too_large(limits.bytes));
    }
    let mut bytes = Vec::new();
    loop {
        match timeout(limits.pause, body.frame()).await {
            Err(_) => return Err(Problem::too_slow()),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(_))) => {
                let detail = "the recording broke off before its end: send it again";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "broken_off", detail));
            }
            Ok(Some(Ok(frame))) => {
                let piece = frame.into_data().unwrap_or_default();
                if bytes.len() + piece.len() > limits.bytes {
                    return Err(Problem::too_large(limits.bytes));
                }
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

/// Hears a refused client out, unless it has asked before it sends (`Expect: 100-continue`).
async fn refuse(problem: Problem, head: &HeaderMap, mut body: Body) -> Problem {
    if !head.contains_key(header::EXPECT) {
        let _ = timeout(HEAR_OUT, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    problem
}
