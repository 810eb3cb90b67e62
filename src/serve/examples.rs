//! Recordings to try on the first screen of the page, which the program makes: instruments that the default model knows, and noise,
//! which no model knows. A model of other classes has none.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Serialize;

use timbre_core::labels::{Classes, Task};
use timbre_core::seed::{Seed, uniform_below};
use timbre_inputs::data::{demo, irmas};
use timbre_signal::audio::wav_write::pcm16;

/// Length of an example.
const SECONDS: f64 = 5.0;
const SAMPLE_RATE: u32 = 44100;
/// Examples of one instrument.
const SINGLE: usize = 4;

/// A recording to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExampleCard {
    pub path: String,
    /// The codes of the classes that it has; none for noise.
    pub codes: Vec<String>,
}

/// A recording that is made at the first request and kept.
pub struct Example {
    pub card: ExampleCard,
    /// Indices of the instruments of the demo set.
    labels: Vec<usize>,
    bytes: OnceLock<Vec<u8>>,
}

/// The examples for a model with these classes: single instruments, for a multi-label model two and three together, and noise.
pub fn examples(classes: &Classes, task: Task) -> Vec<Example> {
    let mut known: Vec<(&str, usize)> = Vec::new();
    for code in classes.names() {
        match irmas::instrument_of(classes, code) {
            Some(label) if known.iter().all(|(_, other)| *other != label) => known.push((code, label)),
            _ => {}
        }
    }
    if known.is_empty() {
        return Vec::new();
    }
    // Evenly spaced, so that the examples are not those of the first letters of the alphabet.
    let n = known.len().min(SINGLE);
    let mut chosen: Vec<Vec<(&str, usize)>> = (0..n).map(|i| vec![known[i * known.len() / n]]).collect();
    if task == Task::MultiLabel {
        let together = |size: usize| {
            let every = (known.len() / size).max(1);
            known.iter().rev().step_by(every).take(size).copied().collect::<Vec<_>>()
        };
        chosen.extend([2, 3].into_iter().filter(|size| *size <= known.len()).map(together));
    }
    chosen.push(Vec::new());
    let example = |(n, instruments): (usize, Vec<(&str, usize)>)| {
        let (codes, mut labels): (Vec<String>, Vec<usize>) =
            instruments.into_iter().map(|(code, label)| (code.to_owned(), label)).unzip();
        labels.sort_unstable();
        Example { card: ExampleCard { path: format!("/examples/{n}.wav"), codes }, labels, bytes: OnceLock::new() }
    };
    chosen.into_iter().enumerate().map(example).collect()
}

impl Example {
    /// The recording as a WAV file.
    pub fn wav(&self) -> &[u8] {
        self.bytes.get_or_init(|| {
            let wav = match &self.labels[..] {
                [] => pcm16(&noise(), 1, SAMPLE_RATE),
                labels => pcm16(&demo::example(labels, SECONDS), 2, SAMPLE_RATE),
            };
            wav.expect("five seconds fit into a WAV file")
        })
    }
}

const PEAK: u64 = 5600;

/// White noise at about -20 dB of full scale.
fn noise() -> Vec<i16> {
    let mut rng = Seed::new(1).child("noise").rng();
    (0..(SECONDS * f64::from(SAMPLE_RATE)) as usize)
        .map(|_| uniform_below(&mut rng, 2 * PEAK + 1) as i16 - PEAK as i16)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(classes: &[&str], task: Task) -> Vec<String> {
        examples(&Classes::new(classes.iter().copied()), task).iter().map(|one| one.card.codes.join("+")).collect()
    }

    #[test]
    fn examples_are_instruments_that_the_model_knows_and_noise() {
        assert_eq!(codes(&irmas::INSTRUMENTS, Task::SingleLabel), ["cel", "flu", "org", "tru", ""]);
        assert_eq!(codes(&irmas::INSTRUMENTS, Task::MultiLabel)[4..], ["voi+org", "voi+sax+gel", ""]);
        let words = ["tenor_saxophone", "distorted_electric_guitar", "dog"];
        assert_eq!(codes(&words, Task::SingleLabel), ["tenor_saxophone", "distorted_electric_guitar", ""]);
        assert!(codes(&["dog", "church_bell"], Task::MultiLabel).is_empty());
        // In a set of its own, `cla` is no clarinet.
        assert!(codes(&["cla", "dog"], Task::SingleLabel).is_empty());
    }

    #[test]
    fn an_example_is_a_recording_of_five_seconds_and_always_the_same() {
        use timbre_signal::audio::{AudioSpec, load};
        let make = || examples(&Classes::new(irmas::INSTRUMENTS), Task::MultiLabel);
        for (one, again) in make().iter().zip(&make()) {
            let bytes = one.wav();
            assert_eq!(bytes, again.wav());
            let spec = AudioSpec { clip_seconds: None, ..AudioSpec::default() };
            let clip = load(bytes, Some("wav"), &spec).unwrap();
            assert_eq!(clip.samples.len(), 5 * spec.sample_rate as usize, "{:?}", one.card.codes);
            assert!(clip.samples.iter().any(|sample| sample.abs() > 0.05));
        }
    }
}
