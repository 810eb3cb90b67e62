//! The recordings that `timbre predict` is given, and the files that it writes for each.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::settings;
use crate::cli::args::GlobalArgs;
use crate::execution::run::prepare::download;
use timbre_core::{error::UserError, files};
use timbre_inputs::remote::{self, Url};
use timbre_inputs::{data::walk, features::extraction::RecordingError};
use timbre_reports::plot::ImageFormat;
use timbre_signal::audio::{AUDIO_EXTENSIONS, UNREAD_EXTENSIONS};

/// One input: a recording, or the reason why there is none.
pub(super) struct Input {
    /// As results name it.
    pub path: PathBuf,
    /// Where it is on this machine; of a URL, in its mirror.
    pub file: PathBuf,
    /// The folder argument, if the recording was found below it.
    pub below: Option<PathBuf>,
    pub source: Source,
}

pub(super) enum Source {
    File,
    Stdin,
    Nothing(RecordingError),
}

/// The plot file of each recording, and the image format: from the extension of a file, or from `--png` for a folder.
pub(super) fn plots_at(to: &Path, png: bool, inputs: &[Input]) -> Result<(Vec<PathBuf>, ImageFormat)> {
    let ending = to.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let output = match ending.as_str() {
        "svg" | "pdf" if png => {
            let sentence = format!("--png contradicts {}: pass a file that ends with .png, or a folder", to.display());
            return Err(UserError::usage(sentence).into());
        }
        "svg" => ImageFormat::Svg,
        "png" => ImageFormat::Png,
        "pdf" => ImageFormat::Pdf,
        "eps" | "jpg" | "jpeg" | "webp" | "gif" if !to.is_dir() => {
            return Err(UserError::usage(format!("{}: plots are written as .svg, .png or .pdf", to.display())).into());
        }
        _ => {
            let output = ImageFormat::from_flag(png);
            return Ok((names_in(to, output.extension(), inputs)?, output));
        }
    };
    if inputs.len() > 1 {
        let sentence = format!("{} recordings do not fit into one plot: pass a folder with --plot", inputs.len());
        return Err(UserError::usage(sentence).into());
    }
    // Before anything is computed: an unwritable file must not cost hours.
    Ok((vec![files::create_parent_folder(to)?], output))
}

/// An output file in `folder` for each recording: the recording's name, below the same subfolders as in its input folder.
pub(super) fn names_in(folder: &Path, ending: &str, inputs: &[Input]) -> Result<Vec<PathBuf>> {
    let mut taken = HashSet::new();
    let mut name = |input: &Input| {
        let named = match &input.below {
            Some(above) => input.path.strip_prefix(above).unwrap_or(&input.path),
            None => Path::new(input.path.file_name().unwrap_or_default()),
        };
        let stem = if matches!(input.source, Source::Stdin) { Path::new("stdin") } else { named };
        let stem = folder.join(stem.with_extension(""));
        let numbered = |n: usize| {
            let number = if n == 1 { String::new() } else { format!(".{n}") };
            PathBuf::from(format!("{}{number}.{ending}", stem.display()))
        };
        (1..).map(numbered).find(|path| taken.insert(path.clone())).expect("some number is free")
    };
    let names: Vec<PathBuf> = inputs.iter().map(&mut name).collect();
    for folder in names.iter().filter_map(|name| name.parent()).collect::<BTreeSet<&Path>>() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        files::remove_temp_files(folder);
    }
    Ok(names)
}

/// The inputs of one argument: stdin, a file, or every recording below a folder. Audio files in a folder whose formats are not read
/// are added to `passed_over`.
pub(super) fn inputs_of(path: &Path, passed_over: &mut Vec<String>) -> Vec<Input> {
    let nothing = |code: &str, sentence: String| {
        let source = Source::Nothing(RecordingError { code: code.to_owned(), sentence });
        vec![Input { path: path.to_owned(), file: path.to_owned(), below: None, source }]
    };
    if path == Path::new("-") {
        return vec![Input { path: path.to_owned(), file: path.to_owned(), below: None, source: Source::Stdin }];
    }
    if !path.is_dir() {
        return vec![Input { path: path.to_owned(), file: path.to_owned(), below: None, source: Source::File }];
    }
    let mut found = match walk::files_below(path) {
        Ok(found) => found,
        Err(error) => return nothing("unreadable", format!("{error:#}")),
    };
    found.sort_by(|a, b| a.names.cmp(&b.names));
    let unread = found.iter().filter(|file| UNREAD_EXTENSIONS.contains(&file.stem_and_extension().1.as_str()));
    passed_over.extend(unread.map(|file| file.path.display().to_string()));
    found.retain(walk::FoundFile::is_audio);
    if found.is_empty() {
        let known = AUDIO_EXTENSIONS.join(", ");
        return nothing("no_recordings", format!("no audio files in the folder ({known})"));
    }
    let inputs = |file: walk::FoundFile| Input {
        path: file.path.clone(),
        file: file.path,
        below: Some(path.to_owned()),
        source: Source::File,
    };
    found.into_iter().map(inputs).collect()
}

/// The inputs of a URL: one recording if it has the ending of one, else all below it. They are downloaded into a mirror in the cache.
pub(super) fn inputs_at(url: &Url, common: &GlobalArgs, passed_over: &mut Vec<String>) -> Result<Vec<Input>> {
    let settings = settings(common, false);
    let is_recording = |ending: &str| AUDIO_EXTENSIONS.contains(&ending.to_lowercase().as_str());
    if url.path.rsplit_once('.').is_some_and(|(_, ending)| is_recording(ending)) {
        let file = remote::file(url, &settings.cache)?;
        return Ok(vec![Input { path: url.to_string().into(), file, below: None, source: Source::File }]);
    }
    remote::list(url, &settings.cache)?;
    let (folder, shown) = (url.mirror(&settings.cache), PathBuf::from(url.to_string()));
    let mut of_mirror = Vec::new();
    let mut inputs = inputs_of(&folder, &mut of_mirror);
    let as_url = |path: &Path| path.strip_prefix(&folder).map_or_else(|_| shown.clone(), |below| shown.join(below));
    passed_over.extend(of_mirror.iter().map(|path| as_url(Path::new(path)).display().to_string()));
    let files: Vec<&Path> = inputs.iter().map(|input| input.file.as_path()).collect();
    download(&files, &settings)?;
    for input in &mut inputs {
        input.path = as_url(&input.path);
        input.below = Some(shown.clone());
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recording_gets_its_own_output_file_below_the_same_subfolders() {
        let home = tempfile::tempdir().unwrap();
        let inputs = |path: &str, below: Option<&str>| Input {
            path: path.into(),
            file: path.into(),
            below: below.map(PathBuf::from),
            source: if path == "-" { Source::Stdin } else { Source::File },
        };
        let all = [
            inputs("x/a.wav", None),
            inputs("y/a.mp3", None),
            inputs("set/one/b.flac", Some("set")),
            inputs("set/two/b.flac", Some("set")),
            inputs("-", None),
            inputs("no.1 in C.wav", None),
        ];
        // Left by a killed process long ago.
        let left = home.path().join(".part-x");
        let file = fs::File::create(&left).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        drop(file);
        let names = names_in(home.path(), "jams", &all).unwrap();
        assert!(!left.exists());
        let names: Vec<_> =
            names.iter().map(|name| name.strip_prefix(home.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.jams", "a.2.jams", "one/b.jams", "two/b.jams", "stdin.jams", "no.1 in C.jams"]);
        assert!(home.path().join("two").is_dir());
    }
}
