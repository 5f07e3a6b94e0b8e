//! CPU lists: `0-3,^1`, `all`, `node:0`, `nodes:0-1`, joined by commas; later parts that begin with `^`
//! take away.

use std::collections::BTreeSet;

use super::Surroundings;
use super::reader::Reader;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{Bitmap, BuildInfo, DefBool};
use crate::config::syntax::{Kind, Value};

const FORM: &str = "write ranges and single CPUs: \"0-3,5,^1\", \"all,^7\", \"node:0\", \"nodes:0-1,^2\"";

/// `cpus` (where the vCPUs may run) and `cpus_soft` (where they should).
pub fn affinity(reader: &mut Reader<'_>, out: &mut BuildInfo, around: &Surroundings) {
    let vcpus = out.max_vcpus.max(1) as usize;
    out.vcpu_hard_affinity = option(reader, "cpus", vcpus, around, &mut out.numa_placement, false);
    out.vcpu_soft_affinity = option(reader, "cpus_soft", vcpus, around, &mut out.numa_placement, true);
}

fn option(
    reader: &mut Reader<'_>,
    key: &str,
    vcpus: usize,
    around: &Surroundings,
    placement: &mut DefBool,
    soft: bool,
) -> Vec<Bitmap> {
    let Some(value) = reader.value(key) else { return Vec::new() };
    if soft || matches!(value.kind, Kind::List(_)) {
        *placement = DefBool::False;
    }
    let Some(items) = value.list() else {
        let set = list(reader, key, value, around);
        return set.map(|set| vec![set; vcpus]).unwrap_or_default();
    };
    if items.len() > vcpus {
        let message =
            format!("`{key}` has {} elements for {vcpus} vCPUs; the last ones are ignored", items.len());
        reader.warning(value, message, "write one element for each vCPU");
    }
    items.iter().take(vcpus).filter_map(|item| list(reader, key, item, around)).collect()
}

/// One list, and complaints if it is none or names no CPU of the host.
fn list(reader: &mut Reader<'_>, key: &str, value: &Value, around: &Surroundings) -> Option<Bitmap> {
    let text = reader.item(key, value)?;
    match parse(text, &around.cpu_nodes) {
        Ok(set) if set.is_empty() => {
            let cpus = around.cpu_nodes.len();
            let message =
                format!("no CPU is left by `{key}`: this host has the CPUs 0-{}", cpus.saturating_sub(1));
            reader.error(value, message, FORM);
            None
        }
        Ok(set) => Some(Bitmap(set)),
        Err(part) => {
            let message = format!("\"{part}\" in `{key}` is no range of CPUs");
            reader.diagnostics.push(Diagnostic::error(value.place_of(part), message).help(FORM));
            None
        }
    }
}

/// The CPUs of a list, or the part that is wrong. CPUs the host does not have may be named up to the
/// end of the last byte of a bitmap of its CPUs; `all` means those too, as in stock.
pub fn parse<'a>(text: &'a str, cpu_nodes: &[u32]) -> Result<BTreeSet<u32>, &'a str> {
    let size = (cpu_nodes.len() as u32).next_multiple_of(8);
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let part = part.trim();
        let (take_away, rest) = part.strip_prefix('^').map_or((false, part), |rest| (true, rest));
        let nodes = rest.strip_prefix("nodes:").or(rest.strip_prefix("node:"));
        let chosen: BTreeSet<u32> = match nodes {
            _ if take_away && rest == "all" => return Err(part),
            None if rest == "all" => (0..size).collect(),
            Some("all") => (0..size).collect(),
            Some(nodes) => {
                let (from, to) = range(nodes).ok_or(part)?;
                let inside = |node: u32| (from..=to).contains(&node);
                (0..size).filter(|cpu| cpu_nodes.get(*cpu as usize).copied().is_some_and(inside)).collect()
            }
            None => {
                let (from, to) = range(rest).ok_or(part)?;
                (from..=to.min(size.saturating_sub(1))).collect()
            }
        };
        for cpu in chosen {
            if take_away {
                set.remove(&cpu);
            } else {
                set.insert(cpu);
            }
        }
    }
    Ok(set)
}

/// `n` or `from-to`, in decimal.
pub fn range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?),
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_stock_makes_of_them() {
        let nodes = [0, 0, 1, 1];
        let cases: &[(&str, &[u32])] = &[
            ("all", &[0, 1, 2, 3, 4, 5, 6, 7]),
            ("all,^1", &[0, 2, 3, 4, 5, 6, 7]),
            ("0-3,5,^1", &[0, 2, 3, 5]),
            ("9", &[]),
            ("node:0", &[0, 1]),
            ("nodes:0-1,^node:1", &[0, 1]),
            ("1,node:1,^2", &[1, 3]),
            ("0,^0", &[]),
            ("", &[]),
            ("0,,1", &[0, 1]),
            (" 0", &[0]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, &nodes), Ok(expected.iter().copied().collect()), "{text}");
        }
        for (text, part) in [
            ("x", "x"),
            ("0,1-", "1-"),
            ("3-1", "3-1"),
            ("all,^all", "^all"),
            ("node:x", "node:x"),
            ("0x1", "0x1"),
        ] {
            assert_eq!(parse(text, &nodes), Err(part), "{text}");
        }
    }
}
