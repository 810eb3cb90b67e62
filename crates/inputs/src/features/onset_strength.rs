//! `onset_strength`: the rise of the mel spectrogram in decibels, averaged over the bands, `librosa.onset.onset_strength`.
//!
//! As in librosa, a centred envelope is shifted by half a frame, so that a rise is at the frame that begins where the sound does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::Fault;
use crate::features::framewise::{Image, OfSpectrogram};
use crate::features::mel::bank_faults;
use timbre_signal::dsp::decibel::power_to_db;
use timbre_signal::dsp::mel::{MelBank, MelNorm, MelSpec};
use timbre_signal::dsp::stft::Spectrogram;

/// How the rises of the bands of a frame become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    Mean,
    Median,
}

impl Aggregate {
    fn is_mean(&self) -> bool {
        *self == Aggregate::Mean
    }
}

framewise_spec! {
    /// The onset strength: one row, one column per frame.
    pub struct OnsetStrength {
        /// The distance of the frames that are compared. Default 1.
        #[schemars(range(min = 1, max = 4096))]
        pub lag: usize = 1,
        /// The number of neighbouring bands whose maximum a band is compared with; more than 1 suppresses vibrato. Default 1.
        #[schemars(range(min = 1, max = 4096))]
        pub max_size: usize = 1,
        /// How the rises of the bands become one: "mean" (the default) or "median", librosa's for beats.
        #[serde(skip_serializing_if = "Aggregate::is_mean")]
        pub aggregate: Aggregate = Aggregate::Mean,
        /// Whether to remove the slow part of the envelope. Default false.
        pub detrend: bool = false,
        /// Number of mel bands. Default 128.
        #[schemars(range(min = 1, max = 4096))]
        pub n_mels: usize = 128,
        /// Lower edge of the lowest band in Hz. Default 0.
        #[schemars(range(min = 0.0))]
        pub fmin: f64 = 0.0,
        /// Upper edge of the highest band in Hz. Default: half the sample rate.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fmax: Option<f64> = None,
    }
}

of_spectrogram!("onset_strength", OnsetStrength);

impl OnsetStrength {
    fn bank(&self, sample_rate: u32) -> MelSpec {
        MelSpec {
            sample_rate,
            n_fft: self.n_fft,
            n_mels: self.n_mels,
            fmin: self.fmin,
            fmax: self.fmax.unwrap_or(f64::from(sample_rate) / 2.0),
            htk: false,
            norm: MelNorm::Slaney,
        }
    }

    fn envelope(&self, bank: &MelBank, spectrogram: &Spectrogram) -> Vec<f32> {
        let frames = spectrogram.frames;
        let mut levels = bank.apply(spectrogram);
        power_to_db(&mut levels, Some(80.0));
        let largest_around = largest_of_neighbours(&levels, frames, self.max_size);
        let reference = largest_around.as_ref().unwrap_or(&levels);
        // A rise from frame t to t + lag belongs to frame t + lag + shift.
        let shift = if self.center { self.n_fft / (2 * self.hop_length) } else { 0 };
        let rises = |now: &'_ [f32], before: &'_ [f32]| -> Vec<f32> {
            now.iter().skip(self.lag).zip(before).map(|(now, before)| (now - before).max(0.0)).collect()
        };
        let bands: Vec<Vec<f32>> = levels
            .chunks_exact(frames)
            .zip(reference.chunks_exact(frames))
            .map(|(now, before)| rises(now, before))
            .collect();
        let mut envelope = vec![0.0f32; frames];
        let mut of_frame = vec![0.0f32; bands.len()];
        for (t, value) in envelope.iter_mut().skip(self.lag + shift).enumerate().take(frames.saturating_sub(self.lag)) {
            of_frame.iter_mut().zip(&bands).for_each(|(rise, band)| *rise = band[t]);
            *value = match self.aggregate {
                Aggregate::Mean => {
                    (of_frame.iter().map(|&rise| f64::from(rise)).sum::<f64>() / self.n_mels as f64) as f32
                }
                Aggregate::Median => median(&mut of_frame),
            };
        }
        if self.detrend {
            let (mut before, mut out) = (0.0, 0.0);
            for value in &mut envelope {
                let now = f64::from(*value);
                out = now - before + 0.99 * out;
                before = now;
                *value = out as f32;
            }
        }
        envelope
    }
}

/// The median; of an even number of values the mean of the middle two, as in numpy.
fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let n = values.len();
    0.5 * (values[(n - 1) / 2] + values[n / 2])
}

/// Each value replaced by the largest of `size` bands around it; none if that is the value itself.
fn largest_of_neighbours(image: &[f32], frames: usize, size: usize) -> Option<Vec<f32>> {
    if size == 1 {
        return None;
    }
    let rows: Vec<&[f32]> = image.chunks_exact(frames).collect();
    let mut largest = Vec::with_capacity(image.len());
    for row in 0..rows.len() {
        let around = row.saturating_sub(size / 2)..(row + size - size / 2).min(rows.len());
        let mut most = rows[around.start].to_vec();
        for other in &rows[around] {
            most.iter_mut().zip(*other).for_each(|(most, value)| *most = most.max(*value));
        }
        largest.extend(most);
    }
    Some(largest)
}

impl OfSpectrogram for OnsetStrength {
    fn own_faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = bank_faults(&self.bank(sample_rate), 2.0);
        let lag = (self.lag == 0).then(|| "a frame cannot be compared with itself; choose 1 or more".to_owned());
        let max_size = (self.max_size == 0).then(|| "a maximum needs at least one band; choose 1 or more".to_owned());
        faults.extend(Fault::of_keys([("lag", lag), ("max_size", max_size)]));
        faults
    }

    fn image(&self, sample_rate: u32) -> Image {
        let (spec, bank) = (self.clone(), MelBank::new(&self.bank(sample_rate)));
        Box::new(move |spectrogram| spec.envelope(&bank, spectrogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_is_over_the_bands_around() {
        let image = [1.0, 5.0, 2.0, 0.0, 0.0, 7.0];
        assert_eq!(largest_of_neighbours(&image, 1, 1), None);
        assert_eq!(largest_of_neighbours(&image, 1, 3).unwrap(), [5.0, 5.0, 5.0, 2.0, 7.0, 7.0]);
        assert_eq!(largest_of_neighbours(&image, 1, 2).unwrap(), [1.0, 5.0, 5.0, 2.0, 0.0, 7.0]);
    }
}
