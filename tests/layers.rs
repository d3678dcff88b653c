//! The layers of the crate: which module may use which, and where `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers in order; each may use those before it that are named beside it.
const LAYERS: [(&str, &[&str]); 6] = [
    ("protocol", &[]),
    ("connection", &["protocol"]),
    ("buffer", &[]),
    ("driver", &["buffer"]),
    ("engine", &["protocol", "connection", "buffer", "driver"]),
    ("broker", &["protocol", "buffer", "driver"]),
];

/// Folders that may hold `unsafe` code.
const UNSAFE_ALLOWED: [&str; 2] = ["src/buffer/", "src/driver/uring/"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Code lines with their numbers, without comments.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| {
            (
                at + 1,
                line.split("//").next().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

/// The layers that a line names as `crate::layer`.
fn layers_named(line: &str) -> Vec<&'static str> {
    LAYERS
        .iter()
        .map(|(layer, _)| *layer)
        .filter(|layer| {
            line.match_indices(&format!("crate::{layer}"))
                .any(|(at, found)| {
                    let after = line[at + found.len()..].chars().next();
                    !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
                })
        })
        .collect()
}

#[test]
fn a_layer_uses_only_the_layers_above_it() {
    let mut wrong = Vec::new();
    for (layer, may_use) in LAYERS {
        for path in sources(&root().join("src").join(layer)) {
            for (number, line) in code(&path) {
                for named in layers_named(&line) {
                    if named != layer && !may_use.contains(&named) {
                        wrong.push(format!("{}:{number}: {layer} uses {named}", path.display()));
                    }
                }
                if line.contains("use crate::{") {
                    wrong.push(format!(
                        "{}:{number}: name each layer in its own `use`, so that this test sees it",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_a_layer() {
    let mut modules: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lib.rs")
        .collect();
    modules.sort();
    let mut layers: Vec<_> = LAYERS
        .iter()
        .map(|(layer, _)| (*layer).to_owned())
        .collect();
    layers.sort();
    assert_eq!(modules, layers);
}

#[test]
fn unsafe_stands_only_where_it_may_and_says_why() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let uses = code(&path)
            .iter()
            .filter(|(_, line)| line.contains("unsafe {") || line.contains("unsafe impl"))
            .count();
        if uses > 0 && !UNSAFE_ALLOWED.iter().any(|folder| name.starts_with(folder)) {
            wrong.push(format!("{name}: unsafe code"));
        }
        let reasons = text.matches("SAFETY:").count();
        if reasons < uses {
            wrong.push(format!("{name}: {uses} uses of unsafe, {reasons} reasons"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
