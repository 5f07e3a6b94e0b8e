//! Rules of this repository that no compiler checks.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use regex::Regex;

use super::host;
use crate::proc;
use crate::setup::Env;

/// Crates that may hold unsafe code: what runs on bare metal, and the tools' and the benchmark's system calls.
const MAY_BE_UNSAFE: &[&str] = &["hypervisor/", "tests/guests/", "tests/bench/", "xenctl/"];
const MAX_LINES: usize = 1000;

/// Answers the number of rules checked.
pub fn check(env: &Env) -> Result<u32> {
    let mut findings = Vec::new();
    let listed = proc::capture(Command::new("git").args(["ls-files"]).current_dir(&env.root))?;
    let rules = Rules::new()?;
    for name in listed.lines() {
        let Ok(text) = fs::read_to_string(env.root.join(name)) else { continue };
        rules.file(name, &text, &mut findings);
    }
    for (package, dir) in host::packages(env)? {
        let dir = dir.strip_prefix(&env.root).unwrap_or(&dir).to_owned();
        if !MAY_BE_UNSAFE.iter().any(|free| format!("{}/", dir.display()).starts_with(free)) {
            forbids_unsafe(&env.root.join(dir), &package, &mut findings);
        }
    }
    if !findings.is_empty() {
        bail!("{} finding(s):\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(4)
}

fn forbids_unsafe(dir: &Path, package: &str, findings: &mut Vec<String>) {
    let mut roots = vec![dir.join("src/lib.rs"), dir.join("src/main.rs")];
    for program in fs::read_dir(dir.join("src/bin")).into_iter().flatten().flatten() {
        roots.extend([program.path(), program.path().join("main.rs")]);
    }
    for root in roots {
        if let Ok(text) = fs::read_to_string(&root)
            && !text.contains("#![forbid(unsafe_code)]")
        {
            findings.push(format!("{package}: {} does not forbid unsafe code", root.display()));
        }
    }
}

struct Rules {
    mirror: Regex,
    unsafe_word: Regex,
    unfinished: Regex,
}

impl Rules {
    fn new() -> Result<Rules> {
        Ok(Rules {
            // Mirror addresses belong to the machine. (Written so that this line is not a finding.)
            mirror: Regex::new(
                r"(?i)\b(?:deb|ftp|security|snapshot|archive|cdn)[a-z0-9.-]*\.debian\.(?:org|net)\b",
            )?,
            unsafe_word: Regex::new(r"\bunsafe\s*(?:\{|fn\b|impl\b|extern\b)")?,
            unfinished: Regex::new(r"\b(?:todo|unimplemented)!\s*\(")?,
        })
    }

    fn file(&self, name: &str, text: &str, findings: &mut Vec<String>) {
        let rust = name.ends_with(".rs");
        if self.mirror.is_match(text) {
            findings.push(format!("{name}: names a Debian mirror; take the address from the machine"));
        }
        if rust && name.contains("/src/") && text.lines().count() > MAX_LINES {
            findings.push(format!("{name}: more than {MAX_LINES} lines; split it"));
        }
        let may_be_unsafe = MAY_BE_UNSAFE.iter().any(|dir| name.starts_with(dir));
        for (number, line) in text.lines().enumerate().filter(|_| rust) {
            let code = line.split("//").next().unwrap_or("");
            if !may_be_unsafe && self.unsafe_word.is_match(code) {
                findings.push(format!("{name}:{}: unsafe outside the crates that may", number + 1));
            }
            if self.unfinished.is_match(code) {
                findings.push(format!("{name}:{}: unfinished code", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rules;

    fn findings(name: &str, text: &str) -> usize {
        let mut found = Vec::new();
        Rules::new().unwrap().file(name, text, &mut found);
        found.len()
    }

    #[test]
    fn each_rule_finds_its_case() {
        let host = ["deb", "debian", "org"].join(".");
        assert_eq!(findings("README.md", &format!("see {host}/debian")), 1);
        assert_eq!(findings("abi/src/a.rs", &format!("{} {{ }}", "unsafe")), 1);
        assert_eq!(findings("hypervisor/src/a.rs", &format!("{} {{ }}", "unsafe")), 0);
        assert_eq!(findings("abi/src/a.rs", "// unsafe { }\nfn unsafe_name() {}"), 0);
        assert_eq!(findings("hypervisor/src/a.rs", &format!("todo{}", "!()")), 1);
        assert_eq!(findings("x86/src/a.rs", &"\n".repeat(1001)), 1);
    }
}
