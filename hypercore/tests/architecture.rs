//! ARCHITECTURE.md is true: its table of hypercalls is the code's, and every path it names exists.
//!
//! `XENOLITH_WRITE=1 cargo test -p hypercore --test architecture` writes the table anew.
#![cfg(not(miri))]

use std::fs;
use std::path::PathBuf;

use hypercore::hypercall_table::render;

const BEGIN: &str = "<!-- hypercalls: printed from hypercore/src/hypercall_table.rs -->\n";
const END: &str = "<!-- end -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

#[test]
fn the_table_of_hypercalls_is_the_codes() {
    let file = text();
    let (before, rest) = file.split_once(BEGIN).expect("the mark before the table");
    let (table, after) = rest.split_once(END).expect("the mark after the table");
    let mut wanted = String::new();
    render(&mut wanted).expect("strings take all");
    if std::env::var_os("XENOLITH_WRITE").is_some() {
        fs::write(root().join("ARCHITECTURE.md"), format!("{before}{BEGIN}{wanted}{END}{after}"))
            .expect("writing ARCHITECTURE.md");
        return;
    }
    for (have, want) in table.lines().zip(wanted.lines()) {
        assert_eq!(have, want, "ARCHITECTURE.md differs from the table; see the head of this test");
    }
    assert_eq!(table.lines().count(), wanted.lines().count(), "see the head of this test");
}

#[test]
fn every_path_it_names_exists() {
    let file = text();
    let folders: Vec<String> = fs::read_dir(root())
        .expect("the workspace's folder")
        .filter_map(|e| Some(format!("{}/", e.ok()?.file_name().to_str()?)))
        .collect();
    // What stands in backticks, outside blocks of code.
    let prose: String = file.split("```").step_by(2).collect();
    let mut looked_at = 0;
    for word in prose.split('`').skip(1).step_by(2) {
        if word.contains(' ') || !folders.iter().any(|f| word.starts_with(f.as_str())) {
            continue;
        }
        looked_at += 1;
        assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which is not there");
    }
    assert!(looked_at > 20, "only {looked_at} paths found: does this test still look where it should?");
}
