//! Errors as problem details (RFC 9457), each with a sentence for a person and a stable code for programs.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use timbre_inputs::features::extraction::RecordingError;

/// The error of a request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
}

/// The JSON body of a problem.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody {
    /// Always `about:blank`: the title is the reason phrase of the status.
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    status: u16,
    /// A sentence for a person.
    detail: String,
    /// A stable code for programs.
    code: String,
}

pub const CONTENT_TYPE: &str = "application/problem+json";

/// `Retry-After` in seconds when the server is full.
const RETRY_AFTER: &str = "2";

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem { status, code: code.to_owned(), detail: detail.into() }
    }

    pub fn bad_parameter(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail)
    }

    pub fn bad_form(why: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_form", format!("cannot parse the form: {why}"))
    }

    pub fn too_large(limit: usize) -> Problem {
        let detail = format!("the recording is larger than {} MiB: send a shorter part of it", limit >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub fn too_slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the recording arrived too slowly: send it again")
    }

    pub fn full() -> Problem {
        let detail = format!("the server is busy: send the recording again in {RETRY_AFTER} seconds");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", detail)
    }

    pub fn stopping() -> Problem {
        let detail = "the server is stopping: send the recording again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
    }

    pub fn failed(error: &dyn std::fmt::Display) -> Problem {
        tracing::error!("a request failed: {error}");
        let detail = "the server failed on this request; see its log";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }

    /// Whether the client may still be sending the body.
    pub fn precedes_body_end(&self) -> bool {
        matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl From<RecordingError> for Problem {
    fn from(why: RecordingError) -> Problem {
        match why.code.as_str() {
            // Decoding and features succeeded, so the fault is not the client's.
            "no_prediction" => Problem::failed(&why.sentence),
            code => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, why.sentence),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
        };
        let text = serde_json::to_string(&body).expect("strings and numbers are JSON");
        let mut response = (self.status, text).into_response();
        let mut set = |name: HeaderName, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, CONTENT_TYPE);
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => set(header::RETRY_AFTER, RETRY_AFTER),
            StatusCode::UNAUTHORIZED => set(header::WWW_AUTHENTICATE, "Bearer"),
            _ => {}
        }
        response
    }
}
