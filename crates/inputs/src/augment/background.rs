//! Other recordings behind the clip: training clips, or a folder of recordings (crowds, rain, a band without the soloist).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform_below;
use timbre_signal::audio::{self, AudioSpec, Unusable};
use timbre_signal::dsp::level;

augment_spec! {
    /// Another recording is added behind the clip; the labels stay those of the clip. (`mix` unites them.)
    pub struct Background {
        /// Decibels from the background up to the clip, over the whole of both. Default: 5 to 30.
        pub snr_db: Amount = Amount::Range(5.0, 30.0),
        /// Folder of recordings, with all folders below it. Left out: the other clips of the training set.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub folder: Option<PathBuf> = None,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackgroundDraw {
    pub of: Origin,
    pub snr_db: f64,
    /// Where it is cut, uniform over all places.
    pub cut: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A training clip: its number and its name, which have to belong together.
    Clip { row: usize, id: String },
    /// A recording of the folder.
    File { path: PathBuf },
}

impl AugmentKind for Background {
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let empty = self.folder.as_ref().and_then(|folder| match recordings(folder) {
            Ok(files) if files.is_empty() => Some(format!("{} holds no recordings", folder.display())),
            Ok(_) => None,
            Err(error) => Some(format!("{error:#}")),
        });
        faults_of([("snr_db", self.snr_db.fault(-100.0, 200.0)), ("folder", empty)])
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        self.folder.as_ref().map_or(Ok(Vec::new()), |folder| Ok(recordings(folder)?.to_vec()))
    }

    /// Nothing, where there is no other clip.
    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let of = match &self.folder {
            Some(folder) => {
                let files = recordings(folder)?;
                ensure!(!files.is_empty(), "{} holds no recordings any more", folder.display());
                Origin::File { path: files[uniform_below(rng, files.len() as u64) as usize].clone() }
            }
            None => {
                let Some(row) = scene.another(rng) else { return Ok(Vec::new()) };
                Origin::Clip { row, id: scene.company.companion(row).id.to_owned() }
            }
        };
        Ok(vec![BackgroundDraw { of, snr_db: self.snr_db.draw(rng), cut: rng.next_u64() }.into()])
    }
}

impl Effect for BackgroundDraw {
    fn on_sound(&self, sound: &mut Sound, company: &dyn ClipPool) -> Result<()> {
        match &self.of {
            Origin::Clip { row, id } => {
                // The name counts: the number is another one in another selection of the same set.
                let named = *row < company.len() && company.companion(*row).id == id;
                let row = if named { Some(*row) } else { company.row_of(id) };
                let row = row.with_context(|| {
                    format!("add a background: {id} is not here; the draws are those of another training set")
                })?;
                add(&mut sound.samples, &company.waveform(row, self.cut)?, self.snr_db);
            }
            Origin::File { path } => {
                if let Some(other) = decoded(path, sound.sample_rate)? {
                    let spare = other.len().saturating_sub(sound.samples.len()) as u128 + 1;
                    let start = ((u128::from(self.cut) * spare) >> 64) as usize;
                    add(&mut sound.samples, &other[start..], self.snr_db);
                }
            }
        }
        Ok(())
    }
}

/// Adds what lies behind as much of the clip as it is long; one that is shorter begins again until the end. Nothing is added
/// to silence, and silence (what is below -100 dB) is not lifted.
fn add(samples: &mut [f32], other: &[f32], snr_db: f64) {
    let other = &other[..other.len().min(samples.len())];
    if other.is_empty() {
        return;
    }
    // Of what is heard: the last repetition may be cut.
    let (whole, part) = (samples.len() / other.len(), samples.len() % other.len());
    let energy = whole as f64 * level::energy(other) + level::energy(&other[..part]);
    let wanted = level::energy(samples) * libm::pow(10.0, -snr_db / 10.0);
    let factor = (wanted / energy).sqrt() as f32;
    // A ratio that was written by hand may be any number.
    if energy > level::SILENCE * samples.len() as f64 && factor.is_finite() {
        for stretch in samples.chunks_mut(other.len()) {
            stretch.iter_mut().zip(other).for_each(|(sample, other)| *sample += factor * other);
        }
    }
}

/// All files below a folder whose names end as those of recordings do, in the order of their names. Read once: what is put there
/// while the program runs is not heard.
fn recordings(folder: &Path) -> Result<Arc<Vec<PathBuf>>> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Arc<Vec<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("no thread has panicked with it");
    if let Some(files) = known.get(folder) {
        return Ok(files.clone());
    }
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read the folder {}", folder.display()))?;
            let path = entry.path();
            // A link to a folder is not followed: it might lead in a circle.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|ending| audio::AUDIO_EXTENSIONS.contains(&ending.to_ascii_lowercase().as_str()))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    let files = Arc::new(files);
    if !files.is_empty() {
        known.insert(folder.to_owned(), files.clone());
    }
    Ok(files)
}

/// The samples of a recording; nothing, with a warning, if it is damaged. Kept until `HELD_SAMPLES` are full; those that come
/// later are decoded each time. One that cannot be read is an error: it may be there again the next time, and the same training
/// would then hear something else.
fn decoded(path: &Path, sample_rate: u32) -> Result<Option<Arc<Vec<f32>>>> {
    const HELD_SAMPLES: usize = 64 << 20;
    type Held = (HashMap<(PathBuf, u32), Option<Arc<Vec<f32>>>>, usize);
    static HELD: Mutex<Option<Held>> = Mutex::new(None);
    let key = (path.to_owned(), sample_rate);
    let locked = || HELD.lock().expect("no thread has panicked with it");
    if let Some(samples) = locked().get_or_insert_default().0.get(&key) {
        return Ok(samples.clone());
    }
    // Decoded without the lock: two threads may do the same once.
    let spec = AudioSpec { sample_rate, clip_seconds: None, ..AudioSpec::default() };
    let samples = match audio::load_file(path, &spec) {
        Ok(clip) => Some(Arc::new(clip.samples)),
        Err(why @ Unusable::Unreadable { .. }) => bail!("add a background: {}: {why}", path.display()),
        Err(why) => {
            tracing::warn!("no background of {}: {why}", path.display());
            None
        }
    };
    let mut held = locked();
    let (known, taken) = held.get_or_insert_default();
    let more = samples.as_ref().map_or(0, |samples| samples.len());
    if *taken + more <= HELD_SAMPLES && known.insert(key, samples.clone()).is_none() {
        *taken += more;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{drawn, heard, tone, tone_of};
    use crate::augment::tests::{alone, sound};
    use crate::augment::{ClipInfo, tests};
    use timbre_core::seed::Seed;
    use timbre_signal::audio::wav_write::write_pcm16;

    /// Three clips, each a constant.
    struct Three(BTreeMap<String, String>);

    impl ClipPool for Three {
        fn len(&self) -> usize {
            3
        }
        fn companion(&self, row: usize) -> ClipInfo<'_> {
            ClipInfo { id: ["a", "b", "c"][row], labels: &[], song: "", tags: &self.0 }
        }
        fn waveform(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
            Ok(vec![[0.5, -0.25, 0.125][row]; 100])
        }
        fn image(&self, _row: usize, _out: &mut [f32]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn another_clip_of_the_company_is_added_at_the_ratio_drawn() {
        let company = Three(BTreeMap::new());
        let mut rows = [0; 3];
        for seed in 0..300 {
            let scene = AugmentContext { sample_rate: 8000, samples: 100, row: 1, company: &company };
            let draws = Background::default().draw(&scene, &mut Seed::new(seed).rng()).unwrap();
            let [Draw::BackgroundDraw(draw)] = &draws[..] else { panic!("one draw") };
            let Origin::Clip { row, .. } = draw.of else { panic!("a clip") };
            rows[row] += 1;
            let mut heard = sound(&tone(100));
            draw.on_sound(&mut heard, &company).unwrap();
            let added: Vec<f32> = heard.samples.iter().zip(tone(100)).map(|(a, b)| a - b).collect();
            let snr = 10.0 * (level::energy(&tone(100)) / level::energy(&added)).log10();
            assert!((snr - draw.snr_db).abs() < 0.1, "{snr} dB, not {}", draw.snr_db);
        }
        assert!(rows[1] == 0 && rows[0] > 100 && rows[2] > 100, "never itself: {rows:?}");
    }

    #[test]
    fn a_clip_alone_has_no_background_and_a_draw_of_other_clips_is_refused() {
        assert!(drawn(&Background::default(), 100, 1).is_empty());
        let of = Origin::Clip { row: 1, id: "z".into() };
        let draw = BackgroundDraw { of, snr_db: 0.0, cut: 0 };
        let error = draw.on_sound(&mut sound(&tone(100)), &Three(BTreeMap::new())).unwrap_err();
        assert!(error.to_string().contains("another training set"));
        assert!(draw.on_sound(&mut sound(&tone(100)), &tests::alone()).is_err());
    }

    #[test]
    fn recordings_of_a_folder_are_resampled_cut_and_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        let pcm = |samples: Vec<f32>| samples.iter().map(|x| (x * 16384.0) as i16).collect::<Vec<i16>>();
        write_pcm16(&folder.path().join("deep/long.wav"), &pcm(tone_of(300.0, 32_000, 16_000)), 1, 16_000).unwrap();
        write_pcm16(&folder.path().join("short.wav"), &pcm(tone_of(500.0, 900, 8000)), 1, 8000).unwrap();
        fs::write(folder.path().join("broken.wav"), b"no wave").unwrap();
        fs::write(folder.path().join("notes.txt"), b"text").unwrap();
        let spec =
            Background { folder: Some(folder.path().to_owned()), snr_db: Amount::Fixed(3.0), ..Default::default() };
        assert_eq!(spec.faults(8000), []);
        let samples = tone(4000);
        let mut seen = BTreeMap::new();
        for seed in 0..60 {
            let draws = drawn(&spec, 4000, seed);
            let [Draw::BackgroundDraw(draw)] = &draws[..] else { panic!("one draw") };
            let Origin::File { path } = &draw.of else { panic!("a file") };
            let heard = heard(draw, &samples);
            let added: Vec<f32> = heard.iter().zip(&samples).map(|(a, b)| a - b).collect();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name == "broken.wav" {
                assert_eq!(heard, samples, "left out, and counted by a warning");
            } else {
                let snr = 10.0 * (level::energy(&samples) / level::energy(&added)).log10();
                assert!((snr - 3.0).abs() < 0.1, "{name}: {snr} dB");
            }
            seen.entry(name).or_insert_with(Vec::new).push(added);
        }
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["broken.wav", "long.wav", "short.wav"]);
        assert_ne!(seen["long.wav"][0], seen["long.wav"][1], "cut elsewhere each time");
    }

    #[test]
    fn every_extension_that_the_decoder_reads_is_found_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for extension in audio::AUDIO_EXTENSIONS {
            fs::write(folder.path().join(format!("a.{}", extension.to_uppercase())), b"").unwrap();
        }
        fs::write(folder.path().join("notes.txt"), b"text").unwrap();
        assert_eq!(recordings(folder.path()).unwrap().len(), audio::AUDIO_EXTENSIONS.len());
        for extension in ["wave", "aifc", "m4b", "mkv", "weba"] {
            assert!(audio::AUDIO_EXTENSIONS.contains(&extension), "{extension}");
        }
    }

    #[test]
    fn a_recording_that_cannot_be_read_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone.wav");
        let draw = BackgroundDraw { of: Origin::File { path: path.clone() }, snr_db: 0.0, cut: 0 };
        let samples = tone(100);
        let error = draw.on_sound(&mut sound(&samples), &alone()).unwrap_err();
        assert!(error.to_string().contains("gone.wav"), "{error}");
        let pcm: Vec<i16> = tone_of(500.0, 900, 8000).iter().map(|x| (x * 16384.0) as i16).collect();
        write_pcm16(&path, &pcm, 1, 8000).unwrap();
        assert_ne!(heard(&draw, &samples), samples);
    }

    #[test]
    fn a_folder_without_recordings_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        for (path, why) in [(folder.path().to_owned(), "no recordings"), (folder.path().join("none"), "cannot read")] {
            let faults = Background { folder: Some(path), ..Default::default() }.faults(8000);
            assert!(faults[0].0 == "folder" && faults[0].1.contains(why), "{faults:?}");
        }
    }

    #[test]
    fn silence_is_neither_covered_nor_lifted() {
        let mut silence = vec![0.0; 10];
        add(&mut silence, &[1.0; 10], 0.0);
        assert_eq!(silence, [0.0; 10]);
        let mut clip = tone(10);
        add(&mut clip, &[0.0; 10], 0.0);
        add(&mut clip, &[], 0.0);
        add(&mut clip, &[9e-6; 10], 0.0);
        add(&mut clip, &[0.5; 10], -1e6);
        assert_eq!(clip, tone(10));
        let _ = alone();
    }
}
