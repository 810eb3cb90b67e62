//! Resampling by a linear-phase windowed sinc.
//!
//! Conventions
//! - The filter is a sinc times a squared Blackman-Harris window that spans [`SPAN`] to twice [`SPAN`] samples of the
//!   lower of the two rates (a fixed multiple of the rates' common block, so that the FFT lengths stay even and small).
//!   Its cutoff is rubato's choice for that window and length: the stopband begins at the lower Nyquist frequency, the
//!   passband is flat within 0.01 dB to 94 % of it. librosa's `soxr_hq` passes 91 %; below that the two agree (see the
//!   tests), to 1e-6 where one rate is a multiple of the other and to 6e-5 elsewhere, where soxr strays from the exact.
//! - No delay: output sample n lies at input time n · from / to, sample 0 on sample 0. Outside the recording is silence.
//! - n samples become ceil(n · to / from), as in librosa; the ceiling is taken on integers, librosa's on a float.
//! - The same input gives the same bytes, whatever was resampled before and on whichever thread.
//!
//! Two engines with the same filter: rubato's FFT resampler where the rates have a short common block (all usual pairs),
//! and a direct sum over a table of filter phases for odd pairs such as 44099 to 22050 Hz, whose FFT blocks would be
//! seconds long and whose filter would ring as long. rubato's own engine for such pairs delays by a fraction of a sample
//! that nothing can take back, hence the direct sum.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::ops::Range;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction, calculate_cutoff};

/// The least length of the filter in samples of the lower rate.
const SPAN: usize = 512;
/// Longest FFT block, in samples of the higher rate. Beyond it a pair goes to the direct sum.
const LONGEST_BLOCK: usize = 1 << 18;
/// Filter phases per sample of the lower rate in the direct sum. Between two phases the filter is interpolated linearly;
/// the error, (π / PHASES)² / 8, lies at -118 dB.
const PHASES: usize = 1024;
/// How many pairs of rates a thread keeps ready.
const CACHED_PLANS: usize = 8;

/// How many samples `n` samples at rate `from` become at rate `to`.
pub fn resampled_len(n: usize, from: u32, to: u32) -> usize {
    (n as u128 * u128::from(to)).div_ceil(u128::from(from)) as usize
}

/// The whole of `input` at the new rate.
pub fn resample(input: &[f32], from: u32, to: u32) -> Vec<f32> {
    resample_range(input, from, to, 0..resampled_len(input.len(), from, to))
}

/// The samples `range` of what [`resample`] returns, bit for bit, without the work for the others.
pub fn resample_range(input: &[f32], from: u32, to: u32, range: Range<usize>) -> Vec<f32> {
    assert!(from > 0 && to > 0, "a rate is positive");
    assert!(range.end <= resampled_len(input.len(), from, to), "the range lies within the output");
    if from == to {
        return input[range].to_vec();
    }
    if range.is_empty() {
        return Vec::new();
    }
    thread_local! {
        /// Most recently used last. Thousands of short clips share a few pairs of rates, and a plan costs as much as a clip.
        static PLANS: RefCell<Vec<((u32, u32), Engine)>> = const { RefCell::new(Vec::new()) };
    }
    PLANS.with_borrow_mut(|plans| {
        let known = plans.iter().position(|(rates, _)| *rates == (from, to));
        let entry = match known {
            Some(place) => plans.remove(place),
            None => ((from, to), Plan::choose(from, to).build()),
        };
        if plans.len() == CACHED_PLANS {
            plans.remove(0);
        }
        plans.push(entry);
        let (_, engine) = plans.last_mut().expect("just pushed");
        engine.run(input, range)
    })
}

/// What will be built for a pair of rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// FFT blocks of so many samples; the filter is as long as the input block.
    Blocks { input: usize, output: usize },
    /// Output n lies at input n · `step` / `parts`.
    Direct { step: usize, parts: usize },
}

impl Plan {
    fn choose(from: u32, to: u32) -> Plan {
        let gcd = greatest_common_divisor(from, to);
        let (step, parts) = ((from / gcd) as usize, (to / gcd) as usize);
        // An even number of common blocks: then both halves are whole samples, and the delay of half a block is exact.
        let blocks = SPAN.div_ceil(2 * step.min(parts)) * 2;
        if step.min(parts) <= SPAN && blocks * step.max(parts) <= LONGEST_BLOCK {
            Plan::Blocks { input: blocks * step, output: blocks * parts }
        } else {
            Plan::Direct { step, parts }
        }
    }

    fn build(self) -> Engine {
        match self {
            Plan::Blocks { input, output } => Engine::Blocks(Box::new(Blocks::new(input, output))),
            Plan::Direct { step, parts } => Engine::Direct(Direct::new(step, parts)),
        }
    }
}

enum Engine {
    Blocks(Box<Blocks>),
    Direct(Direct),
}

impl Engine {
    fn run(&mut self, input: &[f32], range: Range<usize>) -> Vec<f32> {
        match self {
            Engine::Blocks(blocks) => blocks.run(input, range),
            Engine::Direct(direct) => direct.run(input, range),
        }
    }
}

struct Blocks {
    fft: Fft<f32>,
    input: usize,
    output: usize,
    block: Vec<f32>,
}

impl Blocks {
    fn new(input: usize, output: usize) -> Self {
        let window = WindowFunction::BlackmanHarris2;
        // The block lengths stand for the rates: rubato reduces them, then takes the multiple that we ask for.
        let fft = Fft::new_custom(input, output, input, 1, 1, window, FixedSync::Both)
            .expect("positive rates and a positive block make a resampler");
        assert_eq!((fft.fft_size_in(), fft.fft_size_out()), (input, output), "rubato takes the block asked for");
        Blocks { fft, input, output, block: vec![0.0; output] }
    }

    fn run(&mut self, input: &[f32], range: Range<usize>) -> Vec<f32> {
        self.fft.reset();
        let delay = self.output / 2;
        let mut samples = Vec::with_capacity(range.len());
        let wanted = range.start + delay..range.end + delay;
        let first = wanted.start / self.output;
        let last = (wanted.end - 1) / self.output;
        // A block of output sums what two blocks of input leave there, so one block more is run before the first.
        for index in first.saturating_sub(1)..=last {
            let start = (index * self.input).min(input.len());
            let end = (start + self.input).min(input.len());
            let source = InterleavedSlice::new(&input[start..end], 1, end - start).expect("one channel");
            let mut sink = InterleavedSlice::new_mut(&mut self.block, 1, self.output).expect("one channel");
            let part = Indexing::new().partial_len(end - start);
            self.fft.process_into_buffer(&source, &mut sink, Some(&part)).expect("the buffers have the block's length");
            if index >= first {
                let origin = index * self.output;
                let from = wanted.start.max(origin) - origin;
                let to = wanted.end.min(origin + self.output) - origin;
                samples.extend_from_slice(&self.block[from..to]);
            }
        }
        samples
    }
}

struct Direct {
    step: usize,
    parts: usize,
    /// Input samples on each side of an output sample that the filter reaches.
    reach: usize,
    /// Phases between two input samples.
    phases: usize,
    /// `phases + 1` rows of `2 * reach` taps; row j is the filter for an output j / phases after an input sample.
    table: Vec<f32>,
}

impl Direct {
    fn new(step: usize, parts: usize) -> Self {
        let filter = Filter::new(step as f64 / parts as f64, SPAN);
        let reach = filter.half_width.ceil() as usize;
        // The filter of a lower rate is smoother by as much, and needs fewer phases. With no more output places than
        // that between two inputs, every place gets its own phase and nothing is interpolated.
        let needed = ((PHASES as f64 * parts as f64 / step as f64).min(PHASES as f64)).ceil().max(4.0) as usize;
        let phases = needed.min(parts);
        let mut table = Vec::with_capacity((phases + 1) * 2 * reach);
        for phase in 0..=phases {
            let shift = phase as f64 / phases as f64;
            table.extend((0..2 * reach).map(|tap| filter.at(tap as f64 + 1.0 - reach as f64 - shift) as f32));
        }
        Direct { step, parts, reach, phases, table }
    }

    fn run(&self, input: &[f32], range: Range<usize>) -> Vec<f32> {
        let taps = 2 * self.reach;
        // The stretch of input that the range needs, with silence around the recording.
        let origin = range.start * self.step / self.parts;
        let width = (range.end - 1) * self.step / self.parts - origin + taps;
        let before = self.reach - 1;
        let mut padded = vec![0.0f32; width];
        let from = origin.saturating_sub(before);
        let to = (origin + width - before).min(input.len());
        if from < to {
            let at = from + before - origin;
            padded[at..at + to - from].copy_from_slice(&input[from..to]);
        }
        range
            .map(|n| {
                let place = n * self.step;
                let around = &padded[place / self.parts - origin..][..taps];
                let fine = place % self.parts * self.phases;
                let (phase, rest) = (fine / self.parts, fine % self.parts);
                let row = |phase: usize| &self.table[phase * taps..][..taps];
                let here = dot(around, row(phase));
                if rest == 0 {
                    return here;
                }
                let weight = rest as f32 / self.parts as f32;
                here + weight * (dot(around, row(phase + 1)) - here)
            })
            .collect()
    }
}

/// The filter in continuous time, in samples of the input.
struct Filter {
    /// Of the cutoff, relative to the input's Nyquist frequency.
    cutoff: f64,
    half_width: f64,
}

impl Filter {
    /// `ratio` is input rate by output rate; the filter spans `span` samples of the lower rate.
    fn new(ratio: f64, span: usize) -> Self {
        let slower = ratio.max(1.0);
        let cutoff = f64::from(calculate_cutoff::<f32>(span, WindowFunction::BlackmanHarris2)) / slower;
        Filter { cutoff, half_width: span as f64 / 2.0 * slower }
    }

    /// Sums to one over the input samples: a windowed sinc of unit area does so to 1e-9 at these lengths.
    fn at(&self, time: f64) -> f64 {
        if time.abs() >= self.half_width {
            return 0.0;
        }
        let turn = PI * time / self.half_width;
        let window = 0.35875 + 0.48829 * turn.cos() + 0.14128 * (2.0 * turn).cos() + 0.01168 * (3.0 * turn).cos();
        let angle = PI * self.cutoff * time;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        self.cutoff * sinc * window * window
    }
}

/// Sixteen running sums in a fixed order: the compiler may use vectors, and the result does not depend on which.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..16 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += x * y;
    }
    sums.iter().sum()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
