// Trains models on the demo set once and keeps them: `experiments/cnn_quick.toml` takes half a minute.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { kept, repository, run } from "./browser.mjs";

/// `runs` is the folder of runs, `model` the name for `timbre serve` and `predict`, `clips(code)` the training clips of an
/// instrument, sorted by name.
export const trained = (experiment = "cnn_quick") => {
  const written = [`experiments/${experiment}.toml`, "data/demo.toml"].map((path) => readFileSync(join(repository, path)));
  const name = createHash("sha256").update(Buffer.concat(written)).digest("hex").slice(0, 12);
  const [runs, cache] = [join(kept, `runs-${name}`), join(kept, "cache")];
  const places = ["--runs", runs, "--cache", cache];
  if (!existsSync(join(runs, experiment, "latest", "results.csv"))) run(["run", experiment, "--quiet", ...places]);
  const demo = readdirSync(cache).find((folder) => folder.startsWith("demo-") && existsSync(join(cache, folder, "IRMAS-TrainingData")));
  const clips = (code) => {
    const folder = join(cache, demo, "IRMAS-TrainingData", code);
    return readdirSync(folder).sort().map((file) => join(folder, file));
  };
  const longRecordings = () => {
    const folder = join(cache, demo, "IRMAS-TestingData-Part1", "Part1");
    return readdirSync(folder).filter((file) => file.endsWith(".wav")).sort().map((file) => join(folder, file));
  };
  return { runs, model: `${experiment}/latest`, places, clips, longRecordings };
};

/// The objects `files` of `timbre predict --json`.
export const predicted = ({ model, runs }, recordings, args = []) => JSON.parse(run(["predict", model, ...recordings, "--runs", runs, "--json", ...args])).files;

/// The correct prediction with the highest confidence among the first clips of each instrument, because a microphone and a lossy
/// codec change the input a little.
export const surest = (model) => {
  const codes = ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"];
  const clips = codes.flatMap((code) => model.clips(code).slice(0, 3).map((path) => ({ code, path })));
  const predictions = predicted(model, clips.map(({ path }) => path)).map(({ classes }, i) => ({ ...clips[i], first: classes[0] }));
  return predictions.filter(({ code, first }) => code === first.code).sort((a, b) => b.first.probability - a.first.probability)[0];
};
