//! What the rows and columns of a feature matrix mean, for plots.

use super::FeatureSpec;

/// The axes of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureAxes {
    pub rows: RowAxis,
    pub columns: ColumnAxis,
    /// What the numbers of a series measure, with the unit; summaries have several measures.
    pub values: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RowAxis {
    /// The frequency of each row, or the centre of its band.
    Hertz(Vec<f64>),
    /// Cepstral coefficients.
    Coefficient,
    Index,
}

/// The step from one column to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnAxis {
    Seconds(f64),
    Hertz(f64),
    Index,
}

/// The axes of the matrix of shape `shape` of a clip of `samples` samples.
pub fn axes(spec: &FeatureSpec, shape: [usize; 2], sample_rate: u32, samples: usize) -> FeatureAxes {
    let [rows, cols] = shape;
    let rate = f64::from(sample_rate);
    let columns = match spec {
        // A vector is drawn along its longer side.
        _ if cols == 1 => ColumnAxis::Index,
        FeatureSpec::Fft(_) => ColumnAxis::Hertz(rate / samples as f64),
        FeatureSpec::Imported(_) | FeatureSpec::Embedding(_) => ColumnAxis::Index,
        _ => ColumnAxis::Seconds(samples_per_column(spec, cols, samples) / rate),
    };
    let frequencies = frequencies(spec, sample_rate).filter(|own| own.len() == rows && cols > 1);
    let rows = match (frequencies, innermost(spec)) {
        (Some(frequencies), _) => RowAxis::Hertz(frequencies),
        (None, FeatureSpec::Mfcc(_) | FeatureSpec::Lfcc(_)) => RowAxis::Coefficient,
        _ => RowAxis::Index,
    };
    FeatureAxes { rows, columns, values: if cols > 1 { measure(spec) } else { "value" } }
}

/// What a series of the feature measures.
fn measure(spec: &FeatureSpec) -> &'static str {
    match spec {
        FeatureSpec::Raw(_) => "amplitude",
        FeatureSpec::Fft(_) => "magnitude",
        FeatureSpec::Centroid(_) | FeatureSpec::Bandwidth(_) | FeatureSpec::Rolloff(_) => "frequency (Hz)",
        FeatureSpec::Zcr(_) => "share of samples",
        FeatureSpec::Rms(_) => "RMS amplitude",
        FeatureSpec::OnsetStrength(_) => "onset strength",
        _ => "value",
    }
}

/// The feature whose rows and frames this one has.
fn innermost(spec: &FeatureSpec) -> &FeatureSpec {
    match spec {
        FeatureSpec::Delta(delta) => innermost(&delta.of),
        FeatureSpec::Harmonic(part) => innermost(&part.of),
        FeatureSpec::Percussive(part) => innermost(&part.of),
        FeatureSpec::Stack(stack) => stack.of.first().map_or(spec, innermost),
        _ => spec,
    }
}

/// The samples from one column to the next: the hop of the frames, or the clip divided evenly if the image is resized.
fn samples_per_column(spec: &FeatureSpec, cols: usize, samples: usize) -> f64 {
    let table = serde_json::to_value(innermost(spec)).unwrap_or_default();
    let hop = table["hop_length"].as_f64().filter(|_| table["resize"].is_null());
    hop.unwrap_or(samples as f64 / cols as f64)
}

/// The frequency of each row in Hz.
fn frequencies(spec: &FeatureSpec, sample_rate: u32) -> Option<Vec<f64>> {
    let constant_q = |fmin: Option<f64>, bins: usize, per_octave: usize, tuning: f64| {
        let lowest = fmin.unwrap_or_else(timbre_signal::dsp::cqt::c1);
        (0..bins).map(|bin| lowest * ((bin as f64 + tuning) / per_octave as f64).exp2()).collect()
    };
    match innermost(spec) {
        // A stack repeats frequencies.
        _ if matches!(spec, FeatureSpec::Stack(_)) => None,
        FeatureSpec::Mel(mel) if mel.resize.is_none() => {
            let corners = mel.bank(sample_rate).corners();
            Some(corners[1..=mel.n_mels].to_vec())
        }
        FeatureSpec::Stft(stft) if stft.resize.is_none() => {
            let step = f64::from(sample_rate) / stft.n_fft as f64;
            Some((0..=stft.n_fft / 2).map(|bin| bin as f64 * step).collect())
        }
        FeatureSpec::Cqt(cqt) if cqt.resize.is_none() => {
            Some(constant_q(cqt.fmin, cqt.n_bins, cqt.bins_per_octave, cqt.tuning))
        }
        FeatureSpec::Vqt(vqt) if vqt.resize.is_none() => {
            Some(constant_q(vqt.fmin, vqt.n_bins, vqt.bins_per_octave, vqt.tuning))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: serde_json::Value) -> FeatureAxes {
        let spec: FeatureSpec = serde_json::from_value(spec).unwrap();
        axes(&spec, spec.as_kind().shape(22050).unwrap(), 22050, 22050)
    }

    #[test]
    fn rows_have_the_frequencies_of_their_bands_and_columns_the_times_of_their_frames() {
        let stft = of(json!({ "kind": "stft", "n_fft": 1024, "hop_length": 441 }));
        assert_eq!(stft.columns, ColumnAxis::Seconds(0.02));
        let RowAxis::Hertz(bins) = stft.rows else { panic!("frequencies") };
        assert_eq!((bins.len(), bins[0], bins[512]), (513, 0.0, 11025.0));
        // librosa.mel_frequencies(n_mels=42, fmin=0, fmax=11025)[1:41] has the centres of 40 bands.
        let RowAxis::Hertz(bands) = of(json!({ "kind": "mel", "n_mels": 40 })).rows else { panic!("frequencies") };
        assert_eq!(bands.len(), 40);
        assert!(bands[0] > 50.0 && bands.is_sorted() && bands[39] < 11025.0, "{bands:?}");
        let RowAxis::Hertz(tones) = of(json!({ "kind": "cqt" })).rows else { panic!("frequencies") };
        assert!((tones[0] - 32.703).abs() < 1e-3 && (tones[12] - 2.0 * tones[0]).abs() < 1e-9);
    }

    #[test]
    fn other_rows_are_coefficients_or_indices_and_vectors_have_an_index() {
        assert_eq!(of(json!({ "kind": "delta", "of": { "kind": "mfcc" } })).rows, RowAxis::Coefficient);
        assert_eq!(of(json!({ "kind": "chroma" })).rows, RowAxis::Index);
        assert_eq!(of(json!({ "kind": "mel", "resize": [40, 50] })).columns, ColumnAxis::Seconds(0.02));
        assert_eq!(of(json!({ "kind": "mel", "resize": [40, 50] })).rows, RowAxis::Index);
        let vector = of(json!({ "kind": "mfcc", "summary": ["mean"] }));
        assert_eq!((vector.columns, vector.rows), (ColumnAxis::Index, RowAxis::Coefficient));
        assert_eq!(of(json!({ "kind": "fft" })).columns, ColumnAxis::Hertz(1.0));
        assert_eq!(of(json!({ "kind": "raw" })).columns, ColumnAxis::Seconds(1.0 / 22050.0));
    }

    #[test]
    fn the_values_of_a_series_have_a_measure() {
        assert_eq!(of(json!({ "kind": "centroid" })).values, "frequency (Hz)");
        assert_eq!(of(json!({ "kind": "rms" })).values, "RMS amplitude");
        assert_eq!(of(json!({ "kind": "entropy" })).values, "value");
    }
}
