//! Compares every structure and number of `abi` with the public C headers, by asking the system's C
//! compiler. `XEN_HEADERS` names the folder that contains `xen/xen.h`; `cargo xtask test` sets it.

mod c;
mod constants;
mod structs;

use abi::Errno;
use c::Program;
use std::path::Path;

fn program() -> Program {
    let mut program = Program::default();
    structs::all(&mut program);
    constants::all(&mut program);
    // Two numbers are the hypervisor's own: the headers keep them from tools.
    for &errno in Errno::ALL.iter().filter(|&&e| e != Errno::EINTR && e != Errno::ERESTART) {
        let name = errno.name().expect("a listed errno has a name");
        program.constant(&format!("errno::{name}"), errno.0.into(), &format!("XEN_{name}"));
    }
    program
}

#[test]
fn what_abi_says_is_what_the_headers_say() {
    let differences = program().differences();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn every_structure_and_number_is_compared() {
    let mut compared = program().items;
    compared.extend(structs::ABSENT_FROM_HEADERS.iter().map(|name| name.to_string()));
    compared.extend(constants::ABSENT_FROM_HEADERS.iter().map(|name| name.to_string()));

    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut missing = Vec::new();
    visit(&source, "", &mut |module, text| {
        for name in text.lines().filter_map(declared) {
            let item = format!("{module}::{name}");
            if !compared.contains(&item) {
                missing.push(item);
            }
        }
    });
    assert!(missing.is_empty(), "not compared with the headers: {missing:#?}");
}

/// The name of the structure or number that a line declares.
fn declared(line: &str) -> Option<&str> {
    if let Some((name, _)) = line.strip_prefix("    pub struct ").and_then(|l| l.split_once(" [")) {
        return Some(name);
    }
    let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
    let number = ["u8 ", "u16 ", "u32 ", "u64 ", "i16 ", "i32 ", "i64 ", "usize "];
    number.iter().any(|ty| rest.starts_with(ty)).then_some(name)
}

/// Calls `each` with the path and the text of every module below `folder`.
fn visit(folder: &Path, prefix: &str, each: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(folder).expect("read abi's source") {
        let path = entry.expect("read abi's source").path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        // A header's numbers may have a file of their own; what they are called does not change.
        let module = match stem {
            "numbers" => prefix.trim_end_matches("::").to_owned(),
            _ => format!("{prefix}{stem}"),
        };
        if path.is_dir() {
            visit(&path, &format!("{module}::"), each);
        } else if stem != "layout" {
            each(&module, &std::fs::read_to_string(&path).expect("read abi's source"));
        }
    }
}
