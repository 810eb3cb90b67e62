//! No two modules beside each other import each other, be it through others: the code reads in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The path of a module below its crate: `audio::wav` is `["audio", "wav"]`.
type Module = Vec<String>;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(file: &Path, source: &Path) -> Module {
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&&*module.join("/")) {
        module.pop();
    }
    module
}

/// Without comments and the module of tests at the end.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Reads `a::b::{c, d::e}` from the beginning of a text into the paths that it names. Returns what follows.
fn read_paths<'a>(mut text: &'a str, mut before: Module, paths: &mut Vec<Module>) -> &'a str {
    loop {
        let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if word > 0 {
            before.push(text[..word].to_owned());
        }
        let after = &text[word..];
        match after.strip_prefix("::") {
            Some(rest) if rest.starts_with('{') => {
                let mut rest = rest[1..].trim_start();
                while !rest.starts_with('}') && !rest.is_empty() {
                    let end = read_paths(rest, before.clone(), paths);
                    // `as NAME`, and the comma.
                    rest = end[end.find([',', '}']).unwrap_or(end.len())..].trim_start_matches(',').trim_start();
                }
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            Some(rest) => text = rest,
            None => {
                paths.push(before);
                return after;
            }
        }
    }
}

/// The modules that a module names after `crate::` and `super::`.
fn imports(code: &str, module: &Module, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let mut paths = Vec::new();
        read_paths(&code[at..], Vec::new(), &mut paths);
        for path in paths {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = if ups > 0 { &module[..module.len().saturating_sub(ups)] } else { &[] };
            let path = [base, &path[ups.max(1)..]].concat();
            let known =
                (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| modules.contains(path));
            found.extend(known.filter(|other| other != module));
        }
    }
    found
}

/// Adds the modules that can be reached from `from`.
fn reach(from: &Module, edges: &BTreeMap<Module, BTreeSet<Module>>, seen: &mut BTreeSet<Module>) {
    for next in edges.get(from).into_iter().flatten() {
        if seen.insert(next.clone()) {
            reach(next, edges, seen);
        }
    }
}

/// The modules of a crate that import themselves through modules beside them.
fn in_cycles(source: &Path) -> Vec<String> {
    let mut files = Vec::new();
    rust_files(source, &mut files);
    let modules: BTreeSet<Module> = files.iter().map(|file| module_of(file, source)).collect();
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for file in &files {
        let module = module_of(file, source);
        if module.last().is_none_or(|name| name == "tests") {
            continue;
        }
        for other in imports(&code_of(file), &module, &modules) {
            // The two modules beside each other that they are in.
            let common = module.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if common < module.len() && common < other.len() {
                let beside = other[..=common].to_vec();
                edges.entry(module[..=common].to_vec()).or_default().insert(beside);
            }
        }
    }
    let is_cyclic = |module: &&Module| {
        let mut seen = BTreeSet::new();
        reach(module, &edges, &mut seen);
        seen.contains(*module)
    };
    edges.keys().filter(is_cyclic).map(|module| module.join("::")).collect()
}

#[test]
fn no_modules_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    for source in crates.chain([root.join("src")]) {
        assert_eq!(in_cycles(&source), Vec::<String>::new(), "{}", source.display());
    }
}

#[test]
fn imports_are_read_with_their_groups() {
    let modules: BTreeSet<Module> =
        ["a", "a::b", "a::c", "d", "d::e"].iter().map(|path| path.split("::").map(str::to_owned).collect()).collect();
    let of = |code: &str| -> Vec<String> {
        let module = vec!["a".to_owned(), "b".to_owned()];
        imports(code, &module, &modules).iter().map(|module| module.join("::")).collect()
    };
    assert_eq!(of("use crate::{d::{e::X as Y, f}, a::c};\n"), ["a::c", "d", "d::e"]);
    assert_eq!(of("fn f() -> super::c::X { super::super::d::e::g::<u8>() }\n"), ["a::c", "d::e"]);
    assert_eq!(of("let x = other_crate::d; $crate::d::x(); super::b::y()\n"), Vec::<String>::new());
}
