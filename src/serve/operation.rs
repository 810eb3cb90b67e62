//! A route of the API, as the router and `openapi.json` know it.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;

use super::state::{AppState, InputSpec};

/// A route of the API.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub summary: &'static str,
    pub handler: MethodRouter<Arc<AppState>>,
    pub response: ResponseBody,
    /// The input, if the route takes a recording.
    pub input: Option<InputSpec>,
}

/// The body of a successful response.
#[derive(Clone, Copy)]
pub enum ResponseBody {
    Text(&'static str),
    /// A prediction.
    Prediction,
    /// The models.
    Models,
    /// A list of class codes.
    Codes,
    /// Any JSON object.
    Object,
}
