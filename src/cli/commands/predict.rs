//! `timbre predict`: what a saved model says of recordings, one after the other in the order they were named.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::{ExitStatus, print, print_on};
use crate::cli::args::{GlobalArgs, OutputFormat, PredictOutputArgs, WindowArgs};
use crate::inference::output_formats::{self, PredictedRecording};
use crate::inference::{PredictionCallback, Predictor, RecordingSource, Timings};
use timbre_core::error::UserError;
use timbre_core::files;
use timbre_core::progress::{Printer, eprint_line};
use timbre_evaluation::timeline::{self, Hysteresis};
use timbre_inputs::data::walk;
use timbre_inputs::features::extraction::RecordingError;
use timbre_reports::plot::spectrogram_image::SpectrogramImage;
use timbre_reports::plot::timeline_plot::{self, ClassStrip, Timeline};
use timbre_reports::plot::{self, ImageFormat};
use timbre_signal::audio::AUDIO_EXTENSIONS;
use timbre_signal::windows::WindowSpec;

/// Classes that a plot shows.
const MOST_STRIPS: usize = 24;
/// Classes that a plot shows where none was heard.
const FEW_STRIPS: usize = 3;

/// What was asked for: a recording, or why there is none.
struct Asked {
    path: PathBuf,
    /// The folder that was named, of a recording that was found below it.
    below: Option<PathBuf>,
    source: Source,
}

enum Source {
    File,
    Stdin,
    Nothing(RecordingError),
}

pub fn predict(
    common: &GlobalArgs,
    predictor: Predictor,
    files: &[PathBuf],
    listening: &WindowArgs,
    form: &PredictOutputArgs,
) -> Result<ExitStatus> {
    let predictor = listening_as_told(predictor, listening)?;
    Printer::new(common.quiet).message(&format!("heard by {}", predictor.name()));
    let stdin = Path::new("-");
    ensure!(
        files.iter().filter(|file| *file == stdin).count() < 2,
        UserError::usage("`-` (stdin) can be read only once: name it once".to_owned())
    );
    let asked: Vec<Asked> = files.iter().flat_map(|file| below(file)).collect();
    let job = Job::new(&predictor, rule(&predictor, listening)?, form, &asked)?;
    if form.out.is_none() {
        print(&job.head())?;
    }
    let (mut told, mut unusable) = (Vec::new(), Vec::new());
    job.each(&asked, |n, heard| {
        match heard {
            Ok(one) if form.out.is_some() => {
                let path = &job.outs[n];
                let text = job.head() + &job.body(&one) + &job.tail(&[one], &[]);
                files::write_bytes(path, text.as_bytes())?;
            }
            Ok(one) => {
                if !print_on(&job.body(&one))? {
                    return Ok(ControlFlow::Break(()));
                }
                // The others are printed already.
                if job.form == OutputFormat::Json {
                    told.push(one);
                }
            }
            Err(why) => {
                let path = asked[n].path.display().to_string();
                eprint_line(&format!("{path}: {}", why.sentence));
                unusable.push((path, why));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if form.out.is_none() {
        print(&job.tail(&told, &unusable))?;
    }
    Ok(match (unusable.len(), asked.len()) {
        (0, 1..) => ExitStatus::Done,
        (bad, all) if bad < all => ExitStatus::TooManyUnusable,
        _ => ExitStatus::NothingSelected,
    })
}

/// The same model, hearing windows if that was asked for.
fn listening_as_told(predictor: Predictor, listening: &WindowArgs) -> Result<Predictor> {
    let WindowArgs { windows, window, hop, .. } = *listening;
    if !windows && window.is_none() && hop.is_none() {
        return Ok(predictor);
    }
    let before = predictor.window_or_default();
    let spec = WindowSpec { seconds: window.unwrap_or(before.seconds), hop: hop.unwrap_or(before.hop), ..before };
    predictor.with_windows(spec).map_err(|error| UserError::usage(format!("{error:#}")).into())
}

fn rule(predictor: &Predictor, listening: &WindowArgs) -> Result<Hysteresis> {
    let WindowArgs { on, off, bridge, shortest, .. } = *listening;
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
            UserError::usage(format!("{name} is {share}: write a probability, 0 to 1"))
        );
    }
    if let Some((on, off)) = rule.on.iter().zip(&rule.off).find(|(on, off)| off > on) {
        let sentence = format!("a segment would end below {off} and begin above {on}: write --off no higher than --on");
        return Err(UserError::usage(sentence).into());
    }
    for (name, seconds) in [("--bridge", bridge), ("--shortest", shortest)] {
        ensure!(seconds >= 0.0, UserError::usage(format!("{name} is {seconds}: write seconds, 0 or more")));
    }
    Ok(rule)
}

/// Recordings to be heard, and where what is heard goes.
struct Job<'a> {
    predictor: &'a Predictor,
    rule: Hysteresis,
    form: OutputFormat,
    /// A file for each recording; none where it is printed.
    outs: Vec<PathBuf>,
    /// A plot for each recording; none where none is wanted.
    plots: Vec<PathBuf>,
    drawn: ImageFormat,
}

impl<'a> Job<'a> {
    fn new(predictor: &'a Predictor, rule: Hysteresis, form: &PredictOutputArgs, asked: &[Asked]) -> Result<Job<'a>> {
        let which = match form {
            PredictOutputArgs { json: true, .. } => OutputFormat::Json,
            PredictOutputArgs { csv: true, .. } => OutputFormat::Csv,
            other => other.format,
        };
        let about_time = matches!(
            which,
            OutputFormat::Windows | OutputFormat::Segments | OutputFormat::Audacity | OutputFormat::Jams
        );
        if predictor.window().is_none() && (about_time || form.plot.is_some()) {
            let sentence = "this model was judged on clips and hears one part of a recording: to know what is heard when, add --windows";
            return Err(UserError::usage(sentence.to_owned()).into());
        }
        let one_file = matches!(which, OutputFormat::Audacity | OutputFormat::Jams);
        if one_file && form.out.is_none() && asked.len() > 1 {
            let sentence =
                format!("{} recordings do not fit into one file of this form: name a folder with --out", asked.len());
            return Err(UserError::usage(sentence).into());
        }
        let (mut outs, mut plots) = (Vec::new(), Vec::new());
        if let Some(folder) = &form.out {
            let ending = match which {
                OutputFormat::Text | OutputFormat::Audacity => "txt",
                OutputFormat::Json => "json",
                OutputFormat::Csv | OutputFormat::Windows | OutputFormat::Segments => "csv",
                OutputFormat::Jams => "jams",
            };
            outs = names_in(folder, ending, asked)?;
        }
        let mut drawn = ImageFormat::Svg;
        if let Some(to) = &form.plot {
            (plots, drawn) = plots_at(to, form.png, asked)?;
        }
        Ok(Job { predictor, rule, form: which, outs, plots, drawn })
    }

    fn head(&self) -> String {
        match self.form {
            OutputFormat::Csv => output_formats::csv_head(self.predictor),
            OutputFormat::Windows => output_formats::windows_head(self.predictor),
            OutputFormat::Segments => output_formats::SEGMENTS_HEAD.to_owned(),
            OutputFormat::Text | OutputFormat::Json | OutputFormat::Audacity | OutputFormat::Jams => String::new(),
        }
    }

    fn body(&self, told: &PredictedRecording) -> String {
        match self.form {
            OutputFormat::Text => output_formats::text(self.predictor, told),
            OutputFormat::Csv => output_formats::csv(told),
            OutputFormat::Windows => output_formats::windows(told),
            OutputFormat::Segments => output_formats::segments(self.predictor, told),
            OutputFormat::Audacity => output_formats::audacity(self.predictor, told),
            OutputFormat::Jams => output_formats::jams(self.predictor, told),
            OutputFormat::Json => String::new(),
        }
    }

    fn tail(&self, told: &[PredictedRecording], unusable: &[(String, RecordingError)]) -> String {
        match self.form {
            OutputFormat::Json => output_formats::json(self.predictor, &self.rule, told, unusable),
            _ => String::new(),
        }
    }

    /// Hears the recordings on as many threads as the pool has, and hands over what was heard in their order, until `take`
    /// fails or breaks off: then no thread begins another one. The threads are none of the pool's: they wait for work that the
    /// pool does.
    fn each(
        &self,
        asked: &[Asked],
        mut take: impl FnMut(usize, Result<PredictedRecording<'a>, RecordingError>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (give, heard) = mpsc::channel();
            for _ in 0..rayon::current_num_threads().min(asked.len()) {
                let (give, next, is_over) = (give.clone(), &next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed)
                        && let Some((n, asked)) = take_next(next, asked)
                    {
                        if give.send((n, self.hear(n, asked))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(give);
            // What comes before its turn waits here.
            let mut early: Vec<Option<Result<Result<PredictedRecording, RecordingError>>>> =
                asked.iter().map(|_| None).collect();
            let mut turn = 0;
            for (n, one) in heard {
                early[n] = Some(one);
                while let Some(one) = early.get_mut(turn).and_then(Option::take) {
                    let taken = one.and_then(|one| take(turn, one));
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

    fn hear(&self, n: usize, asked: &Asked) -> Result<Result<PredictedRecording<'a>, RecordingError>> {
        let mut seen = self.plots.get(n).map(|_| Seen(SpectrogramImage::new(self.predictor.sample_rate())));
        let onlooker = seen.as_mut().map(|seen| seen as &mut dyn PredictionCallback);
        let heard = match &asked.source {
            Source::File => self.predictor.predict_recording(RecordingSource::File(&asked.path), onlooker),
            Source::Stdin => self.predictor.predict_recording(RecordingSource::Pipe(&mut std::io::stdin()), onlooker),
            Source::Nothing(why) => Err(why.clone()),
        };
        let path = asked.path.display().to_string();
        let told = match heard {
            Ok(heard) => {
                let Timings { decode, features, model } = heard.timings;
                tracing::info!("{path}: decoding {decode:.2} s, features {features:.2} s, model {model:.2} s");
                PredictedRecording::new(path, heard, self.predictor, &self.rule)
            }
            Err(why) => return Ok(Err(why)),
        };
        if let Some((Seen(mut picture), file)) = seen.zip(self.plots.get(n)) {
            files::write_bytes(file, &plot::bytes(&self.drawing(&told, &mut picture), self.drawn)?)?;
        }
        Ok(Ok(told))
    }

    fn drawing(&self, told: &PredictedRecording, picture: &mut SpectrogramImage) -> String {
        let (Some(windows), Some(spec)) = (&told.prediction.windows, self.predictor.window()) else {
            return String::new();
        };
        let classes = self.predictor.classes();
        let is_heard = |name: &str| {
            told.decided.contains(&name) || told.segments.iter().any(|segment| classes.name(segment.class) == name)
        };
        let ranked = told.prediction.ranked(classes);
        let mut shown: Vec<(&str, f32)> = ranked.iter().copied().filter(|(name, _)| is_heard(name)).collect();
        if shown.is_empty() {
            shown = ranked.into_iter().take(FEW_STRIPS).collect();
        }
        let strip = |(name, score): (&'a str, f32)| {
            let class = classes.index(name).expect("a class of the model");
            let probabilities = windows.rows_of(0).map(|row| row[class]).collect();
            ClassStrip { class, name, score, probabilities, on: self.rule.on[class] }
        };
        let borders = timeline::window_boundaries(&windows.starts, spec.seconds, told.prediction.seconds);
        let timeline = Timeline {
            title: &told.path,
            model: &self.predictor.name().to_string(),
            seconds: told.prediction.seconds,
            borders: &borders,
            strips: shown.into_iter().take(MOST_STRIPS).map(strip).collect(),
            segments: &told.segments,
        };
        timeline_plot::timeline(&timeline, picture)
    }
}

fn take_next<'s>(next: &AtomicUsize, asked: &'s [Asked]) -> Option<(usize, &'s Asked)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    Some((n, asked.get(n)?))
}

struct Seen(SpectrogramImage);

impl PredictionCallback for Seen {
    fn on_samples(&mut self, samples: &[f32]) {
        self.0.add(samples);
    }
}

/// Where the plot of each recording goes, and in which form: the ending of a file says it, and of a folder `--png`.
fn plots_at(to: &Path, png: bool, asked: &[Asked]) -> Result<(Vec<PathBuf>, ImageFormat)> {
    let ending = to.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let form = match ending.as_str() {
        "svg" if png => {
            let sentence =
                format!("--png, and {} is an SVG: name a file that ends with .png, or a folder", to.display());
            return Err(UserError::usage(sentence).into());
        }
        "svg" => ImageFormat::Svg,
        "png" => ImageFormat::Png,
        "pdf" | "eps" | "jpg" | "jpeg" | "webp" | "gif" if !to.is_dir() => {
            return Err(UserError::usage(format!("{}: a plot is an SVG or a PNG", to.display())).into());
        }
        _ => {
            let form = ImageFormat::from_flag(png);
            return Ok((names_in(to, form.extension(), asked)?, form));
        }
    };
    if asked.len() > 1 {
        let sentence = format!("{} recordings do not fit into one plot: name a folder with --plot", asked.len());
        return Err(UserError::usage(sentence).into());
    }
    // Before anything is heard: what cannot be written is not worth the hours.
    Ok((vec![files::create_parent_folder(to)?], form))
}

/// A file in `folder` for each recording: named as it is, with the folders between it and the one that was named.
fn names_in(folder: &Path, ending: &str, asked: &[Asked]) -> Result<Vec<PathBuf>> {
    let mut taken = HashSet::new();
    let mut name = |asked: &Asked| {
        let named = match &asked.below {
            Some(above) => asked.path.strip_prefix(above).unwrap_or(&asked.path),
            None => Path::new(asked.path.file_name().unwrap_or_default()),
        };
        let stem = if matches!(asked.source, Source::Stdin) { Path::new("stdin") } else { named };
        let stem = folder.join(stem.with_extension(""));
        let numbered = |n: usize| {
            let number = if n == 1 { String::new() } else { format!(".{n}") };
            PathBuf::from(format!("{}{number}.{ending}", stem.display()))
        };
        (1..).map(numbered).find(|path| taken.insert(path.clone())).expect("some number is free")
    };
    let names: Vec<PathBuf> = asked.iter().map(&mut name).collect();
    for folder in names.iter().filter_map(|name| name.parent()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Ok(names)
}

/// What a name of the command line stands for: stdin, a file, or every recording below a folder.
fn below(path: &Path) -> Vec<Asked> {
    let nothing = |code: &str, sentence: String| {
        let source = Source::Nothing(RecordingError { code: code.to_owned(), sentence });
        vec![Asked { path: path.to_owned(), below: None, source }]
    };
    if path == Path::new("-") {
        return vec![Asked { path: path.to_owned(), below: None, source: Source::Stdin }];
    }
    if !path.is_dir() {
        return vec![Asked { path: path.to_owned(), below: None, source: Source::File }];
    }
    let mut found = match walk::files_below(path) {
        Ok(found) => found,
        Err(error) => return nothing("unreadable", format!("{error:#}")),
    };
    found.retain(|file| AUDIO_EXTENSIONS.contains(&file.stem_and_extension().1.as_str()));
    if found.is_empty() {
        let known = AUDIO_EXTENSIONS.join(", ");
        return nothing("no_recordings", format!("the folder holds no file that ends like a recording ({known})"));
    }
    found.sort_by(|a, b| a.names.cmp(&b.names));
    let asked = |file: walk::FoundFile| Asked { path: file.path, below: Some(path.to_owned()), source: Source::File };
    found.into_iter().map(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recording_has_a_file_of_its_own_with_the_folders_below_the_one_that_was_named() {
        let home = tempfile::tempdir().unwrap();
        let asked = |path: &str, below: Option<&str>| Asked {
            path: path.into(),
            below: below.map(PathBuf::from),
            source: if path == "-" { Source::Stdin } else { Source::File },
        };
        let all = [
            asked("x/a.wav", None),
            asked("y/a.mp3", None),
            asked("set/one/b.flac", Some("set")),
            asked("set/two/b.flac", Some("set")),
            asked("-", None),
            asked("no.1 in C.wav", None),
        ];
        let names = names_in(home.path(), "jams", &all).unwrap();
        let names: Vec<_> =
            names.iter().map(|name| name.strip_prefix(home.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.jams", "a.2.jams", "one/b.jams", "two/b.jams", "stdin.jams", "no.1 in C.jams"]);
        assert!(home.path().join("two").is_dir());
    }
}
