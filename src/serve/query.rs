//! What a request asks for beside its recording: the parameters of its address.

use schemars::JsonSchema;

/// How a recording is to be heard.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct PredictQuery {
    /// Which model hears it, by its `id`; the default one unless told.
    pub model: Option<String>,
    /// One cut-off for every class instead of the model's own: all classes that reach it are decided.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cutoff: Option<f64>,
    /// A class is decided if more than this share of the windows has more than the cut-off. Only for models that hear windows.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: Option<f64>,
    /// Whether the answer has the timeline of windows; true unless told.
    pub timeline: Option<bool>,
}

impl PredictQuery {
    /// Reads the part of an address behind its `?`, of which only the `known` parameters may be there. What is wrong is a
    /// sentence.
    pub fn read(query: &str, known: &[&str]) -> Result<PredictQuery, String> {
        let mut ask = PredictQuery::default();
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(place) = known.iter().position(|known| *known == name) else {
                return Err(format!("there is no parameter `{}`: there are {}", short(&name), known.join(", ")));
            };
            if seen.contains(&place) {
                return Err(format!("`{name}` is given twice"));
            }
            seen.push(place);
            match name.as_str() {
                "model" => ask.model = Some(value),
                "cutoff" => ask.cutoff = Some(share(&name, &value)?),
                "fraction" => ask.fraction = Some(share(&name, &value)?),
                "timeline" => ask.timeline = Some(truth(&name, &value)?),
                _ => return Err(format!("`{name}` is not read here")),
            }
        }
        Ok(ask)
    }
}

fn share(name: &str, value: &str) -> Result<f64, String> {
    let wrong = || format!("`{name}` is `{}`: write a number from 0 to 1", short(value));
    value.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{name}` is `{}`: write true or false", short(value))),
    }
}

/// What somebody wrote, no longer than an answer wants to repeat it.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// `%41` and `+` of an address become characters again.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |c: u8| char::from(c).to_digit(16);
                let wrong = || format!("`{}` has a % that two hexadecimal digits do not follow", short(text));
                (digit(*high).zip(digit(*low)).map(|(high, low)| (16 * high + low) as u8)).ok_or_else(wrong)?
            }
            (b'%', _) => return Err(format!("`{}` ends within a %", short(text))),
            (other, _) => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("`{}` is no UTF-8", short(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [&str; 4] = ["model", "cutoff", "fraction", "timeline"];

    #[test]
    fn every_parameter_is_read() {
        let ask = PredictQuery::read("model=a%3Amel.knn.s1+x&cutoff=0.5&&fraction=1&timeline=false", &ALL).unwrap();
        let model = Some("a:mel.knn.s1 x".to_owned());
        assert_eq!(ask, PredictQuery { model, cutoff: Some(0.5), fraction: Some(1.0), timeline: Some(false) });
        assert_eq!(PredictQuery::read("", &ALL).unwrap(), PredictQuery::default());
    }

    #[test]
    fn what_is_wrong_is_a_sentence() {
        for (query, says) in [
            ("cutof=0.5", "there are model, cutoff, fraction, timeline"),
            ("cutoff=half", "a number from 0 to 1"),
            ("cutoff=1.5", "a number from 0 to 1"),
            ("fraction=NaN", "a number from 0 to 1"),
            ("timeline=1", "true or false"),
            ("timeline", "true or false"),
            ("cutoff=0.5&cutoff=0.6", "twice"),
            ("model=%4", "ends within a %"),
            ("model=%zz", "hexadecimal"),
            ("model=%ff", "no UTF-8"),
        ] {
            let sentence = PredictQuery::read(query, &ALL).unwrap_err();
            assert!(sentence.contains(says), "{query}: {sentence}");
        }
        assert!(PredictQuery::read("timeline=true", &ALL[..3]).unwrap_err().contains("no parameter `timeline`"));
    }

    proptest! {
        #[test]
        fn any_address_is_read_or_refused(query in ".{0,80}") {
            let _ = PredictQuery::read(&query, &ALL);
        }

        #[test]
        fn any_name_comes_through_however_it_is_written(name in ".{1,20}") {
            let written: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(PredictQuery::read(&format!("model={written}"), &ALL).unwrap().model.unwrap(), name);
        }
    }
}
