//! `cargo xtask test soak`: what takes long. Two hundred guests one after another; load on dom0 alone and on dom0 and a
//! guest, with the hypervisor's audit of every reference before, meanwhile and afterwards.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Outcome, Stage, host, tools};
use crate::demo::{self, BOOT, STEP};
use crate::guest_console::{back, enter, leave};
use crate::image::debian::PASSWORD;
use crate::run::Hypervisor;

/// For what runs minutes on an idle machine.
const LONG: Duration = Duration::from_secs(900);

pub fn stages(hypervisor: Hypervisor) -> Vec<Stage> {
    vec![
        host::fuzz("soak: 10^7 fuzz steps", 10_000_000),
        cycles(hypervisor),
        stress(hypervisor),
        crowded(hypervisor),
    ]
}

fn cycles(hypervisor: Hypervisor) -> Stage {
    Stage::new("soak: 200 create/destroy cycles", move |env| {
        let mut dom0 = demo::boot_dom0(env, &tools::machine(hypervisor), "cycles")?;
        dom0.login("dom0", PASSWORD, BOOT)?;
        dom0.must("dmesg -n 1", STEP)?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        let ten =
            "(for i in $(seq 10); do xl create -q /etc/xen/guest.cfg && xl destroy guest || exit 1; done)";
        for n in 1..=20 {
            dom0.must(ten, LONG)?;
            demo::memory_is_back(&mut dom0, before).with_context(|| format!("cycle {n}0"))?;
        }
        demo::audit(&mut dom0, "after 200 guests")?;
        Ok(Outcome::Passed(1))
    })
}

fn stress(hypervisor: Hypervisor) -> Stage {
    Stage::new("soak: five minutes of stress-ng", move |env| -> Result<Outcome> {
        let mut dom0 = demo::boot_dom0(env, &tools::machine(hypervisor), "stress")?;
        dom0.login("dom0", PASSWORD, BOOT)?;
        dom0.must("dmesg -n 1", STEP)?;
        demo::audit(&mut dom0, "at boot")?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        dom0.must("xl create /etc/xen/guest.cfg vcpus=2 memory=512", STEP)?;
        enter(&mut dom0, "guest")?;
        let stress = "stress-ng --vm 1 --vm-bytes 64M --fork 2 --mmap 1 --mmap-bytes 64M --pipe 1 --timeout 300s --metrics-brief";
        dom0.send(&format!("{stress} >/stress.log 2>&1; echo ended $? >>/stress.log &\n"))?;
        leave(&mut dom0)?;
        for _ in 0..5 {
            dom0.must(
                "stress-ng --vm 1 --vm-bytes 64M --fork 2 --pipe 1 --timeout 60s >/dev/null",
                Duration::from_secs(600),
            )?;
            demo::audit(&mut dom0, "under stress")?;
        }
        back(&mut dom0, "guest")?;
        dom0.must("until grep -q ended /stress.log; do sleep 1; done; grep -q 'ended 0' /stress.log", LONG)?;
        leave(&mut dom0)?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::nothing_is_left(&mut dom0, before)?;
        Ok(Outcome::Passed(1))
    })
}

/// Every class of load on dom0 with more vCPUs than CPUs: neither kernel nor hypervisor has anything to say about it.
fn crowded(hypervisor: Hypervisor) -> Stage {
    Stage::new("soak: ten minutes of stress-ng on 4 vCPUs of 2 CPUs", move |env| {
        let args = demo::Args { options: vec!["dom0_max_vcpus=4".into()], ..tools::machine(hypervisor) };
        let mut dom0 = demo::boot_dom0(env, &args, "crowded")?;
        dom0.login("dom0", PASSWORD, BOOT)?;
        dom0.must("dmesg -n 1; [ $(nproc) = 4 ]", STEP)?;
        demo::audit(&mut dom0, "at boot")?;
        dom0.must("dmesg -C", STEP)?;
        let quiet_from = dom0.text().len();
        dom0.must(&format!("({STRESS}; echo ended $?) >/root/stress.log 2>&1 & true"), STEP)?;
        let mut audits = 0;
        // Two minutes on an idle machine, as long as it takes on a busy one.
        while dom0
            .command("timeout 120 sh -c 'until grep -q ^ended /root/stress.log; do sleep 1; done'", LONG)?
            .0
            != 0
        {
            demo::audit(&mut dom0, "under stress")?;
            audits += 1;
        }
        let report = dom0.must("cat /root/stress.log", STEP)?;
        println!("{report}");
        if !report.contains("ended 0") || audits == 0 {
            bail!("stress-ng failed, or there was no audit meanwhile ({audits})");
        }
        demo::audit(&mut dom0, "after the stress")?;
        // Said once, when the machine below took a CPU away for a moment.
        let said = dom0.must("dmesg | grep -v 'hrtimer: interrupt took' || true", STEP)?;
        if !said.is_empty() {
            bail!("dom0's kernel said:\n{said}");
        }
        let messages = unexpected(&dom0.text()[quiet_from..])?;
        if !messages.is_empty() {
            bail!("the hypervisor said:\n{}", messages.join("\n"));
        }
        dom0.send("poweroff\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(1))
    })
}

/// One worker and more of each class: CPU, memory, processes, signals, pipes, mappings, timers, disk.
const STRESS: &str = "stress-ng --cpu 2 --vm 1 --vm-bytes 64M --fork 2 --kill 1 --sigq 1 --sigfd 1 --pipe 2 \
    --mmap 1 --mmap-bytes 64M --timer 1 --timerfd 1 --io 1 --hdd 1 --hdd-bytes 64M --temp-path /root \
    --timeout 600s --metrics-brief";

/// The hypervisor's lines that are neither an audit nor the key that asked for it.
fn unexpected(console: &str) -> Result<Vec<String>> {
    let message = Regex::new(r"\(XEN\) .*")?;
    let lines = message.find_iter(console).map(|found| found.as_str().to_owned());
    Ok(lines.filter(|line| !line.contains("Audit: ") && !line.contains("'A' pressed")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_audits_are_expected() {
        let console =
            "# (XEN) 'A' pressed -> audit\n(XEN) Audit: 5 frames\nx(XEN) d0v1: a fault\n(XEN) WARNING\n";
        assert_eq!(super::unexpected(console).unwrap(), ["(XEN) d0v1: a fault", "(XEN) WARNING"]);
    }
}
