//! The tiny guest (`tests/guests`) on Debian's Xen and on Xenolith; their answers are compared line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Outcome, Stage};
use crate::build;
use crate::expect::Session;
use crate::proc;
use crate::qemu::{Boot, Bus, Chipset, Console, Machine};
use crate::run::{self, Hypervisor};
use crate::setup::{self, Env, QemuVersion};

const TARGET: &str = "x86_64-unknown-none";
const LIMIT: Duration = Duration::from_secs(240);

type Answers = BTreeMap<String, String>;

/// A listed difference: Debian's answer and Xenolith's.
struct Known {
    debian: String,
    xenolith: String,
}

/// What is asked of the two hypervisors, and on which machine.
#[derive(Clone, Copy)]
struct Question {
    name: &'static str,
    /// What the logs' names end in.
    log: &'static str,
    /// The tiny guest's groups.
    groups: &'static str,
    smp: u32,
    cpu: &'static str,
    options: &'static str,
    /// More for Debian's Xen.
    debian_options: &'static str,
    two_nodes: bool,
}

const ALL: Question = Question {
    name: "tiny guest: answers as on Debian's Xen",
    log: "",
    groups: "all",
    smp: 2,
    cpu: "EPYC-v4",
    options: "",
    // As here, frequencies are left to the firmware.
    debian_options: "cpufreq=none",
    two_nodes: false,
};

/// What depends on the processor. Debian's Xen has defences there that Xenolith has not: they show in the error codes of
/// page faults, and take AVX away.
const INTEL: Question = Question {
    name: "tiny guest: registers on an Intel CPU as on Debian's Xen",
    log: "-intel",
    groups: "user,trace,descriptors,xstate,mca",
    cpu: "Skylake-Client-v4",
    debian_options: "xpti=no spec-ctrl=gds-mit=no",
    ..ALL
};

/// Asked of Xenolith alone: whether the second vCPU runs while the first one polls is a matter of time on Debian's Xen.
const SWITCH: Question = Question {
    name: "tiny guest: two vCPUs of one CPU keep their state",
    log: "-switch",
    groups: "switch",
    smp: 1,
    options: "dom0_max_vcpus=2",
    ..ALL
};

const TSC: Question = Question {
    name: "tiny guest: the counter and the clock on two vCPUs",
    log: "-tsc",
    groups: "tsc",
    ..ALL
};

const NODES: Question = Question {
    name: "tiny guest: two nodes as on Debian's Xen",
    log: "-nodes",
    groups: "nodes",
    two_nodes: true,
    ..ALL
};

impl Question {
    /// Whether the check is of one of its groups.
    fn asks(&self, check: &str) -> bool {
        let of = check.split('.').next();
        self.groups.split(',').any(|group| group == "all" || Some(group) == of)
    }
}

pub fn ci() -> Stage {
    compare_hypervisors(ALL)
}

pub fn full() -> [Stage; 5] {
    [
        compare_hypervisors(ALL),
        compare_hypervisors(INTEL),
        compare_hypervisors(TSC),
        compare_hypervisors(NODES),
        state_is_kept(),
    ]
}

fn state_is_kept() -> Stage {
    Stage::new(SWITCH.name, |env| {
        let found = answers(env, Hypervisor::Xenolith, &image(env)?, SWITCH)?;
        let wanted = [
            ("switch.first", "switched=ok changed=()"),
            ("switch.second", "changed=() switched-off=0x6"),
            ("switch.failsafe", "Ok(())"),
        ];
        for (check, answer) in wanted {
            let said = found.get(check).map_or("nothing", String::as_str);
            if said != answer {
                bail!("{check}: `{said}` where it should be `{answer}`");
            }
        }
        for (selectors, entry) in
            [("none", "landing"), ("ds", "failsafe"), ("gs", "failsafe"), ("all", "failsafe")]
        {
            let check = format!("trace.switched-{selectors}-1.registers");
            let said = found.get(&check).map_or("nothing", String::as_str);
            if !said.starts_with(entry) {
                bail!("{check}: `{said}` where it should be the {entry}");
            }
        }
        Ok(Outcome::Passed(7))
    })
}

fn compare_hypervisors(question: Question) -> Stage {
    Stage::new(question.name, move |env| {
        let image = image(env)?;
        let debian = answers(env, Hypervisor::Debian, &image, question)?;
        let ours = answers(env, Hypervisor::Xenolith, &image, question)?;
        let table = fs::read_to_string(env.root.join("tests/guests/KNOWN_DIFFERENCES.md"))?;
        let mut known = known(&table, question.cpu)?;
        known.retain(|check, _| question.asks(check));
        let findings = compare(&debian, &ours, &known);
        if !findings.is_empty() {
            bail!("{} of {} checks differ:\n  {}", findings.len(), debian.len(), findings.join("\n  "));
        }
        println!("{} checks, {} known differences", debian.len(), known.len());
        Ok(Outcome::Passed(debian.len() as u32))
    })
}

/// Builds the tiny guest.
pub fn image(env: &Env) -> Result<PathBuf> {
    setup::rust_target(env, TARGET)?;
    proc::run(env.cargo().args(["build", "--quiet", "--release", "-p", "guests", "--target", TARGET]))?;
    let built = build::cargo_target(env)?.join(TARGET).join("release/tiny-guest");
    if !built.is_file() {
        bail!("{} was not built", built.display());
    }
    Ok(built)
}

/// Boots the tiny guest as dom0 and collects what it says.
fn answers(env: &Env, hypervisor: Hypervisor, image: &Path, question: Question) -> Result<Answers> {
    let qemu = setup::qemu(env, QemuVersion::V10)?;
    let debian = hypervisor == Hypervisor::Debian;
    let options = [question.options, if debian { question.debian_options } else { "" }].join(" ");
    let machine = Machine {
        chipset: Chipset::Q35,
        // MONITOR: Debian's Xen uses it as TCG does not implement it.
        cpu: format!("{},-monitor", question.cpu),
        smp: question.smp,
        mem_mib: 1024,
        boot: Boot::Hypervisor {
            image: if debian { setup::debian_xen(env)? } else { build::build(env)?.elf },
            options: run::hypervisor_options(256, &options),
            kernel: image.to_owned(),
            kernel_args: format!("group={}", question.groups),
            initrd: None,
        },
        disks: Vec::new(),
        bus: Bus::Ata,
        keep: false,
        gdb: false,
        console: Console::Pipes,
        log: None,
        monitor: None,
        icount: false,
        one_thread: false,
        second_port: false,
        two_nodes: question.two_nodes,
        split: true,
        no_reboot: true,
    };
    let name = if debian { "debian" } else { "xenolith" };
    let log = env.log(&format!("tiny-guest-{name}{}", question.log))?;
    let mut guest = Session::start(machine.command(&qemu)?, &log)?;
    guest
        .wait(r"TG (done)|(TG unexpected.*)", LIMIT)
        .with_context(|| format!("on {hypervisor:?}"))
        .and_then(
            |found| {
                if found[1].is_empty() { bail!("on {hypervisor:?}: {}", found[2]) } else { Ok(()) }
            },
        )?;
    // What a hypervisor does once dom0 has shut down is its own affair: Debian's Xen halts the machine.
    parse(guest.text())
}

fn parse(text: &str) -> Result<Answers> {
    let line = Regex::new(r"(?m)TG ([a-z0-9_.-]+): (.*)$")?;
    let mut answers = Answers::new();
    for found in line.captures_iter(text) {
        // A check that shows one moment after another says each under its name.
        let mut name = found[1].to_owned();
        let mut nth = 1;
        while answers.contains_key(&name) {
            nth += 1;
            name = format!("{}#{nth}", &found[1]);
        }
        answers.insert(name, found[2].trim().to_owned());
    }
    if answers.is_empty() {
        bail!("the tiny guest answered nothing");
    }
    Ok(answers)
}

/// The rows of the table of known differences that hold on CPU model `cpu`:
/// check (on model) | Debian | Xenolith | reason | demonstration.
fn known(markdown: &str, cpu: &str) -> Result<BTreeMap<String, Known>> {
    let mut rows = BTreeMap::new();
    for line in markdown.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        if cells.len() < 4 || !cells[0].starts_with('`') {
            continue;
        }
        if cells[3].is_empty() {
            bail!("KNOWN_DIFFERENCES.md: {} has no reason", cells[0]);
        }
        let (check, model) = match cells[0].split_once(" on ") {
            Some((check, model)) => (check, Some(bare(model))),
            None => (cells[0], None),
        };
        if model.is_some_and(|model| model != cpu) {
            continue;
        }
        rows.insert(bare(check), Known { debian: bare(cells[1]), xenolith: bare(cells[2]) });
    }
    Ok(rows)
}

fn compare(debian: &Answers, ours: &Answers, known: &BTreeMap<String, Known>) -> Vec<String> {
    let names: BTreeSet<&String> = debian.keys().chain(ours.keys()).chain(known.keys()).collect();
    let matches = |wanted: &str, answer: &str| wanted == "*" || wanted == answer;
    let mut findings = Vec::new();
    for name in names {
        let (Some(theirs), Some(mine)) = (debian.get(name), ours.get(name)) else {
            let side = if debian.contains_key(name) {
                "only Debian's Xen answered"
            } else if ours.contains_key(name) {
                "only Xenolith answered"
            } else {
                "listed as a known difference, but asked by no check"
            };
            findings.push(format!("{name}: {side}"));
            continue;
        };
        match known.get(name) {
            None if theirs != mine => findings.push(format!("{name}: Debian `{theirs}`, Xenolith `{mine}`")),
            Some(listed) if !matches(&listed.debian, theirs) || !matches(&listed.xenolith, mine) => {
                findings.push(format!(
                    "{name}: listed as Debian `{}`, Xenolith `{}`, but they answered `{theirs}` and `{mine}`",
                    listed.debian, listed.xenolith
                ));
            }
            Some(listed) if theirs == mine && listed.debian != "*" && listed.xenolith != "*" => {
                findings.push(format!("{name}: listed as a difference, but both answered `{mine}`"));
            }
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{ALL, Question, compare, known, parse};

    #[test]
    fn what_one_check_says_again_is_compared_in_order() {
        let debian = parse("TG t.a: 1\nTG t.a: 2\n").unwrap();
        let ours = parse("TG t.a: 1\nTG t.a: 3\nTG t.a: 4\n").unwrap();
        let found = compare(&debian, &ours, &known("", "").unwrap());
        let names: Vec<&str> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["t.a#2", "t.a#3"]);
    }

    #[test]
    fn differences_count_unless_listed_and_shown() {
        let debian = parse("x\nTG mm.a: 0\nTG mm.b: -22\nTG mm.c: 1\nTG mm.d: 5\nTG done\n").unwrap();
        let ours = parse("TG mm.a: 0\nTG mm.b: -1\nTG mm.c: 2\nTG mm.e: 5\n").unwrap();
        let table = "| check | Debian | Xenolith | reason | demonstration |\n|---|---|---|---|---|\n\
                     | `mm.c` | `1` | `2` | because | see |\n| `mm.a` | `0` | `1` | because | see |\n\
                     | `mm.d` on `A` | `5` | `6` | because | see |\n| `mm.f` on `B` | `5` | `6` | because | see |\n";
        let found = compare(&debian, &ours, &known(table, "B").unwrap());
        let names: Vec<&str> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["mm.a", "mm.b", "mm.d", "mm.e", "mm.f"]);
        assert_eq!(known(table, "A").unwrap().keys().collect::<Vec<_>>(), ["mm.a", "mm.c", "mm.d"]);
        let asks = |groups, check| Question { groups, ..ALL }.asks(check);
        assert!(asks("mm,user", "mm.c") && asks("all", "mm.c") && !asks("mm", "mmu.c"));
        assert!(known("| `mm.c` | `1` | `2` | | |", "").is_err());
        assert!(parse("nothing").is_err());
    }
}
