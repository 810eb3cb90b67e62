//! Access control and security headers: the token, the host names, the allowed origins (CORS), and the headers of every response.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::upload::refuse;

/// The origin that stands for every site, as in the header `Access-Control-Allow-Origin`.
pub const ANY_ORIGIN: &str = "*";

/// Who may use the server. By default everybody who can reach it.
#[derive(Clone, Default)]
pub struct AccessPolicy {
    /// Hash of the token; the token itself is not kept.
    token: Option<blake3::Hash>,
    /// Origins of other sites whose pages may use the API; [`ANY_ORIGIN`] allows all of them.
    origins: Vec<String>,
    /// The names under which the server may be reached; empty: any name.
    hosts: Vec<String>,
}

impl AccessPolicy {
    /// With a token, every route except the page, the health checks and the API description requires
    /// `Authorization: Bearer TOKEN`. An origin has the form `https://host[:port]`, a host that of a name or an address without
    /// a port.
    pub fn new(token: Option<&str>, origins: Vec<String>, hosts: Vec<String>) -> AccessPolicy {
        AccessPolicy { token: token.map(|token| blake3::hash(token.as_bytes())), origins, hosts }
    }

    /// Checks the names under which requests reach a server that listens on this address, if hosts are listed, and also on
    /// loopback without a token. There the network keeps other machines out, but not a page in a browser of this machine whose
    /// name its owner has pointed to 127.0.0.1 (DNS rebinding): for the browser that page has the same origin as the server.
    pub fn check_hosts_on(&mut self, address: IpAddr) {
        if !self.hosts.is_empty() || (address.is_loopback() && self.token.is_none()) {
            let own = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            self.hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), own]);
        }
    }

    fn accepts_host(&self, host: &str) -> bool {
        let name_end = if host.starts_with('[') { host.find(']').map(|end| end + 1) } else { host.find(':') };
        let name = &host[..name_end.unwrap_or(host.len())];
        self.hosts.is_empty() || self.hosts.iter().any(|accepted| accepted.eq_ignore_ascii_case(name))
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Compares hashes, in constant time.
    fn authorizes(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case("bearer") && blake3::hash(given.trim().as_bytes()) == token
        })
    }
}

/// The site whose page sent a request, from the header `Origin` of browsers.
enum Origin {
    /// The server's own page, or no browser.
    Same,
    /// With the value of `Access-Control-Allow-Origin`.
    Allowed(HeaderValue),
    Other,
}

fn origin(headers: &HeaderMap, policy: &AccessPolicy) -> Origin {
    let Some(origin) = headers.get(header::ORIGIN) else { return Origin::Same };
    if policy.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return Origin::Allowed(origin.clone());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // Behind a proxy the page came over TLS.
    let origin = origin.to_str().ok();
    let origin_host =
        origin.and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    if host.is_some() && origin_host == host {
        Origin::Same
    } else if policy.origins.iter().any(|allowed| allowed == ANY_ORIGIN) {
        Origin::Allowed(HeaderValue::from_static(ANY_ORIGIN))
    } else {
        Origin::Other
    }
}

/// Refuses a request without one host (RFC 9112, 3.2) or with one that the policy does not accept.
fn check_host(request: &Request, policy: &AccessPolicy) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        // Only programs send such requests, such as health checks.
        (None, None) if request.version() < Version::HTTP_11 => return Ok(()),
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let Some(host) = host else {
        let detail = "send exactly one header `Host` with each request";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_host", detail));
    };
    // A request line with a whole URL has its own host.
    let of_target = request.uri().authority().map(|authority| authority.as_str());
    if [Some(host), of_target].into_iter().flatten().all(|host| policy.accepts_host(host)) {
        return Ok(());
    }
    let detail = "this server is not reached under that name: allow it with --allow-host";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_host", detail))
}

/// Whether a path requires the token, if one is set. The page does not, because it asks for the token; the health checks do not,
/// because monitoring has none.
pub fn is_guarded(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/lumen/") || path == "/metrics"
}

/// Middleware of every request: checks host, origin and token, adds the security headers.
pub async fn guard(State(policy): State<Arc<AccessPolicy>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = check_host(&request, &policy);
    let (allowed, problem) = match origin(headers, &policy) {
        _ if host.is_err() => (None, host.err()),
        Origin::Same => (None, None),
        Origin::Allowed(origin) => (Some(origin), None),
        // The browser hides the response from the other site, but the request would still use this machine.
        Origin::Other if is_guarded(request.uri().path()) => {
            let detail = "pages of other sites may not use this server: allow yours with --allow-origin";
            (None, Some(Problem::new(StatusCode::FORBIDDEN, "other_origin", detail)))
        }
        Origin::Other => (None, None),
    };
    let is_preflight = request.method() == Method::OPTIONS && headers.contains_key("access-control-request-method");
    let mut response = match (problem, &allowed) {
        (Some(problem), _) => refused(problem, request).await,
        (None, Some(_)) if is_preflight => preflight(),
        _ if is_guarded(request.uri().path()) && !policy.authorizes(headers) => {
            let detail = "this server requires a token: send it as `Authorization: Bearer TOKEN`";
            refused(Problem::new(StatusCode::UNAUTHORIZED, "no_token", detail), request).await
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
    for (name, value) in security_headers() {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
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

/// The page runs only its own scripts, no other site may embed it, and of the devices it may use only the microphone.
fn security_headers() -> [(HeaderName, &'static str); 7] {
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
