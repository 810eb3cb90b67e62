// The spectrogram of a recording, computed in the browser: decoded by WebAudio, STFT, mel bands, decibels.

import { decoded } from "./wav.js";

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

/// Longest recording that is decoded as a whole, in seconds: more would exhaust the memory of a phone.
const MAX_WHOLE = 1200;
/// Columns of a picture; of a long recording one short piece is decoded for each.
const [MOST, MOST_PIECES] = [1400, 480];

/// The samples of a recording in mono; null if the browser cannot decode it.
const samplesOf = async (blob) => {
  const sound = await decoded(blob, RATE);
  if (!sound) return null;
  const mono = sound.getChannelData(0).slice();
  for (let c = 1; c < sound.numberOfChannels; c++) sound.getChannelData(c).forEach((x, i) => (mono[i] += x));
  return mono;
};

/// The SIZE samples around `middle`.
const around = (samples, middle) => Float32Array.from({ length: SIZE }, (_, i) => samples[middle - SIZE / 2 + i] ?? 0);

/// Where a spectrogram gets its samples: `at(share)` are those around that share of the recording. `most` is the largest number of
/// columns. `state` is `ready`, `coarse` (in pieces), `long` (too long to be decoded, and not of a kind that can be cut) or
/// `undecodable`.
export const framesOf = async (blob, seconds) => {
  if (seconds <= MAX_WHOLE) {
    const samples = await samplesOf(blob);
    return samples ? { state: "ready", most: MOST, at: (share) => around(samples, Math.round(share * samples.length)) } : { state: "undecodable" };
  }
  const pieces = (await piecesOfWav(blob)) ?? (await piecesOfMp3(blob, seconds));
  if (!pieces || !(await samplesOf(pieces(0.5)))) return { state: "long" };
  const at = async (share) => {
    const samples = await samplesOf(pieces(share));
    return around(samples ?? [], Math.round((samples?.length ?? 0) / 2));
  };
  return { state: "coarse", most: MOST_PIECES, at };
};

/// A piece of a WAV file around a share of it, as a WAV file; null if the file is of another kind.
const piecesOfWav = async (blob) => {
  const head = new DataView(await blob.slice(0, 4096).arrayBuffer());
  const text = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => head.getUint8(at + i)));
  if (head.byteLength < 44 || text(0) !== "RIFF" || text(8) !== "WAVE") return null;
  let block = 0;
  let rate = 0;
  for (let at = 12; at + 8 <= head.byteLength; at += 8 + head.getUint32(at + 4, true) + (head.getUint32(at + 4, true) % 2)) {
    if (text(at) === "fmt " && at + 24 <= head.byteLength) [rate, block] = [head.getUint32(at + 12, true), head.getUint16(at + 20, true)];
    if (text(at) !== "data" || !block) continue;
    const [begin, length] = [at + 8, Math.min(head.getUint32(at + 4, true), blob.size - at - 8)];
    const size = Math.ceil((2 * SIZE * rate) / RATE) * block;
    return (share) => {
      const from = Math.max(0, Math.min(length - size, share * length - size / 2));
      const start = begin + Math.floor(from / block) * block;
      const header = head.buffer.slice(0, begin);
      new DataView(header).setUint32(4, begin - 8 + size, true);
      new DataView(header).setUint32(at + 4, size, true);
      return new Blob([header, blob.slice(start, start + size)]);
    };
  }
  return null;
};

/// A piece of an MP3 file around a share of it: any piece of some frames can be decoded. With a variable bit rate the times are
/// approximate. Null if the file is of another kind.
const piecesOfMp3 = async (blob, seconds) => {
  const head = new Uint8Array(await blob.slice(0, 10).arrayBuffer());
  const hasTag = head[0] === 0x49 && head[1] === 0x44 && head[2] === 0x33;
  const begin = hasTag ? 10 + head.slice(6, 10).reduce((size, byte) => size * 128 + byte, 0) : 0;
  const [first, second] = new Uint8Array(await blob.slice(begin, begin + 2).arrayBuffer());
  if (first !== 0xff || (second & 0xe6) !== 0xe2) return null;
  // Half a second: the first frames need bits of frames before them.
  const size = Math.ceil((0.5 * (blob.size - begin)) / seconds);
  return (share) => {
    const start = Math.floor(begin + Math.max(0, share * (blob.size - begin) - size / 2));
    return blob.slice(start, start + size);
  };
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

/// `columns` by BANDS loudnesses from 0 (silent) to 1 (the loudest of the recording), lowest band first. `at` is that of `framesOf`.
export const analyse = async (at, columns, isWanted = () => true) => {
  const turns = { cos: new Float32Array(SIZE / 2), sin: new Float32Array(SIZE / 2) };
  turns.cos.forEach((_, k) => ((turns.cos[k] = Math.cos((2 * Math.PI * k) / SIZE)), (turns.sin[k] = Math.sin((2 * Math.PI * k) / SIZE))));
  const hann = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  const step = (mel(HIGHEST) - mel(LOWEST)) / BANDS;
  const bin = (b) => (hertz(mel(LOWEST) + b * step) * SIZE) / RATE;
  const power = new Float32Array(columns * BANDS);
  const [real, imaginary] = [new Float32Array(SIZE), new Float32Array(SIZE)];
  let rested = performance.now();
  for (let column = 0; column < columns; column++) {
    const samples = await at((column + 0.5) / columns);
    if (!isWanted()) return null;
    for (let i = 0; i < SIZE; i++) real[i] = samples[i] * hann[i];
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
