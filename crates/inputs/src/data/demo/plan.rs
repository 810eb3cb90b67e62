//! Plans the recordings of the set and their names before anything is rendered.
//!
//! The first clips of a class are the same for any number of clips. The names contain every difficulty of the real set: tags for
//! drums, several dots, brackets, quotes, composed and decomposed accents.

use super::Demo;
use super::instruments::Instrument;
use super::rng::DemoRng;
use super::song::Song;
use crate::data::irmas::INSTRUMENTS;
use timbre_core::seed::Seed;

/// One frame less than 3 s, like the real clips.
pub const TRAINING_FRAMES: usize = 132_299;

/// A song with its excerpts.
#[derive(Clone, Debug, PartialEq)]
pub struct SongPlan {
    pub seed: Seed,
    /// Indices of the instruments, ascending.
    pub labels: Vec<usize>,
    pub testing: bool,
    /// See [`Song::shifted`].
    pub shifted: bool,
    pub excerpts: Vec<ExcerptPlan>,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcerptPlan {
    /// Path below the root of the set, with `/`.
    pub path: String,
    pub frames: usize,
}

impl SongPlan {
    pub fn song(&self) -> Song {
        let leads: Vec<Instrument> = self.labels.iter().map(|&label| Instrument::ALL[label]).collect();
        let song = Song::draw(&leads, self.testing, self.seed);
        if self.shifted { song.shifted() } else { song }
    }
}

pub fn plan(spec: &Demo) -> Vec<SongPlan> {
    let seed = Seed::new(spec.seed).child("demo");
    let mut songs = Vec::new();
    for (label, code) in INSTRUMENTS.iter().enumerate() {
        songs.extend(training_songs(spec, label, seed.child("training").child(code)));
    }
    songs.extend(testing_songs(spec, seed.child("testing")));
    songs
}

fn training_songs(spec: &Demo, label: usize, seed: Seed) -> Vec<SongPlan> {
    let code = INSTRUMENTS[label];
    let mut songs = Vec::new();
    let mut clips = 0;
    while clips < spec.clips_per_class {
        let number = songs.len();
        let seed = seed.child(number);
        let mut plan = SongPlan { seed, labels: vec![label], testing: false, shifted: false, excerpts: Vec::new() };
        // Genre and drums are known once the song is drawn, without rendering it.
        let song = plan.song();
        let (genre, drums) = (song.genre, if song.has_drums { "dru" } else { "nod" });
        let form = DemoRng::new(seed.child("name")).weighted(&[0.70, 0.27, 0.03]);
        // Unique over all classes, as in the real set.
        let song_number = number * INSTRUMENTS.len() + label + 1;
        for k in 1..=spec.excerpts_per_song.min(spec.clips_per_class - clips) {
            let name = match form {
                0 => format!("[{code}][{genre}]{song_number:04}__{k}"),
                1 => format!("{clips:03}__[{code}][{drums}][{genre}]{song_number:04}__{k}"),
                _ => format!("{clips:03}__[{code}][---][{genre}]{song_number:04}__{k}"),
            };
            let path = format!("IRMAS-TrainingData/{code}/{name}.wav");
            plan.excerpts.push(ExcerptPlan { path, frames: TRAINING_FRAMES });
            clips += 1;
        }
        songs.push(plan);
    }
    songs
}

/// Number of instruments of successive testing songs: mostly one and two, rarely five.
const CARDINALITIES: [usize; 16] = [1, 2, 3, 1, 2, 5, 2, 1, 4, 1, 2, 1, 2, 3, 1, 2];

const INNER_FOLDERS: [&str; 3] =
    ["IRMAS-TestingData-Part1/Part1", "IRMAS-TestingData-Part2/IRTestingData-Part2", "IRMAS-TestingData-Part3/Part3"];

fn testing_songs(spec: &Demo, seed: Seed) -> Vec<SongPlan> {
    let n_songs = spec.test_recordings.div_ceil(spec.excerpts_per_song);
    let mut deck: Vec<usize> = Vec::new();
    let mut songs = Vec::new();
    let mut recordings = 0;
    for number in 0..n_songs {
        let seed = seed.child(number);
        let mut labels = Vec::new();
        while labels.len() < CARDINALITIES[number % CARDINALITIES.len()] {
            // A shuffled deck uses every instrument equally often.
            if deck.is_empty() {
                deck = (0..INSTRUMENTS.len()).collect();
                timbre_core::seed::shuffle(&mut deck, &mut seed.child("deck").child(labels.len()).rng());
            }
            let place = deck.iter().position(|label| !labels.contains(label));
            match place {
                Some(place) => labels.push(deck.remove(place)),
                None => deck.clear(),
            }
        }
        labels.sort_unstable();
        let mut rng = DemoRng::new(seed.child("lengths"));
        let folder = INNER_FOLDERS[3 * number / n_songs];
        let name = testing_name(number, &mut DemoRng::new(seed.child("name")));
        let count = spec.excerpts_per_song.min(spec.test_recordings - recordings);
        let excerpts = (1..=count).map(|k| ExcerptPlan {
            path: format!("{folder}/{name}-{k}.wav"),
            frames: (rng.between(5.0, 20.0) * 44100.0) as usize,
        });
        songs.push(SongPlan { seed, labels, testing: true, shifted: spec.shifted, excerpts: excerpts.collect() });
        recordings += count;
    }
    songs
}

const ARTISTS: [&str; 10] = [
    "The Paper Kites Quartet",
    "Ana Belém",
    "J. R. Holloway & Sons",
    "Orchestre de l'Étang",
    "Müller, Ødegård",
    "[unknown]",
    "Trío Sol y Niebla",
    "St. Brannock's Choir",
    "D. Okafor",
    "Los Güeros #2",
];

const TITLES: [&str; 12] = [
    "Op. 12, No. 3. Andante",
    "Harbour Lights",
    "Canción del puente",
    "Blue (Take 4)",
    "Où va l'été",
    "Rain & Tin",
    "Sonata in D minor - I. Allegro",
    "What's Left; What's Right",
    "Første snø",
    "Mr. Tambor [live]",
    "3 A.M.",
    "Valse à deux",
];

fn testing_name(number: usize, rng: &mut DemoRng) -> String {
    use unicode_normalization::UnicodeNormalization;
    let track = number + 1;
    let (artist, title) = (ARTISTS[number % ARTISTS.len()], TITLES[rng.below(TITLES.len())]);
    let name = match number % 4 {
        0 => format!("{track:02} {artist} - {title}"),
        1 => format!("({track}) {artist} {title}"),
        2 => format!("{track:02}. {title}"),
        _ => format!("[{track}] - {track:02} - {artist} - {title}"),
    };
    if number % 3 == 1 { name.nfd().collect() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_default_plan_has_40_clips_a_class_and_66_recordings_of_one_to_five_instruments() {
        let songs = plan(&Demo::default());
        let (testing, training): (Vec<&SongPlan>, Vec<&SongPlan>) = songs.iter().partition(|song| song.testing);
        for label in 0..11 {
            let clips: usize = training.iter().filter(|s| s.labels == [label]).map(|s| s.excerpts.len()).sum();
            assert_eq!(clips, 40);
            assert!(testing.iter().any(|song| song.labels.contains(&label)), "{label} is never tested");
        }
        assert_eq!(testing.iter().map(|song| song.excerpts.len()).sum::<usize>(), 66);
        let cardinalities: BTreeSet<usize> = testing.iter().map(|song| song.labels.len()).collect();
        assert_eq!(cardinalities, (1..=5).collect());
        let lengths = testing.iter().flat_map(|song| &song.excerpts).map(|excerpt| excerpt.frames);
        assert!(lengths.clone().all(|n| (5 * 44100..20 * 44100).contains(&n)));
        let paths: BTreeSet<&str> = songs.iter().flat_map(|s| &s.excerpts).map(|e| e.path.as_str()).collect();
        assert_eq!(paths.len(), 506, "every name is a name of its own");
    }

    #[test]
    fn only_testing_songs_are_shifted() {
        let songs = plan(&Demo { shifted: true, ..Demo::default() });
        assert!(songs.iter().all(|song| song.shifted == song.testing));
        let plain = plan(&Demo::default());
        assert!(plain.iter().all(|song| !song.shifted));
        let same =
            |(a, b): (&SongPlan, &SongPlan)| a.labels == b.labels && a.excerpts == b.excerpts && a.seed == b.seed;
        assert!(songs.iter().zip(&plain).all(same), "names, lengths and instruments stay");
    }

    #[test]
    fn every_form_of_name_occurs() {
        let songs = plan(&Demo::default());
        let paths: Vec<&str> = songs.iter().flat_map(|s| &s.excerpts).map(|e| e.path.as_str()).collect();
        for part in
            ["[dru]", "[nod]", "[---]", "/[cel][", "e\u{301}", "\u{e9}", "[unknown]", "IRTestingData-Part2/", "&"]
        {
            assert!(paths.iter().any(|path| path.contains(part)), "{part}");
        }
    }

    #[test]
    fn the_first_clips_are_the_same_for_any_number_of_clips() {
        let paths = |n: usize| {
            let spec = Demo { clips_per_class: n, test_recordings: 0, ..Demo::default() };
            plan(&spec).into_iter().flat_map(|s| s.excerpts).map(|e| e.path).collect::<BTreeSet<_>>()
        };
        assert!(paths(5).is_subset(&paths(17)));
    }
}
