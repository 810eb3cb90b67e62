//! Composes the music: keys, chords, melodies, bass lines. Times are seconds from the start of the rendered excerpt.

use super::rng::DemoRng;

/// One note of one player.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub start: f64,
    pub seconds: f64,
    pub midi: f64,
    /// 0 to 1.
    pub velocity: f64,
}

/// The key, harmony and tempo of a song, shared by its excerpts.
#[derive(Clone, Debug)]
pub struct Harmony {
    /// Pitch class of the tonic.
    key: usize,
    scale: [usize; 7],
    /// Degrees of the scale, one per bar.
    progression: [usize; 4],
    pub beat: f64,
    /// Delay of the second half of a beat, as a share of the beat.
    swing: f64,
    /// Semitones above A = 440 Hz.
    tuning: f64,
}

const MAJOR: [usize; 7] = [0, 2, 4, 5, 7, 9, 11];
const MINOR: [usize; 7] = [0, 2, 3, 5, 7, 8, 10];
const PROGRESSIONS: [[usize; 4]; 8] =
    [[0, 3, 4, 0], [0, 5, 3, 4], [0, 4, 5, 3], [1, 4, 0, 0], [0, 0, 3, 4], [5, 3, 0, 4], [0, 2, 3, 4], [0, 6, 5, 4]];

/// The part of a song that is rendered, in beats of the song.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt {
    pub first_beat: f64,
    pub seconds: f64,
}

impl Harmony {
    pub fn draw(rng: &mut DemoRng, swing: bool) -> Self {
        Harmony {
            key: rng.below(12),
            scale: if rng.chance(0.5) { MAJOR } else { MINOR },
            progression: rng.pick(&PROGRESSIONS),
            beat: 60.0 / rng.between(72.0, 148.0),
            swing: if swing { rng.between(0.08, 0.17) } else { 0.0 },
            tuning: 0.0,
        }
    }

    /// Detunes the song and moves its tempo outside the range of [`Self::draw`].
    pub fn shift(&mut self, rng: &mut DemoRng) {
        let tempo = if rng.chance(0.5) { rng.between(48.0, 66.0) } else { rng.between(160.0, 195.0) };
        self.beat = 60.0 / tempo;
        self.tuning = rng.between(0.25, 0.5) * rng.pick(&[-1.0, 1.0]);
    }

    fn degree_at(&self, beat: f64) -> usize {
        self.progression[(beat / 4.0).floor().rem_euclid(4.0) as usize]
    }

    /// Pitch classes of the chord at a beat: root, third, fifth.
    fn chord_at(&self, beat: f64) -> [usize; 3] {
        let degree = self.degree_at(beat);
        [0, 2, 4].map(|step| (self.key + self.scale[(degree + step) % 7]) % 12)
    }

    /// The notes of the scale from `low` to `high`.
    fn scale_notes(&self, low: usize, high: usize) -> Vec<usize> {
        (low..=high).filter(|midi| self.scale.contains(&((midi + 12 - self.key) % 12))).collect()
    }

    fn note(&self, rng: &mut DemoRng, excerpt: Excerpt, beat: f64, beats: f64, midi: usize, velocity: f64) -> Note {
        let late = if (beat.fract() - 0.5).abs() < 0.01 { self.swing } else { 0.0 };
        Note {
            start: (beat - excerpt.first_beat + late) * self.beat + rng.between(-0.008, 0.008),
            seconds: beats * self.beat * rng.between(0.86, 1.0),
            midi: midi as f64 + self.tuning + rng.between(-0.06, 0.06),
            velocity: (velocity + rng.between(-0.15, 0.15)).clamp(0.1, 1.0),
        }
    }

    fn last_beat(&self, excerpt: Excerpt) -> f64 {
        excerpt.first_beat + excerpt.seconds / self.beat
    }

    /// A melody that walks along the scale and rests on chord tones. `pace` is the length of a common note in seconds.
    pub fn melody(&self, rng: &mut DemoRng, excerpt: Excerpt, low: usize, high: usize, pace: f64) -> Vec<Note> {
        let scale_notes = self.scale_notes(low, high);
        let mut index = scale_notes.len() / 3 + rng.below((scale_notes.len() / 3).max(1));
        let mut notes = Vec::new();
        let mut rested = false;
        let mut beat = excerpt.first_beat.floor();
        while beat < self.last_beat(excerpt) {
            let wanted = pace / self.beat * rng.pick(&[0.5, 1.0, 1.0, 1.0, 1.5, 2.0]);
            let beats = (wanted * 2.0).round().clamp(1.0, 8.0) / 2.0;
            if rng.chance(0.07) && beats * self.beat < 0.45 && !rested {
                rested = true;
                beat += beats;
                continue;
            }
            rested = false;
            let step = rng.pick(&[-3i64, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3, 4]);
            index = (index as i64 + step).clamp(0, scale_notes.len() as i64 - 1) as usize;
            if beat.fract() == 0.0 && rng.chance(0.7) {
                let chord = self.chord_at(beat);
                let nearest = (0..scale_notes.len()).filter(|&i| chord.contains(&(scale_notes[i] % 12)));
                index = nearest.min_by_key(|&i| i.abs_diff(index)).unwrap_or(index);
            }
            let accent = if beat.fract() == 0.0 { 0.72 } else { 0.6 };
            notes.push(self.note(rng, excerpt, beat, beats, scale_notes[index], accent));
            beat += beats;
        }
        notes
    }

    /// Chords of `voices` notes from `low` up, every `every` beats; notes follow each other by `spread` seconds.
    pub fn chords(
        &self,
        rng: &mut DemoRng,
        excerpt: Excerpt,
        (low, high): (usize, usize),
        voices: usize,
        every: f64,
        spread: f64,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut beat = (excerpt.first_beat / every).floor() * every;
        while beat < self.last_beat(excerpt) {
            let strike = rng.between(0.5, 0.75);
            for (i, midi) in self.voicing(beat, low, high, voices).into_iter().enumerate() {
                let mut note = self.note(rng, excerpt, beat, every, midi, strike);
                note.start += i as f64 * spread;
                notes.push(note);
            }
            beat += every;
        }
        notes
    }

    fn voicing(&self, beat: f64, low: usize, high: usize, voices: usize) -> Vec<usize> {
        let chord = self.chord_at(beat);
        (low..=high).filter(|midi| chord.contains(&(midi % 12))).take(voices).collect()
    }

    /// Broken chords, `per_beat` notes per beat, which overlap.
    pub fn arpeggio(&self, rng: &mut DemoRng, excerpt: Excerpt, low: usize, high: usize, per_beat: f64) -> Vec<Note> {
        let pattern = rng.pick(&[[0, 2, 1, 3, 2, 1], [0, 1, 2, 3, 2, 1], [3, 2, 1, 0, 1, 2], [0, 3, 1, 2, 3, 1]]);
        let mut notes = Vec::new();
        let mut beat = excerpt.first_beat.floor();
        let mut i = 0;
        while beat < self.last_beat(excerpt) {
            let voicing = self.voicing(beat, low, high, 4);
            let midi = voicing[pattern[i % pattern.len()] % voicing.len()];
            notes.push(self.note(rng, excerpt, beat, rings(i), midi, 0.6));
            i += 1;
            beat += 1.0 / per_beat;
        }
        notes
    }

    /// Roots and fifths, `per_bar` notes per bar.
    pub fn bass(&self, rng: &mut DemoRng, excerpt: Excerpt, per_bar: usize) -> Vec<Note> {
        let beats = 4.0 / per_bar as f64;
        let mut notes = Vec::new();
        let mut beat = (excerpt.first_beat / 4.0).floor() * 4.0;
        while beat < self.last_beat(excerpt) {
            let chord = self.chord_at(beat);
            let pitch_class = if beat % 4.0 < 0.01 || rng.chance(0.6) { chord[0] } else { chord[2] };
            let midi = 28 + (pitch_class + 12 - 4) % 12;
            notes.push(self.note(rng, excerpt, beat, beats, midi, 0.7));
            beat += beats;
        }
        notes
    }
}

/// Length in beats of a note of an arpeggio.
fn rings(i: usize) -> f64 {
    if i.is_multiple_of(4) { 2.0 } else { 1.2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;

    #[test]
    fn melodies_stay_in_their_range_without_long_gaps() {
        for song in 0..50 {
            let mut rng = DemoRng::new(Seed::new(song));
            let harmony = Harmony::draw(&mut rng, song % 2 == 0);
            let excerpt = Excerpt { first_beat: 13.3, seconds: 6.0 };
            let notes = harmony.melody(&mut rng, excerpt, 60, 76, 0.4);
            assert!(notes.iter().all(|n| (59.9..=76.1).contains(&n.midi)));
            let mut sounding_until = 0.0f64;
            for note in &notes {
                assert!(note.start - sounding_until < 0.8, "song {song} is silent from {sounding_until}");
                sounding_until = sounding_until.max(note.start + note.seconds);
            }
            assert!(sounding_until > 4.5);
        }
    }
}
