//! `timbre predict`: what a saved model says of recordings, one after the other in the order they were named.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Ended, print};
use crate::cli::{Common, PredictAs};
use crate::data::folder::AUDIO_EXTENSIONS;
use crate::data::walk;
use crate::precompute::LeftOut;
use crate::predictor::{Heard, Predictor};
use crate::progress::Show;

/// Raised when the object of `--json` changes its form.
const SCHEMA: u32 = 1;
/// Recordings that are heard before their lines are printed: many enough to keep the threads busy, few enough to wait for.
const BATCH: usize = 64;
/// Classes of a line for people.
const TOP: usize = 3;

/// What was asked for: a recording, or why there is none.
struct Asked {
    path: PathBuf,
    source: Source,
}

enum Source {
    File,
    Stdin,
    Nothing(LeftOut),
}

#[derive(Serialize)]
struct Line<'a> {
    path: String,
    seconds: f64,
    /// The likeliest class, or every class that reaches the cut-off of a multi-label run.
    decided: Vec<&'a str>,
    classes: Vec<ClassShare<'a>>,
}

#[derive(Serialize)]
struct ClassShare<'a> {
    code: &'a str,
    probability: f32,
}

pub fn predict(common: &Common, predictor: &Predictor, files: &[PathBuf], form: &PredictAs) -> Result<Ended> {
    Show::fitting(common.quiet).say(&format!("heard by {}", predictor.name()));
    let stdin = Path::new("-");
    ensure!(files.iter().filter(|file| *file == stdin).count() < 2, "`-` (stdin) can be read only once: name it once");
    let asked: Vec<Asked> = files.iter().flat_map(|file| below(file)).collect();
    if form.csv {
        let names = predictor.classes().names().iter().map(|name| format!(",{}", quoted(name)));
        print(&format!("path{}\n", names.collect::<String>()))?;
    }
    let (mut lines, mut unusable) = (Vec::new(), Vec::new());
    for batch in asked.chunks(BATCH) {
        let heard: Vec<_> = batch.par_iter().map(|asked| hear(predictor, asked)).collect();
        for (asked, heard) in batch.iter().zip(heard) {
            let path = asked.path.display().to_string();
            match heard {
                Ok(heard) if form.json => {
                    let decided = predictor.decided(&heard);
                    let shares = heard.ranked(predictor.classes()).into_iter();
                    let classes = shares.map(|(code, probability)| ClassShare { code, probability }).collect();
                    lines.push(Line { path, seconds: heard.seconds, decided, classes });
                }
                Ok(heard) if form.csv => print(&csv_line(&path, &heard))?,
                Ok(heard) => print(&text_line(&path, &heard, predictor))?,
                Err(why) => {
                    eprintln!("{path}: {}", why.sentence);
                    unusable.push(json!({ "path": path, "code": why.code, "reason": why.sentence }));
                }
            }
        }
    }
    if form.json {
        print_json(predictor, &lines, &unusable)?;
    }
    Ok(match (unusable.len(), asked.len()) {
        (0, 1..) => Ended::Done,
        (bad, all) if bad < all => Ended::TooManyUnusable,
        _ => Ended::NothingSelected,
    })
}

/// One object in a fixed order of keys.
fn print_json(predictor: &Predictor, lines: &[Line], unusable: &[Value]) -> Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        schema: u32,
        model: &'a crate::predictor::ModelName,
        files: &'a [Line<'a>],
        unusable: &'a [Value],
    }
    let report = Report { schema: SCHEMA, model: predictor.name(), files: lines, unusable };
    print(&format!("{}\n", serde_json::to_string(&report)?))
}

fn text_line(path: &str, heard: &Heard, predictor: &Predictor) -> String {
    let ranked = heard.ranked(predictor.classes());
    // Of several labels everything that was decided, even if that is more.
    let shown = TOP.max(predictor.decided(heard).len());
    let top: Vec<String> = ranked.iter().take(shown).map(|(class, p)| format!("{class} {p:.3}")).collect();
    format!("{path}  {}\n", top.join("  "))
}

fn csv_line(path: &str, heard: &Heard) -> String {
    let shares: String = heard.probabilities.iter().map(|p| format!(",{p}")).collect();
    format!("{}{shares}\n", quoted(path))
}

/// A CSV field (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// What a name of the command line stands for: stdin, a file, or every recording below a folder.
fn below(path: &Path) -> Vec<Asked> {
    let nothing = |code: &str, sentence: String| {
        let source = Source::Nothing(LeftOut { code: code.to_owned(), sentence });
        vec![Asked { path: path.to_owned(), source }]
    };
    if path == Path::new("-") {
        return vec![Asked { path: path.to_owned(), source: Source::Stdin }];
    }
    if !path.is_dir() {
        return vec![Asked { path: path.to_owned(), source: Source::File }];
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
    found.into_iter().map(|file| Asked { path: file.path, source: Source::File }).collect()
}

fn hear(predictor: &Predictor, asked: &Asked) -> Result<Heard, LeftOut> {
    match &asked.source {
        Source::File => predictor.hear_file(&asked.path),
        Source::Nothing(why) => Err(why.clone()),
        Source::Stdin => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .context("stdin cannot be read")
                .map_err(|error| LeftOut { code: "unreadable".to_owned(), sentence: format!("{error:#}") })?;
            predictor.hear(&bytes, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!(quoted("plain [x].wav"), "plain [x].wav");
        assert_eq!(quoted("a, \"b\".wav"), "\"a, \"\"b\"\".wav\"");
    }
}
