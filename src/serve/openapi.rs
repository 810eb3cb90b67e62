//! Builds `/openapi.json` from the list of operations and the response types.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::access;
use super::operation::{Operation, ResponseBody};
use super::problem::{self, ProblemBody};
use super::query::PredictQuery;
use super::responses::{ModelsResponse, PredictResponse};

/// The OpenAPI 3.1 document, whose schemas are JSON Schema 2020-12. `models` are the ids of the loaded models.
pub fn document(operations: &[Operation], models: &[&str]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let problem = json!(schemas.subschema_for::<ProblemBody>());
    let parameters = parameters(&mut schemas, models);
    let mut paths = Map::new();
    for operation in operations {
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.insert(
            operation.path.to_owned(),
            json!({ (method): operation_object(operation, &mut schemas, &parameters) }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Timbre",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Saved models that classify recordings.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": {
                "problem": {
                    "description": "The error, with a sentence for a person.",
                    "content": { (problem::CONTENT_TYPE): { "schema": problem } },
                }
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// The query parameters by name.
fn parameters(schemas: &mut SchemaGenerator, models: &[&str]) -> Vec<(String, Value)> {
    let schema = json!(schemas.root_schema_for::<PredictQuery>());
    let properties = schema["properties"].as_object().expect("a struct has properties");
    let parameter = |(name, of): (&String, &Value)| {
        let mut of = of.clone();
        let about = of.as_object_mut().and_then(|of| of.remove("description")).unwrap_or_default();
        // A query parameter is never null, only absent.
        if let Some(Value::Array(kinds)) = of.get("type") {
            of["type"] = kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
        }
        if name == "model" {
            of["enum"] = json!(models);
        }
        (name.clone(), json!({ "name": name, "in": "query", "required": false, "description": about, "schema": of }))
    };
    properties.iter().map(parameter).collect()
}

fn operation_object(operation: &Operation, schemas: &mut SchemaGenerator, parameters: &[(String, Value)]) -> Value {
    let as_json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let content = match operation.response {
        ResponseBody::Text(kind) => json!({ (kind): { "schema": { "type": "string" } } }),
        ResponseBody::Prediction => as_json(json!(schemas.subschema_for::<PredictResponse>())),
        ResponseBody::Models => as_json(json!(schemas.subschema_for::<ModelsResponse>())),
        ResponseBody::Codes => as_json(json!(schemas.subschema_for::<Vec<String>>())),
        ResponseBody::Object => as_json(json!({ "type": "object" })),
    };
    let mut responses = json!({ "200": { "description": operation.summary, "content": content } });
    // The header `Host` of any request may be refused.
    let mut problems = vec![400, 421];
    let mut object = json!({ "summary": operation.summary });
    if let Some(input) = operation.input {
        problems.extend([408, 413, 415, 422, 500, 503]);
        let known = parameters.iter().filter(|(name, _)| input.parameters.contains(&name.as_str()));
        object["parameters"] = known.map(|(_, parameter)| parameter.clone()).collect();
        let file = json!({ "type": "string", "format": "binary", "contentMediaType": "application/octet-stream" });
        let form = json!({ "type": "object", "required": ["file"], "properties": { "file": file } });
        let mut content = json!({ "multipart/form-data": { "schema": form } });
        if !input.form_only {
            content["application/octet-stream"] = json!({ "schema": { "type": "string", "format": "binary" } });
        }
        object["requestBody"] = json!({ "required": true, "content": content });
    }
    if operation.path == "/readyz" {
        problems.push(503);
    }
    if access::is_guarded(operation.path) {
        problems.extend([401, 403]);
        object["security"] = json!([{}, { "token": [] }]);
    }
    for status in problems {
        responses[status.to_string()] = json!({ "$ref": "#/components/responses/problem" });
    }
    object["responses"] = responses;
    object
}
