// Saves results as files.

const field = (text) => (/[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
const table = (rows) => rows.map((row) => row.map(field).join(",") + "\r\n").join("");

/// The response of the server, with the decisions of the sliders.
export const json = (name, answer, decision, overrides) =>
  JSON.stringify({ recording: name, ...answer, decision: { ...overrides, instruments: decision.instruments, segments: decision.segments } }, null, 2) + "\n";

/// One line per class.
export const csv = (name, decision) =>
  table([
    ["recording", "code", "name", "confidence", "cutoff", "decided"],
    ...decision.instruments.map((one) => [name, one.code, one.name, one.confidence, one.cutoff, one.decided]),
  ]);

/// One line per window, one column per class.
export const windows = (name, { window, codes, starts, probabilities }) =>
  table([["recording", "start", "end", ...codes], ...starts.map((start, w) => [name, start, start + window, ...probabilities[w]])]);

export const save = (name, kind, text) => {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
  // The browser reads the blob after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
};
