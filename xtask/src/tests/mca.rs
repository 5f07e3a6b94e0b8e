//! Machine checks, made with QEMU's `mce`: what dom0 hears of, what ends a domain, what ends the machine.

use std::io::Write;

use anyhow::{Result, bail};

use super::boots::{self, Boot, PLAIN};
use super::{Outcome, Stage};
use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::run::Hypervisor;
use crate::setup::Env;

const MACHINE: Boot = Boot { smp: 2, ..PLAIN };

// MCi_STATUS: valid, enabled and with an address; uncorrected; damaged the processor's state; signalled; consumed.
const ERROR: u64 = 1 << 63 | 1 << 60 | 1 << 58 | 0x135;
const UC: u64 = 1 << 61;
const PCC: u64 = 1 << 57;
const S: u64 = 1 << 56;
const AR: u64 = 1 << 55;
// MCG_STATUS: what was interrupted can go on; has to do with it; a machine check is being handled.
const RIPV: u64 = 1;
const EIPV: u64 = 2;
const MCIP: u64 = 4;

pub fn stages(hypervisor: Hypervisor) -> [Stage; 2] {
    [reported(hypervisor), fatal(hypervisor)]
}

/// An error in bank `bank` of CPU `cpu`.
fn inject(env: &Env, log: &str, cpu: u32, bank: u32, status: u64, gstatus: u64) -> Result<()> {
    let mut monitor = boots::monitor(env, log)?;
    writeln!(monitor, "mce {cpu} {bank} {status:#x} {gstatus:#x} 0x12345000 0")?;
    Ok(())
}

/// Waits until dom0's kernel has an error of this status, and answers how many it was told of so far.
fn heard(dom0: &mut Session, status: u64) -> Result<u32> {
    // Each starts with status, miscellany and address, the lower half first.
    let words = "hexdump -v -e '6/4 \"%08x \" \"\\n\"'";
    let error = format!("{:08x} {:08x} 00000000 00000000 12345000 00000000", status as u32, status >> 32);
    let read = format!("dd if=/dev/mcelog bs=8192 count=1 2>/dev/null | {words} | grep -q '{error}'");
    dom0.must(&format!("until {read}; do :; done"), STEP)?;
    Ok(dom0.must("grep -w mce /proc/interrupts | awk '{ print $2 + $3 }'", STEP)?.trim().parse()?)
}

/// Corrected ones, and those that nobody has used, reach dom0. One that it has used itself crashes it.
fn reported(hypervisor: Hypervisor) -> Stage {
    Stage::new("boot: machine checks reach dom0", move |env| {
        let log = "bootmca";
        let mut dom0 = MACHINE.start_shell(env, hypervisor, "", "", log)?;
        dom0.wait("dom0# ", BOOT)?;
        dom0.must("dmesg -n 1", STEP)?;
        let mut errors = 0;
        for (cpu, bank, status, gstatus) in [(1, 2, ERROR, 0), (0, 3, ERROR | UC | S, MCIP | RIPV)] {
            inject(env, log, cpu, bank, status, gstatus)?;
            dom0.wait(
                &format!(r"\(XEN\) CPU{cpu}: machine check, bank {bank}: status {status:016x}, address 0000000012345000"),
                STEP,
            )?;
            errors += 1;
            let told = heard(&mut dom0, status)?;
            if told != errors {
                bail!("dom0 was told of {told} errors, not {errors}");
            }
        }
        dom0.must("for n in 1 2 3 4; do while :; do :; done & done", STEP)?;
        inject(env, log, 1, 4, ERROR | UC | S | AR, MCIP | EIPV | RIPV)?;
        dom0.wait(r"\(XEN\) .*an uncorrected machine check while it ran", STEP)?;
        dom0.wait(r"\(XEN\) Hardware Dom0 crashed: rebooting machine in 5 seconds", STEP)?;
        dom0.wait_exit(STEP)?;
        Ok(Outcome::Passed(1))
    })
}

/// The banks are printed before the machine restarts.
fn fatal(hypervisor: Hypervisor) -> Stage {
    Stage::new("boot: a fatal machine check", move |env| {
        let log = "bootmcafatal";
        let mut dom0 = MACHINE.start_shell(env, hypervisor, "", "", log)?;
        dom0.wait("dom0# ", BOOT)?;
        let status = ERROR | UC | PCC;
        inject(env, log, 1, 5, status, MCIP | RIPV)?;
        dom0.wait(r"\(XEN\) machine check: MCG_STATUS 0000000000000005", STEP)?;
        dom0.wait(
            &format!(r"\(XEN\) machine check: bank 5: status {status:016x}, address 0000000012345000"),
            STEP,
        )?;
        dom0.wait(r"\(XEN\) Panic on CPU 1:", STEP)?;
        dom0.wait(r"\(XEN\) FATAL MACHINE CHECK: the processor's state is damaged", STEP)?;
        dom0.wait(r"\(XEN\) Reboot in 5 seconds", STEP)?;
        dom0.wait_exit(STEP)?;
        Ok(Outcome::Passed(1))
    })
}
