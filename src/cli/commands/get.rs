//! `timbre data get`: download, verify, unpack and check a published data set.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::cache::size;
use super::{ExitStatus, answered_yes, data, listen_for_signals, machine, print, settings};
use crate::cli::args::{GetArgs, GlobalArgs};
use timbre_core::{
    error::UserError,
    progress::{Printer, eprint_line},
    text::count,
};
use timbre_inputs::data::{About, AboutFile, DataSpec, MissingData};
use timbre_inputs::download::{self, Source, Workplace};
use timbre_runs::tables::aligned;

pub fn get(common: &GlobalArgs, args: &GetArgs) -> Result<ExitStatus> {
    let name = &args.name;
    let (spec, settings) = (data::spec(common, name)?, settings(common, false));
    let (kind, dirs) = (spec.as_kind(), settings.data_dirs());
    let about = &kind.common_keys().about;
    let target = kind.folder(&dirs, spec.kind());
    let next = format!("Next: timbre run simple_models --data {name}");
    let changes_the_set = |argument: &&String| {
        !["data.root=", "data.about."].iter().any(|harmless| argument.trim_start().starts_with(harmless))
    };
    if let Some(argument) = common.set.iter().find(changes_the_set) {
        let sentence = "gets the files that the set names: they are the same with other keys (a part of its own has a set of its own, \
                        such as fma_medium)";
        bail!(UserError::usage(format!("`--set {argument}`: `timbre data get` {sentence}")));
    }
    if kind.generator().is_some() {
        settings.printer.message(&format!("The program generates `{name}` on first use. {next}"));
        return Ok(ExitStatus::Done);
    }
    match data::load_spec(common, &spec) {
        Ok(set) => {
            let there = count(set.records.len(), "recording");
            settings.printer.message(&format!("`{name}` is there: {there} in {}. {next}", target.display()));
            return Ok(ExitStatus::Done);
        }
        Err(error) if !error.is::<MissingData>() => return Err(error),
        Err(_) => {}
    }
    let folder = args.from.as_deref();
    ensure!(!(about.files.is_empty() && folder.is_some()), UserError::usage(how_to_get(name, &spec, &target)));
    let Some(mut sources) = download::sources(about, args.url.as_deref().or(folder.map(|_| ""))) else {
        bail!(UserError::usage(how_to_get(name, &spec, &target)));
    };
    if let Some(folder) = folder {
        let size = |source: &Source| std::fs::metadata(folder.join(&source.file.name)).map(|found| found.len()).ok();
        sources.iter_mut().for_each(|source| source.bytes = size(source));
        let missing = sources.iter().filter(|source| source.bytes.is_none());
        let missing: Vec<&str> = missing.map(|source| source.file.name.as_str()).collect();
        let sentence = || format!("{} has no {}", folder.display(), missing.join(", "));
        ensure!(missing.is_empty(), UserError::usage(sentence()));
    } else {
        sources
            .iter_mut()
            .for_each(|source| source.bytes = source.bytes.or_else(|| download::remote_size(&source.url)));
    }
    download::ensure_free(&target)?;
    print(&facts(name, about, &sources, folder, &target))?;
    if folder.is_none() {
        let bytes: u64 = sources.iter().filter_map(|source| source.bytes).sum();
        let total = if bytes == 0 { "files of unknown size".to_owned() } else { size(bytes) };
        if let Some(free) = machine::free_disk(&target).filter(|free| *free < bytes) {
            bail!(UserError::usage(format!("{total} do not fit: {} are free at {}", size(free), target.display())));
        }
        let without =
            || format!("would download {total}, but there is no terminal to ask for confirmation: pass --yes");
        if !args.yes && !answered_yes(&format!("Download {total}?"), without)? {
            eprint_line("Nothing was downloaded.");
            return Ok(ExitStatus::Done);
        }
    }
    listen_for_signals(&settings.stop)?;
    let say = |line: &str| settings.printer.message(line);
    let workplace = Workplace::open(&target, &settings.stop, &say)?;
    let shown = settings.printer == Printer::Bars;
    let files = sources.iter().map(|source| {
        let path = match folder {
            Some(folder) => workplace.find_in(folder, source.file),
            None => workplace.download(source, shown),
        };
        Ok((source.file, path?))
    });
    let files: Vec<(&AboutFile, PathBuf)> = files.collect::<Result<_>>()?;
    workplace.install(&files)?;
    let set = spec.load(&dirs)?;
    print(&format!("{}: {}\n", target.display(), count(set.records.len(), "recording")))?;
    let ended = if args.no_check { ExitStatus::Done } else { data::check(common, name, false, None, &[])? };
    settings.printer.message(&next);
    Ok(ended)
}

/// What a person should know before anything is downloaded.
fn facts(name: &str, about: &About, sources: &[Source], folder: Option<&Path>, target: &Path) -> String {
    let mut text = format!("{name}: {}\n", about.title.as_deref().unwrap_or("(no title)"));
    text += &format!("licence: {}\n", about.licence.as_deref().unwrap_or("not stated"));
    for (word, fact) in [("size", &about.size), ("from", &about.homepage), ("cite", &about.citation)] {
        text += &fact.as_ref().map_or_else(String::new, |fact| format!("{word}: {fact}\n"));
    }
    let mut lines = vec![["file", "size", "checksum", "address"].map(str::to_owned).to_vec()];
    for Source { file, url, bytes } in sources {
        let sums: Vec<&str> = file.checksums().map(|(name, ..)| name).collect();
        let place = folder.map_or_else(|| url.clone(), |folder| folder.join(&file.name).display().to_string());
        let sums = if sums.is_empty() { "none".to_owned() } else { sums.join(", ") };
        lines.push(vec![file.name.clone(), bytes.map_or_else(|| "unknown".to_owned(), size), sums, place]);
    }
    text += &aligned(&lines, 4);
    text + &format!("into: {}\n", target.display())
}

fn how_to_get(name: &str, spec: &DataSpec, target: &Path) -> String {
    if let DataSpec::Several(several) = spec {
        let names = several.sets.iter().map(|set| set.as_kind().common_keys().name_or(set.kind()));
        let commands: Vec<String> = names.map(|name| format!("\n  timbre data get {name}")).collect();
        return format!("`{name}` is several sets; get each of them:{}", commands.concat());
    }
    let about = &spec.as_kind().common_keys().about;
    let target = target.display().to_string();
    let facts = [
        ("page", about.homepage.as_ref()),
        ("licence", about.licence.as_ref()),
        ("size", about.size.as_ref()),
        ("how", about.obtain.as_ref()),
        ("into", Some(&target)),
    ];
    let lines = facts.into_iter().filter_map(|(word, fact)| Some(format!("\n  {word:<12} {}", fact?)));
    format!("`{name}` cannot be downloaded by the program{}", lines.collect::<String>())
}
