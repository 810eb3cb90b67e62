//! `tonnetz`: the tonal centroid, `librosa.feature.tonnetz` of `chroma_stft`: the pitch classes projected on the circles of
//! fifths, minor thirds and major thirds. (librosa computes the pitch classes with `chroma_cqt` unless it is given others.)

use std::f64::consts::PI;

use crate::features::Fault;
use crate::features::chroma::{Chroma, FrameNorm, tuning_fault};
use crate::features::framewise::{Image, OfSpectrogram};

framewise_spec! {
    /// The tonal centroid: six rows (fifths, minor thirds, major thirds; x and y each), one column per frame.
    pub struct Tonnetz {
        /// Deviation of the tuning from A = 440 Hz, in semitones (-0.5 to 0.5). Default: estimated from each clip.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tuning: Option<f64> = None,
    }
}

of_spectrogram!("tonnetz", Tonnetz);

const CLASSES: usize = 12;
/// Half turns per pitch class of each circle, whether it is the sine, and its radius.
const CIRCLES: [(f64, f64, f64); 6] = [
    (7.0 / 6.0, 0.5, 1.0),
    (7.0 / 6.0, 0.0, 1.0),
    (3.0 / 2.0, 0.5, 1.0),
    (3.0 / 2.0, 0.0, 1.0),
    (2.0 / 3.0, 0.5, 0.5),
    (2.0 / 3.0, 0.0, 0.5),
];

impl OfSpectrogram for Tonnetz {
    fn rows(&self) -> usize {
        CIRCLES.len()
    }

    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("tuning", tuning_fault(self.tuning))])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let chroma = Chroma {
            n_fft: self.n_fft,
            hop_length: self.hop_length,
            win_length: self.win_length,
            window: self.window,
            center: self.center,
            pad_mode: self.pad_mode,
            tuning: self.tuning,
            norm: FrameNorm::Inf,
            ..Chroma::default()
        };
        let chroma = chroma.image(sample_rate);
        Box::new(move |spectrogram| {
            let (classes, frames) = (chroma(spectrogram), spectrogram.frames);
            let mut image = vec![0.0; CIRCLES.len() * frames];
            for t in 0..frames {
                let mut shares: [f64; CLASSES] = std::array::from_fn(|class| f64::from(classes[class * frames + t]));
                FrameNorm::L1.apply(&mut shares);
                for (row, (turns, shift, radius)) in CIRCLES.iter().enumerate() {
                    let on_circle = |(class, share): (usize, &f64)| share * (PI * (turns * class as f64 - shift)).cos();
                    image[row * frames + t] = (radius * shares.iter().enumerate().map(on_circle).sum::<f64>()) as f32;
                }
            }
            image
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::dsp::stft::Spectrogram;

    #[test]
    fn silence_lies_in_the_centre_of_every_circle() {
        let spectrogram = Spectrogram { bins: 1025, frames: 2, power: vec![0.0; 2050] };
        assert_eq!(Tonnetz::default().image(22050)(&spectrogram), vec![0.0; 12]);
    }
}
