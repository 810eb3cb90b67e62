// The spectrogram of a recording, computed in the browser: decoded by WebAudio, STFT, mel bands, decibels.

const RATE = 22050;
const SIZE = 2048;
const BANDS = 112;
const [LOWEST, HIGHEST] = [40, 10000];
/// Dynamic range in decibels below the loudest band.
const RANGE = 75;

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const hertz = (m) => 700 * (10 ** (m / 2595) - 1);
/// Vertical position of a frequency, from 0 to 1.
export const height = (hz) => (mel(hz) - mel(LOWEST)) / (mel(HIGHEST) - mel(LOWEST));

/// The samples of a recording in mono; null if the browser cannot decode it.
export const samplesOf = async (blob) => {
  try {
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());
    const mono = decoded.getChannelData(0).slice();
    for (let c = 1; c < decoded.numberOfChannels; c++) decoded.getChannelData(c).forEach((x, i) => (mono[i] += x));
    return mono;
  } catch {
    return null;
  }
};

/// Iterative radix-2 FFT, in place.
const transform = (real, imaginary, turns) => {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j]] = [real[j], real[i]];
  }
  for (let length = 2; length <= n; length <<= 1) {
    const [half, step] = [length >> 1, n / length];
    for (let from = 0; from < n; from += length) {
      for (let k = 0; k < half; k++) {
        const [c, s] = [turns.cos[k * step], turns.sin[k * step]];
        const [a, b] = [from + k, from + k + half];
        const r = real[b] * c + imaginary[b] * s;
        const i = imaginary[b] * c - real[b] * s;
        real[b] = real[a] - r;
        imaginary[b] = imaginary[a] - i;
        real[a] += r;
        imaginary[a] += i;
      }
    }
  }
};

/// `columns` by BANDS loudnesses from 0 (silent) to 1 (the loudest of the recording), lowest band first.
export const analyse = async (samples, columns, isWanted = () => true) => {
  const turns = { cos: new Float32Array(SIZE / 2), sin: new Float32Array(SIZE / 2) };
  turns.cos.forEach((_, k) => ((turns.cos[k] = Math.cos((2 * Math.PI * k) / SIZE)), (turns.sin[k] = Math.sin((2 * Math.PI * k) / SIZE))));
  const hann = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  const step = (mel(HIGHEST) - mel(LOWEST)) / BANDS;
  const bin = (b) => (hertz(mel(LOWEST) + b * step) * SIZE) / RATE;
  const power = new Float32Array(columns * BANDS);
  const [real, imaginary] = [new Float32Array(SIZE), new Float32Array(SIZE)];
  let rested = performance.now();
  for (let column = 0; column < columns; column++) {
    const middle = Math.round(((column + 0.5) / columns) * samples.length);
    for (let i = 0; i < SIZE; i++) real[i] = (samples[middle - SIZE / 2 + i] ?? 0) * hann[i];
    imaginary.fill(0);
    transform(real, imaginary, turns);
    for (let band = 0; band < BANDS; band++) {
      const [from, to] = [bin(band), bin(band + 1)];
      let most = 0;
      // Low bands are narrower than a bin: interpolate between bins.
      for (let k = Math.floor(from); k <= Math.ceil(to); k++) {
        const near = k < from ? 1 - (from - k) : k > to ? 1 - (k - to) : 1;
        most = Math.max(most, near * (real[k] ** 2 + imaginary[k] ** 2));
      }
      power[column * BANDS + band] = most;
    }
    if (performance.now() - rested > 12) {
      await new Promise((go) => setTimeout(go));
      if (!isWanted()) return null;
      rested = performance.now();
    }
  }
  const loudest = power.reduce((most, p) => Math.max(most, p), 1e-20);
  return { columns, bands: BANDS, loudness: power.map((p) => Math.max(0, 1 + (10 * Math.log10(p / loudest + 1e-20)) / RANGE)) };
};

/// Colours from silent to loud.
const scales = {
  dark: [[24, 28, 34], [26, 49, 66], [31, 98, 112], [83, 163, 158], [205, 214, 160], [255, 241, 205]],
  light: [[244, 241, 234], [214, 226, 222], [146, 193, 192], [62, 137, 146], [28, 82, 98], [18, 36, 52]],
};

export const paint = (canvas, { columns, bands, loudness }, theme) => {
  const scale = scales[theme];
  const table = Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (scale.length - 1);
    const [low, part] = [Math.min(Math.floor(at), scale.length - 2), at - Math.min(Math.floor(at), scale.length - 2)];
    return scale[low].map((x, c) => x + part * (scale[low + 1][c] - x));
  });
  [canvas.width, canvas.height] = [columns, bands];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, bands);
  for (let x = 0; x < columns; x++) {
    for (let y = 0; y < bands; y++) {
      const colour = table[Math.round(255 * loudness[x * bands + bands - 1 - y])];
      image.data.set([...colour, 255], 4 * (y * columns + x));
    }
  }
  context.putImageData(image, 0, 0);
};
