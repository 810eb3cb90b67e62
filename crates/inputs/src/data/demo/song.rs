//! Songs: players, key and room, and their excerpts as 16-bit stereo.

use super::composition::{Excerpt, Harmony, Note};
use super::drums_and_bass::{Bass, Drums};
use super::filter::{RATE, db};
use super::instruments::{Instrument, Player};
use super::mixing::{MixingChain, Track, level_to};
use super::rng::DemoRng;
use timbre_core::seed::Seed;

pub const GENRES: [&str; 5] = ["cou_fol", "cla", "pop_roc", "lat_sou", "jaz_blu"];
const CLASSICAL: usize = 1;
const JAZZ: usize = 4;

/// Rendered and dropped before the first sample, so that an excerpt begins in the middle of the music.
const LEAD_IN_SECONDS: f64 = 0.6;

/// Everything that the excerpts of a song share.
pub struct Song {
    seed: Seed,
    pub genre: &'static str,
    pub has_drums: bool,
    harmony: Harmony,
    room: MixingChain,
    /// The labelled instruments.
    leads: Vec<(Player, Style)>,
    /// A softer, unlabelled instrument behind a single lead.
    backing: Option<(Player, Style)>,
    bass: Option<Bass>,
    drums: Option<Drums>,
    /// Levels of backing, bass and drums relative to the lead.
    below_db: [f64; 3],
}

/// Who plays the notes of a song, given in order of their starts. Every function adds to `out`.
pub trait Band: Sync {
    fn lead(&self, player: &Player, song: Seed, notes: &[Note], rng: &mut DemoRng, out: &mut [f32]);
    fn bass(&self, bass: &Bass, song: Seed, notes: &[Note], rng: &mut DemoRng, out: &mut [f32]);
    fn drums(&self, drums: &Drums, harmony: &Harmony, excerpt: Excerpt, rng: &mut DemoRng, out: &mut [f32]);
}

/// The modelled instruments.
pub struct Models;

impl Band for Models {
    fn lead(&self, player: &Player, _song: Seed, notes: &[Note], rng: &mut DemoRng, out: &mut [f32]) {
        player.play(notes, rng, out);
    }

    fn bass(&self, bass: &Bass, _song: Seed, notes: &[Note], rng: &mut DemoRng, out: &mut [f32]) {
        bass.play(notes, rng, out);
    }

    fn drums(&self, drums: &Drums, harmony: &Harmony, excerpt: Excerpt, rng: &mut DemoRng, out: &mut [f32]) {
        drums.play(harmony, excerpt, rng, out);
    }
}

/// How a player fills the bars.
#[derive(Clone, Copy, Debug)]
enum Style {
    Line,
    Chords { every: f64, voices: usize, spread: f64 },
    Arpeggio { per_beat: f64 },
    ChordsAndLine { every: f64, voices: usize },
}

impl Song {
    /// Draws a song. A training song has one lead and may have soft accompaniment; a testing song has one or more leads and only
    /// drums and bass, because any other instrument would need a label.
    pub fn draw(leads: &[Instrument], testing: bool, seed: Seed) -> Self {
        let mut rng = DemoRng::new(seed.child("song"));
        let genre = rng.weighted(&genre_weights(leads[0]));
        let classical = genre == CLASSICAL;
        let harmony = Harmony::draw(&mut rng, genre == JAZZ);
        let room = MixingChain::draw(&mut rng);
        let drums = (!classical && rng.chance(0.5)).then(|| Drums::draw(&mut rng));
        let bass = (!classical && rng.chance(0.55)).then(|| Bass::draw(&mut rng));
        let players = leads.iter().map(|&instrument| {
            let mut rng = DemoRng::new(seed.child("player").child(instrument as usize));
            let player = Player::draw(instrument, &mut rng);
            let style = Style::draw(instrument, &mut rng);
            (player, style)
        });
        let leads: Vec<_> = players.collect();
        let accompanists = [
            Instrument::Piano,
            Instrument::AcousticGuitar,
            Instrument::Organ,
            Instrument::ElectricGuitar,
            Instrument::Violin,
            Instrument::Cello,
        ];
        let accompanists: Vec<Instrument> =
            accompanists.into_iter().filter(|&instrument| instrument != leads[0].0.instrument).collect();
        let backing = (!testing && rng.chance(0.45)).then(|| {
            let instrument = rng.pick(&accompanists);
            let mut player = Player::draw(instrument, &mut rng);
            if !instrument.plays_chords() {
                player.low = instrument.range().0;
            }
            let style = Style::Chords { every: rng.pick(&[1.0, 2.0, 4.0]), voices: 3, spread: rng.between(0.0, 0.02) };
            (player, style)
        });
        let below_db = [rng.between(-28.0, -15.0), rng.between(-26.0, -13.0), rng.between(-27.0, -14.0)];
        Song {
            seed,
            genre: GENRES[genre],
            has_drums: drums.is_some(),
            harmony,
            room,
            leads,
            backing,
            bass,
            drums,
            below_db,
        }
    }

    /// The shifted song, unlike any training song: another tempo, out of tune, noisy, with loud drums and bass.
    pub fn shifted(mut self) -> Self {
        let mut rng = DemoRng::new(self.seed.child("shifted"));
        self.harmony.shift(&mut rng);
        self.room.set_hiss(rng.between(-48.0, -34.0));
        self.drums = Some(Drums::draw(&mut rng));
        self.bass = Some(Bass::draw(&mut rng));
        self.below_db = [self.below_db[0], rng.between(-14.0, -6.0), rng.between(-14.0, -6.0)];
        self
    }

    /// Excerpt `k`, interleaved stereo at 44.1 kHz.
    pub fn excerpt(&self, k: usize, frames: usize, band: &dyn Band) -> Vec<i16> {
        let seed = self.seed.child("excerpt").child(k);
        let mut rng = DemoRng::new(seed);
        let lead_in = (LEAD_IN_SECONDS * RATE) as usize;
        let length = lead_in + frames;
        let excerpt = Excerpt { first_beat: k as f64 * 48.0 + rng.between(0.0, 16.0), seconds: length as f64 / RATE };
        let mut tracks = Vec::new();
        let several = self.leads.len() > 1;
        for (i, (player, style)) in self.leads.iter().enumerate() {
            let mut rng = DemoRng::new(seed.child("lead").child(i));
            let level = if several { rng.between(-5.0, 0.0) } else { 0.0 };
            let pan =
                if several { 0.2 + 0.6 * i as f64 / (self.leads.len() - 1) as f64 } else { rng.between(0.35, 0.65) };
            tracks.push(self.track(band, player, *style, excerpt, level, pan, &mut rng, length));
        }
        if let Some((player, style)) = &self.backing {
            let mut rng = DemoRng::new(seed.child("backing"));
            let pan = rng.between(0.15, 0.85);
            tracks.push(self.track(band, player, *style, excerpt, self.below_db[0], pan, &mut rng, length));
        }
        if let Some(bass) = &self.bass {
            let mut rng = DemoRng::new(seed.child("bass"));
            let notes = self.harmony.bass(&mut rng, excerpt, 2);
            let mut samples = vec![0.0; length];
            band.bass(bass, self.seed, &notes, &mut rng, &mut samples);
            level_to(&mut samples, self.below_db[1]);
            tracks.push(Track { samples, pan: 0.5 });
        }
        if let Some(drums) = &self.drums {
            let mut samples = vec![0.0; length];
            band.drums(drums, &self.harmony, excerpt, &mut DemoRng::new(seed.child("drums")), &mut samples);
            level_to(&mut samples, self.below_db[2]);
            tracks.push(Track { samples, pan: 0.5 });
        }
        self.room.record(&tracks, lead_in, frames, &mut rng)
    }

    #[allow(clippy::too_many_arguments)]
    fn track(
        &self,
        band: &dyn Band,
        player: &Player,
        style: Style,
        excerpt: Excerpt,
        level_db: f64,
        pan: f64,
        rng: &mut DemoRng,
        length: usize,
    ) -> Track {
        let notes = style.notes(&self.harmony, excerpt, player, rng);
        let mut samples = vec![0.0; length];
        band.lead(player, self.seed, &notes, rng, &mut samples);
        level_to(&mut samples, level_db);
        Track { samples, pan: pan as f32 }
    }
}

impl Style {
    fn draw(instrument: Instrument, rng: &mut DemoRng) -> Self {
        let strum = Style::Chords { every: rng.pick(&[0.5, 1.0, 2.0]), voices: 4, spread: rng.between(0.008, 0.025) };
        let both = Style::ChordsAndLine { every: rng.pick(&[1.0, 2.0, 4.0]), voices: 3 };
        let arpeggio = Style::Arpeggio { per_beat: rng.pick(&[2.0, 2.0, 3.0, 4.0]) };
        match instrument {
            Instrument::AcousticGuitar => rng.pick(&[strum, arpeggio, Style::Line]),
            Instrument::ElectricGuitar => rng.pick(&[strum, Style::Line, Style::Line]),
            Instrument::Organ => rng.pick(&[both, both, Style::Chords { every: 4.0, voices: 4, spread: 0.0 }]),
            Instrument::Piano => rng.pick(&[both, arpeggio, both, Style::Line]),
            _ => Style::Line,
        }
    }

    fn notes(self, harmony: &Harmony, excerpt: Excerpt, player: &Player, rng: &mut DemoRng) -> Vec<Note> {
        let (low, high) = (player.low, player.high);
        let mut notes = match self {
            Style::Line => harmony.melody(rng, excerpt, low, high, player.pace),
            Style::Chords { every, voices, spread } => {
                harmony.chords(rng, excerpt, (low, low + 24), voices, every, spread)
            }
            Style::Arpeggio { per_beat } => harmony.arpeggio(rng, excerpt, low, low + 24, per_beat),
            Style::ChordsAndLine { every, voices } => {
                let mut notes = harmony.chords(rng, excerpt, (low, low + 14), voices, every, 0.0);
                notes.iter_mut().for_each(|note| note.velocity *= db(-3.0));
                notes.extend(harmony.melody(rng, excerpt, low + 10, high + 5, player.pace));
                notes
            }
        };
        notes.sort_by(|a, b| a.start.total_cmp(&b.start));
        notes
    }
}

/// Probabilities of the genres for an instrument.
fn genre_weights(instrument: Instrument) -> [f64; 5] {
    match instrument {
        Instrument::Cello | Instrument::Violin => [0.15, 0.55, 0.15, 0.05, 0.10],
        Instrument::Clarinet | Instrument::Flute => [0.10, 0.45, 0.15, 0.10, 0.20],
        Instrument::AcousticGuitar => [0.40, 0.20, 0.25, 0.10, 0.05],
        Instrument::ElectricGuitar => [0.15, 0.0, 0.65, 0.05, 0.15],
        Instrument::Organ => [0.05, 0.30, 0.40, 0.05, 0.20],
        Instrument::Piano => [0.10, 0.40, 0.25, 0.05, 0.20],
        Instrument::Saxophone | Instrument::Trumpet => [0.05, 0.20, 0.20, 0.15, 0.40],
        Instrument::Singer => [0.20, 0.10, 0.50, 0.10, 0.10],
    }
}
