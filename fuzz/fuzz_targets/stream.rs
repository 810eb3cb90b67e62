//! Compares the stream with decoding the whole, at the recording's own rate: the same bits or the same error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timbre_audio::audio::{AudioSpec, Stream, Unusable, decode};

fn drained(bytes: &[u8], rate: u32) -> Result<Vec<u32>, Unusable> {
    let mut stream = Stream::from_bytes(bytes, None, &AudioSpec::at(rate))?;
    let mut samples = Vec::new();
    while stream.next_block(&mut samples)? {}
    Ok(samples.into_iter().map(f32::to_bits).collect())
}

// Panics of symphonia or the Opus decoder are caught and count as damage: only a panic that escapes is a failure.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    match decode(bytes, None) {
        Ok(whole) => {
            let samples: Vec<u32> = whole.samples.iter().map(|sample| sample.to_bits()).collect();
            assert!(drained(bytes, whole.sample_rate).expect("the whole is usable") == samples);
            // Resample too, but not from odd rates, whose filters are long.
            if [8000, 22050, 48000].contains(&whole.sample_rate) {
                let _ = drained(bytes, 16000);
            }
        }
        Err(reason) => {
            let streamed = drained(bytes, 16000).expect_err("the whole is not usable");
            assert_eq!(streamed.code(), reason.code(), "{streamed} and {reason}");
        }
    }
});
