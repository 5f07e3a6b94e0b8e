//! What is reported when dom0 or the hypervisor itself crashes, and that the machine then restarts.

use anyhow::bail;

use super::boots::{Boot, PLAIN};
use super::{Outcome, Stage};
use crate::demo::{BOOT, STEP};
use crate::run::Hypervisor;

const MACHINE: Boot = Boot { smp: 2, ..PLAIN };

pub fn stages(hypervisor: Hypervisor) -> [Stage; 2] {
    [crash(hypervisor), panic(hypervisor)]
}

/// What the log holds when dom0's kernel panics.
fn crash(hypervisor: Hypervisor) -> Stage {
    Stage::new("boot: a crash of dom0 is reported", move |env| {
        let options = "watchdog sched=credit2 frobnicate=1";
        let mut dom0 = MACHINE.start_shell(env, hypervisor, options, "panic=0", "bootcrash")?;
        dom0.wait(r#"parameter "frobnicate=1" unknown"#, BOOT)?;
        dom0.wait(r"Watchdog: a CPU stuck for 5 s", BOOT)?;
        dom0.wait("dom0# ", BOOT)?;
        if let Some(line) = dom0.text().lines().find(|line| line.contains("sched=credit2\"")) {
            bail!("what is so anyway needs no warning: {line}");
        }
        dom0.send("echo c > /proc/sysrq-trigger\n")?;
        dom0.wait("Kernel panic - not syncing: sysrq triggered crash", STEP)?;
        dom0.wait(r"\(XEN\) d0v\d state:", STEP)?;
        dom0.wait(r"\(XEN\) RIP: e033:ffffffff8", STEP)?;
        dom0.wait(r"\(XEN\) Guest stack from rsp=", STEP)?;
        dom0.wait(r"\(XEN\) Hardware Dom0 crashed: rebooting machine in 5 seconds", STEP)?;
        dom0.wait_exit(STEP)?;
        Ok(Outcome::Passed(1))
    })
}

/// A panic of the hypervisor, by its debug key; with the watchdog's NMIs going on meanwhile.
fn panic(hypervisor: Hypervisor) -> Stage {
    Stage::new("boot: the hypervisor restarts the machine after a panic", move |env| {
        let mut dom0 = MACHINE.start_shell(env, hypervisor, "watchdog", "", "bootpanic")?;
        dom0.wait("dom0# ", BOOT)?;
        dom0.send("\x01\x01\x01")?;
        dom0.wait("Serial input to Xen", STEP)?;
        dom0.send("C")?;
        dom0.wait(r"\(XEN\) Xen call trace:", STEP)?;
        dom0.wait(r"\(XEN\)    \[<ffff82d0", STEP)?;
        dom0.wait(r"\(XEN\) Panic on CPU \d:", STEP)?;
        dom0.wait(r"\(XEN\) Reboot in 5 seconds", STEP)?;
        dom0.wait_exit(STEP)?;
        Ok(Outcome::Passed(1))
    })
}
