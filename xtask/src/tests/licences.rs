//! Every dependency's licence must allow ours (`MIT OR Apache-2.0`).

use anyhow::{Context, Result, bail};

use crate::proc;
use crate::setup::Env;

const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unlicense",
    "Unicode-3.0",
    "Unicode-DFS-2016",
];

/// Answers the number of packages looked at.
pub fn check(env: &Env) -> Result<u32> {
    let text = proc::capture(env.cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let packages = json["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut refused = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none named");
        if !allowed(licence) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    if !refused.is_empty() {
        bail!("licences that are not on the list:\n  {}", refused.join("\n  "));
    }
    Ok(u32::from(!packages.is_empty()))
}

/// Whether an SPDX expression can be met from the list. AND binds closer than OR; "/" is an old OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    any(expression.trim())
}

fn any(expression: &str) -> bool {
    split(expression, " OR ").into_iter().any(|part| split(part, " AND ").into_iter().all(term))
}

fn term(text: &str) -> bool {
    let text = text.trim();
    match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => any(inner),
        None => ALLOWED.contains(&text),
    }
}

/// Splits at the word, outside parentheses.
fn split<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && at >= start && text[at..].starts_with(word) => {
                parts.push(&text[start..at]);
                start = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions() {
        assert!(allowed("MIT OR Apache-2.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(allowed("GPL-2.0 OR Zlib"));
        assert!(allowed("Apache-2.0 WITH LLVM-exception OR MIT"));
        assert!(!allowed("GPL-2.0"));
        assert!(!allowed("MIT AND GPL-2.0"));
        assert!(!allowed("(MIT OR Zlib) AND (GPL-2.0 OR LGPL-2.1)"));
        assert!(!allowed("none named"));
    }
}
