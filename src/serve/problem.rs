//! Errors as JSON problems (RFC 9457), each with a sentence for a person.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::precompute::LeftOut;

/// What went wrong with a request. The type of every problem is `about:blank`: its title is that of the status.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// A stable word for the machine.
    code: String,
    detail: String,
}

/// Seconds after which a client that found the server full may try again.
const COME_AGAIN: &str = "2";

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem { status, code: code.to_owned(), detail: detail.into() }
    }

    pub fn too_large(limit: usize) -> Problem {
        let detail = format!("the recording is larger than {} MiB: send a shorter part of it", limit >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    pub fn too_slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the recording came too slowly: send it again")
    }

    pub fn full() -> Problem {
        let detail = format!("too many recordings are waiting: send it again in {COME_AGAIN} seconds");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", detail)
    }
}

impl From<LeftOut> for Problem {
    fn from(why: LeftOut) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &why.code, why.sentence)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(COME_AGAIN));
        }
        response
    }
}
