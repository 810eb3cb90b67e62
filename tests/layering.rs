//! The order of the `mod` lines in `lib.rs` is the order of the layers, and `docs/architecture.md` is their map.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn layers() -> Vec<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// The module of `lib.rs` to which a source file belongs; none for `lib.rs` and `main.rs`.
fn module_of(file: &Path) -> Option<String> {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
    (first != "lib" && first != "main").then(|| first.to_owned())
}

/// Every top-level module that the text names after `crate::`, alone or in braces; comments do not count.
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match after.strip_prefix('{') {
            None => names.push(word(after)),
            Some(group) => {
                let (mut depth, mut start) = (0usize, true);
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && !c.is_whitespace() => {
                            names.push(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

#[test]
fn a_module_imports_only_from_modules_above_it() {
    let layers = layers();
    let level = |name: &str| layers.iter().position(|l| l == name);
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut faults = Vec::new();
    for file in files {
        let Some(module) = module_of(&file) else { continue };
        let own = level(&module).unwrap_or_else(|| panic!("{} belongs to no module of lib.rs", file.display()));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            match level(&import) {
                Some(other) if other <= own => {}
                Some(_) => faults.push(format!("{} imports `{import}`, which lies above `{module}`", file.display())),
                // A macro or an item of the crate's root.
                None => {}
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_map_names_every_module_in_its_order() {
    let map = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    // Rows of the table look like `| words | `seed` `labels` | … |`: the modules stand in the second column.
    let column = |line: &str| line.strip_prefix("| ")?.split('|').nth(1).map(str::to_owned);
    let mapped: Vec<String> = map
        .lines()
        .filter_map(column)
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(mapped, layers(), "docs/architecture.md and src/lib.rs disagree");
}

#[test]
fn no_folder_is_deep_and_no_file_is_called_misc() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files {
        let below = file.strip_prefix(root().join("src")).unwrap();
        assert!(below.components().count() <= 3, "{} lies more than two folders below src", below.display());
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["utils", "util", "helpers", "common", "base", "misc"].contains(&name),
            "{} says nothing",
            below.display()
        );
    }
}

#[test]
fn imports_are_read_alone_and_in_braces() {
    let text = "use crate::seed::Seed;\nuse crate::{audio::{self, Clip}, dsp};\n// use crate::cli;\nlet x = crate::data::f();\n";
    assert_eq!(imports(text), ["seed", "audio", "dsp", "data"]);
}
