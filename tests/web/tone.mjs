// Writes WAV files with a sine.

import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const RATE = 8000;

/// A file of some seconds, mono, 16 bit; `hertz(i)` is the frequency at sample i.
export const toneFile = (seconds, hertz = () => 440, name = `timbre-tone-${seconds}.wav`) => {
  let phase = 0;
  const samples = Int16Array.from({ length: seconds * RATE }, (_, i) => 8000 * Math.sin((phase += (2 * Math.PI * hertz(i)) / RATE)));
  const header = Buffer.alloc(44);
  header.write("RIFF", 0);
  header.writeUInt32LE(36 + samples.byteLength, 4);
  header.write("WAVEfmt ", 8);
  const fields = [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, RATE, 4], [28, 2 * RATE, 4], [32, 2, 2], [34, 16, 2]];
  for (const [at, value, bytes] of fields) header.writeUIntLE(value, at, bytes);
  header.write("data", 36);
  header.writeUInt32LE(samples.byteLength, 40);
  const path = join(tmpdir(), name);
  writeFileSync(path, Buffer.concat([header, Buffer.from(samples.buffer)]));
  return path;
};
