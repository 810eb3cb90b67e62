//! Computes the phases of a frame: identity phase locking (Laroche & Dolson 1999).
//!
//! A spectrum is divided into regions, one around each peak. All bins of a region rotate by the same angle, which keeps their
//! relative phases. It is the angle of the peak: the rotation of that bin in the previous frame (with the region that held it),
//! plus the phase that the partial gains because the hop in the output differs from the hop in the recording.
//!
//! In frames that lead up to an onset, peaks with their centre of gravity in the right half of the frame rotate back to zero
//! (cf. Röbel 2003), so that the partials of the onset keep their relative phases; sustained sounds are unaffected.

use super::angles::{angle, phasor};

/// The bins of a frame as separate real and imaginary parts, and their powers, with a mirrored one below and a zero above.
#[derive(Default)]
pub struct Spectrum {
    pub re: Vec<f32>,
    pub im: Vec<f32>,
    pub power: Vec<f32>,
}

/// Number of powers below that of bin 0.
pub const MARGIN: usize = 1;
/// Lists have room for one more vector, so that loops need no remainder.
const LANES: usize = 8;
/// Stands for no partial near this bin.
const NOWHERE: f32 = -100.0;

impl Spectrum {
    pub fn resize(&mut self, bins: usize) {
        refill(&mut self.re, bins, 0.0);
        refill(&mut self.im, bins, 0.0);
        refill(&mut self.power, bins + 2 * MARGIN, 0.0);
    }
}

/// The rotation of each bin of a frame, and the position of the partial of its region.
#[derive(Default)]
pub struct Rotations {
    cos: Vec<f32>,
    sin: Vec<f32>,
    centre: Vec<f32>,
}

impl Rotations {
    pub fn resize(&mut self, bins: usize) {
        refill(&mut self.cos, bins + LANES, 1.0);
        refill(&mut self.sin, bins + LANES, 0.0);
        refill(&mut self.centre, bins + LANES, NOWHERE);
    }
}

fn refill(list: &mut Vec<f32>, length: usize, value: f32) {
    list.clear();
    list.resize(length, value);
}

/// The values needed for the angles of the peaks, gathered so that loops vectorise.
#[derive(Default)]
pub struct Peaks {
    is_peak: Vec<u8>,
    bin: Vec<i32>,
    /// The product of the bin with the conjugate of the same bin one frame before: its angle is the phase gained in between.
    cross_re: Vec<f32>,
    cross_im: Vec<f32>,
    /// The powers of the peak and of its neighbours.
    left: Vec<f32>,
    middle: Vec<f32>,
    right: Vec<f32>,
    /// Bin position of the partial one frame before, and now.
    was: Vec<f32>,
    centre: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Peaks {
    pub fn resize(&mut self, bins: usize) {
        self.is_peak.clear();
        self.is_peak.resize(bins.next_multiple_of(8), 0);
        self.bin.resize(bins + LANES, 0);
        let Peaks { cross_re, cross_im, left, middle, right, was, centre, cos, sin, .. } = self;
        for list in [cross_re, cross_im, left, middle, right, was, centre, cos, sin] {
            refill(list, bins + LANES, 0.0);
        }
    }
}

/// The step from one frame to the next.
#[derive(Clone, Copy)]
pub struct Step {
    /// Samples of the recording since the previous frame.
    pub read: f64,
    /// Output samples since the previous frame, scaled to the recording's frequencies: the hop times the pitch.
    pub write: f64,
    /// Samples of a frame that is read.
    pub analysis: usize,
    pub before_onset: bool,
}

/// Rotates `now`, which follows `before` with its rotations `old`, into `out`.
#[inline(always)]
pub fn lock_phases(
    now: &Spectrum,
    before: &Spectrum,
    step: Step,
    old: &Rotations,
    new: &mut Rotations,
    peaks: &mut Peaks,
    out: (&mut [f32], &mut [f32]),
) {
    let count = find_peaks(&now.power, peaks);
    gather(now, before, old, peaks, count);
    compute_angles(step, peaks, count);
    if step.before_onset {
        for i in 0..count {
            if is_late(now, peaks.bin[i] as usize) {
                (peaks.cos[i], peaks.sin[i]) = (1.0, 0.0);
            }
        }
    }
    spread(peaks, count, new, now.re.len());
    rotate(now, new, out);
}

/// Finds bins with more power than their neighbours; returns their number. (Laroche & Dolson require two neighbours on either
/// side, which merges partials of a low chord, three bins apart.)
#[inline(always)]
fn find_peaks(power: &[f32], peaks: &mut Peaks) -> usize {
    let bins = power.len() - 2 * MARGIN;
    let (left, middle, right) = (&power[..bins], &power[MARGIN..][..bins], &power[2 * MARGIN..][..bins]);
    let flags = &mut peaks.is_peak[..bins];
    for i in 0..bins {
        flags[i] = u8::from(middle[i] >= left[i]) & u8::from(middle[i] > right[i]);
    }
    let mut count = 0;
    for (at, flags) in peaks.is_peak.chunks_exact(8).enumerate() {
        let mut word = u64::from_le_bytes(flags.try_into().expect("eight flags"));
        while word != 0 {
            peaks.bin[count] = (at * 8) as i32 + (word.trailing_zeros() / 8) as i32;
            count += 1;
            word &= word - 1;
        }
    }
    count
}

#[inline(always)]
fn gather(now: &Spectrum, before: &Spectrum, old: &Rotations, peaks: &mut Peaks, count: usize) {
    let bins = now.re.len();
    let (re, im, was_re, was_im) = (&now.re[..bins], &now.im[..bins], &before.re[..bins], &before.im[..bins]);
    let (old_cos, old_sin, old_centre) = (&old.cos[..bins], &old.sin[..bins], &old.centre[..bins]);
    let power = &now.power[..bins + 2];
    let bin = &peaks.bin[..count];
    let (cross_re, cross_im) = (&mut peaks.cross_re[..count], &mut peaks.cross_im[..count]);
    let (left, middle, right) = (&mut peaks.left[..count], &mut peaks.middle[..count], &mut peaks.right[..count]);
    let (was, cos, sin) = (&mut peaks.was[..count], &mut peaks.cos[..count], &mut peaks.sin[..count]);
    for i in 0..count {
        // Always true; stated here, it removes the bounds checks below.
        let k = (bin[i] as usize).min(bins - 1);
        cross_re[i] = re[k] * was_re[k] + im[k] * was_im[k];
        cross_im[i] = im[k] * was_re[k] - re[k] * was_im[k];
        (left[i], middle[i], right[i]) = (power[k], power[k + 1], power[k + 2]);
        (was[i], cos[i], sin[i]) = (old_centre[k], old_cos[k], old_sin[k]);
    }
}

/// Computes the angle of each peak.
#[inline(always)]
fn compute_angles(step: Step, peaks: &mut Peaks, count: usize) {
    let round = step.read as f32 / step.analysis as f32;
    // After a very short step, a phase difference is a poor estimate of the frequency; the shape of the peak is a better one.
    let still = step.read.abs() < 16.0;
    let more = if still { 0.0 } else { step.write / step.read - 1.0 };
    let (across, back) = if still { (step.write / step.analysis as f64, -1.0) } else { (0.0, more) };
    let length = count.next_multiple_of(LANES);
    let (cross_re, cross_im) = (&peaks.cross_re[..length], &peaks.cross_im[..length]);
    let (left, middle, right) = (&peaks.left[..length], &peaks.middle[..length], &peaks.right[..length]);
    let bin = &peaks.bin[..length];
    let (was, centre) = (&peaks.was[..length], &mut peaks.centre[..length]);
    let (to_cos, to_sin) = (&mut peaks.cos[..length], &mut peaks.sin[..length]);
    for i in 0..length {
        // The position between the bins, exact for a partial under a Hann window.
        let (left, middle, right) = (left[i].sqrt(), middle[i].sqrt(), right[i].sqrt());
        let here = (bin[i] as f32 + 2.0 * (right - left) / (left + 2.0 * middle + right + f32::MIN_POSITIVE)).max(0.0);
        let moved = (was[i] - here).abs() < 4.0;
        let between = if moved { 0.5 * (was[i] + here) } else { here };
        centre[i] = here;
        let measured = angle(cross_im[i], cross_re[i]);
        // The number of whole turns that brings the phase closest to the one expected from the frequency.
        let whole = (between * round - measured).round_ties_even();
        let gained = f64::from(measured) * back + f64::from(whole) * more + f64::from(between) * across;
        let (cos, sin) = phasor((gained - gained.round_ties_even()) as f32);
        let (re, im) = (cos * to_cos[i] - sin * to_sin[i], cos * to_sin[i] + sin * to_cos[i]);
        // Renormalise to length 1 (first order, since it is nearly 1).
        let length = 1.5 - 0.5 * (re * re + im * im);
        to_cos[i] = re * length;
        to_sin[i] = im * length;
    }
}

/// Whether the energy of the peak is centred in the right half of the frame, by more than a sixteenth of it, according to the
/// phases of neighbouring bins.
#[inline(always)]
fn is_late(now: &Spectrum, k: usize) -> bool {
    if k == 0 || k + 1 >= now.re.len() {
        return false;
    }
    let (re, im) = (|k: usize| now.re[k], |k: usize| now.im[k]);
    // Minus: relative to the start of the frame, signs alternate.
    let along = -(re(k + 1) * re(k) + im(k + 1) * im(k) + re(k) * re(k - 1) + im(k) * im(k - 1));
    let across = -(im(k + 1) * re(k) - re(k + 1) * im(k) + im(k) * re(k - 1) - re(k) * im(k - 1));
    // tan(2 π / 16)
    across < 0.0 && -across > 0.414 * along
}

/// Copies the rotations of the peaks to their regions, which meet halfway.
#[inline(always)]
fn spread(peaks: &Peaks, count: usize, new: &mut Rotations, bins: usize) {
    if count == 0 {
        return new.resize(bins);
    }
    let mut start = 0;
    for i in 0..count {
        let end = if i + 1 < count { (peaks.bin[i] + peaks.bin[i + 1] + 1) as usize / 2 } else { bins };
        // Writes whole vectors: excess values are overwritten by the next region, or lie behind the last bin.
        let mut at = start;
        while at < end {
            new.cos[at..at + LANES].copy_from_slice(&[peaks.cos[i]; LANES]);
            new.sin[at..at + LANES].copy_from_slice(&[peaks.sin[i]; LANES]);
            new.centre[at..at + LANES].copy_from_slice(&[peaks.centre[i]; LANES]);
            at += LANES;
        }
        start = end;
    }
}

#[inline(always)]
fn rotate(now: &Spectrum, turns: &Rotations, out: (&mut [f32], &mut [f32])) {
    let bins = now.re.len();
    let (re, im, cos, sin) = (&now.re[..bins], &now.im[..bins], &turns.cos[..bins], &turns.sin[..bins]);
    let (to_re, to_im) = (&mut out.0[..bins], &mut out.1[..bins]);
    for i in 0..bins {
        to_re[i] = re[i] * cos[i] - im[i] * sin[i];
        to_im[i] = re[i] * sin[i] + im[i] * cos[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    type Bins = Vec<(f64, f64)>;

    fn spectrum(bins: &Bins) -> Spectrum {
        let mut spectrum = Spectrum::default();
        spectrum.resize(bins.len());
        for (k, &(re, im)) in bins.iter().enumerate() {
            (spectrum.re[k], spectrum.im[k]) = (re as f32, im as f32);
            spectrum.power[k + MARGIN] = (re * re + im * im) as f32;
        }
        spectrum.power[0] = spectrum.power[2];
        spectrum
    }

    /// The definition: the angle in turns of each bin, and the position of its partial. Also returns how close the closest
    /// decision was: rounding errors may turn it.
    fn slow_rotations(now: &Bins, before: &Bins, step: Step, old: &[(f64, f64)]) -> (Vec<(f64, f64)>, f64) {
        let power = |k: isize| now.get(k.unsigned_abs()).map_or(0.0, |&(re, im)| ((re * re + im * im) as f32).into());
        let length = |k: isize| f64::sqrt(power(k));
        let peaks: Vec<usize> = (0..now.len() as isize)
            .filter(|&k| power(k) >= power(k - 1) && power(k) > power(k + 1))
            .map(|k| k as usize)
            .collect();
        if peaks.is_empty() {
            return (vec![(0.0, NOWHERE.into()); now.len()], 1.0);
        }
        let mut closest = 1.0f64;
        let mut turned = |&k: &usize| {
            let here = k as isize;
            let shape = 2.0 * (length(here + 1) - length(here - 1))
                / (length(here - 1) + 2.0 * length(here) + length(here + 1));
            let centre = (k as f64 + shape).max(0.0);
            let (turns, was) = old[k];
            let middle = if (was - centre).abs() < 4.0 { (was + centre) / 2.0 } else { centre };
            let frequency = middle / step.analysis as f64;
            let gained = (now[k].1.atan2(now[k].0) - before[k].1.atan2(before[k].0)) / TAU;
            let whole = frequency * step.read - gained;
            closest = closest.min(0.5 - (whole - whole.round()).abs()).min(((was - centre).abs() - 4.0).abs());
            let gained = gained + whole.round();
            (turns + gained / step.read * step.write - gained, centre)
        };
        let mut all = Vec::new();
        for (i, k) in peaks.iter().enumerate() {
            let end = peaks.get(i + 1).map_or(now.len(), |next| (k + next).div_ceil(2));
            all.resize(end, turned(k));
        }
        (all, closest)
    }

    fn bins(count: usize) -> impl Strategy<Value = Bins> {
        prop::collection::vec((-1.0f64..1.0, -1.0f64..1.0), count)
    }

    proptest! {
        #[test]
        fn the_fast_phase_lock_equals_the_definition(
            frames in prop::collection::vec(bins(40), 3), read in 20i32..40, write in 20.0f64..40.0,
        ) {
            let step = Step { read: read.into(), write, analysis: 80, before_onset: false };
            let spectra: Vec<Spectrum> = frames.iter().map(spectrum).collect();
            let (mut peaks, mut old, mut new) = (Peaks::default(), Rotations::default(), Rotations::default());
            peaks.resize(40);
            old.resize(40);
            new.resize(40);
            let mut slow = vec![(0.0, f64::from(NOWHERE)); 40];
            for at in 1..3 {
                let (mut re, mut im) = ([0.0; 40], [0.0; 40]);
                lock_phases(&spectra[at], &spectra[at - 1], step, &old, &mut new, &mut peaks, (&mut re, &mut im));
                let closest;
                (slow, closest) = slow_rotations(&frames[at], &frames[at - 1], step, &slow);
                prop_assume!(closest > 1e-4, "a decision that rounding errors may turn");
                for (k, &(turns, _)) in slow.iter().enumerate() {
                    let (a, b) = frames[at][k];
                    let (cos, sin) = ((TAU * turns).cos(), (TAU * turns).sin());
                    let (right_re, right_im) = (a * cos - b * sin, a * sin + b * cos);
                    let off = (f64::from(re[k]) - right_re).hypot(f64::from(im[k]) - right_im);
                    prop_assert!(off < 2e-4, "bin {k} of frame {at} is {off} off");
                }
                std::mem::swap(&mut old, &mut new);
            }
        }
    }

    #[test]
    fn energy_before_or_at_the_middle_of_a_frame_is_not_late() {
        // A click at `at` of 80 samples rotates each bin by -at / 80 of a circle more than the one below.
        let click = |at: f64| {
            let bins: Bins =
                (0..40).map(|k| (TAU * f64::from(k) * -at / 80.0).sin_cos()).map(|(sin, cos)| (cos, sin)).collect();
            is_late(&spectrum(&bins), 20)
        };
        assert!(!click(10.0) && !click(39.0) && !click(44.0));
        assert!(click(46.0) && click(60.0) && click(79.0));
    }
}
