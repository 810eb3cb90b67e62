//! Errors as JSON problems (RFC 9457), each with a sentence for a person.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use timbre_inputs::features::extraction::RecordingError;

/// What went wrong with a request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
}

/// A problem as it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody {
    /// Always `about:blank`: the title is that of the status.
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    status: u16,
    /// A sentence for a person.
    detail: String,
    /// A stable word for a program.
    code: String,
}

/// What a problem is sent as.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Seconds after which a client that found the server full may try again.
const COME_AGAIN: &str = "2";

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem { status, code: code.to_owned(), detail: detail.into() }
    }

    pub fn bad_parameter(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail)
    }

    pub fn bad_form(why: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_form", format!("the form cannot be read: {why}"))
    }

    pub fn too_large(limit: usize) -> Problem {
        let detail = format!("the recording is larger than {} MiB: send a shorter part of it", limit >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub fn too_slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the recording came too slowly: send it again")
    }

    pub fn full() -> Problem {
        let detail = format!("too many recordings are waiting: send it again in {COME_AGAIN} seconds");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", detail)
    }

    pub fn stopping() -> Problem {
        let detail = "the server is stopping: send the recording again when it is back";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
    }

    pub fn failed(error: &dyn std::fmt::Display) -> Problem {
        tracing::error!("a request failed: {error}");
        let detail = "the server failed on this request; its log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }

    /// Whether the rest of the body may still be on its way.
    pub fn comes_early(&self) -> bool {
        matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl From<RecordingError> for Problem {
    fn from(why: RecordingError) -> Problem {
        match why.code.as_str() {
            // The recording was decoded and has features: that is no fault of the client.
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
        let text = serde_json::to_string(&body).expect("words and numbers are JSON");
        let mut response = (self.status, text).into_response();
        let mut set = |name: HeaderName, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, CONTENT_TYPE);
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => set(header::RETRY_AFTER, COME_AGAIN),
            StatusCode::UNAUTHORIZED => set(header::WWW_AUTHENTICATE, "Bearer"),
            _ => {}
        }
        response
    }
}
