//! What dom0's kernel warns of: nothing that the same kernel on the same machine does not warn of on Debian's Xen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use regex::Regex;

use super::boots::{Boot, PLAIN};
use super::{Outcome, Stage};
use crate::demo::{BOOT, STEP};
use crate::qemu::Chipset;
use crate::run::Hypervisor;
use crate::setup::Env;

/// Debian's Xen is asked this often: what its kernel says differs a little from run to run.
const RUNS: u32 = 2;
/// The least level that is no warning (`KERN_NOTICE`).
const NOTICE: u32 = 5;

/// What depends on how fast the machine is at that moment.
const UNSTEADY: &[&str] = &["hrtimer: interrupt took", "clocksource: ", "took N usecs", "sched_clock"];

/// Known differences, each with its reason.
const KNOWN: &[(&str, &str)] = &[
    ("xen_mcelog: Failed to get CPU numbers", "machine checks are not handed to dom0"),
    (
        "xen_cpu: sanitize of _PDC buffer bits",
        "the hypervisor drives no processor power states, and takes no data on them",
    ),
];

pub fn stages() -> Vec<Stage> {
    [("6.1", Chipset::Q35), ("6.12", Chipset::Pc)]
        .into_iter()
        .map(|(kernel, chipset)| {
            Stage::new(
                format!("dmesg: {kernel} {chipset:?} warns of no more than on Debian's Xen"),
                move |env| {
                    let mut allowed = BTreeMap::new();
                    for _ in 0..RUNS {
                        allowed.extend(warnings(&raw_log(env, kernel, chipset, Hypervisor::Debian)?)?);
                    }
                    let ours = warnings(&raw_log(env, kernel, chipset, Hypervisor::Xenolith)?)?;
                    let more = beyond(&ours, &allowed.into_keys().collect());
                    if !more.is_empty() {
                        bail!(
                            "{} warnings that Debian's Xen does not cause:\n  {}",
                            more.len(),
                            more.join("\n  ")
                        );
                    }
                    Ok(Outcome::Passed(1))
                },
            )
        })
        .collect()
}

/// The kernel's log with levels, after a boot to the shell.
fn raw_log(env: &Env, kernel: &'static str, chipset: Chipset, hypervisor: Hypervisor) -> Result<String> {
    let boot = Boot { kernel, chipset, smp: 2, ..PLAIN };
    let log = format!("dmesg{kernel}{chipset:?}{hypervisor:?}");
    let mut dom0 = boot.start_shell(env, hypervisor, "", "", &log)?;
    dom0.wait("dom0# ", BOOT)?;
    let text = dom0.must("dmesg -r", STEP)?;
    dom0.send("poweroff -f\n")?;
    dom0.wait_exit(STEP)?;
    Ok(text)
}

/// Warnings of a raw log: with numbers made alike, and as they were.
fn warnings(raw: &str) -> Result<BTreeMap<String, String>> {
    let line = Regex::new(r"^<(\d+)>\[ *[\d.]+\] (.*)$")?;
    let numbers = Regex::new(r"0x[0-9a-f]+|\b[0-9a-f]{6,}\b|\d+")?;
    let found = raw.lines().filter_map(|text| line.captures(text.trim_end()));
    Ok(found
        .filter(|f| f[1].parse::<u32>().is_ok_and(|level| level & 7 < NOTICE))
        .map(|f| (numbers.replace_all(&f[2], "N").into_owned(), f[2].to_owned()))
        .collect())
}

/// Warnings of `ours` that are neither allowed, nor known, nor a matter of speed.
fn beyond(ours: &BTreeMap<String, String>, allowed: &BTreeSet<String>) -> Vec<String> {
    ours.iter()
        .filter(|(alike, _)| !allowed.contains(*alike))
        .filter(|(alike, _)| !UNSTEADY.iter().any(|part| alike.contains(part)))
        .filter(|(_, text)| !KNOWN.iter().any(|known| text.contains(known.0)))
        .map(|(_, text)| text.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{beyond, warnings};

    #[test]
    fn only_new_warnings_count() {
        let debian = warnings("<4>[    1.0] irq 9: nobody\n<6>[    1.1] information\n").unwrap();
        let raw = "<4>[    2.5] irq 10: nobody\n<3>[    3.0] a fault at 0xdead\n<6>[    3.1] other\n\
                   <4>[    4.0] hrtimer: interrupt took 77 ns\n";
        let ours = warnings(raw).unwrap();
        assert_eq!(ours.len(), 3);
        assert_eq!(beyond(&ours, &debian.into_keys().collect()), ["a fault at 0xdead"]);
    }
}
