//! The phases of a frame: identity phase locking (Laroche & Dolson 1999).
//!
//! A spectrum is cut into regions, one around each peak. All bins of a region are turned by the same angle, so that they stay to
//! each other as they were in the recording. The angle is that of the peak: the angle by which the region was turned that held this
//! bin in the frame before, plus what the partial gains by travelling another distance in the output than in the recording.
//! The frames that lead up to an attack turn back to no angle at all what has its centre of gravity in their right half (cf. Röbel 2003),
//! so that the partials of the attack keep their phases to each other; what sounds on from before is not touched.

use super::turns::{angle, phasor};

/// The bins of a frame, real and imaginary parts apart, and their powers, with a mirrored one below and a zero above.
#[derive(Default)]
pub struct Spectrum {
    pub re: Vec<f32>,
    pub im: Vec<f32>,
    pub power: Vec<f32>,
}

/// How many powers lie below that of bin 0.
pub const MARGIN: usize = 1;
/// Lists have room for a vector more than they hold, so that loops over them need no rest.
const LANES: usize = 8;

impl Spectrum {
    pub fn resize(&mut self, bins: usize) {
        self.re.clear();
        self.re.resize(bins, 0.0);
        self.im.clear();
        self.im.resize(bins, 0.0);
        self.power.clear();
        self.power.resize(bins + 2 * MARGIN, 0.0);
    }
}

/// What the regions of a frame are turned by.
#[derive(Default)]
pub struct Regions {
    /// Peaks, rising.
    peak: Vec<usize>,
    /// The first bin that belongs to the next region.
    end: Vec<usize>,
    /// Where between the bins the partial lies.
    centre: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    count: usize,
}

impl Regions {
    pub fn resize(&mut self, bins: usize) {
        self.peak.resize(bins + LANES, 0);
        self.end.resize(bins + LANES, 0);
        self.centre.resize(bins + LANES, 0.0);
        self.cos.resize(bins + LANES, 1.0);
        self.sin.resize(bins + LANES, 0.0);
        self.count = 0;
    }
}

/// What of each peak is needed for its angle, gathered.
#[derive(Default)]
pub struct Peaks {
    is_peak: Vec<u8>,
    /// The product of the bin with the conjugate of the same bin one frame before: its angle is the phase gained in between.
    cross_re: Vec<f32>,
    cross_im: Vec<f32>,
    /// The middle of where the partial was one frame before and of where it is.
    between: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Peaks {
    pub fn resize(&mut self, bins: usize) {
        self.is_peak.clear();
        self.is_peak.resize(bins.next_multiple_of(8), 0);
        for list in [&mut self.cross_re, &mut self.cross_im, &mut self.between, &mut self.cos, &mut self.sin] {
            list.resize(bins + LANES, 0.0);
        }
    }
}

/// From one frame to the next.
#[derive(Clone, Copy)]
pub struct Step {
    /// Samples of the recording from the frame before.
    pub read: f64,
    /// Samples at the pace of the recording's frequencies that the output goes on: its hop times the pitch.
    pub write: f64,
    /// Samples of a frame that is read.
    pub analysis: usize,
    pub before_attack: bool,
}

/// The regions of `now`, which follows `before` with its `old` regions.
#[inline(always)]
pub fn lock(now: &Spectrum, before: &Spectrum, step: Step, old: &Regions, new: &mut Regions, peaks: &mut Peaks) {
    find_peaks(&now.power, peaks, new);
    if new.count == 0 {
        return;
    }
    let bins = now.re.len();
    let count = new.count;
    refine(&now.power, new);
    // Gather.
    let mut region = 0;
    for i in 0..count {
        let k = new.peak[i];
        let border = if i + 1 < count { (k + new.peak[i + 1]).div_ceil(2) } else { bins };
        new.end[i] = border;
        (peaks.cross_re[i], peaks.cross_im[i]) = (
            now.re[k] * before.re[k] + now.im[k] * before.im[k],
            now.im[k] * before.re[k] - now.re[k] * before.im[k],
        );
        while region + 1 < old.count && old.end[region] <= k {
            region += 1;
        }
        (peaks.between[i], peaks.cos[i], peaks.sin[i]) = if old.count > 0 {
            let was = old.centre[region];
            let moved = (was - new.centre[i]).abs() < 4.0;
            let between = if moved { 0.5 * (was + new.centre[i]) } else { new.centre[i] };
            (between, old.cos[region], old.sin[region])
        } else {
            (new.centre[i], 1.0, 0.0)
        };
    }
    turn(step, new, peaks);
    if step.before_attack {
        for i in 0..count {
            if comes_late(now, new.peak[i]) {
                (new.cos[i], new.sin[i]) = (1.0, 0.0);
            }
        }
    }
}

/// The angle of each peak.
#[inline(always)]
fn turn(step: Step, new: &mut Regions, peaks: &Peaks) {
    let round = step.read as f32 / step.analysis as f32;
    // Hardly moved: a phase difference says little about a frequency, and the shape of the peak says it.
    let still = step.read.abs() < 16.0;
    let more = if still { 0.0 } else { step.write / step.read - 1.0 };
    let across = step.write / step.analysis as f64;
    let count = new.count.next_multiple_of(LANES);
    let lists = (&peaks.cross_re[..count], &peaks.cross_im[..count], &peaks.between[..count]);
    let olds = (&peaks.cos[..count], &peaks.sin[..count]);
    let news = (&mut new.cos[..count], &mut new.sin[..count]);
    for i in 0..count {
        let measured = angle(lists.1[i], lists.0[i]);
        // As many whole turns as bring it next to what its frequency makes one expect.
        let whole = (lists.2[i] * round - measured).round_ties_even();
        let gained = if still { f64::from(lists.2[i]) * across - f64::from(measured) } else { f64::from(measured) * more + f64::from(whole) * more };
        let (cos, sin) = phasor((gained - gained.round_ties_even()) as f32);
        let (re, im) = (cos * olds.0[i] - sin * olds.1[i], cos * olds.1[i] + sin * olds.0[i]);
        // Back to length 1, to which it is near.
        let length = 1.5 - 0.5 * (re * re + im * im);
        news.0[i] = re * length;
        news.1[i] = im * length;
    }
}

/// Bins with more power than their neighbours. (Laroche & Dolson ask for two on either side; then partials of a low chord, three bins
/// apart, are taken for one.)
#[inline(always)]
fn find_peaks(power: &[f32], peaks: &mut Peaks, new: &mut Regions) {
    let bins = power.len() - 2 * MARGIN;
    let (left, middle, right) = (&power[MARGIN - 1..][..bins], &power[MARGIN..][..bins], &power[MARGIN + 1..][..bins]);
    let flags = &mut peaks.is_peak[..bins];
    for i in 0..bins {
        flags[i] = u8::from(middle[i] >= left[i]) & u8::from(middle[i] > right[i]);
    }
    let mut count = 0;
    for (at, flags) in peaks.is_peak.chunks_exact(8).enumerate() {
        let mut word = u64::from_le_bytes(flags.try_into().expect("eight flags"));
        while word != 0 {
            new.peak[count] = at * 8 + word.trailing_zeros() as usize / 8;
            count += 1;
            word &= word - 1;
        }
    }
    new.count = count;
}

/// Where between the bins each peak lies: exact for a partial under a Hann window.
#[inline(always)]
fn refine(power: &[f32], new: &mut Regions) {
    for i in 0..new.count {
        let k = new.peak[i];
        let (left, middle, right) = (power[k].sqrt(), power[k + 1].sqrt(), power[k + 2].sqrt());
        let shift = 2.0 * (right - left) / (left + 2.0 * middle + right);
        new.centre[i] = (k as f32 + shift).max(0.0);
    }
}

/// Whether what makes the peak has its middle in the right half of the frame, by more than a sixteenth of it: the phases of
/// neighbouring bins say so.
#[inline(always)]
fn comes_late(now: &Spectrum, k: usize) -> bool {
    if k == 0 || k + 1 >= now.re.len() {
        return false;
    }
    let (re, im) = (|k: usize| now.re[k], |k: usize| now.im[k]);
    // Minus: a frame that is counted from its start has alternating signs.
    let along = -(re(k + 1) * re(k) + im(k + 1) * im(k) + re(k) * re(k - 1) + im(k) * im(k - 1));
    let across = -(im(k + 1) * re(k) - re(k + 1) * im(k) + im(k) * re(k - 1) - re(k) * im(k - 1));
    // tan(2 π / 16)
    across < 0.0 && -across > 0.414 * along
}

/// The bins of `now`, each turned as its region.
#[inline(always)]
pub fn rotate(now: &Spectrum, regions: &Regions, cos: &mut [f32], sin: &mut [f32], out: (&mut [f32], &mut [f32])) {
    let bins = now.re.len();
    let mut start = 0;
    for i in 0..regions.count {
        let end = regions.end[i];
        cos[start..end].fill(regions.cos[i]);
        sin[start..end].fill(regions.sin[i]);
        start = end;
    }
    cos[start..bins].fill(1.0);
    sin[start..bins].fill(0.0);
    let (re, im, cos, sin) = (&now.re[..bins], &now.im[..bins], &cos[..bins], &sin[..bins]);
    let (to_re, to_im) = (&mut out.0[..bins], &mut out.1[..bins]);
    for i in 0..bins {
        to_re[i] = re[i] * cos[i] - im[i] * sin[i];
        to_im[i] = re[i] * sin[i] + im[i] * cos[i];
    }
}
