//! The documentation: every link leads to a file and a heading that exist, every page is in the site, every `timbre …` in it is a command
//! of the program, and the page of the command line is up to date.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::error::ErrorKind;
use timbre::cli::args::{parse, program};
use timbre_models::ModelSpec;

use crate::config_project::repository;
use crate::test_dir::{TestDir, text};

/// The folders whose pages are documentation.
const FOLDERS: [&str; 7] = ["", "docs", "data", "experiments", "runs", "reports", "tests/torture"];

/// Every page: its path from the repository, and its text.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(repository().join(folder)).unwrap().map(Result::unwrap) {
            let path = Path::new(folder).join(entry.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    pages
}

/// The lines of a page, those of a code block with its language.
fn lines(page: &str) -> Vec<(&str, Option<&str>)> {
    let mut fence: Option<(&str, &str)> = None;
    let mut is_after_gap = true;
    let mut found: Vec<(&str, Option<&str>)> = Vec::new();
    for line in page.lines() {
        let start = line.trim_start();
        if let Some((end, language)) = fence {
            fence = fence.filter(|_| start.trim_end() != end);
            found.push((line, Some(language)));
        } else if start.starts_with("```") {
            let length = start.chars().take_while(|letter| *letter == '`').count();
            fence = Some(start.split_at(length));
            found.push((line, Some("")));
        } else {
            // Also the other lines of such a block, and not the lines of a list, which continue one.
            let is_code = is_after_gap || found.last().is_some_and(|(_, language)| language.is_some());
            found.push((line, Some("").filter(|_| is_code && line.starts_with("    "))));
        }
        is_after_gap = line.trim().is_empty();
    }
    assert!(fence.is_none(), "a code block has no end");
    found
}

/// The parts of a line that are code, and the rest.
fn spans(line: &str) -> (Vec<&str>, String) {
    let parts: Vec<&str> = line.split('`').collect();
    (parts.iter().skip(1).step_by(2).copied().collect(), parts.iter().step_by(2).copied().collect())
}

/// The anchors of the headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (line, language) in lines(page) {
        let Some(title) = line.strip_prefix('#').filter(|_| language.is_none()) else { continue };
        let title = title.trim_start_matches('#').trim().to_lowercase().replace("](", " ](");
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let times = found.iter().filter(|one| **one == anchor).count();
        found.push(if times == 0 { anchor } else { format!("{anchor}-{times}") });
    }
    found
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            _ => plain.push(part),
        }
    }
    plain
}

/// The links of a page to files.
fn links(page: &str) -> Vec<String> {
    let prose = lines(page).into_iter().filter(|(_, language)| language.is_none()).map(|(line, _)| spans(line).1);
    let links = prose.flat_map(|line| {
        let targets = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        targets.collect::<Vec<_>>()
    });
    links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut broken = Vec::new();
    let mut checked = 0;
    for (path, page) in &pages {
        for link in links(page) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { plain(&path.parent().unwrap().join(file)) };
            let is_there = match anchor {
                Some(anchor) => pages.get(&target).is_some_and(|page| anchors(page).iter().any(|one| one == anchor)),
                None => repository().join(&target).exists(),
            };
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
            checked += 1;
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    assert!(checked > 100, "{checked}");
}

#[test]
fn every_page_is_in_the_site() {
    let pages = pages();
    let summary = links(&pages[Path::new("docs/SUMMARY.md")]);
    for path in pages.keys().filter(|path| path.starts_with("docs") && !path.ends_with("SUMMARY.md")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(summary.iter().any(|link| link == name), "{} is not in docs/SUMMARY.md", path.display());
    }
}

#[test]
fn a_page_for_users_names_no_source_file() {
    let pages = pages();
    let (users, _) = pages[Path::new("docs/SUMMARY.md")].split_once("# For contributors").unwrap();
    let mut found = Vec::new();
    let links = links(users).into_iter().filter(|link| link != "benchmarks.md" && !link.contains("CHANGELOG"));
    for path in links.map(|link| plain(&Path::new("docs").join(link))) {
        for (line, _) in lines(&pages[&path]) {
            let names_source = |code: &&str| {
                code.ends_with(".rs")
                    || ["src/", "crates/", "benches/", "tests/"].iter().any(|folder| code.starts_with(folder))
            };
            let named = spans(line).0.into_iter().find(names_source);
            found.extend(named.map(|code| format!("{}: {code}", path.display())));
        }
    }
    assert!(
        found.is_empty(),
        "what contributors need is in CONTRIBUTING.md and docs/architecture.md:\n{}",
        found.join("\n")
    );
}

/// The words of the first command of a line of shell, without variables before it. None for a line that a shell would not read.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | ';' | '&' | '#') if word.is_none() => break,
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    let start = words.iter().position(|word| !word.contains('='))?;
    quote.is_none().then(|| words.split_off(start))
}

/// What is wrong with a command, if something is. A part of a command (`timbre run`) may lack arguments.
fn fault(line: &str, is_part: bool) -> Option<String> {
    // A synopsis: `timbre gc [--days N] [-n | -y]`. Its options have to exist.
    let is_synopsis = line.contains(" [") || line.contains('…');
    if is_synopsis {
        let names: Vec<&str> = line.split([' ', '[', ']', '|']).filter(|word| !word.is_empty()).collect();
        let mut command = program();
        command.build();
        let mut command = &command;
        for name in names.iter().skip(1) {
            let Some(inner) = command.find_subcommand(name) else { break };
            command = inner;
        }
        let is_known = |name: &&str| match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(long), _) => {
                let long = long.split('=').next();
                command.get_arguments().any(|argument| argument.get_long() == long)
            }
            (None, Some(short)) if !short.is_empty() => {
                command.get_arguments().any(|argument| argument.get_short() == short.chars().next())
            }
            _ => true,
        };
        let unknown = names.iter().find(|name| !is_known(name));
        return unknown.map(|name| format!("{name} is no option of `{}`", command.get_name()));
    }
    let mut words = words(&line.replace("\\|", "|"))?;
    if !matches!(words.first().map(String::as_str), Some("timbre" | "target/release/timbre")) {
        return None;
    }
    words.iter_mut().skip(1).for_each(|word| *word = word.trim_end_matches('\\').to_owned());
    words.retain(|word| !word.is_empty());
    match parse(&words.iter().map(Into::into).collect::<Vec<_>>()).err()?.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::InvalidValue
            if is_part =>
        {
            None
        }
        kind => Some(format!("{kind:?}")),
    }
}

#[test]
fn every_command_in_the_documentation_is_one_of_the_program() {
    let mut faults = Vec::new();
    let mut checked = 0;
    // The changelog names commands that are gone.
    for (path, page) in pages().iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md")) {
        for (line, language) in lines(page) {
            let commands: Vec<(&str, bool)> = match language {
                // What a command printed.
                Some("text") => continue,
                // A remark may stand after spaces.
                Some(_) => vec![(line.trim().trim_start_matches("$ ").split("   ").next().unwrap(), false)],
                None => spans(line).0.into_iter().map(|span| (span, true)).collect(),
            };
            let is_command = |(command, _): &(&str, bool)| command.contains("timbre ") && !command.contains("COMMAND");
            for (command, is_part) in commands.into_iter().filter(is_command) {
                checked += 1;
                let fault = fault(command, is_part);
                faults.extend(fault.map(|fault| format!("{}: {command}: {fault}", path.display())));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 200, "{checked}");
}

#[test]
fn the_page_of_the_command_line_is_up_to_date() {
    let page = text(&TestDir::new().done(&["man", "--markdown"]).stdout);
    let path = repository().join("docs/command-line.md");
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/command-line.md is stale: timbre man --markdown > docs/command-line.md");
}

/// The code blocks of a page in a language, each with the prose before it.
fn blocks<'a>(page: &'a str, languages: &[&str]) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("\n```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (block, after) = after.split_once("```").unwrap();
        if languages.contains(&language) {
            found.push((before, language, block));
        }
        rest = after;
    }
    found
}

/// Does what a reader of a tutorial does: writes its TOML files under the names before them, and runs its commands, except those of
/// `skipped`. On fewer clips and epochs.
fn follow(name: &str, skipped: &[&str]) -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_timbre"), dir.path("bin/timbre")).unwrap();
    let page = &pages()[Path::new(name)];
    let mut folder = dir.path("");
    for (before, language, block) in blocks(page, &["sh", "toml"]) {
        if language == "toml" {
            let file = before.rsplit('`').skip(1).step_by(2).find(|code| code.ends_with(".toml")).unwrap();
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(
                folder.join(file),
                block.replace("epochs = 30", "epochs = 2").replace("epochs = 10", "epochs = 1"),
            )
            .unwrap();
            continue;
        }
        if skipped.iter().any(|skipped| block.contains(skipped)) {
            continue;
        }
        let block = block
            .replace("--clips-per-class 40", "--clips-per-class 12")
            .replace("--clips-per-class 30", "--clips-per-class 12")
            .replace("data.test_recordings=480", "data.test_recordings=96");
        let path = format!("{}:{}", dir.path("bin").display(), std::env::var("PATH").unwrap());
        let script = format!("set -euo pipefail\n{block}pwd > \"$HOME/folder\"\n");
        let mut bash = Command::new("bash");
        bash.args(["-c", &script])
            .current_dir(&folder)
            .env("PATH", path)
            .env("HOME", dir.path(""))
            .env_remove("TIMBRE_CACHE");
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{name}:\n{block}\n{}{}", text(&output.stdout), text(&output.stderr));
        folder = PathBuf::from(dir.read("folder").trim_end());
    }
    dir
}

#[test]
fn the_tutorial_of_own_recordings_works() {
    let dir = follow("docs/own-recordings.md", &["timbre serve"]);
    assert!(dir.path("runs/quickstart/latest/report.html").exists());
}

#[test]
fn the_tutorial_from_a_csv_to_a_served_model_works() {
    let dir = follow("docs/csv-to-server.md", &["make build", "timbre serve", "curl "]);
    assert!(dir.path("music/runs/longer/latest/models/mel.cnn_small.s1/model.safetensors").exists());
}

#[test]
fn the_tutorial_of_several_classes_works() {
    let dir = follow("docs/several-labels.md", &["timbre serve"]);
    for file in ["band/concert.png", "band/labels/concert.txt", "band/runs/lower/latest/report.html"] {
        assert!(dir.path(file).exists(), "{file}");
    }
}

/// Every kind of classic model and what precedes it, as models of one feature; with the words TASK and SPLIT to replace.
const EVERY_MODEL: &str = r#"
[data]
use = "demo"
clips_per_class = 12
test_recordings = 12
[audio]
clip_seconds = 1.0
[evaluate]
task = "TASK"
bootstrap = 0
[split]
kind = "SPLIT"
validation = 0.2
[features.mfcc]
n_mfcc = 4
summary = ["mean", "std"]
[models.knn]
standardize = true
[models.searched]
kind = "knn"
k = [1, 3]
[models.select]
kind = "naive_bayes"
select = { score = "f_classif", k = 3 }
[models.pca]
kind = "svm"
pca = 2
[models.ensemble]
fuse = "rank_mean"
members = ["mfcc.knn", "mfcc.svm"]
"#;

/// The tensors of a file, without the numbers of classes, layers and members.
fn tensors(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let plain = |name: &String| {
        let own = match name.split_once('.') {
            Some((class, own)) if class.strip_prefix("class").is_some_and(|number| number.parse::<u32>().is_ok()) => {
                own
            }
            _ => name,
        };
        own.replace("layer1.", "layer0.").replace("reference.1", "reference.0")
    };
    header.keys().map(plain).collect()
}

#[test]
fn every_tensor_of_a_classic_model_is_documented() {
    let page = &pages()[Path::new("docs/saved-models.md")];
    let is_classic = |kind: &&&str| {
        let spec = serde_json::from_value::<ModelSpec>(serde_json::json!({ "kind": kind }));
        // A model that learns nothing needs a file of labels.
        spec.is_ok_and(|spec| spec.as_network().is_none() && spec.as_kind().learns())
    };
    let kinds = ModelSpec::KINDS.iter().filter(is_classic);
    let tables: String = kinds
        .filter(|kind| !EVERY_MODEL.contains(&format!("[models.{kind}]")))
        .map(|kind| format!("[models.{kind}]\n"))
        .collect();
    let dir = TestDir::new();
    for (task, split) in [("single_label", "holdout"), ("multi_label", "official")] {
        let text = format!("{EVERY_MODEL}{tables}").replace("TASK", task).replace("SPLIT", split);
        fs::write(dir.path(&format!("{task}.toml")), text).unwrap();
        dir.run(&format!("{task}.toml"), &[]);
        for model in fs::read_dir(dir.path(&format!("runs/{task}/latest/models"))).unwrap().map(Result::unwrap) {
            for name in tensors(&model.path().join("model.safetensors")) {
                assert!(page.contains(&format!("`{name}`")), "{:?}: {name}", model.file_name());
            }
        }
    }
}
