//! Loudness and filters of augmentations, compared with pyloudnorm and scipy (tests/golden/make_augment.py).

use std::f64::consts::TAU;

use serde_json::Value;
use timbre_signal::dsp::{
    iir::{BandType, Filter},
    loudness,
};

use crate::test_dir::golden;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[test]
fn integrated_loudness_is_that_of_pyloudnorm() {
    for case in golden("augment.json")["loudness"].as_array().unwrap() {
        let rate = number(&case["rate"]);
        let mut samples = Vec::new();
        for part in case["parts"].as_array().unwrap() {
            let [seconds, hz, amplitude] = numbers(part)[..] else { panic!("a part is three numbers") };
            let n = (seconds * rate).round() as usize;
            samples.extend((0..n).map(|n| (amplitude * (TAU * hz * n as f64 / rate).sin()) as f32));
        }
        let (found, expected) = (loudness::integrated(&samples, rate as u32).unwrap(), number(&case["lufs"]));
        // A block may be one sample longer or shorter where a tenth of a second is not a whole number of samples.
        assert!((found - expected).abs() < 5e-3, "{rate} Hz: {found} LUFS, not {expected}");
    }
}

#[test]
fn butterworth_filters_have_the_impulse_response_of_scipy() {
    let golden = golden("augment.json");
    let rate = number(&golden["rate"]) as u32;
    for case in golden["filters"].as_array().unwrap() {
        let hz = numbers(&case["hz"]);
        let pass = match case["kind"].as_str().unwrap() {
            "low" => BandType::LowPass(hz[0]),
            "high" => BandType::HighPass(hz[0]),
            "band" => BandType::BandPass(hz[0], hz[1]),
            _ => BandType::BandStop(hz[0], hz[1]),
        };
        let expected = numbers(&case["answer"]);
        let mut found = vec![0.0f32; expected.len()];
        found[0] = 1.0;
        Filter::butterworth(number(&case["order"]) as usize, pass, rate).run(&mut found);
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 1e-6 * largest.max(1e-3), "{case}: sample {n}: {found}");
        }
    }
}
