// What was heard, as files.

const field = (text) => (/[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
const table = (rows) => rows.map((row) => row.map(field).join(",") + "\r\n").join("");

/// The answer as the server gave it, and what the sliders made of it.
export const json = (name, answer, decision, wish) =>
  JSON.stringify({ recording: name, ...answer, decision: { ...wish, instruments: decision.instruments, segments: decision.segments } }, null, 2) + "\n";

/// A line an instrument.
export const csv = (name, decision) =>
  table([
    ["recording", "code", "name", "confidence", "cutoff", "decided"],
    ...decision.instruments.map((one) => [name, one.code, one.name, one.confidence, one.cutoff, one.decided]),
  ]);

/// A line a window, a column an instrument.
export const windows = (name, { window, codes, starts, probabilities }) =>
  table([["recording", "start", "end", ...codes], ...starts.map((start, w) => [name, start, start + window, ...probabilities[w]])]);

export const save = (name, kind, text) => {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
};
