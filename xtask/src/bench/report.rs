//! The tables: Markdown for people, JSON for programs.

use std::fmt::Write;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::{MEM_MIB, Mode, Role, Run};
use crate::run::Hypervisor;
use crate::setup::Env;

/// One row: what was measured, with one column per hypervisor.
struct Row {
    name: String,
    unit: &'static str,
    values: Vec<Option<f64>>,
    /// The largest difference between two repeats, in per cent of the value.
    spread: f64,
}

struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

/// Writes `target/bench/bench.md` and `.json`.
pub fn write(env: &Env, runs: &[Run], hypervisors: &[Hypervisor]) -> Result<()> {
    let dir = env.target.join("bench");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("bench.md"), markdown(runs, hypervisors))?;
    let mut all = Vec::new();
    for table in tables(runs, hypervisors) {
        for row in &table.rows {
            let values: serde_json::Map<String, Value> =
                hypervisors.iter().zip(&row.values).map(|(h, v)| (name(*h).to_owned(), json!(v))).collect();
            all.push(json!({
                "table": table.title, "name": row.name, "unit": row.unit, "values": values,
                "spread_percent": row.spread, "to_debian": ratio(row, hypervisors, Hypervisor::Debian),
                "to_native": ratio(row, hypervisors, Hypervisor::None),
            }));
        }
    }
    fs::write(dir.join("bench.json"), serde_json::to_string_pretty(&all)?)?;
    Ok(())
}

pub fn markdown(runs: &[Run], hypervisors: &[Hypervisor]) -> String {
    let mut text = String::new();
    for table in tables(runs, hypervisors) {
        let _ = write!(text, "\n### {}\n\n| |", table.title);
        for &hypervisor in hypervisors {
            let _ = write!(text, " {} |", name(hypervisor));
        }
        let _ = write!(text, " Xenolith / Debian's Xen | Xenolith / native |\n|---|");
        text += &"---:|".repeat(hypervisors.len() + 2);
        text.push('\n');
        for row in &table.rows {
            let _ = write!(text, "| {} ({}) |", row.name, row.unit);
            for value in &row.values {
                let _ = match value {
                    Some(value) if *value >= 100.0 => write!(text, " {value:.0} |"),
                    Some(value) => write!(text, " {value:.2} |"),
                    None => write!(text, " – |"),
                };
            }
            for to in [Hypervisor::Debian, Hypervisor::None] {
                let _ = match ratio(row, hypervisors, to) {
                    Some(ratio) => write!(text, " {ratio:.2} |"),
                    None => write!(text, " – |"),
                };
            }
            text.push('\n');
        }
    }
    text
}

fn name(hypervisor: Hypervisor) -> &'static str {
    match hypervisor {
        Hypervisor::None => "native",
        Hypervisor::Debian => "Debian's Xen",
        Hypervisor::Xenolith => "Xenolith",
    }
}

/// Xenolith's value divided by another's.
fn ratio(row: &Row, hypervisors: &[Hypervisor], to: Hypervisor) -> Option<f64> {
    let of = |wanted| {
        let index = hypervisors.iter().position(|h| *h == wanted)?;
        row.values[index]
    };
    Some(of(Hypervisor::Xenolith)? / of(to)?)
}

fn tables(runs: &[Run], hypervisors: &[Hypervisor]) -> Vec<Table> {
    let mut tables = Vec::new();
    for (mode, role, title) in [
        (Mode::Instructions, Role::Dom0, "dom0, by instructions"),
        (Mode::Instructions, Role::Guest, "PV guest, by instructions"),
        (Mode::Instructions, Role::Life, "The life of domains, by instructions"),
        (Mode::Wall, Role::Dom0, "dom0, by the wall clock (TCG; as busy as the machine was)"),
        (Mode::Wall, Role::Guest, "PV guest, by the wall clock (TCG; as busy as the machine was)"),
        (Mode::Wall, Role::Life, "The life of domains, by the wall clock (TCG; as busy as the machine was)"),
    ] {
        let mut rows = Vec::new();
        let of: Vec<&Run> = runs.iter().filter(|run| run.mode == mode && run.role == role).collect();
        let mut row = |name: &str, unit, value: &dyn Fn(&Run) -> Option<f64>| {
            let row = make_row(name, unit, &of, hypervisors, value);
            if row.values.iter().any(Option::is_some) {
                rows.push(row);
            }
        };
        let each = if mode == Mode::Instructions { "instr." } else { "ns" };
        for &(op, name, unit) in ORDER {
            let ns = |run: &Run| run.result["operations"][op]["ns"].as_f64();
            match unit {
                Unit::Each => row(name, each, &ns),
                Unit::Million if mode == Mode::Instructions => {
                    row(name, "M instr.", &|run| Some(ns(run)? / 1e6))
                }
                Unit::Million => row(name, "ms", &|run| Some(ns(run)? / 1e6)),
                Unit::Rate => row(name, "MB/s", &|run| Some(MIB_IN_MB * 1e9 / ns(run)?)),
            }
        }
        row("kept by the hypervisor for a paused guest of 16 MiB", "KiB", &|run| {
            run.result["life"]["kept_kib"].as_f64()
        });
        let (scale, unit) = if mode == Mode::Instructions { (1e3, "M instr.") } else { (1.0, "s") };
        row("power-on to dom0's first line", unit, &|run| run.boot.map(|boot| boot[0] * scale));
        row("power-on to dom0's init", unit, &|run| run.boot.map(|boot| boot[1] * scale));
        row("first line to init", unit, &|run| run.boot.map(|boot| (boot[1] - boot[0]) * scale));
        row("memory the hypervisor keeps", "MiB", &kept_mib);
        if !rows.is_empty() {
            tables.push(Table { title, rows });
        }
    }
    tables
}

const MIB_IN_MB: f64 = 1.048_576;

/// How an operation's nanoseconds (of virtual time under `-icount`) are shown.
#[derive(Clone, Copy)]
enum Unit {
    /// As they are.
    Each,
    /// In millions.
    Million,
    /// How much is moved in a second, where an iteration moves 1 MiB.
    Rate,
}
use Unit::{Each, Million, Rate};

/// Operations, what they are called, and their unit, in the order of the report.
const ORDER: &[(&str, &str, Unit)] = &[
    ("syscall", "syscall", Each),
    ("clock", "clock", Each),
    ("signal", "signal", Each),
    ("protection-fault", "protection-fault", Each),
    ("fresh-page", "fresh-page", Each),
    ("copy-on-write", "copy-on-write", Each),
    ("mprotect", "mprotect", Each),
    ("pipe", "pipe", Each),
    ("fork-exit", "fork-exit", Each),
    ("fork-exec", "fork-exec", Each),
    ("xen-version", "xen-version", Each),
    ("xen-event", "xen-event", Each),
    ("event-round-trip", "event to dom0 and back", Each),
    ("grant-copy-round-trip", "the same, dom0 copying a page out and in", Each),
    ("block-read", "block-read: 4 KiB, random", Each),
    ("udp", "udp: datagram to dom0 and back", Each),
    ("block-stream", "sequential block reads", Rate),
    ("tcp-send", "TCP stream, guest to dom0", Rate),
    ("tcp-receive", "TCP stream, dom0 to guest", Rate),
    ("vcpu-switch", "switch between two vCPUs, by yielding", Each),
    ("domain-create", "createdomain", Each),
    ("domain-destroy", "destroydomain of it", Each),
    ("domain-create-16m", "createdomain with a vCPU and 16 MiB", Each),
    ("domain-destroy-16m", "destroydomain of that", Each),
    ("xl-create-to-first", "xl create, 16 MiB, to the guest's first instructions", Million),
    ("xl-create-to-user", "xl create, Debian's kernel, to its init", Million),
    ("xl-create-paused", "xl create -p, 16 MiB", Million),
    ("xl-destroy", "xl destroy of it", Million),
    ("xl-list-1", "xl list, 1 guest", Million),
    ("xl-list-10", "xl list, 10 guests", Million),
    ("xl-list-50", "xl list, 50 guests", Million),
];

/// The machine's memory that is neither free nor dom0's, with what the firmware keeps.
fn kept_mib(run: &Run) -> Option<f64> {
    // The other machines are larger, and have guests.
    if run.role != Role::Dom0 {
        return None;
    }
    let memory = &run.result["memory"];
    let of = |key: &str| memory[key].as_f64();
    Some(f64::from(MEM_MIB) - (of("free_pages")? + of("own_pages")?) / 256.0)
}

fn make_row(
    name: &str,
    unit: &'static str,
    runs: &[&Run],
    hypervisors: &[Hypervisor],
    value: &dyn Fn(&Run) -> Option<f64>,
) -> Row {
    let mut spread: f64 = 0.0;
    let values = hypervisors
        .iter()
        .map(|hypervisor| {
            let mut all: Vec<f64> = runs
                .iter()
                .filter(|run| run.hypervisor == *hypervisor)
                .filter_map(|run| value(run))
                .collect();
            all.sort_by(f64::total_cmp);
            let middle = *all.get(all.len() / 2)?;
            spread = spread.max((all[all.len() - 1] - all[0]) / middle * 100.0);
            Some(middle)
        })
        .collect();
    Row { name: name.to_owned(), unit, values, spread }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(hypervisor: Hypervisor, ns: f64) -> Run {
        let result = json!({
            "operations": {
                "signal": { "ns": ns, "iterations": 1 },
                "tcp-send": { "ns": ns * 1e4, "iterations": 1 },
                "xen-version": "absent",
            },
            "memory": { "free_pages": 256, "own_pages": 1022 * 256 },
        });
        Run { hypervisor, mode: Mode::Instructions, role: Role::Dom0, result, boot: Some([1.0, 3.0]) }
    }

    #[test]
    fn repeats_give_their_median_and_ratios() {
        let hypervisors = [Hypervisor::None, Hypervisor::Debian, Hypervisor::Xenolith];
        let mut runs: Vec<Run> = [150.0, 100.0, 300.0].map(|ns| run(Hypervisor::Debian, ns)).into();
        runs.push(run(Hypervisor::Xenolith, 300.0));
        let tables = tables(&runs, &hypervisors);
        let row = &tables[0].rows[0];
        assert_eq!(row.values, [None, Some(150.0), Some(300.0)]);
        assert_eq!(ratio(row, &hypervisors, Hypervisor::Debian), Some(2.0));
        assert_eq!(ratio(row, &hypervisors, Hypervisor::None), None);
        let text = markdown(&runs, &hypervisors);
        assert!(text.contains("| signal (instr.) | – | 150 | 300 | 2.00 | – |"), "{text}");
        assert!(text.contains("| TCP stream, guest to dom0 (MB/s) | – | 699 | 350 | 0.50 | – |"), "{text}");
        assert!(
            text.contains("| memory the hypervisor keeps (MiB) | – | 1.00 | 1.00 | 1.00 | – |"),
            "{text}"
        );
        assert!(!text.contains("xen-version"), "a row without values is left out: {text}");
    }
}
