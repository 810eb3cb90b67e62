//! Mel spectrograms of a batch of clips on the device where a network is trained.
//!
//! The values equal those of the feature `mel` up to rounding: `mel` transforms in f64, this module in f32. Down to 100 dB of
//! power below the loudest value of a clip both agree within a thousandth of the 80 dB that an image spans; lower values stay
//! lower. All steps are gathers and matrix products, which every device supports: burn's FFT is limited to powers of two. A
//! frame is folded first, `x[n] ± x[N - n]`, so that cosines and sines need only one half each, which halves the products.
//!
//! NVIDIA's tensor cores round the factors of an f32 product to eleven bits (TF32), and burn uses them when they are faster: the
//! noise floor of a spectrum would be 60 dB below its loudest partial instead of 130. There, both factors are split into a coarse
//! part, which eleven bits represent exactly, and the remainder; three products compensate ([`MatmulPrecision::Tf32`]).

use anyhow::{Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::device::MatmulPrecision;
use timbre_core::registry::Kind;
use timbre_inputs::features::{ensure_valid, mel::Mel, stft::top_db};
use timbre_signal::dsp::{mel::MelBank, resize, stft::StftSpec};

/// The feature `mel` on a device, for clips of one length.
pub struct DeviceMel {
    /// The sample index of each position of each half frame; the index after the last sample is a zero.
    gather: [Tensor<1, Int>; 2],
    /// The window for each half.
    windows: [Tensor<3>; 2],
    cosines: Factor,
    sines: Factor,
    bank: Tensor<3>,
    /// The matrices for the new width and the new height.
    resize: Option<[Factor; 2]>,
    power: f64,
    decibels: Option<Option<f32>>,
    frames: usize,
    shape: [usize; 2],
    samples: usize,
    multiply_adds: u64,
}

/// The longest frame; its matrices take 1 GiB.
const LONGEST_FRAME: usize = 1 << 14;

impl DeviceMel {
    /// Prepares clips with this number of samples. Fails for a faulty spec, and for options that only the CPU supports.
    pub fn new(
        spec: &Mel,
        sample_rate: u32,
        samples: usize,
        device: &Device,
        precision: MatmulPrecision,
    ) -> Result<DeviceMel> {
        ensure_valid("mel", spec.faults(sample_rate))?;
        ensure!(
            spec.summary.is_empty(),
            "compute mel spectrograms on a device: `summary` is computed on the CPU only; leave it out, or extract the features on the CPU"
        );
        ensure!(
            spec.n_fft <= LONGEST_FRAME,
            "compute mel spectrograms on a device: a frame of {} samples is too long for its matrices; choose n_fft up to {LONGEST_FRAME}, or extract the features on the CPU",
            spec.n_fft
        );
        let stft = spec.stft();
        let frames = stft.frames(samples);
        ensure!(
            frames > 0,
            "compute mel spectrograms on a device: clips of {samples} samples have no frame of {}; set center = true, a smaller n_fft, or longer clips",
            spec.n_fft
        );
        let half = spec.n_fft / 2 + 1;
        let on_device =
            |values: Vec<f32>, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
        let indices = |mirrored| {
            Tensor::from_data(TensorData::new(sample_indices(&stft, samples, mirrored), [frames * half]), device)
        };
        let window = |mirrored| on_device(half_window(&stft, mirrored), [1, 1, half]);
        let factor = |values: Vec<f64>, rows, columns| Factor::new(&values, rows, columns, precision, device);
        let [height, width] = spec.resize.unwrap_or([spec.n_mels, frames]);
        let resize = spec.resize.map(|_| {
            [
                factor(resize::weights(frames, width), frames, width),
                factor(resize::weights(spec.n_mels, height), spec.n_mels, height),
            ]
        });
        let mel = DeviceMel {
            gather: [indices(false), indices(true)],
            windows: [window(false), window(true)],
            cosines: factor(fourier_matrix(spec.n_fft, f64::cos), half, half),
            sines: factor(fourier_matrix(spec.n_fft, f64::sin), half, half),
            bank: on_device(
                transposed(&MelBank::new(&spec.bank(sample_rate)).dense(), spec.n_mels),
                [1, half, spec.n_mels],
            ),
            power: spec.power,
            decibels: spec.db.then(|| top_db(spec.top_db)),
            frames,
            shape: [height, width],
            samples,
            multiply_adds: 0,
            resize,
        };
        let factors = [&mel.cosines, &mel.sines].map(|factor| factor.multiply_adds(frames));
        let resized = mel
            .resize
            .iter()
            .map(|[to_width, to_height]| to_width.multiply_adds(spec.n_mels) + to_height.multiply_adds(width));
        let banked = (frames * half * spec.n_mels) as u64;
        Ok(DeviceMel { multiply_adds: factors.iter().sum::<u64>() + banked + resized.sum::<u64>(), ..mel })
    }

    /// Rows and columns of an image.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Multiply-adds per clip.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Maps `[clips, samples]`, on the device and without autodiff, to `[clips, rows, columns]`.
    pub fn forward(&self, audio: Tensor<2>) -> Tensor<3> {
        let [clips, samples] = audio.dims();
        assert_eq!(samples, self.samples, "clips must have the length given to `new`");
        let half = self.bank.dims()[1];
        let silence = Tensor::<2>::zeros([clips, 1], &audio.device());
        let audio = Tensor::cat(vec![audio, silence], 1);
        let [ahead, behind] = [0, 1].map(|side| {
            let half_frames = audio.clone().select(1, self.gather[side].clone()).reshape([clips, self.frames, half]);
            half_frames * self.windows[side].clone()
        });
        let real = self.cosines.left_mul(ahead.clone() + behind.clone());
        let imaginary = self.sines.left_mul(ahead - behind);
        let energies = real.clone() * real + imaginary.clone() * imaginary;
        let energies = match self.power {
            2.0 => energies,
            1.0 => energies.sqrt(),
            power => energies.powf_scalar(power / 2.0),
        };
        // All addends are non-negative: rounding each to eleven bits changes a sum by a hundredth of a decibel at most.
        let image = batched_matmul(energies, self.bank.clone()).swap_dims(1, 2);
        let image = match self.decibels {
            Some(top_db) => decibels(image, top_db),
            None => image,
        };
        match &self.resize {
            Some([to_width, to_height]) => to_height.left_mul(to_width.left_mul(image).swap_dims(1, 2)).swap_dims(1, 2),
            None => image,
        }
    }
}

/// As [`power_to_db`](timbre_signal::dsp::decibel::power_to_db), for each image separately.
fn decibels(image: Tensor<3>, top_db: Option<f32>) -> Tensor<3> {
    let image = image.clamp_min(timbre_signal::dsp::decibel::SMALLEST_POWER).log() * (10.0 / std::f64::consts::LN_10);
    match top_db {
        Some(top_db) => {
            let floor = image.clone().max_dims(&[1, 2]) - top_db;
            let floor = floor.expand(image.dims());
            image.max_pair(floor)
        }
        None => image,
    }
}

/// The right factor of a matrix product.
struct Factor {
    whole: Tensor<3>,
    /// The part that eleven bits represent exactly, and the remainder.
    parts: Option<[Tensor<3>; 2]>,
}

/// The inverse of the step of the coarse part, for values up to one: eleven bits represent its multiples.
const COARSE: f64 = 1024.0;

impl Factor {
    /// A factor with values from -1 to 1.
    fn new(values: &[f64], rows: usize, columns: usize, precision: MatmulPrecision, device: &Device) -> Factor {
        let tensor = |value: &dyn Fn(f64) -> f64| {
            let values = values.iter().map(|&v| value(v) as f32).collect();
            Tensor::<3>::from_data(TensorData::new::<f32, _>(values, [1, rows, columns]), device)
        };
        let coarse = |v: f64| (v * COARSE).round() / COARSE;
        let parts = (precision == MatmulPrecision::Tf32).then(|| [tensor(&coarse), tensor(&|v| v - coarse(v))]);
        Factor { whole: tensor(&|v| v), parts }
    }

    fn multiply_adds(&self, rows: usize) -> u64 {
        let [_, inner, columns] = self.whole.dims();
        (rows * inner * columns) as u64 * if self.parts.is_some() { 3 } else { 1 }
    }

    /// `left` times this factor.
    fn left_mul(&self, left: Tensor<3>) -> Tensor<3> {
        self.left_mul_with(left, batched_matmul)
    }

    fn left_mul_with(&self, left: Tensor<3>, times: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let Some([coarse, fine]) = &self.parts else { return times(left, self.whole.clone()) };
        // Relative to the largest value of the clip; a silent clip stays silent.
        let scale = left.clone().abs().max_dims(&[1, 2]).clamp_min(f32::MIN_POSITIVE);
        let left = left / scale.clone();
        let (left_coarse, left_fine) = split_coarse(left);
        let product = times(left_coarse.clone(), coarse.clone())
            + times(left_fine, coarse.clone())
            + times(left_coarse, fine.clone());
        product * scale
    }
}

/// Splits values from -1 to 1 into the coarse part and the remainder.
fn split_coarse(values: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let coarse = (values.clone() * COARSE).round() / COARSE;
    (coarse.clone(), values - coarse)
}

/// One matrix product for the rows of all clips.
fn batched_matmul(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    let ([clips, rows, inner], [_, _, columns]) = (left.dims(), right.dims());
    left.reshape([1, clips * rows, inner]).matmul(right).reshape([clips, rows, columns])
}

/// `wave(τ n k / N)` for n and k from 0 to N / 2.
fn fourier_matrix(n_fft: usize, wave: fn(f64) -> f64) -> Vec<f64> {
    let half = n_fft / 2 + 1;
    let angle = |turns: usize| std::f64::consts::TAU * (turns % n_fft) as f64 / n_fft as f64;
    (0..half * half).map(|at| wave(angle(at / half * (at % half)))).collect()
}

/// The window over samples 0 to N / 2 of a frame, or over their mirror images. A sample that is its own mirror image counts in
/// the first half.
fn half_window(stft: &StftSpec, mirrored: bool) -> Vec<f32> {
    let window = stft.window.periodic(stft.win_length);
    let lead = (stft.n_fft - stft.win_length) / 2;
    let at = |n: usize| n.checked_sub(lead).and_then(|n| window.get(n)).copied().unwrap_or(0.0) as f32;
    let mirror = |n: usize| (stft.n_fft - n) % stft.n_fft;
    let value = |n: usize| match (mirrored, mirror(n)) {
        (false, _) => at(n),
        (true, same) if same == n => 0.0,
        (true, other) => at(other),
    };
    (0..=stft.n_fft / 2).map(value).collect()
}

/// The sample index of frame t at position n, or at the mirror image of n, for n from 0 to N / 2.
fn sample_indices(stft: &StftSpec, samples: usize, mirrored: bool) -> Vec<i32> {
    let n_fft = stft.n_fft;
    let at = |t: usize, n: usize| {
        let n = if mirrored { (n_fft - n) % n_fft } else { n };
        stft.sample_at(t, n, samples).unwrap_or(samples) as i32
    };
    (0..stft.frames(samples)).flat_map(|t| (0..=n_fft / 2).map(move |n| at(t, n))).collect()
}

fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..columns).flat_map(|c| (0..rows).map(move |r| matrix[r * columns + c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_inputs::features::{ClipAnalysis, FeatureKind};
    use timbre_signal::{
        audio::Clip,
        dsp::{mel::MelNorm, stft::PadMode, window::Window},
    };

    const RATE: u32 = 22050;
    /// The dynamic range below the loudest value of a clip in which f32 is compared, in dB of power. An image usually ends at 80
    /// (`top_db`); with magnitudes (`power = 1`) 80 dB are twice as many dB of power.
    const RESOLVED: f32 = 100.0;

    /// Noise, a loud tone with a faint one, a click, a fading chord, faint noise, and silence.
    fn clips(samples: usize) -> Vec<Vec<f32>> {
        let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let tone = |hz: f32, i: usize| (std::f32::consts::TAU * hz * i as f32 / RATE as f32).sin();
        let voices: [&dyn Fn(usize) -> f32; 6] = [
            &noise,
            &|i| 0.9 * tone(440.0, i) + 1e-4 * tone(5000.0, i),
            &|i| if i == samples / 2 { 1.0 } else { 0.0 },
            &|i| (0.3 * tone(220.0, i) + 0.3 * tone(277.2, i)) * (-9.0 * i as f32 / samples as f32).exp(),
            &|i| 1e-4 * noise(i),
            &|_| 0.0,
        ];
        voices.iter().map(|voice| (0..samples).map(voice).collect()).collect()
    }

    fn on_device(clips: &[Vec<f32>]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(clips.concat(), [clips.len(), clips[0].len()]), &Device::flex())
    }

    /// The largest difference from the feature on the CPU, relative to the 80 dB that an image spans; without decibels, to the
    /// largest value of the image.
    fn difference(spec: &Mel, samples: usize, precision: MatmulPrecision) -> f32 {
        let clips = clips(samples);
        let mel = DeviceMel::new(spec, RATE, samples, &Device::flex(), precision).unwrap();
        let images: Vec<f32> = mel.forward(on_device(&clips)).try_into_vec_as().unwrap();
        let extractor = spec.build(RATE).unwrap();
        let mut worst = 0.0f32;
        for (samples, image) in clips.into_iter().zip(images.chunks_exact(mel.shape()[0] * mel.shape()[1])) {
            let clip = Clip { samples, sample_rate: RATE };
            let expected = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
            assert_eq!([expected.rows, expected.cols], mel.shape());
            let largest = expected.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let depth = RESOLVED * spec.power as f32 / 2.0;
            let (unit, deep) = match spec.db {
                true => (80.0, largest - depth),
                false => (largest.max(f32::MIN_POSITIVE), largest * 10f32.powf(-depth / 10.0)),
            };
            // Lower values stay lower.
            let compared = |(a, b): (&f32, &f32)| (a.max(deep) - b.max(deep)).abs() / unit;
            worst = image.iter().zip(&expected.values).map(compared).fold(worst, f32::max);
        }
        worst
    }

    /// Specs with every key changed from its default, and with some combinations.
    fn specs() -> Vec<Mel> {
        let plain = Mel { n_fft: 512, hop_length: 160, n_mels: 40, ..Mel::default() };
        vec![
            Mel::default(),
            plain.clone(),
            Mel { n_fft: 400, hop_length: 133, n_mels: 23, ..plain.clone() },
            Mel { n_fft: 255, hop_length: 100, win_length: Some(150), n_mels: 16, ..plain.clone() },
            Mel { win_length: Some(401), window: Window::Hamming, ..plain.clone() },
            Mel { window: Window::Boxcar, center: false, ..plain.clone() },
            Mel { window: Window::Blackman, pad_mode: PadMode::Reflect, ..plain.clone() },
            Mel { power: 1.0, ..plain.clone() },
            Mel { power: 0.7, htk: true, ..plain.clone() },
            Mel { db: false, norm: MelNorm::None, ..plain.clone() },
            Mel { db: false, resize: Some([30, 90]), ..plain.clone() },
            Mel { top_db: 0.0, fmin: 100.0, fmax: Some(8000.0), ..plain.clone() },
            Mel { n_mels: 128, resize: Some([256, 156]), ..Mel::default() },
            Mel { resize: Some([16, 20]), top_db: 60.0, ..plain },
        ]
    }

    #[test]
    fn images_of_the_device_agree_with_the_feature_within_a_thousandth_of_their_range() {
        for samples in [9000, 22050] {
            for spec in specs() {
                let off = difference(&spec, samples, MatmulPrecision::F32);
                assert!(off < 1e-3, "{off} of the range with {samples} samples: {spec:?}");
            }
        }
    }

    #[test]
    fn split_products_give_the_same_images() {
        for spec in specs() {
            let off = difference(&spec, 9000, MatmulPrecision::Tf32);
            assert!(off < 1e-3, "{off} of the range: {spec:?}");
        }
    }

    /// Rounds like TF32: ten bits after the leading one, to nearest.
    fn to_eleven_bits(values: Tensor<3>) -> Tensor<3> {
        let (dims, device) = (values.dims(), values.device());
        let values: Vec<f32> = values.try_into_vec_as().unwrap();
        let round = |v: f32| f32::from_bits((v.to_bits() + 0x0fff + ((v.to_bits() >> 13) & 1)) & !0x1fff);
        Tensor::from_data(TensorData::new(values.into_iter().map(round).collect::<Vec<_>>(), dims), &device)
    }

    #[test]
    fn a_split_spectrum_is_accurate_with_factors_rounded_to_eleven_bits_and_a_plain_one_is_not() {
        let n_fft = 2048;
        let half = n_fft / 2 + 1;
        let rounding = |left: Tensor<3>, right: Tensor<3>| batched_matmul(to_eleven_bits(left), to_eleven_bits(right));
        let clip = &clips(half)[1];
        let left = Tensor::<3>::from_data(TensorData::new(clip.clone(), [1, 1, half]), &Device::flex());
        let values = fourier_matrix(n_fft, f64::cos);
        let [plain, parts] = [MatmulPrecision::F32, MatmulPrecision::Tf32]
            .map(|precision| Factor::new(&values, half, half, precision, &Device::flex()));
        let exact: Vec<f64> =
            (0..half).map(|k| (0..half).map(|n| f64::from(clip[n]) * values[n * half + k]).sum()).collect();
        let peak = exact.iter().fold(0.0f64, |peak, v| peak.max(v.abs()));
        let worst = |spectrum: Tensor<3>| {
            let spectrum: Vec<f32> = spectrum.try_into_vec_as().unwrap();
            exact.iter().zip(spectrum).fold(0.0f64, |worst, (a, b)| worst.max((a - f64::from(b)).abs())) / peak
        };
        let (in_parts, rounded) =
            (worst(parts.left_mul_with(left.clone(), rounding)), worst(plain.left_mul_with(left, rounding)));
        assert!(in_parts < 1e-6 && rounded > 1e-5, "in parts {in_parts}, plain {rounded}");
    }

    #[test]
    fn options_that_only_the_cpu_supports_are_refused() {
        let refused = |spec: Mel, samples| {
            DeviceMel::new(&spec, RATE, samples, &Device::flex(), MatmulPrecision::F32)
                .err()
                .expect("it is refused")
                .to_string()
        };
        let summed = Mel { summary: vec![timbre_inputs::features::framewise::Statistic::Mean], ..Mel::default() };
        assert!(refused(summed, 9000).contains("`summary`"));
        assert!(refused(Mel { n_fft: 1 << 15, ..Mel::default() }, 90_000).contains("n_fft"));
        assert!(refused(Mel { center: false, ..Mel::default() }, 2047).contains("2047 samples"));
        assert!(refused(Mel { fmax: Some(20_000.0), ..Mel::default() }, 9000).contains("fmax"));
    }

    #[test]
    fn multiply_adds_count_all_products() {
        let count = |spec: &Mel, precision| {
            DeviceMel::new(spec, RATE, 66_150, &Device::flex(), precision).unwrap().multiply_adds()
        };
        let plain = Mel::default();
        let (spectrum, bank) = (2 * 130 * 1025 * 1025, 130 * 1025 * 128);
        assert_eq!(count(&plain, MatmulPrecision::F32), spectrum + bank);
        assert_eq!(count(&plain, MatmulPrecision::Tf32), 3 * spectrum + bank);
        let resized = Mel { resize: Some([256, 156]), ..plain };
        assert_eq!(count(&resized, MatmulPrecision::F32), spectrum + bank + 128 * 130 * 156 + 156 * 128 * 256);
    }
}
