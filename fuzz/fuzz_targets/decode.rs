//! Any bytes are a recording or unusable: no panic, no endless loop, no memory without measure.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timbre_audio::audio::{decode, probe};

// What symphonia or the Opus decoder panics over is caught, and is damage: only what gets out counts.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let _ = probe(bytes, None);
    if let Ok(recording) = decode(bytes, None) {
        assert!(!recording.samples.is_empty() && recording.samples.iter().all(|sample| sample.is_finite()));
        assert!((1000..=1_536_000).contains(&recording.sample_rate) && recording.channels > 0);
    }
});
