//! Decodes any bytes: a recording or an error, without panics, endless loops or unbounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timbre_audio::audio::{decode, probe};

// Panics of symphonia or the Opus decoder are caught and count as damage: only a panic that escapes is a failure.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let _ = probe(bytes, None);
    if let Ok(recording) = decode(bytes, None) {
        assert!(!recording.samples.is_empty() && recording.samples.iter().all(|sample| sample.is_finite()));
        assert!((1000..=1_536_000).contains(&recording.sample_rate) && recording.channels > 0);
    }
});
