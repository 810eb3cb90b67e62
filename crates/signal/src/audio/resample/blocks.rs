//! Filters and resamples by a rational ratio, block by block in the frequency domain.
//!
//! A block of the input and as many zeros as the filter is long are transformed, multiplied by the filter, cut or extended to the
//! length of the output, and transformed back; what hangs over is added to the next block. A block is three times as long as
//! the filter.

use std::sync::Arc;

use timbre_fft::{Complex, ComplexToReal, RealPlannerF32, RealPlannerF64, RealToComplex};

use super::Part;
use super::filter::Filter;

/// Filter lengths in a block of the input.
const BLOCK: usize = 3;

pub(super) struct Blocks {
    /// Samples of a block of the input and of the output.
    pub input: usize,
    pub output: usize,
    /// Output samples before that of time 0: half the filter.
    pub delay: usize,
    filter: Vec<Complex<f32>>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    source: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    result: Vec<f32>,
    result_spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// What hangs over the last block.
    tail: Vec<f32>,
}

impl Blocks {
    /// `length` is that of the filter in samples of the input and of the output, both even: their ratio is that of the rates.
    pub fn new([from, to]: [usize; 2], filter: &Filter) -> Self {
        let (size_in, size_out) = ((BLOCK + 1) * from, (BLOCK + 1) * to);
        let mut taps = vec![0.0f64; size_in];
        for (tap, value) in taps[..from].iter_mut().enumerate() {
            *value = filter.at(tap as f64 - (from / 2) as f64);
        }
        // The transforms do not divide by their length.
        let sum = taps.iter().sum::<f64>() * size_in as f64;
        taps.iter_mut().for_each(|tap| *tap /= sum);
        let fft = RealPlannerF64::new().forward(size_in);
        let mut response = fft.make_output_vec();
        fft.process(&mut taps, &mut response).expect("buffers of the plan's lengths");
        // Half the lower rate is in the stopband.
        response.truncate(from.min(to) * (BLOCK + 1) / 2);
        let mut planner = RealPlannerF32::new();
        let (forward, inverse) = (planner.forward(size_in), planner.inverse(size_out));
        Blocks {
            input: BLOCK * from,
            output: BLOCK * to,
            delay: to / 2,
            filter: response.iter().map(|z| Complex::new(z.re as f32, z.im as f32)).collect(),
            source: forward.make_input_vec(),
            spectrum: forward.make_output_vec(),
            result: inverse.make_output_vec(),
            result_spectrum: inverse.make_input_vec(),
            scratch: vec![Complex::default(); forward.get_scratch_len().max(inverse.get_scratch_len())],
            tail: vec![0.0; to],
            forward,
            inverse,
        }
    }

    /// Forgets the recording.
    pub fn reset(&mut self) {
        self.tail.fill(0.0);
    }

    /// The output of the next block of the input, which may be short.
    pub fn step(&mut self, input: &[f32]) -> &[f32] {
        self.source[..input.len()].copy_from_slice(input);
        self.source[input.len()..].fill(0.0);
        let fits = "buffers of the plan's lengths";
        self.forward.process_with_scratch(&mut self.source, &mut self.spectrum, &mut self.scratch).expect(fits);
        let bins = self.filter.len();
        for ((out, &of_input), &factor) in self.result_spectrum.iter_mut().zip(&self.spectrum).zip(&self.filter) {
            *out = of_input * factor;
        }
        // The first and the last value of the spectrum of real samples are real.
        self.result_spectrum[0].im = 0.0;
        self.result_spectrum[bins..].fill(Complex::default());
        self.inverse.process_with_scratch(&mut self.result_spectrum, &mut self.result, &mut self.scratch).expect(fits);
        let (block, tail) = self.result.split_at_mut(self.output);
        block.iter_mut().zip(&self.tail).for_each(|(sample, before)| *sample += before);
        self.tail.copy_from_slice(tail);
        block
    }

    /// The samples `wanted` of the output of all blocks, of which the first `delay` are before time 0.
    pub fn run(&mut self, input: Part, wanted: std::ops::Range<usize>) -> Vec<f32> {
        self.reset();
        let mut samples = Vec::with_capacity(wanted.len());
        let (first, last) = (wanted.start / self.output, (wanted.end - 1) / self.output);
        // The block before the first hangs over it.
        for index in first.saturating_sub(1)..=last {
            let start = (index * self.input).min(input.whole);
            let end = (start + self.input).min(input.whole);
            let origin = index * self.output;
            let block = self.step(input.get(start..end));
            if index >= first {
                let from = wanted.start.max(origin) - origin;
                let to = wanted.end.min(origin + block.len()) - origin;
                samples.extend_from_slice(&block[from..to]);
            }
        }
        samples
    }
}
