//! Embeds audio in a page: a report is sent to others, where a link into the file system of another machine plays nothing.

use timbre_core::text::escape_xml;
use timbre_signal::audio::{Clip, wav_write};

use crate::plot::data_uri;

/// A player of the sound as a 16-bit WAV; nothing without samples. `words` are for screen readers.
pub fn player(sound: &Clip, words: &str) -> String {
    let Some(wav) = wav(sound) else { return String::new() };
    format!(
        "<audio controls preload=\"none\" aria-label=\"{}\" src=\"{}\"></audio>",
        escape_xml(words),
        data_uri("audio/wav", &wav)
    )
}

fn wav(sound: &Clip) -> Option<Vec<u8>> {
    let mut bytes = wav_write::pcm16_header(sound.samples.len(), 1, sound.sample_rate).ok()?.to_vec();
    let whole = |sample: &f32| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16;
    bytes.extend(sound.samples.iter().flat_map(|sample| whole(sample).to_le_bytes()));
    Some(bytes)
}
