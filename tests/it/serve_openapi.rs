//! `/openapi.json` describes the server: routes, methods, parameters and schemas.

use serde_json::{Value, json};

use crate::test_server::*;

/// Validates `value` against its schema. Supports the keywords of JSON Schema that the description uses and panics on others.
fn faults(value: &Value, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else { return };
    for (keyword, rule) in keywords {
        let mut fault = |why: String| found.push(format!("{at}: {why}"));
        match keyword.as_str() {
            "$ref" => {
                let target = document.pointer(&rule.as_str().unwrap()[1..]);
                faults(value, target.unwrap_or_else(|| panic!("{rule} leads nowhere")), document, at, found);
            }
            "type" => {
                let kinds = if let Value::Array(kinds) = rule { kinds.clone() } else { vec![rule.clone()] };
                let fits = |kind: &Value| match kind.as_str().unwrap() {
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    other => panic!("a type {other}"),
                };
                if !kinds.iter().any(fits) {
                    fault(format!("{value} is not of type {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, of) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(schema) => faults(of, schema, document, &format!("{at}.{name}"), found),
                        None => found.push(format!("{at}.{name} is not described")),
                    }
                }
            }
            "additionalProperties" => {
                for (name, of) in value.as_object().into_iter().flatten() {
                    faults(of, rule, document, &format!("{at}.{name}"), found);
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults(item, rule, document, &format!("{at}[{n}]"), found);
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |schema: &Value| {
                    let mut found = Vec::new();
                    faults(value, schema, document, at, &mut found);
                    found.is_empty()
                };
                if !rule.as_array().unwrap().iter().any(fits) {
                    fault(format!("{value} is none of {rule}"));
                }
            }
            "const" if value != rule => fault(format!("{value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => fault(format!("{value} is none of {rule}")),
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                fault(format!("{value} is less than {rule}"))
            }
            "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => {
                fault(format!("{value} is more than {rule}"))
            }
            "const" | "enum" | "minimum" | "maximum" | "description" | "title" | "format" => {}
            other => panic!("{at}: the keyword {other} is not supported"),
        }
    }
}

fn check(value: &Value, schema: &Value, document: &Value) {
    let mut found = Vec::new();
    faults(value, schema, document, "response", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_description_matches_the_server() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL, "--windows"]);
    let address = server.address;
    let document = get(address, "/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let recording = std::fs::read(&trained.recordings_of("flu")[0]).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut names: Vec<&str> = paths.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["/api/v1/", "/api/v1/models", "/api/v1/predict", "/healthz", LUMEN, "/metrics", "/openapi.json", "/readyz"]
    );
    let request = |method: &str, path: &str| match method {
        "POST" => post_to(address, path, FORM, &form("file", "flute.wav", &recording)),
        _ => send(address, method, path, ""),
    };
    for (path, methods) in paths {
        // Described methods exist, others do not.
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let described = methods.get(method.to_lowercase());
            let response = request(method, path);
            assert_eq!(response.status, if described.is_some() { 200 } else { 405 }, "{method} {path}");
            let Some(described) = described else {
                check(&response.json(), &document["components"]["schemas"]["Problem"], &document);
                continue;
            };
            let (kind, content) = described["responses"]["200"]["content"].as_object().unwrap().iter().next().unwrap();
            assert!(response.head.contains(&format!("content-type: {kind}")), "{path}: {}", response.head);
            if kind == "application/json" {
                check(&response.json(), &content["schema"], &document);
            }
            // Every parameter accepts a valid value and refuses an invalid one; others are refused.
            let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in &parameters {
                let name = parameter["name"].as_str().unwrap();
                let (right, wrong) = match parameter["schema"]["type"].as_str().unwrap() {
                    "number" => ("0.25", "1.5"),
                    "boolean" => ("true", "1"),
                    _ => ("tiny:fft.logistic.s1", "nobody"),
                };
                assert_eq!(request(method, &format!("{path}?{name}={right}")).status, 200, "{path} {name}");
                let refused = request(method, &format!("{path}?{name}={wrong}"));
                assert_eq!(refused.status, 400, "{path} {name}");
                assert!(described["responses"]["400"].is_object());
                check(&refused.json(), &document["components"]["schemas"]["Problem"], &document);
            }
            if method == "POST" {
                assert_eq!(request(method, &format!("{path}?other=1")).status, 400, "{path}");
                let bodies: Vec<&String> = described["requestBody"]["content"].as_object().unwrap().keys().collect();
                assert!(bodies.iter().any(|kind| *kind == "multipart/form-data"));
                let raw = post_to(address, path, "Content-Type: application/octet-stream\r\n", &recording);
                let takes_raw = bodies.iter().any(|kind| *kind == "application/octet-stream");
                assert_eq!(raw.status, if takes_raw { 200 } else { 415 }, "{path}");
                assert!(described["responses"]["415"].is_object());
            }
        }
    }
    // A response without a timeline; then a check of the validator with three faults.
    let mut response = post_to(address, "/api/v1/predict?timeline=false", "", &recording).json();
    let schema = json!({ "$ref": "#/components/schemas/Answer" });
    check(&response, &schema, &document);
    response["instruments"][0]["confidence"] = json!("high");
    response["surprise"] = json!(1);
    response.as_object_mut().unwrap().remove("seconds");
    let mut found = Vec::new();
    faults(&response, &schema, &document, "response", &mut found);
    assert_eq!(found.len(), 3, "{found:?}");
}
