//! `background`: adds another recording behind the clip: a training clip, or a recording of a folder (crowds, rain, a band without
//! the soloist).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use crate::data::walk::{FoundFile, files_below};
use timbre_core::seed::uniform_below;
use timbre_signal::{
    audio::{self, AudioSpec, Unusable},
    dsp::level,
};

augment_spec! {
    /// Adds another recording behind the clip; the labels stay those of the clip. (`mix` adds the labels too.)
    pub struct Background {
        /// Signal-to-noise ratio of clip to background in decibels, both powers measured over the whole clip. Default: 5 to 30.
        pub snr_db: Amount = Amount::Range(5.0, 30.0),
        /// Folder of recordings, searched recursively. Default: the other clips of the training set.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub folder: Option<PathBuf> = None,
    }

    pub struct BackgroundDraw {
        pub of: BackgroundSource,
        pub snr_db: f64,
        /// Selects the position at which the recording is cut, uniform over all positions.
        pub cut: u64,
    }
}

/// The recording that is added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackgroundSource {
    /// A training clip: its row and its id, which must belong together.
    Clip { row: usize, id: String },
    /// A recording of the folder.
    File { path: PathBuf },
}

impl Kind for Background {
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let folder_fault = self.folder.as_ref().and_then(|folder| match recordings_in(folder) {
            Ok(files) if files.is_empty() => Some(format!("{} contains no recordings", folder.display())),
            Ok(_) => None,
            Err(error) => Some(format!("{error:#}")),
        });
        Fault::of_keys([("snr_db", self.snr_db.fault(-100.0, 200.0)), ("folder", folder_fault)])
    }
}

impl AugmentKind for Background {
    fn makes_copies(&self) -> bool {
        false
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        self.folder.as_deref().map_or(Ok(Vec::new()), recordings_in)
    }

    /// Draws nothing if there is no other clip.
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let of = match &self.folder {
            Some(folder) => {
                let files = context.pool.backgrounds().list(folder)?;
                BackgroundSource::File { path: files[uniform_below(rng, files.len() as u64) as usize].clone() }
            }
            None => {
                let Some(row) = context.another(rng) else { return Ok(Vec::new()) };
                BackgroundSource::Clip { row, id: context.pool.info(row).id.to_owned() }
            }
        };
        Ok(vec![BackgroundDraw { of, snr_db: self.snr_db.draw(rng), cut: rng.next_u64() }.into()])
    }
}

impl Effect for BackgroundDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, pool: &dyn ClipPool) -> Result<()> {
        match &self.of {
            BackgroundSource::Clip { row, id } => {
                // The id counts: another selection of the same set has other rows.
                let named = *row < pool.len() && pool.info(*row).id == id;
                let row = if named { Some(*row) } else { pool.row_of(id) };
                let row = row.with_context(|| {
                    format!(
                        "add a background: {id} is not in this training set; the draw was recorded with another one"
                    )
                })?;
                add(&mut clip.samples, &pool.waveform(row, self.cut)?, self.snr_db);
            }
            BackgroundSource::File { path } => {
                if let Some(other) = pool.backgrounds().decode(path, clip.sample_rate)? {
                    let positions = other.len().saturating_sub(clip.samples.len()) as u128 + 1;
                    let start = ((u128::from(self.cut) * positions) >> 64) as usize;
                    add(&mut clip.samples, &other[start..], self.snr_db);
                }
            }
        }
        Ok(())
    }
}

/// Adds `other`, repeated until the end if it is shorter. Nothing is added to silence, and a background below -100 dB counts as
/// silence and is not amplified.
fn add(samples: &mut [f32], other: &[f32], snr_db: f64) {
    let other = &other[..other.len().min(samples.len())];
    if other.is_empty() {
        return;
    }
    // The energy of the added samples: the last repetition may be cut.
    let (repetitions, rest) = (samples.len() / other.len(), samples.len() % other.len());
    let energy = repetitions as f64 * level::energy(other) + level::energy(&other[..rest]);
    let wanted = level::energy(samples) * libm::pow(10.0, -snr_db / 10.0);
    let factor = (wanted / energy).sqrt() as f32;
    // A ratio written by hand may be any number.
    if energy > level::SILENCE * samples.len() as f64 && factor.is_finite() {
        for block in samples.chunks_mut(other.len()) {
            block.iter_mut().zip(other).for_each(|(sample, other)| *sample += factor * other);
        }
    }
}

/// All files below a folder with the extension of a recording, sorted by path.
fn recordings_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_below(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    files.retain(FoundFile::is_audio);
    let mut paths: Vec<PathBuf> = files.into_iter().map(|file| file.path).collect();
    paths.sort();
    Ok(paths)
}

/// The recordings of background folders: every folder is listed once, and decoded recordings are kept while there is room.
/// A panic of another thread leaves both maps valid.
#[derive(Default)]
pub struct Backgrounds {
    listed: Mutex<BTreeMap<PathBuf, Arc<Vec<PathBuf>>>>,
    decoded: Mutex<Decoded>,
}

/// Decoded recordings by path and sample rate; `None` for damaged ones.
#[derive(Default)]
struct Decoded {
    recordings: HashMap<(PathBuf, u32), Option<Arc<Vec<f32>>>>,
    samples: usize,
}

impl Backgrounds {
    /// The limit for decoded samples, of all recordings together: 256 MiB.
    const MAX_SAMPLES: usize = 64 << 20;

    /// The recordings of a folder, at least one. Files that are added later are ignored.
    fn list(&self, folder: &Path) -> Result<Arc<Vec<PathBuf>>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = listed.get(folder) {
            return Ok(files.clone());
        }
        let files = Arc::new(recordings_in(folder)?);
        ensure!(!files.is_empty(), "{} no longer contains recordings", folder.display());
        listed.insert(folder.to_owned(), files.clone());
        Ok(files)
    }

    /// The samples of a recording; `None`, with a warning, if it is damaged. Recordings that do not fit in memory are decoded
    /// each time. A file that cannot be read is an error: it may be readable the next time, and the same training would then
    /// use different examples.
    fn decode(&self, path: &Path, sample_rate: u32) -> Result<Option<Arc<Vec<f32>>>> {
        let locked = || self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.to_owned(), sample_rate);
        if let Some(samples) = locked().recordings.get(&key) {
            return Ok(samples.clone());
        }
        // Decoded without the lock: two threads may decode the same recording once.
        let spec = AudioSpec { sample_rate, clip_seconds: None, ..AudioSpec::default() };
        let samples = match audio::load_file(path, None, &spec) {
            Ok(clip) => Some(Arc::new(clip.samples)),
            Err(why @ Unusable::Unreadable { .. }) => bail!("add a background: {}: {why}", path.display()),
            Err(why) => {
                tracing::warn!("the background {} is ignored: {why}", path.display());
                None
            }
        };
        let mut decoded = locked();
        let more = samples.as_ref().map_or(0, |samples| samples.len());
        if decoded.samples + more <= Self::MAX_SAMPLES && decoded.recordings.insert(key, samples.clone()).is_none() {
            decoded.samples += more;
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::augment::kind_tests::{apply, drawn, tone, tone_of};
    use crate::augment::tests::{TestClip, TestPool, empty_pool, waveform};
    use timbre_core::seed::Seed;
    use timbre_signal::audio::AUDIO_EXTENSIONS;
    use timbre_signal::audio::wav_write::write_pcm16;

    fn three_clips() -> TestPool {
        TestPool::new([("a", 0.5), ("b", -0.25), ("c", 0.125)].map(|(id, value)| TestClip {
            id: id.to_owned(),
            samples: vec![value; 100],
            ..TestClip::default()
        }))
    }

    fn pcm(samples: Vec<f32>) -> Vec<i16> {
        samples.iter().map(|x| (x * 16384.0) as i16).collect()
    }

    #[test]
    fn another_clip_of_the_pool_is_added_at_the_drawn_ratio() {
        let pool = three_clips();
        let mut rows = [0; 3];
        for seed in 0..300 {
            let context = AugmentContext { sample_rate: 8000, samples: 100, row: 1, pool: &pool };
            let draws = Background::default().draw(&context, &mut Seed::new(seed).rng()).unwrap();
            let [Draw::BackgroundDraw(draw)] = &draws[..] else { panic!("one draw") };
            let BackgroundSource::Clip { row, .. } = draw.of else { panic!("a clip") };
            rows[row] += 1;
            let mut output = waveform(&tone(100));
            draw.apply_to_waveform(&mut output, &pool).unwrap();
            let added: Vec<f32> = output.samples.iter().zip(tone(100)).map(|(a, b)| a - b).collect();
            let snr = 10.0 * (level::energy(&tone(100)) / level::energy(&added)).log10();
            assert!((snr - draw.snr_db).abs() < 0.1, "{snr} dB, not {}", draw.snr_db);
        }
        assert!(rows[1] == 0 && rows[0] > 100 && rows[2] > 100, "never the clip itself: {rows:?}");
    }

    #[test]
    fn a_single_clip_has_no_background_and_a_draw_of_another_set_is_refused() {
        assert!(drawn(&Background::default(), 100, 1).is_empty());
        let draw = BackgroundDraw { of: BackgroundSource::Clip { row: 1, id: "z".into() }, snr_db: 0.0, cut: 0 };
        let error = draw.apply_to_waveform(&mut waveform(&tone(100)), &three_clips()).unwrap_err();
        assert!(error.to_string().contains("recorded with another one"));
        assert!(draw.apply_to_waveform(&mut waveform(&tone(100)), &empty_pool()).is_err());
    }

    #[test]
    fn recordings_of_a_folder_are_resampled_cut_and_repeated() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        write_pcm16(&folder.path().join("deep/long.wav"), &pcm(tone_of(300.0, 32_000, 16_000)), 1, 16_000).unwrap();
        write_pcm16(&folder.path().join("short.wav"), &pcm(tone_of(500.0, 900, 8000)), 1, 8000).unwrap();
        fs::write(folder.path().join("broken.wav"), b"not a wave file").unwrap();
        fs::write(folder.path().join("notes.txt"), b"text").unwrap();
        let spec =
            Background { folder: Some(folder.path().to_owned()), snr_db: Amount::Fixed(3.0), ..Default::default() };
        assert_eq!(spec.faults(8000), []);
        let samples = tone(4000);
        let mut added_by_name = BTreeMap::new();
        for seed in 0..60 {
            let draws = drawn(&spec, 4000, seed);
            let [Draw::BackgroundDraw(draw)] = &draws[..] else { panic!("one draw") };
            let BackgroundSource::File { path } = &draw.of else { panic!("a file") };
            let output = apply(draw, &samples);
            let added: Vec<f32> = output.iter().zip(&samples).map(|(a, b)| a - b).collect();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name == "broken.wav" {
                assert_eq!(output, samples, "ignored, with a warning");
            } else {
                let snr = 10.0 * (level::energy(&samples) / level::energy(&added)).log10();
                assert!((snr - 3.0).abs() < 0.1, "{name}: {snr} dB");
            }
            added_by_name.entry(name).or_insert_with(Vec::new).push(added);
        }
        assert_eq!(added_by_name.keys().collect::<Vec<_>>(), ["broken.wav", "long.wav", "short.wav"]);
        assert_ne!(added_by_name["long.wav"][0], added_by_name["long.wav"][1], "cut at different positions");
    }

    #[test]
    fn every_extension_of_a_recording_counts_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for extension in AUDIO_EXTENSIONS {
            fs::write(folder.path().join(format!("a.{}", extension.to_uppercase())), b"").unwrap();
        }
        assert_eq!(recordings_in(folder.path()).unwrap().len(), AUDIO_EXTENSIONS.len());
    }

    #[test]
    fn an_unreadable_recording_is_an_error_until_it_is_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone.wav");
        let draw = BackgroundDraw { of: BackgroundSource::File { path: path.clone() }, snr_db: 0.0, cut: 0 };
        let (samples, pool) = (tone(100), empty_pool());
        let error = draw.apply_to_waveform(&mut waveform(&samples), &pool).unwrap_err();
        assert!(error.to_string().contains("gone.wav"), "{error}");
        write_pcm16(&path, &pcm(tone_of(500.0, 900, 8000)), 1, 8000).unwrap();
        let mut output = waveform(&samples);
        draw.apply_to_waveform(&mut output, &pool).unwrap();
        assert_ne!(output.samples, samples);
    }

    #[test]
    fn a_folder_without_recordings_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        for (path, why) in [(folder.path().to_owned(), "no recordings"), (folder.path().join("none"), "cannot read")] {
            let faults = Background { folder: Some(path), ..Default::default() }.faults(8000);
            assert!(faults[0].key == "folder" && faults[0].sentence.contains(why), "{faults:?}");
        }
    }

    #[test]
    fn silence_gets_no_background_and_a_silent_background_is_not_amplified() {
        let mut silence = vec![0.0; 10];
        add(&mut silence, &[1.0; 10], 0.0);
        assert_eq!(silence, [0.0; 10]);
        let mut clip = tone(10);
        add(&mut clip, &[0.0; 10], 0.0);
        add(&mut clip, &[], 0.0);
        add(&mut clip, &[9e-6; 10], 0.0);
        add(&mut clip, &[0.5; 10], -1e6);
        assert_eq!(clip, tone(10));
    }
}
