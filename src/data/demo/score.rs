//! What is played: keys, chords, melodies, basses. Times are seconds from the start of the rendered stretch.

use super::dice::Dice;

/// One note of one player.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub start: f64,
    pub seconds: f64,
    pub midi: f64,
    /// 0 to 1.
    pub velocity: f64,
}

/// What all excerpts of a song share.
#[derive(Clone, Debug)]
pub struct Harmony {
    /// Pitch class of the tonic.
    key: usize,
    scale: [usize; 7],
    /// Degrees of the scale, a bar each.
    progression: [usize; 4],
    pub beat: f64,
    /// How far the second half of a beat is late, as a share of the beat.
    swing: f64,
    /// Semitones above A = 440 Hz.
    tuning: f64,
}

const MAJOR: [usize; 7] = [0, 2, 4, 5, 7, 9, 11];
const MINOR: [usize; 7] = [0, 2, 3, 5, 7, 8, 10];
const PROGRESSIONS: [[usize; 4]; 8] =
    [[0, 3, 4, 0], [0, 5, 3, 4], [0, 4, 5, 3], [1, 4, 0, 0], [0, 0, 3, 4], [5, 3, 0, 4], [0, 2, 3, 4], [0, 6, 5, 4]];

/// The stretch of a song that is rendered, in beats of the song.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    pub first_beat: f64,
    pub seconds: f64,
}

impl Harmony {
    pub fn draw(dice: &mut Dice, swing: bool) -> Self {
        Harmony {
            key: dice.below(12),
            scale: if dice.chance(0.5) { MAJOR } else { MINOR },
            progression: dice.pick(&PROGRESSIONS),
            beat: 60.0 / dice.between(72.0, 148.0),
            swing: if swing { dice.between(0.08, 0.17) } else { 0.0 },
            tuning: 0.0,
        }
    }

    /// Slower or faster than what [`Self::draw`] gives, and out of tune.
    pub fn shift(&mut self, dice: &mut Dice) {
        let tempo = if dice.chance(0.5) { dice.between(48.0, 66.0) } else { dice.between(160.0, 195.0) };
        self.beat = 60.0 / tempo;
        self.tuning = dice.between(0.25, 0.5) * dice.pick(&[-1.0, 1.0]);
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
    fn ladder(&self, low: usize, high: usize) -> Vec<usize> {
        (low..=high).filter(|midi| self.scale.contains(&((midi + 12 - self.key) % 12))).collect()
    }

    fn note(&self, dice: &mut Dice, stretch: Stretch, beat: f64, beats: f64, midi: usize, velocity: f64) -> Note {
        let late = if (beat.fract() - 0.5).abs() < 0.01 { self.swing } else { 0.0 };
        Note {
            start: (beat - stretch.first_beat + late) * self.beat + dice.between(-0.008, 0.008),
            seconds: beats * self.beat * dice.between(0.86, 1.0),
            midi: midi as f64 + self.tuning + dice.between(-0.06, 0.06),
            velocity: (velocity + dice.between(-0.15, 0.15)).clamp(0.1, 1.0),
        }
    }

    fn last_beat(&self, stretch: Stretch) -> f64 {
        stretch.first_beat + stretch.seconds / self.beat
    }

    /// A line that walks along the scale and rests on chord tones. `pace` is the length of a common note in seconds.
    pub fn melody(&self, dice: &mut Dice, stretch: Stretch, low: usize, high: usize, pace: f64) -> Vec<Note> {
        let ladder = self.ladder(low, high);
        let mut rung = ladder.len() / 3 + dice.below((ladder.len() / 3).max(1));
        let mut notes = Vec::new();
        let mut rested = false;
        let mut beat = stretch.first_beat.floor();
        while beat < self.last_beat(stretch) {
            let wanted = pace / self.beat * dice.pick(&[0.5, 1.0, 1.0, 1.0, 1.5, 2.0]);
            let beats = (wanted * 2.0).round().clamp(1.0, 8.0) / 2.0;
            if dice.chance(0.07) && beats * self.beat < 0.45 && !rested {
                rested = true;
                beat += beats;
                continue;
            }
            rested = false;
            let step = dice.pick(&[-3i64, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3, 4]);
            rung = (rung as i64 + step).clamp(0, ladder.len() as i64 - 1) as usize;
            if beat.fract() == 0.0 && dice.chance(0.7) {
                let chord = self.chord_at(beat);
                let nearest = (0..ladder.len()).filter(|&i| chord.contains(&(ladder[i] % 12)));
                rung = nearest.min_by_key(|&i| i.abs_diff(rung)).unwrap_or(rung);
            }
            let accent = if beat.fract() == 0.0 { 0.72 } else { 0.6 };
            notes.push(self.note(dice, stretch, beat, beats, ladder[rung], accent));
            beat += beats;
        }
        notes
    }

    /// Chords of `voices` notes from `low` up, struck every `every` beats; `spread` seconds from string to string.
    pub fn chords(
        &self,
        dice: &mut Dice,
        stretch: Stretch,
        (low, high): (usize, usize),
        voices: usize,
        every: f64,
        spread: f64,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut beat = (stretch.first_beat / every).floor() * every;
        while beat < self.last_beat(stretch) {
            let strike = dice.between(0.5, 0.75);
            for (i, midi) in self.voicing(beat, low, high, voices).into_iter().enumerate() {
                let mut note = self.note(dice, stretch, beat, every, midi, strike);
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

    /// The notes of the chord one after the other, `per_beat` a beat, ringing on into each other.
    pub fn arpeggio(&self, dice: &mut Dice, stretch: Stretch, low: usize, high: usize, per_beat: f64) -> Vec<Note> {
        let pattern = dice.pick(&[[0, 2, 1, 3, 2, 1], [0, 1, 2, 3, 2, 1], [3, 2, 1, 0, 1, 2], [0, 3, 1, 2, 3, 1]]);
        let mut notes = Vec::new();
        let mut beat = stretch.first_beat.floor();
        let mut i = 0;
        while beat < self.last_beat(stretch) {
            let voicing = self.voicing(beat, low, high, 4);
            let midi = voicing[pattern[i % pattern.len()] % voicing.len()];
            notes.push(self.note(dice, stretch, beat, rings(i), midi, 0.6));
            i += 1;
            beat += 1.0 / per_beat;
        }
        notes
    }

    /// Roots and fifths, one or two a bar.
    pub fn bass(&self, dice: &mut Dice, stretch: Stretch, per_bar: usize) -> Vec<Note> {
        let beats = 4.0 / per_bar as f64;
        let mut notes = Vec::new();
        let mut beat = (stretch.first_beat / 4.0).floor() * 4.0;
        while beat < self.last_beat(stretch) {
            let chord = self.chord_at(beat);
            let pitch_class = if beat % 4.0 < 0.01 || dice.chance(0.6) { chord[0] } else { chord[2] };
            let midi = 28 + (pitch_class + 12 - 4) % 12;
            notes.push(self.note(dice, stretch, beat, beats, midi, 0.7));
            beat += beats;
        }
        notes
    }
}

/// How many beats a plucked note of an arpeggio rings.
fn rings(i: usize) -> f64 {
    if i.is_multiple_of(4) { 2.0 } else { 1.2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn melodies_keep_to_their_range_and_leave_no_long_gap() {
        for song in 0..50 {
            let mut dice = Dice::new(Seed::new(song));
            let harmony = Harmony::draw(&mut dice, song % 2 == 0);
            let stretch = Stretch { first_beat: 13.3, seconds: 6.0 };
            let notes = harmony.melody(&mut dice, stretch, 60, 76, 0.4);
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
