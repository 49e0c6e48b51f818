//! The floors of the house: a module uses only modules on floors below its own. The floors are read
//! from the documentation of `src/lib.rs`, so that what is written there is what holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floor of each module, from the sentence in `src/lib.rs` that begins with "Floors": floors are
/// parted by semicolons, modules of one floor by commas.
fn floors(lib: &str) -> BTreeMap<String, usize> {
    let text: String = lib.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let (_, after) = text.split_once("Floors").expect("src/lib.rs says what the floors are");
    let (_, list) = after.split_once("):").expect("the floors follow the remark in brackets");
    let (list, _) = list.split_once('.').expect("the list of floors ends with a full stop");
    let mut floors = BTreeMap::new();
    for (floor, names) in list.split(';').enumerate() {
        for name in names.split('`').skip(1).step_by(2) {
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

/// The text without comments, string literals and character literals.
fn code_only(source: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            rest[body..].find(&close).map_or(rest.len(), |end| body + end + close.len())
        } else if c == '"' {
            string_end(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skip..];
    }
    out
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.chars().take_while(|c| *c == '#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The modules of the crate's root that a file names: `crate::x`, `crate::{x, y}`, and as many
/// `super::` as lead to the root. `depth` is how many modules deep the file is.
fn named(source: &str, depth: usize) -> Vec<String> {
    let code: String = code_only(source);
    let mut found = Vec::new();
    let to_root = "super::".repeat(depth);
    for start in ["crate::", to_root.as_str()] {
        let mut rest = code.as_str();
        while let Some(at) = rest.find(start) {
            let before = rest[..at].chars().next_back();
            let after = rest[at + start.len()..].trim_start();
            rest = &rest[at + start.len()..];
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') && start != "crate::" {
                continue;
            }
            let Some(group) = after.strip_prefix('{') else {
                found.push(word(after).to_owned());
                continue;
            };
            // The first words of a group, at its own level.
            let (mut level, mut fresh) = (0, true);
            for (i, c) in group.char_indices() {
                match c {
                    '{' => level += 1,
                    '}' if level == 0 => break,
                    '}' => level -= 1,
                    ',' if level == 0 => fresh = true,
                    c if fresh && level == 0 && c.is_alphabetic() => {
                        found.push(word(&group[i..]).to_owned());
                        fresh = false;
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder of sources").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_arrow_points_up_or_sideways() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(root.join("lib.rs")).expect("src/lib.rs");
    let floors = floors(&lib);
    assert_eq!(floors["kernel"], 0);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inside: Vec<String> = file
            .strip_prefix(&root)
            .expect("a file below src")
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .filter(|part| part != "mod")
            .collect();
        let module = &inside[0];
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(floor) = floors.get(module) else {
            wrong.push(format!("{} is in no floor of src/lib.rs", file.display()));
            continue;
        };
        let text = std::fs::read_to_string(&file).expect("a readable source");
        for other in named(&text, inside.len()) {
            if other != *module && floors.get(&other).is_some_and(|f| f >= floor) {
                wrong.push(format!(
                    "{}: {module} (floor {floor}) uses {other} (floor {})",
                    file.display(),
                    floors[&other]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_arrows_sees_them() {
    let text = r##"
        use crate::kernel::{SimTime, Phase};
        use crate::{billing::Meter, traffic::{DataPlane, x::y}, cli};
        // crate::comment
        /* crate::block */
        const A: &str = "crate::text \" crate::more";
        const B: &str = r#"crate::raw"#;
        fn f<'a>(x: &'a crate::catalog::Price) -> char { '"' }
        fn g() { super::super::report::print(); super::own(); }
    "##;
    let mut got = named(text, 2);
    got.sort();
    assert_eq!(got, ["billing", "catalog", "cli", "kernel", "report", "traffic"]);
    let floors = floors("//! Floors (a module ...): `a`; `b`, `c`;\n//! `d`. More `e`.");
    assert_eq!(
        floors.into_iter().collect::<Vec<_>>(),
        [("a".into(), 0), ("b".into(), 1), ("c".into(), 1), ("d".into(), 2)]
    );
}
