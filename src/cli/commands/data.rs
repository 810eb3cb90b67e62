//! `timbre data`: list, check and describe data sets; generate those that can be generated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::{ExitStatus, print, print_data, print_list, settings};
use crate::cli::args::GlobalArgs;
use crate::cli::colours::eprint_coloured;
use crate::execution::run::prepare::{download, generate};
use timbre_core::{error::UserError, files, text::count};
use timbre_experiment::ConfigErrors;
use timbre_inputs::audit::{FindingKind, LabelBalance, Published, audit};
use timbre_inputs::data::{self, DataSet, DataSpec, MissingData, PublishedCounts, generated};
use timbre_inputs::sound_survey;
use timbre_reports::data_report::{self, Described};
use timbre_runs::tables::aligned;
use timbre_signal::audio;

pub(super) fn spec(common: &GlobalArgs, name: &str) -> Result<DataSpec, ConfigErrors> {
    timbre_experiment::data_set(Path::new("."), name, &common.set)
}

fn load(common: &GlobalArgs, name: &str) -> Result<DataSet> {
    load_spec(common, &spec(common, name)?)
}

pub(super) fn load_spec(common: &GlobalArgs, spec: &DataSpec) -> Result<DataSet> {
    let settings = settings(common, false);
    generate(spec, &settings)?;
    let set = spec.load_listed(&settings.data_dirs())?;
    let files: Vec<&Path> = set.records.iter().map(|record| record.path.as_path()).collect();
    download(&files, &settings)?;
    Ok(set)
}

/// A described data set, and whether its recordings are on disk.
pub(super) struct DataSetStatus {
    pub name: String,
    /// Empty if its file has errors.
    pub kind: &'static str,
    pub title: String,
    pub here: Availability,
    /// The errors of its file.
    pub errors: Option<ConfigErrors>,
}

pub(super) enum Availability {
    /// The program generates it on first use.
    Generated,
    Recordings(usize),
    Missing,
    Faulty(String),
}

impl std::fmt::Display for Availability {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Availability::Generated => write!(f, "generated on first use"),
            Availability::Recordings(n) => write!(f, "{}", count(*n, "recording")),
            Availability::Missing => write!(f, "no"),
            Availability::Faulty(_) => write!(f, "faulty"),
        }
    }
}

/// Every described data set, sorted by name.
pub(super) fn data_set_statuses(common: &GlobalArgs) -> Vec<DataSetStatus> {
    let status = |name: String| {
        let spec = match spec(common, &name) {
            Ok(spec) => spec,
            Err(errors) => {
                let here = Availability::Faulty(format!("data/{name}.toml has {}", count(errors.len(), "error")));
                return DataSetStatus { name, kind: "", title: String::new(), here, errors: Some(errors) };
            }
        };
        let kind = spec.as_kind();
        let dirs = settings(common, false).data_dirs();
        let found = match kind.generator() {
            Some(set) if !set.has_root() => generated::cache_folder(set, &dirs).map(|_| Availability::Generated),
            _ => spec.load_listed(&dirs).map(|set| Availability::Recordings(set.records.len())),
        };
        let here = found.unwrap_or_else(|error| match error.is::<MissingData>() {
            true => Availability::Missing,
            false => Availability::Faulty(format!("{error:#}")),
        });
        let title = kind.common_keys().about.title.clone().unwrap_or_default();
        DataSetStatus { name, kind: spec.kind(), title, here, errors: None }
    };
    timbre_experiment::data_set_names(Path::new(".")).into_iter().map(status).collect()
}

/// Lists every set, then the errors of those whose files cannot be used.
pub(super) fn list(common: &GlobalArgs) -> Result<ExitStatus> {
    let mut lines = vec![["set", "kind", "on disk", "what it is"].map(str::to_owned).to_vec()];
    let mut ended = ExitStatus::Done;
    let mut errors = Vec::new();
    for set in data_set_statuses(common) {
        if let Availability::Faulty(why) = &set.here {
            ended = ExitStatus::Usage;
            errors.push(set.errors.map_or_else(|| format!("{}: {why}", set.name), |errors| errors.to_string()));
        }
        lines.push(vec![set.name, set.kind.to_owned(), set.here.to_string(), set.title]);
    }
    print_list(&aligned(&lines, 4))?;
    errors.iter().for_each(|error| eprint_coloured(error));
    Ok(ended)
}

pub(super) fn make(
    common: &GlobalArgs,
    name: &str,
    out: Option<PathBuf>,
    clips_per_class: Option<usize>,
) -> Result<ExitStatus> {
    let clips = clips_per_class.map(|clips| format!("data.clips_per_class={clips}"));
    let changes: Vec<String> = common.set.iter().cloned().chain(clips).collect();
    let spec = timbre_experiment::data_set(Path::new("."), name, &changes)?;
    let Some(set) = spec.as_kind().generator() else {
        bail!(UserError::usage(format!(
            "`{name}` cannot be generated: `timbre data describe {name}` shows where to get it"
        )));
    };
    let out = out.unwrap_or_else(|| PathBuf::from("data").join(name));
    let settings = settings(common, false);
    let dirs = settings.data_dirs();
    let recordings = set.planned_seconds(&dirs).map_err(data::unless_missing)?.len();
    let progress = settings.printer.start("recordings", recordings);
    let summary = generated::write(set, &dirs, &out, &|| {
        progress.step();
        Ok(())
    })?;
    progress.finish();
    let validation = match summary.validation_recordings {
        0 => String::new(),
        recordings => format!(", {recordings} validation recordings"),
    };
    print(&format!(
        "{}: {} training clips{validation}, {} test recordings\n",
        out.display(),
        summary.training_clips,
        summary.testing_recordings
    ))?;
    let data = if name == "demo" { String::new() } else { format!(" --data {name}") };
    settings
        .printer
        .message(&format!("Next: timbre run simple_models{data} --set data.root={}", out.canonicalize()?.display()));
    Ok(ExitStatus::Done)
}

pub(super) fn check(
    common: &GlobalArgs,
    name: &str,
    json: bool,
    html: Option<&Path>,
    deny: &[String],
) -> Result<ExitStatus> {
    // A misspelt kind is an error before every recording is decoded.
    let denied = FindingKind::named(deny.iter().map(String::as_str))?;
    let (spec, audio) = timbre_experiment::data_set_and_audio(Path::new("."), name, &common.set)?;
    let set = load_spec(common, &spec)?;
    let (whole, is_whole) = spec.load_published(&settings(common, false).data_dirs())?;
    let kind_of = |name: Option<&str>| match (&spec, name) {
        (DataSpec::Several(several), Some(name)) => several.set_named(name).map(DataSpec::as_kind),
        _ => Some(spec.as_kind()),
    };
    let published = Published {
        set: &whole,
        counts: if is_whole { spec.as_kind().published_counts() } else { PublishedCounts::default() },
        is_no_recording: &|set, file| kind_of(set).is_some_and(|kind| kind.is_no_recording(file)),
    };
    let progress = settings(common, false).printer.start("recordings", set.records.len());
    let audit = audit(&set, &published, &audio, || progress.step());
    progress.finish();
    if let Some(path) = html {
        files::write_bytes(path, data_report::check_page(&audit).as_bytes())?;
    }
    if json {
        print_data(&format!("{}\n", serde_json::to_string_pretty(&audit)?))?;
    } else {
        print(&audit.text(common.verbose > 0))?;
    }
    if audit.number_of(FindingKind::Unusable) > 0 {
        return Ok(ExitStatus::TooManyUnusable);
    }
    let found = denied.iter().filter(|kind| audit.number_of(**kind) > 0);
    let names: Vec<&str> = found.map(|kind| kind.name()).collect();
    if names.is_empty() {
        return Ok(ExitStatus::Done);
    }
    eprint_coloured(&format!("error: `{name}` has findings that are denied: {}", names.join(", ")));
    Ok(ExitStatus::DataFindings)
}

pub(super) fn describe(common: &GlobalArgs, name: &str, html: Option<&Path>, measure: usize) -> Result<ExitStatus> {
    let about = spec(common, name)?.as_kind().common_keys().about.clone();
    let set = load(common, name)?;
    let counts = data::describe(&set);
    let headers: Vec<Option<audio::Header>> =
        set.records.par_iter().map(|record| audio::probe_file(&record.path, record.excerpt.as_ref()).ok()).collect();
    let warnings = set.warnings();
    if let Some(path) = html {
        let progress = settings(common, false).printer.start("recordings", set.records.len().min(measure));
        let survey = sound_survey::survey(&set, &headers, measure, || progress.step())?;
        progress.finish();
        let of = Described {
            set: &set,
            about: &about,
            counts: &counts,
            headers: &headers,
            survey: &survey,
            warnings: &warnings,
        };
        files::write_bytes(path, data_report::describe_page(&of).as_bytes())?;
    }
    let mut text = about.title.as_ref().map_or_else(|| format!("{name}\n"), |title| format!("{name}: {title}\n"));
    for (word, fact) in [("licence", &about.licence), ("from", &about.homepage), ("cite", &about.citation)] {
        text += &fact.as_ref().map_or_else(String::new, |fact| format!("{word}: {fact}\n"));
    }
    text += &format!("{} of {}", count(counts.recordings, "recording"), count(counts.songs, "song"));
    let parts: Vec<String> =
        counts.parts.iter().map(|p| format!("{} {} of {}", p.subset.name(), p.recordings, p.songs)).collect();
    text += &format!(" ({})\n", parts.join(", "));
    if counts.by_label_count.len() > 2 {
        let labels: Vec<String> =
            counts.by_label_count.iter().enumerate().map(|(n, clips)| format!("{n}: {clips}")).collect();
        text += &format!("recordings by number of labels: {}\n", labels.join(", "));
    }
    if counts.incomplete > 0 {
        text +=
            &format!("{} with unknown classes, which are in neither number\n", count(counts.incomplete, "recording"));
    }
    if !counts.folds.is_empty() {
        let folds: Vec<String> = counts.folds.iter().map(|(fold, n)| format!("{fold}: {n}")).collect();
        text += &format!("recordings by fold: {}\n", folds.join(", "));
    }
    text += &described_split(&counts);
    warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
    let known: Vec<&audio::Header> = headers.iter().flatten().collect();
    let lengths: Vec<f64> = known.iter().map(|h| h.seconds).collect();
    if let (Some(least), Some(most)) =
        (lengths.iter().copied().reduce(f64::min), lengths.iter().copied().reduce(f64::max))
    {
        let all: f64 = lengths.iter().sum();
        text += &format!("{:.0} s in all, {least:.2} to {most:.2} s each\n", all);
    }
    let mut forms: BTreeMap<String, usize> = BTreeMap::new();
    for h in &known {
        *forms
            .entry(format!("{} Hz, {}, {}", h.sample_rate, count(h.channels.into(), "channel"), h.codec))
            .or_default() += 1;
    }
    forms.iter().for_each(|(form, n)| text += &format!("{n} × {form}\n"));
    if known.len() < headers.len() {
        let unreadable = headers.len() - known.len();
        let are = if unreadable == 1 { "is" } else { "are" };
        text += &format!(
            "{} {are} cut off or {} no readable header: `timbre data check {name}` says which\n",
            count(unreadable, "file"),
            if unreadable == 1 { "has" } else { "have" }
        );
    }
    let mut heads = vec!["class", "training", "validation", "testing", "songs"];
    heads.extend((counts.incomplete > 0).then_some("unknown"));
    let mut lines = vec![heads.iter().map(|&head| head.to_owned()).collect::<Vec<_>>()];
    for c in &counts.classes {
        let numbers = [c.training, c.validation, c.testing, c.songs, c.unknown].map(|n| n.to_string());
        lines.push(std::iter::once(c.class.clone()).chain(numbers).take(heads.len()).collect());
    }
    text += &LabelBalance::of(&set).text();
    text += &format!("\n{}", aligned(&lines, 1));
    print(&text)?;
    Ok(ExitStatus::Done)
}

/// Which recordings an experiment uses, where the set declares several subsets.
fn described_split(counts: &data::Description) -> String {
    let training = counts.parts.iter().filter(|part| part.subset == data::Subset::Training).map(|part| part.recordings);
    let others = counts.recordings - training.sum::<usize>();
    if others == 0 {
        return String::new();
    }
    format!(
        "the split `holdout`, the default, uses the training recordings alone, without {others}; `kind = \"official\"` in [split] uses \
         all\n"
    )
}
