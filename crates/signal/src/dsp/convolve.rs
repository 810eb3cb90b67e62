//! Convolves with a long response by FFT: overlap-add with the block length of least cost.

use std::cell::RefCell;
use std::sync::Arc;

use timbre_fft::{Complex, ComplexToReal, RealPlannerF32, RealToComplex};

thread_local! {
    static PLANNER: RefCell<RealPlannerF32> = RefCell::new(RealPlannerF32::new());
}

/// Replaces `samples` by their convolution with `response`, truncated to their length.
///
/// ```
/// let mut samples = [1.0, 0.0, 0.0, 2.0];
/// timbre_signal::dsp::convolve::convolve(&mut samples, &[1.0, 0.5]);
/// assert!(samples.iter().zip([1.0, 0.5, 0.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-6));
/// ```
pub fn convolve(samples: &mut [f32], response: &[f32]) {
    if samples.is_empty() {
        return;
    }
    // The response beyond the length of the clip has no effect.
    let response = &response[..response.len().min(samples.len())];
    if response.is_empty() {
        samples.fill(0.0);
        return;
    }
    let length = best_length(samples.len(), response.len());
    let (forward, backward) = plans(length);
    let (mut time, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    let mut scratch = vec![Complex::default(); forward.get_scratch_len().max(backward.get_scratch_len())];
    let mut filter = forward.make_output_vec();
    time[..response.len()].copy_from_slice(response);
    time[response.len()..].fill(0.0);
    forward.process_with_scratch(&mut time, &mut filter, &mut scratch).expect("buffers of the plan's lengths");
    filter.iter_mut().for_each(|z| *z /= length as f32);
    let block = length + 1 - response.len();
    // The tails of the previous blocks, to be added to the next samples.
    let mut carry = vec![0.0f32; response.len() - 1];
    for samples in samples.chunks_mut(block) {
        time[..samples.len()].copy_from_slice(samples);
        time[samples.len()..].fill(0.0);
        forward.process_with_scratch(&mut time, &mut spectrum, &mut scratch).expect("buffers of the plan's lengths");
        spectrum.iter_mut().zip(&filter).for_each(|(z, h)| *z *= h);
        // The transform requires these to be real; rounding may have left a trace.
        spectrum[0].im = 0.0;
        if length.is_multiple_of(2) {
            spectrum[length / 2].im = 0.0;
        }
        backward.process_with_scratch(&mut spectrum, &mut time, &mut scratch).expect("buffers of the plan's lengths");
        time.iter_mut().zip(&carry).for_each(|(x, carry)| *x += carry);
        samples.copy_from_slice(&time[..samples.len()]);
        if samples.len() == block {
            carry.copy_from_slice(&time[block..]);
        }
    }
}

/// Like [`convolve`], with the delay of the response's sample `middle` removed.
pub(crate) fn convolve_about(samples: &mut Vec<f32>, response: &[f32], middle: usize) {
    let n = samples.len();
    samples.resize(n + middle, 0.0);
    convolve(samples, response);
    samples.drain(..middle.min(samples.len()));
    samples.truncate(n);
}

/// The FFT length, 2^k or 3 · 2^k, with the least total cost of all blocks.
fn best_length(samples: usize, response: usize) -> usize {
    let cost = |length: usize| {
        let blocks = samples.div_ceil(length + 1 - response);
        (2 * blocks + 1) as f64 * length as f64 * (length as f64).log2()
    };
    let enough = (samples + response - 1).max(2).next_power_of_two();
    let candidates =
        (1..usize::BITS - 1).flat_map(|k| [1usize << k, 3 << (k - 1)]).take_while(|&length| length <= enough);
    candidates
        .filter(|length| length.is_multiple_of(2) && *length > response)
        .min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
        .unwrap_or(enough.max(response + 1).next_power_of_two())
}

type Plans = (Arc<dyn RealToComplex<f32>>, Arc<dyn ComplexToReal<f32>>);

fn plans(length: usize) -> Plans {
    PLANNER.with_borrow_mut(|planner| (planner.forward(length), planner.inverse(length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slowly(samples: &[f32], response: &[f32]) -> Vec<f64> {
        let output = |n: usize| {
            (0..=n.min(response.len().saturating_sub(1)))
                .filter(|_| !response.is_empty())
                .map(|k| f64::from(response[k]) * f64::from(samples[n - k]))
                .sum()
        };
        (0..samples.len()).map(output).collect()
    }

    proptest! {
        #[test]
        fn convolution_by_fft_equals_the_plain_sum(
            samples in prop::collection::vec(-1.0f32..1.0, 0..500), response in prop::collection::vec(-1.0f32..1.0, 0..90)
        ) {
            let slow = slowly(&samples, &response);
            let mut fast = samples;
            convolve(&mut fast, &response);
            for (fast, slow) in fast.iter().zip(slow) {
                prop_assert!((f64::from(*fast) - slow).abs() < 1e-4, "{} {}", fast, slow);
            }
        }

        #[test]
        fn a_pulse_in_the_middle_of_the_response_keeps_the_samples_in_place(
            samples in prop::collection::vec(-1.0f32..1.0, 0..300), middle in 0usize..40
        ) {
            let mut response = vec![0.0; 41];
            response[middle] = 1.0;
            let mut output = samples.clone();
            convolve_about(&mut output, &response, middle);
            prop_assert_eq!(output.len(), samples.len());
            prop_assert!(output.iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn the_fft_is_longer_than_the_response() {
        for (samples, response) in [(1, 1), (2, 2), (66_150, 1), (66_150, 11_025), (66_150, 66_150), (100, 3)] {
            let length = best_length(samples, response);
            assert!(length > response && length.is_multiple_of(2), "{samples} {response}: {length}");
        }
    }
}
