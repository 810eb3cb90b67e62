//! `stft`: the magnitude spectrogram, `abs(librosa.stft(y))`, optionally in decibels (`amplitude_to_db` with `ref=1`,
//! `amin=1e-5`).

use anyhow::Result;

use crate::features::framewise::{PostProcess, stft_faults};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::{
    decibel::power_to_db,
    pcen::{Pcen, PcenSpec},
    stft::StftPlan,
    transpose,
};

framewise_spec! {
    /// The magnitude of the short-time Fourier transform: one row per bin from 0 Hz to half the sample rate, one column
    /// per frame.
    pub struct Stft {
        /// Whether to convert magnitudes to decibels (relative to 1, at least -100). Default false.
        pub db: bool = false,
        /// With `db`: the dynamic range in dB. Values further below the largest value are raised to it; 0 keeps all.
        /// Default 80.
        #[schemars(range(min = 0.0))]
        pub top_db: f64 = 80.0,
        /// Exponent of the magnitudes without `db`: 2 is power. Default 1.
        #[serde(skip_serializing_if = "is_one")]
        #[schemars(range(min = 0.01, max = 8.0))]
        pub power: f64 = 1.0,
        /// Per-channel energy normalisation of the magnitudes, with librosa's defaults: `pcen = {}`. Default: none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub pcen: Option<PcenSpec> = None,
        /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resize: Option<[usize; 2]> = None,
    }
}

impl Kind for Stft {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let mut faults = stft_faults(&self.stft());
        faults.extend(self.post().faults());
        faults.extend(top_db_fault(self.top_db));
        faults.extend(pcen_fault(self.pcen.as_ref()));
        if !(self.power > 0.0 && self.power.is_finite()) || (self.db && self.power != 1.0) {
            let sentence =
                format!("an exponent of {} is not possible here; choose 1 or 2, and no `db` with it", self.power);
            faults.push(Fault::new("power", sentence));
        }
        faults
    }
}

impl FeatureKind for Stft {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.stft().bins(), self.stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("stft", self.faults(sample_rate))?;
        Ok(Box::new(Magnitudes {
            plan: StftPlan::new(self.stft()),
            power: self.power,
            db: self.db,
            scaling: Scaling::new(self.pcen.as_ref(), self.db.then_some(self.top_db), sample_rate, self.hop_length),
            post: self.post(),
        }))
    }
}

impl Stft {
    fn post(&self) -> PostProcess {
        self.post_of(self.resize)
    }
}

/// TOML has no null for librosa's `top_db=None`; 0, which would leave nothing of an image, stands for it.
pub fn top_db(key: f64) -> Option<f32> {
    (key > 0.0).then_some(key as f32)
}

pub(super) fn top_db_fault(top_db: f64) -> Option<Fault> {
    let wrong = !(top_db >= 0.0 && top_db.is_finite());
    wrong.then(|| {
        Fault::new(
            "top_db",
            format!("{top_db} dB below the loudest value is not possible; choose 80, or 0 to keep all"),
        )
    })
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

pub(super) fn pcen_fault(pcen: Option<&PcenSpec>) -> Option<Fault> {
    pcen.and_then(PcenSpec::fault).map(|sentence| Fault::new("pcen", sentence))
}

/// What happens to the values of a spectrogram: per-channel energy normalisation, decibels, or nothing.
pub(super) enum Scaling {
    Pcen(Pcen),
    /// With `top_db`.
    Decibels(Option<f32>),
    None,
}

impl Scaling {
    /// `db` has the `top_db` of decibels.
    pub(super) fn new(pcen: Option<&PcenSpec>, db: Option<f64>, sample_rate: u32, hop_length: usize) -> Scaling {
        match (pcen, db) {
            (Some(pcen), _) => Scaling::Pcen(Pcen::new(pcen, sample_rate, hop_length)),
            (None, Some(db)) => Scaling::Decibels(top_db(db)),
            (None, None) => Scaling::None,
        }
    }

    /// Scales a band-major image.
    pub(super) fn apply(&self, image: &mut [f32], frames: usize) {
        match self {
            Scaling::Pcen(pcen) => image.chunks_exact_mut(frames).for_each(|band| pcen.apply(band)),
            Scaling::Decibels(top_db) => power_to_db(image, *top_db),
            Scaling::None => {}
        }
    }
}

struct Magnitudes {
    plan: StftPlan,
    power: f64,
    db: bool,
    scaling: Scaling,
    post: PostProcess,
}

impl Extractor for Magnitudes {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let spectrogram = clip.spectrogram(&self.plan)?;
        let (bins, frames) = (spectrogram.bins, spectrogram.frames);
        let mut image = transpose(&spectrogram.power, frames, bins);
        match self.power {
            // The decibels of a magnitude are those of its power.
            _ if self.db => {}
            1.0 => image.iter_mut().for_each(|value| *value = value.sqrt()),
            2.0 => {}
            power => image.iter_mut().for_each(|value| *value = value.powf(power as f32 / 2.0)),
        }
        self.scaling.apply(&mut image, frames);
        Ok(self.post.apply(bins, frames, image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn magnitudes_are_linear_in_the_samples() {
        let samples: Vec<f32> = (0..4000).map(|n| (n as f32 * 0.3).sin()).collect();
        let loud = Clip { samples: samples.iter().map(|x| 4.0 * x).collect(), sample_rate: 8000 };
        let quiet = Clip { samples, sample_rate: 8000 };
        let extractor = Stft::default().build(8000).unwrap();
        let (loud, quiet) = (ClipAnalysis::new(&loud), ClipAnalysis::new(&quiet));
        let (loud, quiet) = (extractor.extract(&loud).unwrap(), extractor.extract(&quiet).unwrap());
        assert_eq!((quiet.rows, quiet.cols), (1025, 8));
        assert!(quiet.values.iter().zip(&loud.values).all(|(q, l)| 4.0 * q == *l));
    }
}
