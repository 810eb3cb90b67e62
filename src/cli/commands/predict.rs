//! `timbre predict`: classify recordings with a saved model; results come in the order of the arguments.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Result, ensure};

use super::predict_inputs::{Input, Source, inputs_at, inputs_of, names_in, plots_at};
use super::{ExitStatus, print_data};
use crate::cli::args::{GlobalArgs, OutputFormat, PredictOutputArgs, WindowArgs};
use crate::inference::output_formats::{self, PredictedRecording};
use crate::inference::{BatchStats, PendingPrediction, PredictionCallback, Predictor, Timings};
use timbre_core::{
    error::UserError,
    files,
    progress::{Printer, duration, eprint_line},
    text::{count, one_line},
};
use timbre_evaluation::timeline::{self, Hysteresis};
use timbre_inputs::features::extraction::RecordingError;
use timbre_inputs::remote::Url;
use timbre_reports::plot::spectrogram_image::SpectrogramImage;
use timbre_reports::plot::timeline_plot::{self, ClassStrip, Timeline};
use timbre_reports::plot::{self, ImageFormat};
use timbre_signal::{audio::RecordingSource, windows::WindowSpec};

/// Maximum number of classes in a plot.
const MAX_STRIPS: usize = 24;
/// Number of classes in a plot if none is present.
const DEFAULT_STRIPS: usize = 3;

pub fn predict(
    common: &GlobalArgs,
    predictor: Predictor,
    files: &[PathBuf],
    window_args: &WindowArgs,
    output: &PredictOutputArgs,
) -> Result<ExitStatus> {
    let predictor = with_requested_windows(predictor, window_args)?;
    // The batches are computed on a thread of their own: one too many for `--jobs 1`.
    let predictor = if rayon::current_num_threads() > 1 { predictor.with_micro_batching()? } else { predictor };
    let data = &predictor.run_scores().data;
    let printer = Printer::new(common.quiet);
    printer.message(&format!("model: {}, trained on {data}", predictor.name()));
    if !predictor.has_training_distance() {
        printer.message(
            "note: recordings unlike all training recordings get no warning, which takes 20 validation recordings",
        );
    }
    let stdin = Path::new("-");
    ensure!(
        files.iter().filter(|file| *file == stdin).count() < 2,
        UserError::usage("`-` (stdin) can be given only once".to_owned())
    );
    let mut passed_over = Vec::new();
    let mut inputs = Vec::new();
    for file in files {
        inputs.extend(match file.to_str().and_then(Url::parse) {
            Some(url) => inputs_at(&url.map_err(UserError::usage)?, common, &mut passed_over)?,
            None => inputs_of(file, &mut passed_over),
        });
    }
    if !passed_over.is_empty() {
        let names: Vec<String> = passed_over.iter().map(|path| one_line(path)).collect();
        let files = count(names.len(), "audio file");
        eprint_line(&format!("{files} passed over, in formats that are not read: {}", names.join(", ")));
    }
    let job = Job::new(&predictor, rule(&predictor, window_args)?, output, &inputs)?;
    if output.out.is_none() {
        print_data(&job.head())?;
    }
    // Results on a terminal show the progress themselves.
    let is_seen = output.out.is_none() && job.output != OutputFormat::Json && std::io::stdout().is_terminal();
    let printer = if is_seen { Printer::Quiet } else { Printer::new(common.quiet) };
    let progress = printer.start("recordings", inputs.len());
    let (mut prediction, mut unusable) = (Vec::new(), Vec::new());
    job.each(&inputs, |n, result| {
        progress.step();
        if let Ok(one) = &result {
            job.unstated(one).iter().for_each(|line| eprint_line(line));
        }
        match result {
            Ok(one) if output.out.is_some() => {
                let path = &job.outs[n];
                let text = job.head() + &job.body(&one) + &job.tail(&[one], &[], &[]);
                files::write_bytes(path, text.as_bytes())?;
            }
            Ok(one) => {
                if !print_data(&job.body(&one))? {
                    return Ok(ControlFlow::Break(()));
                }
                // All other formats are already printed.
                if job.output == OutputFormat::Json {
                    prediction.push(one);
                }
            }
            Err(why) => {
                let path = inputs[n].path.display().to_string();
                eprint_line(&format!("{}: {}", one_line(&path), why.sentence));
                unusable.push((path, why));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    progress.finish();
    if output.out.is_none() {
        print_data(&job.tail(&prediction, &unusable, &passed_over))?;
    }
    let BatchStats { windows, requests, batches } = predictor.batch_stats();
    tracing::info!("{windows} windows in {requests} requests and {batches} batches");
    Ok(match (unusable.len(), inputs.len()) {
        (0, 1..) => ExitStatus::Done,
        (bad, all) if bad < all => ExitStatus::TooManyUnusable,
        _ => ExitStatus::NothingSelected,
    })
}

/// Sets the windows of the model. By default all of a recording is used: a model that was evaluated on clips predicts windows.
fn with_requested_windows(predictor: Predictor, window_args: &WindowArgs) -> Result<Predictor> {
    let WindowArgs { windows, clip, window, hop, .. } = *window_args;
    let is_requested = windows || window.is_some() || hop.is_some();
    if clip && predictor.window().is_some() {
        let sentence = "--clip: this model was evaluated on windows of whole recordings and has no clip";
        return Err(UserError::usage(sentence.to_owned()).into());
    }
    if clip || !is_requested && predictor.clip_seconds().is_none() {
        return Ok(predictor);
    }
    let before = predictor.window_or_default();
    let spec = WindowSpec { seconds: window.unwrap_or(before.seconds), hop: hop.unwrap_or(before.hop), ..before };
    predictor.with_windows(spec).map_err(|error| UserError::usage(format!("{error:#}")).into())
}

fn rule(predictor: &Predictor, window_args: &WindowArgs) -> Result<Hysteresis> {
    let WindowArgs { on, off, bridge, shortest, .. } = *window_args;
    let cutoffs = predictor.cutoffs();
    let n_classes = cutoffs.len();
    let mut rule = Hysteresis::from_thresholds(on.map_or(cutoffs, |on| vec![on; n_classes]));
    if let Some(off) = off {
        rule.off = vec![off; n_classes];
    }
    (rule.bridge, rule.shortest) = (bridge, shortest);
    let shares = [("--on", on), ("--off", off)];
    for (name, share) in shares.into_iter().filter_map(|(name, share)| Some((name, share?))) {
        ensure!(
            (0.0..=1.0).contains(&share),
            UserError::usage(format!("{name} is {share}: expected a probability from 0 to 1"))
        );
    }
    if let Some((on, off)) = rule.on.iter().zip(&rule.off).find(|(on, off)| off > on) {
        let sentence = format!("--off ({off}) must not be higher than --on ({on})");
        return Err(UserError::usage(sentence).into());
    }
    for (name, seconds) in [("--bridge", bridge), ("--shortest", shortest)] {
        ensure!(seconds >= 0.0, UserError::usage(format!("{name} is {seconds}: expected 0 or more seconds")));
    }
    Ok(rule)
}

/// How recordings are classified, and where the results go.
struct Job<'a> {
    predictor: &'a Predictor,
    rule: Hysteresis,
    output: OutputFormat,
    /// The output file of each recording; empty if results are printed.
    outs: Vec<PathBuf>,
    /// The plot file of each recording; empty without `--plot`.
    plots: Vec<PathBuf>,
    drawn: ImageFormat,
}

impl<'a> Job<'a> {
    fn new(
        predictor: &'a Predictor,
        rule: Hysteresis,
        output: &PredictOutputArgs,
        inputs: &[Input],
    ) -> Result<Job<'a>> {
        let which = match output {
            PredictOutputArgs { json: true, .. } => OutputFormat::Json,
            PredictOutputArgs { csv: true, .. } => OutputFormat::Csv,
            other => other.format,
        };
        let about_time = matches!(
            which,
            OutputFormat::Windows | OutputFormat::Segments | OutputFormat::Audacity | OutputFormat::Jams
        );
        if predictor.window().is_none() && (about_time || output.plot.is_some()) {
            let sentence = match predictor.clip_seconds() {
                Some(_) => "--clip classifies one clip of a recording: leave it out for results over time",
                None => {
                    "this model was evaluated on whole recordings and classifies them as one: add --windows for results over time"
                }
            };
            return Err(UserError::usage(sentence.to_owned()).into());
        }
        let one_file = matches!(which, OutputFormat::Audacity | OutputFormat::Jams);
        if one_file && output.out.is_none() && inputs.len() > 1 {
            let sentence = format!(
                "{} recordings do not fit into one file of this format: pass a folder with --out",
                inputs.len()
            );
            return Err(UserError::usage(sentence).into());
        }
        let (mut outs, mut plots) = (Vec::new(), Vec::new());
        if let Some(folder) = &output.out {
            let ending = match which {
                OutputFormat::Text | OutputFormat::Audacity => "txt",
                OutputFormat::Json => "json",
                OutputFormat::Csv | OutputFormat::Windows | OutputFormat::Segments => "csv",
                OutputFormat::Jams => "jams",
            };
            outs = names_in(folder, ending, inputs)?;
        }
        let mut drawn = ImageFormat::Svg;
        if let Some(to) = &output.plot {
            (plots, drawn) = plots_at(to, output.png, inputs)?;
        }
        Ok(Job { predictor, rule, output: which, outs, plots, drawn })
    }

    fn head(&self) -> String {
        match self.output {
            OutputFormat::Csv => output_formats::csv_head(self.predictor),
            OutputFormat::Windows => output_formats::windows_head(self.predictor),
            OutputFormat::Segments => output_formats::SEGMENTS_HEAD.to_owned(),
            OutputFormat::Text | OutputFormat::Json | OutputFormat::Audacity | OutputFormat::Jams => String::new(),
        }
    }

    fn body(&self, prediction: &PredictedRecording) -> String {
        match self.output {
            OutputFormat::Text => output_formats::text(self.predictor, prediction),
            OutputFormat::Csv => output_formats::csv(prediction),
            OutputFormat::Windows => output_formats::windows(prediction),
            OutputFormat::Segments => output_formats::segments(self.predictor, prediction),
            OutputFormat::Audacity => output_formats::audacity(self.predictor, prediction),
            OutputFormat::Jams => output_formats::jams(self.predictor, prediction),
            OutputFormat::Json => String::new(),
        }
    }

    /// Lines about the part of a recording that is there and was used, if it is not all of it, and about what speaks against the prediction, if the
    /// format has no place for them.
    fn unstated(&self, prediction: &PredictedRecording) -> Vec<String> {
        let is_of_times =
            matches!(self.output, OutputFormat::Windows | OutputFormat::Segments | OutputFormat::Audacity);
        let has_no_doubt = is_of_times || self.output == OutputFormat::Jams;
        let used = output_formats::part_text(&prediction.prediction).filter(|_| is_of_times);
        let doubt = output_formats::doubt(self.predictor, prediction).filter(|_| has_no_doubt);
        used.into_iter().chain(doubt).map(|text| format!("{}: {text}", one_line(&prediction.path))).collect()
    }

    fn tail(
        &self,
        prediction: &[PredictedRecording],
        unusable: &[(String, RecordingError)],
        passed_over: &[String],
    ) -> String {
        match self.output {
            OutputFormat::Json => output_formats::json(self.predictor, &self.rule, prediction, unusable, passed_over),
            _ => String::new(),
        }
    }

    /// Classifies the recordings and passes the results to `take` in order, until `take` fails or breaks: then no other recording is
    /// started. As many threads as the pool has decode recordings and compute features. They are not the pool's, because they wait
    /// for work that the pool does. They go on to the next recording while the model works, so that recordings share its batches.
    fn each(
        &self,
        inputs: &[Input],
        mut take: impl FnMut(usize, Result<PredictedRecording<'a>, RecordingError>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (give, result) = mpsc::channel();
            for _ in 0..rayon::current_num_threads().min(inputs.len()) {
                let (give, next, is_over) = (give.clone(), &next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed)
                        && let Some((n, input)) = take_next(next, inputs)
                    {
                        let started = self.start(n, input);
                        // Plots take longer than this thread's wait for the model.
                        let started = if self.plots.is_empty() {
                            started
                        } else {
                            Started::Ended(self.finish(n, input, started))
                        };
                        if give.send((n, started)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(give);
            // Recordings that are started before their turn.
            let mut early: Vec<Option<Started>> = inputs.iter().map(|_| None).collect();
            let mut turn = 0;
            for (n, one) in result {
                early[n] = Some(one);
                while let Some(one) = early.get_mut(turn).and_then(Option::take) {
                    let taken = self.finish(turn, &inputs[turn], one).and_then(|one| take(turn, one));
                    if !matches!(taken, Ok(ControlFlow::Continue(()))) {
                        is_over.store(true, Ordering::Relaxed);
                        return taken.map(drop);
                    }
                    turn += 1;
                }
            }
            Ok(())
        })
    }

    fn start(&self, n: usize, input: &Input) -> Started<'a> {
        let mut picture =
            self.plots.get(n).map(|_| PictureBuilder(SpectrogramImage::new(self.predictor.sample_rate())));
        let callback = picture.as_mut().map(|picture| picture as &mut dyn PredictionCallback);
        let pending = match &input.source {
            // A pipe that the user names is read; one in a folder could wait for ever.
            Source::File if input.below.is_some() => {
                self.predictor.start_recording(RecordingSource::RegularFile(&input.file), callback)
            }
            Source::File => self.predictor.start_recording(RecordingSource::File(&input.file), callback),
            Source::Stdin => self.predictor.start_recording(RecordingSource::Pipe(&mut std::io::stdin()), callback),
            Source::Nothing(why) => Err(why.clone()),
        };
        match pending {
            Ok(pending) => Started::Pending(pending, picture),
            Err(why) => Started::Ended(Ok(Err(why))),
        }
    }

    fn finish(
        &self,
        n: usize,
        input: &Input,
        started: Started<'a>,
    ) -> Result<Result<PredictedRecording<'a>, RecordingError>> {
        let (pending, picture) = match started {
            Started::Ended(result) => return result,
            Started::Pending(pending, picture) => (pending, picture),
        };
        let result = match pending.finish() {
            Ok(result) => result,
            Err(why) => return Ok(Err(why)),
        };
        let path = input.path.display().to_string();
        let Timings { decode, features, model } = result.timings;
        let [decode, features, model] = [decode, features, model].map(duration);
        tracing::info!("{path}: decoding {decode}, features {features}, model {model}");
        let prediction = PredictedRecording::new(path, result, self.predictor, &self.rule);
        if let Some((PictureBuilder(mut picture), file)) = picture.zip(self.plots.get(n)) {
            files::write_bytes(file, &plot::bytes(&self.drawing(&prediction, &mut picture), self.drawn)?)?;
        }
        Ok(Ok(prediction))
    }

    fn drawing(&self, prediction: &PredictedRecording, picture: &mut SpectrogramImage) -> String {
        let (Some(windows), Some(spec)) = (&prediction.prediction.windows, self.predictor.window()) else {
            return String::new();
        };
        let classes = self.predictor.classes();
        let is_present = |name: &str| {
            prediction.decided.contains(&name)
                || prediction.segments.iter().any(|segment| classes.name(segment.class) == name)
        };
        let ranked = prediction.prediction.ranked(classes);
        let mut shown: Vec<(&str, f32)> = ranked.iter().copied().filter(|(name, _)| is_present(name)).collect();
        if shown.is_empty() {
            shown = ranked.into_iter().take(DEFAULT_STRIPS).collect();
        }
        let strip = |(name, score): (&'a str, f32)| {
            let class = classes.index(name).expect("a class of the model");
            let probabilities = windows.rows_of(0).map(|row| row[class]).collect();
            ClassStrip { class, name, score, probabilities, on: self.rule.on[class] }
        };
        let borders = timeline::window_boundaries(&windows.starts, spec.seconds, prediction.prediction.seconds);
        let timeline = Timeline {
            title: &prediction.path,
            model: &self.predictor.name().to_string(),
            seconds: prediction.prediction.seconds,
            borders: &borders,
            strips: shown.into_iter().take(MAX_STRIPS).map(strip).collect(),
            segments: &prediction.segments,
        };
        timeline_plot::timeline(&timeline, picture)
    }
}

fn take_next<'s>(next: &AtomicUsize, inputs: &'s [Input]) -> Option<(usize, &'s Input)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    Some((n, inputs.get(n)?))
}

/// A recording whose features are computed, with the picture of its plot, or its result.
enum Started<'a> {
    Pending(PendingPrediction<'a>, Option<PictureBuilder>),
    Ended(Result<Result<PredictedRecording<'a>, RecordingError>>),
}

struct PictureBuilder(SpectrogramImage);

impl PredictionCallback for PictureBuilder {
    fn on_samples(&mut self, samples: &[f32]) {
        self.0.add(samples);
    }
}
