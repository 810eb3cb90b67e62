// Encodes a recording as WAV: 16 bit PCM, from the samples that the browser decodes.

/// Sample rate of the microphone in browsers.
const RATE = 48000;
const HEADER = 44;

/// The recording as decoded by the browser; null if it cannot.
export const decoded = async (blob, rate = RATE) => {
  try {
    return await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null;
  }
};

/// The recording as a WAV file; null if the browser cannot decode it.
export const wav = async (blob) => {
  const sound = await decoded(blob);
  return sound && encode(sound);
};

/// The seconds from `start` to `end` of decoded sound as a WAV file.
export const encode = (sound, start = 0, end = sound.duration) => {
  const { sampleRate: rate } = sound;
  const [from, to] = [start, end].map((time) => Math.min(sound.length, Math.round(time * rate)));
  const channels = Array.from({ length: sound.numberOfChannels }, (_, c) => sound.getChannelData(c));
  const block = 2 * channels.length;
  const bytes = block * (to - from);
  const view = new DataView(new ArrayBuffer(HEADER + bytes));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * block, true);
  view.setUint16(32, block, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  let at = HEADER;
  for (let i = from; i < to; i++) {
    for (const channel of channels) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, channel[i])) * 32767), true);
      at += 2;
    }
  }
  return view.buffer;
};
