//! Resamples with a linear-phase windowed sinc.
//!
//! Conventions
//! - The default filter is a sinc times a squared Blackman-Harris window over [`SPAN`] to twice [`SPAN`] samples of the lower
//!   rate (a fixed multiple of the rates' common block, so that the FFT lengths stay even and small). Its cutoff is rubato's
//!   choice for that window and length: the stopband begins at the lower Nyquist frequency, the passband is flat within
//!   0.01 dB to 94 % of it. librosa's `soxr_hq` passes 91 %; below that the two agree (see the tests), to 1e-6 where one
//!   rate is a multiple of the other and to 6e-5 elsewhere, where soxr deviates from the exact result.
//! - The filter `soxr_hq` is a sinc times a Kaiser window, fitted to the impulse responses of soxr 1.1: equal to -130 dB where
//!   one rate is a multiple of the other, to -70 dB elsewhere.
//! - No delay: output sample n is at input time n · from / to, sample 0 at sample 0. Beyond the recording is silence.
//! - n samples become ceil(n · to / from), as in librosa; computed on integers, in librosa on a float.
//! - The same input gives the same bytes, on any thread and whatever was resampled before. [`StreamResampler`] gives the
//!   same bytes block by block, wherever the blocks end.
//!
//! Two engines apply the default filter: rubato's FFT resampler where the rates have a short common block (all usual pairs),
//! and a direct sum over a table of filter phases for odd pairs such as 44099 to 22050 Hz, whose FFT blocks would be
//! seconds long and whose filter would ring as long. rubato's own engine for such pairs adds a delay of a fraction of a
//! sample that cannot be compensated. The direct sum also applies `soxr_hq`, whose filter is short.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::ops::Range;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler, WindowFunction, calculate_cutoff};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Minimum length of the filter in samples of the lower rate.
const SPAN: usize = 512;
/// Longest FFT block, in samples of the higher rate. Pairs with longer blocks use the direct sum.
const LONGEST_BLOCK: usize = 1 << 18;
/// Filter phases per sample of the lower rate in the direct sum. Between two phases the filter is interpolated linearly;
/// the error, (π / PHASES)² / 8, lies at -118 dB.
const PHASES: usize = 1024;
/// Number of pairs of rates whose engines a thread keeps.
const CACHED_PLANS: usize = 8;

/// The low-pass filter of the resampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResampleFilter {
    /// Passes 94 % of the band below the lower Nyquist frequency.
    #[default]
    BlackmanHarris,
    /// The filter of soxr's HQ quality, librosa's default: passes 91 %.
    SoxrHq,
}

/// Number of samples after resampling `n` samples.
///
/// ```
/// assert_eq!(timbre_signal::audio::resampled_len(44100, 44100, 22050), 22050);
/// assert_eq!(timbre_signal::audio::resampled_len(3, 44100, 22050), 2);
/// ```
pub fn resampled_len(n: usize, from: u32, to: u32) -> usize {
    (n as u128 * u128::from(to)).div_ceil(u128::from(from)) as usize
}

/// Resamples the whole of `input` from one rate to another.
///
/// ```
/// use std::f32::consts::TAU;
/// use timbre_signal::audio::{ResampleFilter, resample};
///
/// let tone = |rate: f32| (0..rate as usize).map(|n| (TAU * 440.0 * n as f32 / rate).sin()).collect::<Vec<_>>();
/// let half = resample(&tone(44100.0), 44100, 22050, ResampleFilter::BlackmanHarris);
/// assert_eq!(half.len(), 22050);
/// assert!((half[11025] - tone(22050.0)[11025]).abs() < 1e-3);
/// ```
pub fn resample(input: &[f32], from: u32, to: u32, filter: ResampleFilter) -> Vec<f32> {
    resample_range(input, from, to, filter, 0..resampled_len(input.len(), from, to))
}

/// The samples `range` of the output of [`resample`], bit for bit, without computing the others.
pub fn resample_range(input: &[f32], from: u32, to: u32, filter: ResampleFilter, range: Range<usize>) -> Vec<f32> {
    resample_part(Part { samples: input, first: 0, whole: input.len() }, from, to, filter, range)
}

/// Consecutive samples of a recording.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub samples: &'a [f32],
    /// The place of the first sample in the recording.
    pub first: usize,
    /// Number of samples of the recording.
    pub whole: usize,
}

impl Part<'_> {
    fn get(&self, range: Range<usize>) -> &[f32] {
        &self.samples[range.start - self.first..range.end - self.first]
    }
}

/// The input that [`resample_part`] needs for the output `range` of a recording of `whole` samples, generously.
pub(super) fn input_range(whole: usize, from: u32, to: u32, range: &Range<usize>) -> Range<usize> {
    let place = |n: usize| (n as u128 * u128::from(from) / u128::from(to)) as usize;
    // Two FFT blocks, more than the reach of a direct filter.
    let margin = if from == to { 0 } else { 2 * LONGEST_BLOCK };
    let end = place(range.end).saturating_add(margin + 1).min(whole);
    place(range.start).saturating_sub(margin).min(end)..end
}

/// [`resample_range`] of a recording of which only the [`input_range`] is there.
pub(super) fn resample_part(input: Part, from: u32, to: u32, filter: ResampleFilter, range: Range<usize>) -> Vec<f32> {
    assert!(from > 0 && to > 0, "a rate is positive");
    assert!(range.end <= resampled_len(input.whole, from, to), "the range lies within the output");
    if from == to {
        return input.get(range).to_vec();
    }
    if range.is_empty() {
        return Vec::new();
    }
    let mut engine = Engine::take((from, to, filter));
    let samples = engine.run(input, range);
    engine.keep((from, to, filter));
    samples
}

/// Input rate, output rate and filter of an engine.
type Conversion = (u32, u32, ResampleFilter);

thread_local! {
    /// Most recently used last. Thousands of short clips share a few pairs of rates, and building an engine costs as much as a clip.
    static PLANS: RefCell<Vec<(Conversion, Engine)>> = const { RefCell::new(Vec::new()) };
}

/// The engine to build for a pair of rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// FFT blocks of these lengths; the filter is as long as the input block.
    Blocks { input: usize, output: usize },
    /// Output n is at input n · `step` / `parts`.
    Direct { step: usize, parts: usize },
}

impl Plan {
    fn choose((from, to, filter): Conversion) -> Plan {
        let gcd = greatest_common_divisor(from, to);
        let (step, parts) = ((from / gcd) as usize, (to / gcd) as usize);
        // An even number of common blocks makes both halves whole samples, so the delay of half a block is exact.
        let blocks = SPAN.div_ceil(2 * step.min(parts)) * 2;
        let fft = filter == ResampleFilter::BlackmanHarris;
        if fft && step.min(parts) <= SPAN && blocks * step.max(parts) <= LONGEST_BLOCK {
            Plan::Blocks { input: blocks * step, output: blocks * parts }
        } else {
            Plan::Direct { step, parts }
        }
    }

    fn build(self, filter: ResampleFilter) -> Engine {
        match self {
            Plan::Blocks { input, output } => Engine::Blocks(Box::new(Blocks::new(input, output))),
            Plan::Direct { step, parts } => Engine::Direct(Direct::new(step, parts, filter)),
        }
    }
}

enum Engine {
    Blocks(Box<Blocks>),
    Direct(Direct),
}

impl Engine {
    /// Takes this thread's cached engine, or builds one.
    fn take(conversion: Conversion) -> Engine {
        let known = PLANS.with_borrow_mut(|plans| {
            let place = plans.iter().position(|(known, _)| *known == conversion)?;
            Some(plans.remove(place).1)
        });
        known.unwrap_or_else(|| Plan::choose(conversion).build(conversion.2))
    }

    /// Puts the engine into this thread's cache.
    fn keep(self, conversion: Conversion) {
        // While a thread ends, its cache may be gone.
        let _ = PLANS.try_with(|plans| {
            let mut plans = plans.borrow_mut();
            if plans.len() == CACHED_PLANS {
                plans.remove(0);
            }
            plans.push((conversion, self));
        });
    }

    fn run(&mut self, input: Part, range: Range<usize>) -> Vec<f32> {
        match self {
            Engine::Blocks(blocks) => blocks.run(input, range),
            Engine::Direct(direct) => direct.run(input, range),
        }
    }
}

/// Resamples block by block with the result of [`resample`].
pub struct StreamResampler {
    conversion: Conversion,
    /// `None` if the rates are equal, and after the end.
    engine: Option<Engine>,
    received: usize,
    /// Samples that the engine has produced; those of FFT blocks begin with the delay.
    made: usize,
    /// Input that is still needed: less than a block, or the reach of the direct filter.
    held: Vec<f32>,
    /// Direct engine: index of the first sample in `held`, counted from the silence before the recording.
    first: usize,
}

impl StreamResampler {
    pub fn new(from: u32, to: u32, filter: ResampleFilter) -> StreamResampler {
        assert!(from > 0 && to > 0, "a rate is positive");
        let conversion = (from, to, filter);
        let mut engine = (from != to).then(|| Engine::take(conversion));
        let mut held = Vec::new();
        match &mut engine {
            Some(Engine::Blocks(blocks)) => blocks.fft.reset(),
            Some(Engine::Direct(direct)) => held.resize(direct.reach - 1, 0.0),
            None => {}
        }
        StreamResampler { conversion, engine, received: 0, made: 0, held, first: 0 }
    }

    /// Takes the next samples and appends the output that is complete.
    pub fn push(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.received += input.len();
        match &mut self.engine {
            None => output.extend_from_slice(input),
            Some(Engine::Blocks(blocks)) => {
                let mut rest = input;
                while self.held.len() + rest.len() >= blocks.input {
                    let (missing, after) = rest.split_at(blocks.input - self.held.len());
                    rest = after;
                    if self.held.is_empty() {
                        blocks.step(missing);
                    } else {
                        self.held.extend_from_slice(missing);
                        blocks.step(&self.held);
                        self.held.clear();
                    }
                    output.extend_from_slice(blocks.made_for(self.made, usize::MAX));
                    self.made += blocks.output;
                }
                self.held.extend_from_slice(rest);
            }
            Some(Engine::Direct(direct)) => {
                self.held.extend_from_slice(input);
                self.made = direct.go_on(&mut self.held, &mut self.first, self.made, usize::MAX, output);
            }
        }
    }

    /// Appends the remaining output at the end of the recording.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        let (from, to, _) = self.conversion;
        let total = resampled_len(self.received, from, to);
        match &mut self.engine {
            None => {}
            Some(Engine::Blocks(blocks)) => {
                while total > 0 && self.made < total + blocks.output / 2 {
                    blocks.step(&self.held);
                    self.held.clear();
                    output.extend_from_slice(blocks.made_for(self.made, total));
                    self.made += blocks.output;
                }
            }
            Some(Engine::Direct(direct)) => {
                self.held.resize(self.held.len() + 2 * direct.reach, 0.0);
                direct.go_on(&mut self.held, &mut self.first, self.made, total, output);
            }
        }
        self.put_back();
    }

    fn put_back(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.keep(self.conversion);
        }
    }
}

impl Drop for StreamResampler {
    fn drop(&mut self) {
        self.put_back();
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
        // The block lengths serve as rates: rubato reduces them, then takes the requested multiple.
        let fft = Fft::new_custom(input, output, input, 1, 1, window, FixedSync::Both)
            .expect("positive rates and a positive block make a resampler");
        assert_eq!((fft.fft_size_in(), fft.fft_size_out()), (input, output), "rubato takes the block asked for");
        Blocks { fft, input, output, block: vec![0.0; output] }
    }

    fn run(&mut self, input: Part, range: Range<usize>) -> Vec<f32> {
        self.fft.reset();
        let delay = self.output / 2;
        let mut samples = Vec::with_capacity(range.len());
        let wanted = range.start + delay..range.end + delay;
        let first = wanted.start / self.output;
        let last = (wanted.end - 1) / self.output;
        // Two input blocks overlap in each output block, so one more block runs before the first.
        for index in first.saturating_sub(1)..=last {
            let start = (index * self.input).min(input.whole);
            let end = (start + self.input).min(input.whole);
            self.step(input.get(start..end));
            if index >= first {
                let origin = index * self.output;
                let from = wanted.start.max(origin) - origin;
                let to = wanted.end.min(origin + self.output) - origin;
                samples.extend_from_slice(&self.block[from..to]);
            }
        }
        samples
    }

    /// Processes the next input block, which may be short.
    fn step(&mut self, input: &[f32]) {
        let source = InterleavedSlice::new(input, 1, input.len()).expect("one channel");
        let mut sink = InterleavedSlice::new_mut(&mut self.block, 1, self.output).expect("one channel");
        let part = Indexing::new().partial_len(input.len());
        self.fft.process_into_buffer(&source, &mut sink, Some(&part)).expect("the buffers have the block's length");
    }

    /// The samples of the current block, at output position `origin`, that belong to the first `total` samples.
    fn made_for(&self, origin: usize, total: usize) -> &[f32] {
        let delay = self.output / 2;
        let from = delay.saturating_sub(origin).min(self.output);
        let to = total.saturating_add(delay).saturating_sub(origin).min(self.output);
        &self.block[from..to.max(from)]
    }
}

struct Direct {
    step: usize,
    parts: usize,
    /// Number of input samples on each side of an output sample that the filter covers.
    reach: usize,
    /// Phases between two input samples.
    phases: usize,
    /// `phases + 1` rows of `2 * reach` taps; row j is the filter for an output j / phases after an input sample.
    table: Vec<f32>,
}

impl Direct {
    fn new(step: usize, parts: usize, filter: ResampleFilter) -> Self {
        let filter = Filter::new(step as f64 / parts as f64, filter);
        let reach = filter.half_width.ceil() as usize;
        // The filter of a lower rate is smoother in proportion and needs fewer phases. With no more output positions than
        // phases between two inputs, every position gets its own phase and nothing is interpolated.
        let needed = ((PHASES as f64 * parts as f64 / step as f64).min(PHASES as f64)).ceil().max(4.0) as usize;
        let phases = needed.min(parts);
        let mut table = Vec::with_capacity((phases + 1) * 2 * reach);
        for phase in 0..=phases {
            let shift = phase as f64 / phases as f64;
            table.extend((0..2 * reach).map(|tap| filter.at(tap as f64 + 1.0 - reach as f64 - shift) as f32));
        }
        Direct { step, parts, reach, phases, table }
    }

    fn run(&self, input: Part, range: Range<usize>) -> Vec<f32> {
        let taps = 2 * self.reach;
        // The input that the range needs, with silence around the recording.
        let origin = range.start * self.step / self.parts;
        let width = (range.end - 1) * self.step / self.parts - origin + taps;
        let before = self.reach - 1;
        let mut padded = vec![0.0f32; width];
        let from = origin.saturating_sub(before);
        let to = (origin + width - before).min(input.whole);
        if from < to {
            let at = from + before - origin;
            padded[at..at + to - from].copy_from_slice(input.get(from..to));
        }
        range.map(|n| self.at(n, &padded[n * self.step / self.parts - origin..])).collect()
    }

    /// Output sample n from the input around its position.
    fn at(&self, n: usize, around: &[f32]) -> f32 {
        let taps = 2 * self.reach;
        let around = &around[..taps];
        let fine = n * self.step % self.parts * self.phases;
        let (phase, rest) = (fine / self.parts, fine % self.parts);
        let row = |phase: usize| &self.table[phase * taps..][..taps];
        let here = dot(around, row(phase));
        if rest == 0 {
            return here;
        }
        let weight = rest as f32 / self.parts as f32;
        here + weight * (dot(around, row(phase + 1)) - here)
    }

    /// Appends the outputs from `made` on whose input has arrived, drops input that is no longer needed, and returns the new `made`.
    fn go_on(
        &self,
        held: &mut Vec<f32>,
        first: &mut usize,
        mut made: usize,
        total: usize,
        output: &mut Vec<f32>,
    ) -> usize {
        let place = |n: usize| n * self.step / self.parts;
        while made < total && place(made) + 2 * self.reach <= *first + held.len() {
            output.push(self.at(made, &held[place(made) - *first..]));
            made += 1;
        }
        let used = (place(made) - *first).min(held.len());
        held.drain(..used);
        *first += used;
        made
    }
}

/// The filter in continuous time, in samples of the input.
struct Filter {
    kind: ResampleFilter,
    /// Relative to the Nyquist frequency of the input.
    cutoff: f64,
    half_width: f64,
}

/// Kaiser window of `soxr_hq`.
const SOXR_BETA: f64 = 13.04;

impl Filter {
    /// `ratio` is input rate / output rate; the filter spans a fixed number of samples of the lower rate.
    fn new(ratio: f64, kind: ResampleFilter) -> Self {
        let slower = ratio.max(1.0);
        let (cutoff, half_width) = match kind {
            ResampleFilter::BlackmanHarris => {
                (f64::from(calculate_cutoff::<f32>(SPAN, WindowFunction::BlackmanHarris2)), SPAN as f64 / 2.0)
            }
            ResampleFilter::SoxrHq => (0.956_872, 97.25),
        };
        Filter { kind, cutoff: cutoff / slower, half_width: half_width * slower }
    }

    /// The taps sum to one over the input samples: a windowed sinc of unit area does so to 1e-9 at these lengths.
    fn at(&self, time: f64) -> f64 {
        if time.abs() >= self.half_width {
            return 0.0;
        }
        let window = match self.kind {
            ResampleFilter::BlackmanHarris => {
                let turn = PI * time / self.half_width;
                let window =
                    0.35875 + 0.48829 * turn.cos() + 0.14128 * (2.0 * turn).cos() + 0.01168 * (3.0 * turn).cos();
                window * window
            }
            ResampleFilter::SoxrHq => {
                let place = time / self.half_width;
                bessel_i0(SOXR_BETA * (1.0 - place * place).sqrt()) / bessel_i0(SOXR_BETA)
            }
        };
        let angle = PI * self.cutoff * time;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        self.cutoff * sinc * window
    }
}

/// The modified Bessel function of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

/// Sixteen running sums in a fixed order: the compiler may use vectors, and the result stays the same.
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
