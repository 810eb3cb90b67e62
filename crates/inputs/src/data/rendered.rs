//! The rendered data set: the songs of the demo set, played by SoundFonts, in the layout of IRMAS.
//!
//! The training clips are played by one SoundFont and the testing recordings by another, so that the timbres of a class differ between the two as they
//! do between recordings of real players. The bytes follow from the spec and the two files; the sines and powers of the synthesizer are those of the
//! platform, so another operating system may give other last bits.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustysynth::{SoundFont, Synthesizer, SynthesizerSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::demo::composition::{Excerpt, Harmony, Note};
use super::demo::drums_and_bass::{Bass, Drum, Drums};
use super::demo::instruments::Player;
use super::demo::rng::DemoRng;
use super::demo::song::Band;
use super::demo::{Demo, SongPlan, load_layout, plan::plan, planned_layout, seconds_of, write_songs};
use super::generated::{self, AfterRecording, Generator, Summary};
use super::irmas::{INSTRUMENTS, Irmas};
use super::{CommonKeys, DataDirs, DataKind, DataSet, MissingData};
use timbre_core::{error::UserError, labels::Classes, registry::Fault, seed::Seed};

/// Increase when the sound of the set changes.
const VERSION: u32 = 1;

const RATE: i32 = 44100;

/// The programs of General MIDI, counted from 0, that play each instrument.
const PROGRAMS: [&[u8]; 11] = [
    &[42],
    &[71],
    &[73],
    &[24, 25],
    &[26, 27, 29, 30],
    &[16, 17, 18, 19],
    &[0, 1, 2],
    &[64, 65, 66, 67],
    &[56],
    &[40],
    &[52, 53],
];

const BASSES: [u8; 4] = [32, 33, 34, 35];

/// The MIDI channel of drum kits, and keys of the kit.
const DRUM_CHANNEL: i32 = 9;
const KICK: i32 = 36;
const SNARE: i32 = 38;
const HAT: i32 = 42;

/// Songs played by SoundFonts in the layout of IRMAS, made on first use; one SoundFont plays the training clips, another the testing recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rendered {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The SoundFont (`.sf2`) of the training clips; a relative path starts in the folder `data`.
    pub soundfont: String,
    /// The SoundFont of the testing recordings.
    pub test_soundfont: String,
    /// The programs of General MIDI (0 to 127) that play an instrument of IRMAS; each song draws one: `programs = { pia = [0, 1] }`. Default: the usual
    /// ones, such as 40 for `vio`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Vec<u8>>,
    /// Only these instruments, in this order, as in IRMAS. Default: all eleven.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// Number of training clips of 3 s per instrument.
    #[schemars(range(min = 1, max = 10000))]
    pub clips_per_class: usize,
    /// Number of testing recordings of 5 to 20 s with one to five instruments.
    #[schemars(range(min = 0, max = 10000))]
    pub test_recordings: usize,
    /// Number of excerpts per song; the last song of a class may have fewer.
    #[schemars(range(min = 1, max = 100))]
    pub excerpts_per_song: usize,
    /// Share of the testing recordings (0 to 1), the first in bytewise order, that moves to training, as in IRMAS.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub training_share_of_test: f64,
    /// Share of the testing recordings (0 to 1), those after the ones that move to training, that moves to validation, as in IRMAS.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation_share_of_test: f64,
    /// Seed of the songs.
    pub seed: u64,
}

impl Default for Rendered {
    fn default() -> Self {
        let demo = Demo::default();
        Rendered {
            common: CommonKeys::default(),
            soundfont: "/usr/share/sounds/sf2/FluidR3_GM.sf2".into(),
            test_soundfont: "/usr/share/sounds/sf2/TimGM6mb.sf2".into(),
            programs: BTreeMap::new(),
            classes: None,
            clips_per_class: demo.clips_per_class,
            test_recordings: demo.test_recordings,
            excerpts_per_song: demo.excerpts_per_song,
            training_share_of_test: 0.0,
            validation_share_of_test: 0.0,
            seed: demo.seed,
        }
    }
}

impl Rendered {
    /// The demo set with the same songs.
    fn songs(&self) -> Demo {
        Demo {
            common: CommonKeys::default(),
            classes: self.classes.clone(),
            clips_per_class: self.clips_per_class,
            test_recordings: self.test_recordings,
            excerpts_per_song: self.excerpts_per_song,
            training_share_of_test: self.training_share_of_test,
            validation_share_of_test: self.validation_share_of_test,
            shifted: false,
            seed: self.seed,
        }
    }

    fn plan(&self) -> Vec<SongPlan> {
        plan(&self.songs())
    }

    fn layout(&self) -> Irmas {
        let Rendered { training_share_of_test, validation_share_of_test, .. } = *self;
        Irmas { classes: self.classes.clone(), training_share_of_test, validation_share_of_test, ..Irmas::default() }
    }

    /// The programs of each instrument, in the order of [`INSTRUMENTS`].
    fn programs(&self) -> Vec<Vec<u8>> {
        let own = |(code, usual): (&&str, &&[u8])| self.programs.get(*code).cloned().unwrap_or_else(|| usual.to_vec());
        INSTRUMENTS.iter().zip(&PROGRAMS).map(own).collect()
    }

    /// The paths of the two SoundFonts.
    fn files(&self, dirs: &DataDirs) -> Result<[PathBuf; 2]> {
        let files = [&self.soundfont, &self.test_soundfont].map(|path| dirs.data_dir.join(path));
        let missing: Vec<PathBuf> = files.iter().filter(|path| !path.is_file()).cloned().collect();
        if !missing.is_empty() {
            let folder = missing[0].parent().unwrap_or(Path::new("")).to_owned();
            return Err(MissingData::new(&self.common.name_or("rendered"), missing, folder, &self.common).into());
        }
        Ok(files)
    }
}

impl DataKind for Rendered {
    fn version(&self) -> u32 {
        VERSION
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn known_classes(&self) -> Option<Classes> {
        self.songs().known_classes()
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = self.songs().own_faults();
        for (code, programs) in &self.programs {
            if !INSTRUMENTS.contains(&code.as_str()) {
                faults.push(Fault::new(
                    "programs",
                    format!("no instrument {code:?}; the instruments are {}", INSTRUMENTS.join(", ")),
                ));
            } else if programs.is_empty() || programs.iter().any(|program| *program > 127) {
                faults.push(Fault::new("programs", format!("{code} needs one program or more, from 0 to 127")));
            }
        }
        faults
    }

    fn generator(&self) -> Option<&dyn Generator> {
        Some(self)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        let root = match &common.root {
            Some(_) => common.root_in(dirs, "rendered"),
            None => generated::ensure_in_cache(self, dirs, &|| Ok(()))?,
        };
        let all = (common.root.is_none() && self.classes.is_none()).then(|| self.songs().recordings());
        load_layout(self.layout(), &root, &common.name_or("rendered"), common, all)
    }

    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        if generated::is_in_place(self, dirs)? {
            return self.load(dirs);
        }
        let folder = generated::cache_folder(self, dirs)?;
        planned_layout(&self.layout(), &self.plan(), &folder, &self.common.name_or("rendered"))
    }
}

impl Generator for Rendered {
    fn kind(&self) -> &'static str {
        "rendered"
    }

    fn has_root(&self) -> bool {
        self.common.root.is_some()
    }

    fn fingerprint(&self, dirs: &DataDirs) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let songs = self.songs().fingerprint(dirs)?;
        hasher.update(format!("{VERSION} {songs} {:?}", self.programs()).as_bytes());
        for path in self.files(dirs)? {
            let mut file = std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
            let mut own = blake3::Hasher::new();
            std::io::copy(&mut file, &mut own).with_context(|| format!("read {}", path.display()))?;
            hasher.update(own.finalize().as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn planned_seconds(&self, _dirs: &DataDirs) -> Result<HashMap<String, f64>> {
        Ok(seconds_of(&self.plan()))
    }

    fn fill(&self, dirs: &DataDirs, folder: &Path, after_recording: AfterRecording) -> Result<Summary> {
        if let Some(Fault { key, sentence }) = self.faults().first() {
            bail!("generate the rendered data set: `{key}`: {sentence}");
        }
        let [training, testing] = self.files(dirs)?;
        let (training, testing) = (
            self.players(&training).map_err(UserError::from_cause)?,
            self.players(&testing).map_err(UserError::from_cause)?,
        );
        write_songs(&self.plan(), folder, |is_test| if is_test { &testing } else { &training }, after_recording)
    }
}

impl Rendered {
    fn players(&self, path: &Path) -> Result<Players> {
        let mut file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
        let font = SoundFont::new(&mut file).with_context(|| format!("{} is no SoundFont 2", path.display()))?;
        let programs = self.programs();
        let has = |program: u8| {
            font.get_presets()
                .iter()
                .any(|preset| preset.get_bank_number() == 0 && preset.get_patch_number() == i32::from(program))
        };
        let missing: Vec<String> =
            programs.iter().flatten().chain(&BASSES).filter(|program| !has(**program)).map(u8::to_string).collect();
        if !missing.is_empty() {
            bail!("{} has no program {}: set `programs`", path.display(), missing.join(", "));
        }
        Ok(Players { font: Arc::new(font), programs })
    }
}

/// The players of one SoundFont.
struct Players {
    font: Arc<SoundFont>,
    programs: Vec<Vec<u8>>,
}

/// A key that is pressed, and how long, in samples.
struct Press {
    start: usize,
    end: usize,
    key: i32,
    velocity: i32,
}

impl Press {
    /// `None` if the note is over before the first sample.
    fn new(start: f64, seconds: f64, key: f64, velocity: f64) -> Option<Press> {
        let sample = |seconds: f64| (seconds.max(0.0) * f64::from(RATE)) as usize;
        let (start, end) = (sample(start), sample(start + seconds));
        let velocity = ((velocity * 127.0) as i32).clamp(1, 127);
        (end > start).then(|| Press { start, end, key: (key.round() as i32).clamp(0, 127), velocity })
    }
}

impl Players {
    /// The program that plays in this song.
    fn program(programs: &[u8], song: Seed, part: &str) -> u8 {
        DemoRng::new(song.child("program").child(part)).pick(programs)
    }

    fn play(&self, channel: i32, program: u8, presses: &[Press], out: &mut [f32]) {
        let mut settings = SynthesizerSettings::new(RATE);
        // The song has a room of its own.
        settings.enable_reverb_and_chorus = false;
        let mut synthesizer = Synthesizer::new(&self.font, &settings).expect("the settings are valid");
        synthesizer.process_midi_message(channel, 0xC0, i32::from(program), 0);
        // Released before pressed again, where both happen at once.
        let mut events: Vec<(usize, bool, &Press)> =
            presses.iter().flat_map(|press| [(press.start, true, press), (press.end, false, press)]).collect();
        events.sort_by_key(|(at, is_start, _)| (*at, *is_start));
        let mut sides = [vec![0.0f32; out.len()], vec![0.0f32; out.len()]];
        let [left, right] = &mut sides;
        let mut done = 0;
        for (at, is_start, press) in events {
            let at = at.min(out.len());
            synthesizer.render(&mut left[done..at], &mut right[done..at]);
            done = at;
            match is_start {
                true => synthesizer.note_on(channel, press.key, press.velocity),
                false => synthesizer.note_off(channel, press.key),
            }
        }
        synthesizer.render(&mut left[done..], &mut right[done..]);
        for ((y, left), right) in out.iter_mut().zip(left).zip(right) {
            *y += 0.5 * (*left + *right);
        }
    }
}

fn presses(notes: &[Note]) -> Vec<Press> {
    notes.iter().filter_map(|note| Press::new(note.start, note.seconds, note.midi, note.velocity)).collect()
}

impl Band for Players {
    fn lead(&self, player: &Player, song: Seed, notes: &[Note], _rng: &mut DemoRng, out: &mut [f32]) {
        let instrument = player.instrument as usize;
        let program = Self::program(&self.programs[instrument], song, INSTRUMENTS[instrument]);
        self.play(0, program, &presses(notes), out);
    }

    fn bass(&self, _bass: &Bass, song: Seed, notes: &[Note], _rng: &mut DemoRng, out: &mut [f32]) {
        self.play(0, Self::program(&BASSES, song, "bass"), &presses(notes), out);
    }

    fn drums(&self, drums: &Drums, harmony: &Harmony, excerpt: Excerpt, rng: &mut DemoRng, out: &mut [f32]) {
        let mut hits = Vec::new();
        drums.strike(harmony, excerpt, rng, |drum, start, level, _| {
            let key = match drum {
                Drum::Kick => KICK,
                Drum::Snare => SNARE,
                Drum::Hat => HAT,
            };
            hits.extend(Press::new(start, 0.1, f64::from(key), level));
        });
        self.play(DRUM_CHANNEL, 0, &hits, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::walk::files_below;

    /// A chunk of a RIFF file.
    fn chunk(name: &str, content: Vec<u8>) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(&content);
        bytes.resize(bytes.len() + content.len() % 2, 0);
        bytes
    }

    fn list(kind: &str, chunks: &[Vec<u8>]) -> Vec<u8> {
        chunk("LIST", [kind.as_bytes().to_vec(), chunks.concat()].concat())
    }

    fn named(name: &str) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(20, 0);
        bytes
    }

    fn words(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// A SoundFont 2.1 with all programs and a drum kit, which all play one looped period of `shape`.
    fn write_font(path: &Path, shape: impl Fn(f64) -> f64) {
        let period = 100usize;
        let wave: Vec<u8> = (0..8 * period)
            .flat_map(|i| ((shape((i % period) as f64 / period as f64) * 20000.0) as i16).to_le_bytes())
            .chain(vec![0; 2 * 46])
            .collect();
        let info = list(
            "INFO",
            &[chunk("ifil", words(&[2, 1])), chunk("isng", b"EMU8000\0".to_vec()), chunk("INAM", b"test\0\0".to_vec())],
        );
        let samples = list("sdta", &[chunk("smpl", wave)]);
        // Presets 0 to 127 and the kit, each with one zone: generator 41, the instrument.
        let presets: Vec<(u16, u16)> = (0..128).map(|program| (program, 0)).chain([(0, 128)]).collect();
        let header = |number: usize, program: u16, bank: u16| {
            [named(&format!("p{number}")), words(&[program, bank, number as u16]), vec![0; 12]].concat()
        };
        let mut phdr: Vec<u8> =
            presets.iter().enumerate().flat_map(|(n, (program, bank))| header(n, *program, *bank)).collect();
        phdr.extend(header(presets.len(), 0, 0));
        let pbag: Vec<u8> = (0..=presets.len() as u16).flat_map(|n| words(&[n, 0])).collect();
        let mut pgen: Vec<u8> = presets.iter().flat_map(|_| words(&[41, 0])).collect();
        pgen.extend(words(&[0, 0]));
        let inst = [named("i"), words(&[0]), named("EOI"), words(&[1])].concat();
        let ibag = words(&[0, 0, 2, 0]);
        // 54: the sample is looped; 53: the sample.
        let igen = words(&[54, 1, 53, 0, 0, 0]);
        let sample = |name: &str, ends: [u32; 4], rate: u32, key: u8| {
            let numbers: Vec<u8> = ends.into_iter().chain([rate]).flat_map(u32::to_le_bytes).collect();
            [named(name), numbers, vec![key, 0], words(&[0, 1])].concat()
        };
        let end = (8 * period) as u32;
        let shdr = [sample("s", [0, end, period as u32, end - period as u32], 44100, 69), sample("EOS", [0; 4], 0, 0)]
            .concat();
        let pdta = list(
            "pdta",
            &[
                chunk("phdr", phdr),
                chunk("pbag", pbag),
                chunk("pmod", vec![0; 10]),
                chunk("pgen", pgen),
                chunk("inst", inst),
                chunk("ibag", ibag),
                chunk("imod", vec![0; 10]),
                chunk("igen", igen),
                chunk("shdr", shdr),
            ],
        );
        std::fs::write(path, chunk("RIFF", [b"sfbk".to_vec(), info, samples, pdta].concat())).unwrap();
    }

    fn square(turn: f64) -> f64 {
        if turn < 0.5 { 1.0 } else { -1.0 }
    }

    fn set_in(dir: &Path) -> (Rendered, DataDirs) {
        let sine = |turn: f64| (turn * std::f64::consts::TAU).sin();
        write_font(&dir.join("a.sf2"), sine);
        write_font(&dir.join("b.sf2"), square);
        let dirs = DataDirs { data_dir: dir.to_owned(), cache_dir: dir.join("cache") };
        let spec = Rendered {
            soundfont: "a.sf2".into(),
            test_soundfont: "b.sf2".into(),
            clips_per_class: 1,
            test_recordings: 4,
            excerpts_per_song: 2,
            ..Rendered::default()
        };
        (spec, dirs)
    }

    fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = files_below(folder).unwrap();
        files.into_iter().map(|file| (file.names.join("/"), std::fs::read(&file.path).unwrap())).collect()
    }

    #[test]
    fn a_set_in_the_layout_of_irmas_is_rendered_once_and_planned_before() {
        let dir = tempfile::tempdir().unwrap();
        let (spec, dirs) = set_in(dir.path());
        let planned = spec.load_planned(&dirs).unwrap();
        assert!(!dirs.cache_dir.exists(), "nothing was rendered");
        let set = spec.load(&dirs).unwrap();
        assert_eq!((set.records.len(), &set), (15, &planned));
        assert_eq!(spec.planned_seconds(&dirs).unwrap().len(), 15);
        assert!(set.records.iter().any(|record| record.labels.len() > 1));
        let folder = generated::cache_folder(&spec, &dirs).unwrap();
        for (name, bytes) in contents(&folder).into_iter().filter(|(name, _)| name.ends_with(".wav")) {
            let samples = bytes[44..].chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
            let peak = samples.fold(0.0f64, |most, x| most.max(x.abs()));
            assert!((0.2..0.999).contains(&peak), "{name} peaks at {peak}");
        }
        let pool = |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        for (name, threads) in [("one", 1), ("three", 3)] {
            let into = dir.path().join(name);
            pool(threads).install(|| generated::write(&spec, &dirs, &into, &|| Ok(()))).unwrap();
            assert!(contents(&into) == contents(&folder), "{threads} threads");
        }
    }

    #[test]
    fn another_soundfont_or_program_is_another_set_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (spec, dirs) = set_in(dir.path());
        let folder = |spec: &Rendered| generated::cache_folder(spec, &dirs).unwrap();
        let before = folder(&spec);
        assert_eq!(
            before,
            folder(&Rendered { soundfont: dir.path().join("a.sf2").display().to_string(), ..spec.clone() })
        );
        assert_ne!(before, folder(&Rendered { soundfont: "b.sf2".into(), ..spec.clone() }));
        let programs = BTreeMap::from([("pia".to_owned(), vec![4u8, 5])]);
        assert_ne!(before, folder(&Rendered { programs, ..spec.clone() }));
        write_font(&dir.path().join("b.sf2"), |turn| 1.0 - 2.0 * turn);
        assert_ne!(before, folder(&spec), "the content of the file counts");
        let missing = Rendered { test_soundfont: "c.sf2".into(), ..spec.clone() }.load(&dirs).unwrap_err();
        assert!(missing.downcast_ref::<MissingData>().unwrap().missing == [dir.path().join("c.sf2")]);
        std::fs::write(dir.path().join("b.sf2"), "no font").unwrap();
        let error = format!("{:#}", spec.load(&dirs).unwrap_err());
        assert!(error.contains("b.sf2 is no SoundFont 2"), "{error}");
        assert!(!folder(&spec).exists());
    }

    /// The share of the energy of a clip above 2 kHz, roughly: of the differences of neighbours.
    fn brightness(bytes: &[u8]) -> f64 {
        let samples: Vec<f64> =
            bytes[44..].chunks_exact(4).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]]))).collect();
        let energy = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
        energy(&mut samples.windows(2).map(|pair| pair[1] - pair[0])) / energy(&mut samples.iter().copied())
    }

    #[test]
    fn the_testing_recordings_are_played_by_the_other_soundfont_at_the_written_pitch() {
        let dir = tempfile::tempdir().unwrap();
        let (spec, dirs) = set_in(dir.path());
        let same = Rendered { test_soundfont: "a.sf2".into(), ..spec.clone() };
        let [one, other] = [("one", &spec), ("other", &same)].map(|(name, spec)| {
            generated::write(spec, &dirs, &dir.path().join(name), &|| Ok(())).unwrap();
            contents(&dir.path().join(name))
        });
        let (mut brighter, mut all) = (0, 0);
        for (name, bytes) in one.iter().filter(|(name, _)| name.ends_with(".wav")) {
            let is_test = name.starts_with("IRMAS-TestingData");
            assert_eq!(*bytes != other[name], is_test, "{name}");
            all += usize::from(is_test);
            brighter += usize::from(is_test && brightness(bytes) > 1.1 * brightness(&other[name]));
        }
        assert_eq!((brighter, all), (4, 4), "squares are brighter than sines");
        // Key 69 plays the sample at its own rate: 441 periods a second.
        let players = spec.players(&dir.path().join("a.sf2")).unwrap();
        let mut out = vec![0.0; 44100];
        players.play(0, 0, &[Press { start: 0, end: 44100, key: 69, velocity: 100 }], &mut out);
        let rises = out[4410..39690].windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!(rises.abs_diff(353) <= 1, "{rises} periods in 0.8 s");
    }

    #[test]
    fn faults_name_the_instrument() {
        let with = |code: &str, programs: Vec<u8>| {
            let spec = Rendered { programs: BTreeMap::from([(code.to_owned(), programs)]), ..Rendered::default() };
            spec.own_faults().into_iter().map(|fault| fault.sentence).collect::<Vec<_>>()
        };
        assert!(with("pia", vec![0, 127]).is_empty());
        assert!(with("oboe", vec![1])[0].contains("no instrument \"oboe\""));
        assert!(with("pia", vec![128])[0].contains("from 0 to 127") && with("pia", vec![])[0].contains("one program"));
    }
}
