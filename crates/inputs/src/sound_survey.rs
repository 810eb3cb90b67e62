//! Measures the sound of the recordings of a data set, for `timbre data describe --html`: levels, mean spectra, and a profile that
//! places similar recordings close to each other.

use anyhow::{Context, Result};
use rayon::prelude::*;
use timbre_core::seed::Seed;
use timbre_signal::audio::{self, AudioSpec, Clip, Header};
use timbre_signal::dsp::level::{self, decibels};
use timbre_signal::dsp::mel::MelNorm;

use crate::data::{ClipRecord, DataSet};
use crate::features::bandwidth::Bandwidth;
use crate::features::centroid::Centroid;
use crate::features::mel::Mel;
use crate::features::{ClipAnalysis, Extractor, FeatureKind};

/// Rate of all measurements.
pub const RATE: u32 = 22050;
/// Of a longer recording only the middle is measured.
pub const LONGEST: f64 = 30.0;
const BANDS: usize = 48;
/// Band energies in a profile are clipped to this level below the loudest (librosa's `top_db`).
const FLOOR_DB: f32 = 80.0;
const HOP: usize = 512;

/// The measurements of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Its index in the data set.
    pub record: usize,
    /// Decibels of full scale.
    pub peak: f64,
    pub rms: f64,
    /// The share of the energy in each band.
    pub spectrum: Vec<f64>,
    /// Mean and standard deviation over time of each band in decibels, relative to the mean of all.
    pub profile: Vec<f64>,
}

/// The measurements of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundSurvey {
    /// The centre of each band in Hz.
    pub bands: Vec<f64>,
    pub sounds: Vec<Sound>,
    /// Recordings that were to be measured and cannot be used.
    pub unusable: usize,
}

/// Measures at most `most` recordings, drawn at random by their names; `step` is called after each. `headers` has the header of each
/// recording that has a readable one.
pub fn survey(set: &DataSet, headers: &[Option<Header>], most: usize, step: impl Fn() + Sync) -> Result<SoundSurvey> {
    let mel = Mel { n_mels: BANDS, fmin: 40.0, norm: MelNorm::None, db: false, ..Mel::default() };
    let extractor = mel.build(RATE)?;
    let corners = mel.bank(RATE).corners();
    let measured: Vec<Option<Sound>> = drawn(&set.records, most)
        .par_iter()
        .map(|&record| {
            let clip = headers[record].as_ref().and_then(|header| clip(&set.records[record], header.seconds).ok());
            let sound = clip.and_then(|clip| measure(record, &clip, extractor.as_ref()).ok());
            step();
            sound
        })
        .collect();
    let all = measured.len();
    let sounds: Vec<Sound> = measured.into_iter().flatten().collect();
    Ok(SoundSurvey { bands: corners[1..=BANDS].to_vec(), unusable: all - sounds.len(), sounds })
}

/// The records to measure, in order. The place of a record in the draw follows from its id.
pub fn drawn(records: &[ClipRecord], most: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..records.len()).collect();
    if records.len() > most {
        chosen.sort_by_cached_key(|&i| Seed::new(0).child(&records[i].id).number());
        chosen.truncate(most);
        chosen.sort_unstable();
    }
    chosen
}

/// The recording, or the middle of one with many seconds.
pub fn clip(record: &ClipRecord, seconds: f64) -> Result<Clip> {
    let excerpt = record.excerpt.as_ref();
    let spec = AudioSpec { clip_seconds: (seconds > LONGEST).then_some(LONGEST), ..AudioSpec::at(RATE) };
    audio::load_file(&record.path, excerpt, &spec).with_context(|| format!("read {}", record.id))
}

fn measure(record: usize, clip: &Clip, mel: &dyn Extractor) -> Result<Sound> {
    let energies = mel.extract_finite(&ClipAnalysis::new(clip))?;
    let rows: Vec<&[f32]> = energies.values.chunks_exact(energies.cols.max(1)).collect();
    let sums: Vec<f64> = rows.iter().map(|row| row.iter().map(|x| f64::from(*x)).sum()).collect();
    let total: f64 = sums.iter().sum();
    let loudest = energies.values.iter().copied().fold(0.0, f32::max);
    let floor = loudest * 10f32.powf(-FLOOR_DB / 10.0);
    let db = |x: &f32| 10.0 * f64::from(x.max(floor)).log10();
    let mut profile: Vec<f64> = rows.iter().map(|row| mean(row.iter().map(db))).collect();
    let deviations = rows.iter().zip(&profile).map(|(row, own)| mean(row.iter().map(|x| (db(x) - own).powi(2))).sqrt());
    let deviations: Vec<f64> = deviations.collect();
    let all = mean(profile.iter().copied());
    profile.iter_mut().for_each(|own| *own -= all);
    profile.extend(deviations);
    Ok(Sound {
        record,
        peak: decibels(f64::from(level::peak(&clip.samples))),
        rms: decibels(level::rms(&clip.samples)),
        spectrum: sums.iter().map(|sum| sum / total).collect(),
        profile,
    })
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

/// Spectral centroid and bandwidth over time, in Hz.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectralCourse {
    /// Seconds from one frame to the next; the first is at 0.
    pub step: f64,
    pub centroid: Vec<f32>,
    pub bandwidth: Vec<f32>,
}

/// The course of a clip of any rate.
pub fn spectral_course(clip: &Clip) -> Result<SpectralCourse> {
    let analysis = ClipAnalysis::new(clip);
    let centroid = Centroid { hop_length: HOP, ..Centroid::default() }.build(clip.sample_rate)?;
    let bandwidth = Bandwidth { hop_length: HOP, ..Bandwidth::default() }.build(clip.sample_rate)?;
    Ok(SpectralCourse {
        step: HOP as f64 / f64::from(clip.sample_rate),
        centroid: centroid.extract(&analysis)?.values,
        bandwidth: bandwidth.extract(&analysis)?.values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Classes;
    use timbre_signal::audio::wav_write::write_pcm16;

    #[test]
    fn tones_have_their_levels_bands_and_profiles() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, hertz: f64, gain: f64| {
            let sample =
                |n: i32| (gain * (std::f64::consts::TAU * hertz * f64::from(n) / 16000.0).sin() * 32767.0) as i16;
            let path = dir.path().join(name);
            write_pcm16(&path, &(0..16000).map(sample).collect::<Vec<i16>>(), 1, 16000).unwrap();
            ClipRecord::new(name, path, vec![0])
        };
        let set = DataSet {
            name: "x".into(),
            classes: Classes::new(["p"]),
            records: vec![
                put("high", 3000.0, 0.5),
                put("low", 300.0, 0.5),
                put("soft", 300.0, 0.05),
                ClipRecord::new("z", dir.path().join("gone"), vec![0]),
            ],
            notes: Vec::new(),
        };
        let header = |record: &ClipRecord| audio::probe_file(&record.path, None).ok();
        let headers: Vec<Option<Header>> = set.records.iter().map(header).collect();
        let survey = survey(&set, &headers, 100, || ()).unwrap();
        assert_eq!((survey.sounds.len(), survey.unusable), (3, 1));
        let [high, low, soft] = &survey.sounds[..] else { panic!("three") };
        assert!((high.peak + 6.02).abs() < 0.5 && (high.rms + 9.03).abs() < 0.1 && (soft.rms + 29.03).abs() < 0.1);
        let loudest = |sound: &Sound| {
            let band = (0..BANDS).max_by(|&a, &b| sound.spectrum[a].total_cmp(&sound.spectrum[b])).unwrap();
            survey.bands[band]
        };
        assert!((loudest(high) - 3000.0).abs() < 200.0 && (loudest(low) - 300.0).abs() < 60.0, "{}", loudest(low));
        assert!((high.spectrum.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let distance =
            |a: &Sound, b: &Sound| a.profile.iter().zip(&b.profile).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
        assert!(distance(low, soft) * 2.0 < distance(low, high), "{} {}", distance(low, soft), distance(low, high));
        let course = spectral_course(&clip(&set.records[0], 1.0).unwrap()).unwrap();
        assert!(
            (f64::from(course.centroid[20]) - 3000.0).abs() < 30.0 && course.bandwidth.len() == course.centroid.len()
        );
        assert_eq!(drawn(&set.records, 2).len(), 2);
        assert_eq!(drawn(&set.records, 2), drawn(&set.records, 2));
    }
}
