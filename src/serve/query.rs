//! The query parameters of a prediction request.

use percent_encoding::percent_decode;
use schemars::JsonSchema;

/// Options of a prediction.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct PredictQuery {
    /// The `id` of the model [default: the first loaded model].
    pub model: Option<String>,
    /// One threshold for all classes, instead of the model's own: every class that reaches it is decided.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cutoff: Option<f64>,
    /// A class is decided if more than this share of the windows is above the threshold. Only for models that use windows.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: Option<f64>,
    /// Include the timeline of windows [default: true].
    pub timeline: Option<bool>,
}

impl PredictQuery {
    /// Parses a query string. Only the `known` parameters are accepted, each at most once. The error is a sentence.
    pub fn parse(query: &str, known: &[&str]) -> Result<PredictQuery, String> {
        let mut parsed = PredictQuery::default();
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(index) = known.iter().position(|known| *known == name) else {
                return Err(format!("unknown parameter `{}`: the parameters are {}", short(&name), known.join(", ")));
            };
            if seen.contains(&index) {
                return Err(format!("`{name}` appears twice"));
            }
            seen.push(index);
            match name.as_str() {
                "model" => parsed.model = Some(value),
                "cutoff" => parsed.cutoff = Some(fraction(&name, &value)?),
                "fraction" => parsed.fraction = Some(fraction(&name, &value)?),
                "timeline" => parsed.timeline = Some(boolean(&name, &value)?),
                _ => return Err(format!("`{name}` is not supported here")),
            }
        }
        Ok(parsed)
    }
}

fn fraction(name: &str, value: &str) -> Result<f64, String> {
    let wrong = || format!("`{name}` is `{}`: write a number from 0 to 1", short(value));
    value.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction)).ok_or_else(wrong)
}

fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{name}` is `{}`: write true or false", short(value))),
    }
}

/// Input as an error message repeats it: printable and at most 40 characters.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Decodes `%41` and `+`. As in browsers, a `%` without two hexadecimal digits is kept.
fn decoded(text: &str) -> Result<String, String> {
    let spaced = text.replace('+', " ");
    let bytes = percent_decode(spaced.as_bytes());
    bytes.decode_utf8().map(String::from).map_err(|_| format!("`{}` is not UTF-8", short(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [&str; 4] = ["model", "cutoff", "fraction", "timeline"];

    #[test]
    fn every_parameter_is_parsed() {
        let query = PredictQuery::parse("model=a%3Amel.knn.s1+x&cutoff=0.5&&fraction=1&timeline=false", &ALL).unwrap();
        let model = Some("a:mel.knn.s1 x".to_owned());
        assert_eq!(query, PredictQuery { model, cutoff: Some(0.5), fraction: Some(1.0), timeline: Some(false) });
        assert_eq!(PredictQuery::parse("", &ALL).unwrap(), PredictQuery::default());
    }

    #[test]
    fn errors_are_sentences() {
        for (query, says) in [
            ("cutof=0.5", "the parameters are model, cutoff, fraction, timeline"),
            ("cutoff=half", "a number from 0 to 1"),
            ("cutoff=1.5", "a number from 0 to 1"),
            ("fraction=NaN", "a number from 0 to 1"),
            ("timeline=1", "true or false"),
            ("timeline", "true or false"),
            ("cutoff=0.5&cutoff=0.6", "twice"),
            ("cutoff=%4", "a number from 0 to 1"),
            ("model=%ff", "not UTF-8"),
        ] {
            let sentence = PredictQuery::parse(query, &ALL).unwrap_err();
            assert!(sentence.contains(says), "{query}: {sentence}");
        }
        assert!(PredictQuery::parse("timeline=true", &ALL[..3]).unwrap_err().contains("unknown parameter `timeline`"));
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_or_refused(query in ".{0,80}") {
            let _ = PredictQuery::parse(&query, &ALL);
        }

        #[test]
        fn a_percent_encoded_name_is_decoded(name in ".{1,20}") {
            let written: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(PredictQuery::parse(&format!("model={written}"), &ALL).unwrap().model.unwrap(), name);
        }
    }
}
