//! Virtual NUMA nodes: lists of `key=value` strings, one list a node.

use super::Surroundings;
use super::cpus::range;
use super::reader::Reader;
use super::spec::pairs;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{BuildInfo, DefBool, VnodeInfo};
use crate::config::syntax::Value;

const KNOWN: &[&str] = &["pnode", "size", "vcpus", "vdistances"];

pub fn vnuma(reader: &mut Reader<'_>, out: &mut BuildInfo, around: &Surroundings) {
    let Some(value) = reader.value("vnuma") else { return };
    let items = reader.list("vnuma");
    if items.is_empty() {
        return;
    }
    out.vnuma_nodes = items.iter().filter_map(|item| node(reader, item, items.len(), around)).collect();
    if out.vnuma_nodes.len() != items.len() {
        return;
    }
    out.numa_placement = DefBool::False;
    let sum: u64 = out.vnuma_nodes.iter().map(|node| node.memkb).sum();
    if reader.settings.get("maxmem").is_some() && out.max_memkb != Some(sum) {
        let message =
            format!("the nodes of `vnuma` have {} MiB together, `maxmem` is another number", sum >> 10);
        reader.error(value, message, "make them equal, or delete `maxmem`");
    }
    out.max_memkb = Some(sum);
    let last = out.vnuma_nodes.iter().filter_map(|node| node.vcpus.0.last()).max();
    let count = last.map_or(0, |last| last + 1);
    if reader.settings.get("maxvcpus").is_some() || reader.settings.get("vcpus").is_some() {
        if out.max_vcpus != count {
            let message = format!("the nodes of `vnuma` have {count} vCPUs, the guest has {}", out.max_vcpus);
            reader.error(value, message, "give each vCPU to one node");
        }
    } else if count as usize > around.cpu_nodes.len() {
        let message =
            format!("the nodes of `vnuma` have {count} vCPUs, the host has {} CPUs", around.cpu_nodes.len());
        reader.error(value, message, format!("write maxvcpus = {count} as well, if that is meant"));
    } else {
        out.max_vcpus = count;
    }
}

/// One node; `count` is how many there are.
fn node(reader: &mut Reader<'_>, item: &Value, count: usize, around: &Surroundings) -> Option<VnodeInfo> {
    let Some(options) = item.list() else {
        let help =
            "write vnuma = [ [ \"pnode=0\", \"size=512\", \"vcpus=0-4\", \"vdistances=10,20\" ], ... ]";
        reader.error(item, "a node of `vnuma` is a list", help);
        return None;
    };
    let mut node = VnodeInfo::default();
    let mut good = true;
    for option in options {
        let text = reader.item("vnuma", option)?;
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let pair = pairs(option, text).next();
        let number = value.trim().parse::<u64>().ok();
        let set = match (key.trim(), number) {
            ("pnode", Some(pnode)) => {
                let known = around.cpu_nodes.iter().any(|node| u64::from(*node) == pnode);
                node.pnode = u32::try_from(pnode).unwrap_or(0);
                known
            }
            ("size", Some(mib)) => mib.checked_mul(1024).map(|kib| node.memkb = kib).is_some(),
            ("vcpus", _) => vcpus(value).map(|set| node.vcpus = set.into_iter().collect()).is_some(),
            ("vdistances", _) => {
                let distances: Option<Vec<u32>> =
                    value.split(',').map(|one| one.trim().parse().ok()).collect();
                distances.filter(|all| all.len() == count).map(|all| node.distances = all).is_some()
            }
            ("pnode" | "size", None) => false,
            _ => {
                if let Some(pair) = pair {
                    pair.refuse(reader, "a node of `vnuma`", KNOWN);
                }
                good = false;
                continue;
            }
        };
        if !set {
            good = false;
            let expected = match key.trim() {
                "pnode" => "`pnode` is a NUMA node of the host, as a number".to_string(),
                "size" => "`size` is a number of MiB".into(),
                "vcpus" => "`vcpus` is ranges and single vCPUs: 0-3,5".into(),
                _ => format!("`vdistances` is a distance to each of the {count} nodes: 10,20"),
            };
            reader.diagnostics.push(
                Diagnostic::error(option.at, format!("\"{text}\" does not describe a node")).help(expected),
            );
        }
    }
    for key in KNOWN {
        let written = options
            .iter()
            .filter_map(Value::text)
            .any(|text| text.split('=').next().map(str::trim) == Some(key));
        if !written {
            good = false;
            reader.error(
                item,
                format!("this node of `vnuma` has no `{key}`"),
                "all of pnode, size, vcpus and vdistances must be there",
            );
        }
    }
    good.then_some(node)
}

fn vcpus(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (from, to) = range(part.trim()).filter(|(_, to)| *to < 8192)?;
        all.extend(from..=to);
    }
    Some(all)
}
