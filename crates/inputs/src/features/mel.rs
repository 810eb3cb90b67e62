//! `mel`: the mel spectrogram, `librosa.feature.melspectrogram`, then `power_to_db` with `ref=1` and `amin=1e-10`
//! unless `db = false`.
//!
//! With `pcen`, `librosa.pcen` of the energies times 2^31.
//!
//! As in librosa, the conversion treats any exponent `power` as power; with `power = 1` the decibels are half as large.

use anyhow::Result;

use crate::features::framewise::{MAX_FRAME_LENGTH, PostProcess, stft_faults};
use crate::features::stft::{Scaling, pcen_fault, top_db_fault};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::{
    mel::{MelBank, MelNorm, MelSpec},
    pcen::PcenSpec,
    stft::{Spectrogram, StftPlan},
};

framewise_spec! {
    /// The mel spectrogram: one row per band, one column per frame.
    pub struct Mel {
        /// Exponent of the magnitudes before the sum over a band: 2 is power, 1 is magnitude. Default 2.
        #[schemars(range(min = 0.01, max = 8.0))]
        pub power: f64 = 2.0,
        /// Number of mel bands. Default 128.
        #[schemars(range(min = 1, max = 4096))]
        pub n_mels: usize = 128,
        /// Lower edge of the lowest band in Hz. Default 0.
        #[schemars(range(min = 0.0))]
        pub fmin: f64 = 0.0,
        /// Upper edge of the highest band in Hz. Default: half the sample rate.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fmax: Option<f64> = None,
        /// Whether to use the HTK mel scale instead of Slaney's. Default false.
        pub htk: bool = false,
        /// Normalisation of each band: "slaney" (unit area, the default) or "none".
        pub norm: MelNorm = MelNorm::Slaney,
        /// Whether to convert energies to decibels (relative to 1, at least -100). Default true.
        pub db: bool = true,
        /// With `db`: the dynamic range in dB. Values further below the largest value are raised to it; 0 keeps all.
        /// Default 80.
        #[schemars(range(min = 0.0))]
        pub top_db: f64 = 80.0,
        /// Per-channel energy normalisation instead of decibels, with librosa's defaults: `pcen = {}`. Usual with `power = 1`. Default: none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub pcen: Option<PcenSpec> = None,
        /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resize: Option<[usize; 2]> = None,
    }
}

impl Kind for Mel {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = stft_faults(&self.stft());
        faults.extend(self.post().faults());
        faults.extend(bank_faults(&self.bank(sample_rate), self.power));
        faults.extend(top_db_fault(self.top_db));
        faults.extend(pcen_fault(self.pcen.as_ref()));
        faults
    }
}

impl FeatureKind for Mel {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.n_mels, self.stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("mel", self.faults(sample_rate))?;
        Ok(Box::new(MelImage {
            energies: MelEnergies::new(StftPlan::new(self.stft()), &self.bank(sample_rate), self.power),
            scaling: Scaling::new(self.pcen.as_ref(), self.db.then_some(self.top_db), sample_rate, self.hop_length),
            post: self.post(),
        }))
    }
}

impl Mel {
    fn post(&self) -> PostProcess {
        self.post_of(self.resize)
    }

    /// The filter bank that these keys describe.
    pub fn bank(&self, sample_rate: u32) -> MelSpec {
        MelSpec {
            sample_rate,
            n_fft: self.n_fft,
            n_mels: self.n_mels,
            fmin: self.fmin,
            fmax: self.fmax.unwrap_or(f64::from(sample_rate) / 2.0),
            htk: self.htk,
            norm: self.norm,
        }
    }
}

/// The largest number of bands; the schema has the same limit.
const MAX_BANDS: usize = 4096;

/// The faults of the keys of a filter bank, and of the exponent before it.
pub(super) fn bank_faults(bank: &MelSpec, power: f64) -> Vec<Fault> {
    let MelSpec { sample_rate, n_fft, n_mels, fmin, fmax, .. } = *bank;
    let nyquist = f64::from(sample_rate) / 2.0;
    let mut faults = Vec::new();
    if !(fmin >= 0.0 && fmin.is_finite()) {
        faults.push(Fault::new("fmin", format!("a band cannot begin at {fmin} Hz; choose 0 or more")));
    } else if fmin >= fmax {
        faults.push(Fault::new(
            "fmin",
            format!("the bands begin at {fmin} Hz but end at {fmax} Hz (fmax); lower fmin or raise fmax"),
        ));
    }
    if fmax > nyquist || fmax.is_nan() {
        let sentence = format!(
            "{fmax} Hz is above half the sample rate ({nyquist} Hz); lower it, or leave it out for {nyquist} Hz"
        );
        faults.push(Fault::new("fmax", sentence));
    }
    if n_mels == 0 {
        faults.push(Fault::new("n_mels", "a spectrogram needs at least one band"));
    } else if n_mels > MAX_BANDS {
        faults.push(Fault::new("n_mels", format!("{n_mels} bands are too many; choose up to {MAX_BANDS}")));
    }
    // Empty bands are searched only in a bank without other faults: it is as large as its keys say.
    if faults.is_empty() && (2..=MAX_FRAME_LENGTH).contains(&n_fft) {
        let empty = bank.empty_bands();
        if let Some(first) = empty.first() {
            let corners = bank.corners();
            let fewer = (1..n_mels).rev().find(|&n_mels| MelSpec { n_mels, ..*bank }.empty_bands().is_empty());
            faults.push(Fault::new(
                "n_mels",
                format!(
                    "{} of {n_mels} bands contain no bin of a {n_fft}-sample frame (the first is band {first}, {:.0} to {:.0} Hz); {}raise n_fft",
                    empty.len(),
                    corners[*first],
                    corners[first + 2],
                    fewer.map(|n| format!("choose {n} bands or fewer, or ")).unwrap_or_default(),
                ),
            ));
        }
    }
    if !(power > 0.0 && power.is_finite()) {
        faults.push(Fault::new(
            "power",
            format!("an exponent of {power} is not possible; choose 2 for power or 1 for magnitude"),
        ));
    }
    faults
}

/// From a clip to its band energies: the part that mel and mfcc share.
pub(super) struct MelEnergies {
    plan: StftPlan,
    bank: MelBank,
    power: f64,
    n_mels: usize,
    sample_rate: u32,
}

impl MelEnergies {
    pub(super) fn new(plan: StftPlan, bank: &MelSpec, power: f64) -> Self {
        MelEnergies { plan, bank: MelBank::new(bank), power, n_mels: bank.n_mels, sample_rate: bank.sample_rate }
    }

    /// Band-major energies, and the number of frames.
    pub(super) fn of(&self, clip: &ClipAnalysis) -> Result<(Vec<f32>, usize)> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let spectrogram = clip.spectrogram(&self.plan)?;
        let frames = spectrogram.frames;
        if self.power == 2.0 {
            return Ok((self.bank.apply(&spectrogram), frames));
        }
        let exponent = self.power as f32 / 2.0;
        let power = if self.power == 1.0 {
            spectrogram.power.iter().map(|p| p.sqrt()).collect()
        } else {
            spectrogram.power.iter().map(|p| p.powf(exponent)).collect()
        };
        Ok((self.bank.apply(&Spectrogram { power, ..*spectrogram }), frames))
    }

    pub(super) fn n_mels(&self) -> usize {
        self.n_mels
    }
}

struct MelImage {
    energies: MelEnergies,
    scaling: Scaling,
    post: PostProcess,
}

impl Extractor for MelImage {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let (mut image, frames) = self.energies.of(clip)?;
        self.scaling.apply(&mut image, frames);
        Ok(self.post.apply(self.energies.n_mels(), frames, image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::{audio::Clip, dsp::mel::mel_to_hz};

    #[test]
    fn the_faults_of_a_huge_bank_are_found_without_building_it() {
        for (key, spec) in [
            ("n_mels", Mel { n_mels: usize::MAX / 2, ..Mel::default() }),
            ("n_mels", Mel { n_mels: 4097, ..Mel::default() }),
            ("n_fft", Mel { n_fft: usize::MAX / 2, ..Mel::default() }),
        ] {
            let faults = spec.faults(22050);
            assert!(faults.iter().any(|fault| fault.key == key), "{key}: {faults:?}");
        }
    }

    #[test]
    fn a_tone_is_loudest_in_the_band_around_it() {
        let samples = (0..22050).map(|n| (std::f32::consts::TAU * 2000.0 * n as f32 / 22050.0).sin()).collect();
        let clip = Clip { samples, sample_rate: 22050 };
        let mel = Mel { norm: MelNorm::None, ..Mel::default() };
        let image = mel.build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((image.rows, image.cols), (128, 44));
        let loudest =
            (0..128).max_by(|&a, &b| image.values[a * 44 + 20].total_cmp(&image.values[b * 44 + 20])).unwrap();
        let corners = mel.bank(22050).corners();
        assert!(corners[loudest] < 2000.0 && 2000.0 < corners[loudest + 2], "band {loudest}");
        assert!(corners[129] - mel_to_hz(timbre_signal::dsp::mel::hz_to_mel(11025.0, false), false) < 1e-6);
    }

    #[test]
    fn the_suggested_number_of_bands_is_the_largest_without_empty_bands() {
        let mel = Mel { n_fft: 256, ..Mel::default() };
        let sentence = mel.faults(22050).remove(0).sentence;
        let advised: usize = sentence.split("choose ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(Mel { n_mels: advised, ..mel.clone() }.faults(22050).is_empty(), "{sentence}");
        assert!(!Mel { n_mels: advised + 1, ..mel }.faults(22050).is_empty(), "{sentence}");
    }

    #[test]
    fn a_resized_image_has_the_requested_size_for_any_length() {
        let extractor = Mel { resize: Some([64, 96]), ..Mel::default() }.build(22050).unwrap();
        for samples in [10, 30_000] {
            let clip = Clip { samples: vec![0.1; samples], sample_rate: 22050 };
            let image = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
            assert_eq!((image.rows, image.cols, image.values.len()), (64, 96, 64 * 96));
        }
    }
}
