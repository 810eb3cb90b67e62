//! Who may ask, and what every answer carries.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::state::AppState;
use super::upload::refuse;

/// Who is let in; everybody who reaches the server unless told.
#[derive(Clone, Default)]
pub struct AccessPolicy {
    /// Only its hash is kept.
    token: Option<blake3::Hash>,
    /// Sites whose pages may use the API.
    origins: Vec<String>,
}

impl AccessPolicy {
    /// With a token, all but the page, the health and the description wants `Authorization: Bearer TOKEN`. An origin is
    /// `https://host[:port]`.
    pub fn new(token: Option<&str>, origins: Vec<String>) -> AccessPolicy {
        AccessPolicy { token: token.map(|token| blake3::hash(token.as_bytes())), origins }
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Hashes are compared, in constant time.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case("bearer") && blake3::hash(given.trim().as_bytes()) == token
        })
    }
}

/// Where a request comes from, as browsers tell it.
enum Came<'a> {
    /// No page of another site.
    Here,
    Allowed(&'a HeaderValue),
    Elsewhere,
}

fn from<'a>(headers: &'a HeaderMap, doors: &AccessPolicy) -> Came<'a> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Came::Here };
    if doors.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return Came::Allowed(origin);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    if host.is_some() && of_origin == host { Came::Here } else { Came::Elsewhere }
}

/// Whether a token is wanted where one is set. The page must be there to ask for it, and who watches the health has none.
fn is_guarded(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/lumen/") || path == "/metrics"
}

/// Before and after every request.
pub async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let (allowed, problem) = match from(headers, &state.doors) {
        Came::Here => (None, None),
        Came::Allowed(origin) => (Some(origin.clone()), None),
        // No secret is in the answer, but another site's page shall not put this machine to work.
        Came::Elsewhere if is_guarded(request.uri().path()) => {
            let detail = "pages of other sites may not use this server: name yours with --allow-origin";
            (None, Some(Problem::new(StatusCode::FORBIDDEN, "other_origin", detail)))
        }
        Came::Elsewhere => (None, None),
    };
    let is_preflight = request.method() == Method::OPTIONS && headers.contains_key("access-control-request-method");
    let mut response = match (problem, &allowed) {
        (Some(problem), _) => refused(problem, request).await,
        (None, Some(_)) if is_preflight => preflight(),
        _ if is_guarded(request.uri().path()) && !state.doors.lets_in(headers) => {
            let detail = "a token is needed here: send it as `Authorization: Bearer TOKEN`";
            refused(Problem::new(StatusCode::UNAUTHORIZED, "no_token", detail), request).await
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
    for (name, value) in security() {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn refused(problem: Problem, request: Request) -> Response {
    let (head, body): (_, Body) = request.into_parts();
    refuse(problem, &head.headers, body).await.into_response()
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Nothing of another site runs in the page, no other site shows it, and it may use the microphone alone.
fn security() -> [(HeaderName, &'static str); 7] {
    [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; \
             media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
    ]
}
