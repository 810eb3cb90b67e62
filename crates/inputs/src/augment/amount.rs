//! The values that a parameter of an augmentation may take: a constant, a range, a log-uniform range, or one of several
//! numbers.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use timbre_core::seed::{uniform, uniform_below};

/// `3.0`, `[10.0, 40.0]`, `{ log = [20.0, 2000.0] }` or `{ any = [-2.0, 2.0] }`.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    Fixed(f64),
    /// Uniform between two numbers.
    Range(f64, f64),
    /// Log-uniform between two positive numbers.
    Log(f64, f64),
    /// One of these, with equal probability.
    Any(Vec<f64>),
}

impl Amount {
    /// Draws a number.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Amount::Fixed(value) => *value,
            Amount::Range(low, high) => low + uniform(rng) * (high - low),
            // libm: the same bits on every machine.
            Amount::Log(low, high) => low * libm::exp(uniform(rng) * libm::log(high / low)),
            Amount::Any(values) => values[uniform_below(rng, values.len() as u64) as usize],
        }
    }

    /// Draws a whole number; both ends of a range are as likely as the numbers between them.
    pub fn draw_whole(&self, rng: &mut ChaCha8Rng) -> i64 {
        match self {
            Amount::Range(low, high) => {
                let (low, high) = (low.ceil() as i64, high.floor() as i64);
                low + uniform_below(rng, (high - low).max(0) as u64 + 1) as i64
            }
            other => other.draw(rng).round() as i64,
        }
    }

    /// The smallest and the largest number that can be drawn.
    pub fn bounds(&self) -> (f64, f64) {
        match self {
            Amount::Fixed(value) => (*value, *value),
            Amount::Range(low, high) | Amount::Log(low, high) => (*low, *high),
            Amount::Any(values) => {
                let fold = |start: f64, pick: fn(f64, f64) -> f64| values.iter().copied().fold(start, pick);
                (fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max))
            }
        }
    }

    /// The reason why some number would lie outside `least..=most`, if any.
    pub fn fault(&self, least: f64, most: f64) -> Option<String> {
        let (low, high) = self.bounds();
        if !(low.is_finite() && high.is_finite()) {
            return Some("every number must be finite".into());
        }
        if low > high {
            return Some(format!("the range goes from {low} down to {high}: put the smaller number first"));
        }
        if matches!(self, Amount::Log(..)) && low <= 0.0 {
            return Some(format!("a log-uniform range must begin above 0, not at {low}"));
        }
        let outside = if low < least { low } else { high };
        (low < least || high > most).then(|| format!("{outside} is outside {least} to {most}"))
    }

    /// As [`Self::fault`], for a parameter whose draws are whole numbers.
    pub fn whole_fault(&self, least: f64, most: f64) -> Option<String> {
        self.fault(least, most).or_else(|| match self {
            Amount::Range(low, high) if low.ceil() > high.floor() => {
                Some(format!("there is no whole number between {low} and {high}"))
            }
            _ => None,
        })
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = |name: &'static str, values: &[f64], serializer: S| {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, values)?;
            map.end()
        };
        match self {
            Amount::Fixed(value) => value.serialize(serializer),
            Amount::Range(low, high) => [*low, *high].serialize(serializer),
            Amount::Log(low, high) => table("log", &[*low, *high], serializer),
            Amount::Any(values) => table("any", values, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Amount;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number, a range [min, max], { log = [min, max] } or { any = [...] }")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Amount, E> {
                Ok(Amount::Fixed(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Amount, E> {
                Ok(Amount::Fixed(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount::Fixed(value as f64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Amount, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<f64>()? {
                    values.push(value);
                }
                match values[..] {
                    [low, high] => Ok(Amount::Range(low, high)),
                    _ => Err(A::Error::invalid_length(values.len(), &"two numbers, the smallest and the largest")),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amount, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom("expected `log` or `any`"));
                };
                let values: Vec<f64> = map.next_value()?;
                if let Some(other) = map.next_key::<String>()? {
                    return Err(A::Error::custom(format!("expected either `log` or `any`, found `{other}` too")));
                }
                match (key.as_str(), &values[..]) {
                    ("log", &[low, high]) => Ok(Amount::Log(low, high)),
                    ("log", _) => Err(A::Error::invalid_length(values.len(), &"two numbers")),
                    ("any", [_, ..]) => Ok(Amount::Any(values)),
                    ("any", []) => Err(A::Error::custom("`any` needs at least one number")),
                    _ => Err(A::Error::unknown_field(&key, &["log", "any"])),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number; a range [min, max]; a log-uniform range { log = [min, max] }; or one of several { any = [...] }.",
            "anyOf": [
                { "type": "number" },
                { "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 },
                { "type": "object", "additionalProperties": false, "properties": {
                    "log": { "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 },
                    "any": { "type": "array", "items": { "type": "number" }, "minItems": 1 }
                } }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use timbre_core::seed::Seed;

    fn amount(value: serde_json::Value) -> Amount {
        serde_json::from_value(value).unwrap()
    }

    proptest! {
        #[test]
        fn draws_lie_within_the_bounds(low in 0.001f64..100.0, span in 0.0f64..100.0, seed: u64) {
            let mut rng = Seed::new(seed).rng();
            let high = low + span;
            for amount in [Amount::Fixed(low), Amount::Range(low, high), Amount::Log(low, high), Amount::Any(vec![low, high])] {
                let drawn = amount.draw(&mut rng);
                prop_assert!((low * (1.0 - 1e-12)..=high * (1.0 + 1e-12)).contains(&drawn), "{:?} gave {}", amount, drawn);
                prop_assert_eq!(amount.fault(0.0, 200.0), None);
            }
        }
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for form in [json!(3.5), json!([1.0, 2.0]), json!({ "log": [1.0, 10.0] }), json!({ "any": [1.0, 2.0, 4.0] })] {
            assert_eq!(json!(amount(form.clone())), form);
        }
        assert_eq!(amount(json!(3)), Amount::Fixed(3.0));
        for wrong in [json!([1.0]), json!({}), json!({ "some": [1.0] }), json!({ "any": [] }), json!("loud")] {
            assert!(serde_json::from_value::<Amount>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_of_whole_numbers_includes_both_ends() {
        let mut rng = Seed::new(1).rng();
        let mut seen = [0; 4];
        (0..4000).for_each(|_| seen[Amount::Range(1.0, 3.0).draw_whole(&mut rng) as usize] += 1);
        assert!(seen[0] == 0 && seen[1..].iter().all(|n| (1200..1500).contains(n)), "{seen:?}");
    }

    #[test]
    fn faults_name_the_cause() {
        assert!(Amount::Range(3.0, 1.0).fault(0.0, 9.0).unwrap().contains("smaller number first"));
        assert!(Amount::Log(0.0, 1.0).fault(0.0, 9.0).unwrap().contains("above 0"));
        assert!(Amount::Any(vec![1.0, 12.0]).fault(0.0, 9.0).unwrap().contains("12 is outside"));
        assert!(Amount::Fixed(f64::NAN).fault(0.0, 9.0).is_some());
    }

    #[test]
    fn a_range_without_a_whole_number_is_a_fault() {
        assert!(Amount::Range(1.2, 1.8).whole_fault(0.0, 9.0).unwrap().contains("no whole number"));
        assert!(Amount::Range(1.2, 9.8).whole_fault(0.0, 9.0).unwrap().contains("outside"));
        for fine in [Amount::Range(1.2, 2.0), Amount::Range(3.0, 3.0), Amount::Fixed(1.5), Amount::Any(vec![0.5])] {
            assert_eq!(fine.whole_fault(0.0, 9.0), None, "{fine:?}");
        }
    }
}
