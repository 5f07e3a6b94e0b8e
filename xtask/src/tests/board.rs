//! A board that is not the usual one: the console at the second serial port, two nodes, the HPET as the clock.

use anyhow::{Result, ensure};

use super::boots::{Boot, PLAIN};
use super::{Outcome, Stage};
use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::run::Hypervisor;

const MACHINE: Boot = Boot { smp: 2, second_port: true, two_nodes: true, ..PLAIN };
const OPTIONS: &str = "console=com2 com2=115200,8n1 clocksource=hpet";

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("boot: the second serial port, two nodes, the HPET", move |env| {
        let mut dom0 = MACHINE.start_shell(env, hypervisor, OPTIONS, "", "board")?;
        // What is typed comes by the port's interrupt.
        dom0.wait("dom0# ", BOOT)?;
        for line in ["Platform timer is 100.000MHz HPET", "NUMA: 2 nodes"] {
            ensure!(dom0.text().contains(line), "no `{line}`");
        }
        clocks(&mut dom0)?;
        dom0.send("poweroff -f\n")?;
        dom0.wait_exit(STEP)?;
        ensure!(!dom0.text().contains("(XEN) TSC unstable"), "the clocks have parted");
        Ok(Outcome::Passed(1))
    })
}

/// System time and the platform timer's go on together, for longer than an ACPI timer takes to wrap.
fn clocks(dom0: &mut Session) -> Result<()> {
    let mut seen = Vec::new();
    for seconds in [5, 0] {
        dom0.send("\x01\x01\x01")?;
        dom0.wait("Serial input to Xen", STEP)?;
        dom0.send("t")?;
        let found = dom0.wait(r"Platform timer: (\d+) ns, (-?\d+) ns behind", STEP)?;
        seen.push((found[1].parse::<i64>()?, found[2].parse::<i64>()?));
        dom0.send("\x01\x01\x01")?;
        dom0.wait("Serial input to DOM0", STEP)?;
        dom0.must(&format!("sleep {seconds}"), STEP)?;
    }
    let (went, apart) = (seen[1].0 - seen[0].0, seen[1].1 - seen[0].1);
    ensure!(went >= 5_000_000_000, "the platform timer went {went} ns in 5 s");
    ensure!(apart.abs() < went / 50, "in {went} ns the clocks parted by {apart} ns");
    Ok(())
}
