//! `cargo xtask test soak`: what takes long. Twenty guests one after another; load on dom0 and a guest, with the
//! hypervisor's audit of every reference before, meanwhile and afterwards.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Outcome, Stage, host, tools};
use crate::demo::{self, BOOT, STEP};
use crate::image::debian::PASSWORD;
use crate::run::Hypervisor;

/// For what runs minutes on an idle machine.
const LONG: Duration = Duration::from_secs(900);

pub fn stages(hypervisor: Hypervisor) -> Vec<Stage> {
    vec![host::fuzz("soak: 10^7 fuzz steps", 10_000_000), cycles(hypervisor), stress(hypervisor)]
}

fn cycles(hypervisor: Hypervisor) -> Stage {
    Stage::new("soak: 20 create/destroy cycles", move |env| {
        let mut dom0 = demo::boot_dom0(env, &tools::machine(hypervisor), "cycles")?;
        dom0.login("dom0", PASSWORD, BOOT)?;
        dom0.must("dmesg -n 1", STEP)?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        for n in 1..=20 {
            dom0.must("xl create /etc/xen/guest.cfg", STEP)?;
            dom0.must("xl destroy guest", STEP)?;
            demo::wait_gone(&mut dom0)?;
            let after = demo::memory(&mut dom0)?;
            println!("cycle {n}: {after:?}");
            if after != before {
                bail!("memory did not come back after cycle {n}: before {before:?}, after {after:?}");
            }
        }
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
        dom0.send("xl console guest\n")?;
        dom0.login("guest", PASSWORD, BOOT)?;
        let stress = "stress-ng --vm 1 --vm-bytes 64M --fork 2 --mmap 1 --mmap-bytes 64M --pipe 1 --timeout 300s --metrics-brief";
        dom0.send(&format!("{stress} >/stress.log 2>&1; echo ended $? >>/stress.log &\n"))?;
        dom0.send("\x1d")?;
        dom0.wait(r"root@dom0:[^\n]*# ", STEP)?;
        for _ in 0..5 {
            dom0.must(
                "stress-ng --vm 1 --vm-bytes 64M --fork 2 --pipe 1 --timeout 60s >/dev/null",
                Duration::from_secs(600),
            )?;
            demo::audit(&mut dom0, "under stress")?;
        }
        dom0.send("xl console guest\n")?;
        dom0.send("\n")?;
        dom0.wait(r"root@guest:[^\n]*# ", STEP)?;
        dom0.must("until grep -q ended /stress.log; do sleep 1; done; grep -q 'ended 0' /stress.log", LONG)?;
        dom0.send("\x1d")?;
        dom0.wait(r"root@dom0:[^\n]*# ", STEP)?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::wait_gone(&mut dom0)?;
        let after = demo::memory(&mut dom0)?;
        if after != before {
            bail!("memory did not come back: before {before:?}, after {after:?}");
        }
        demo::audit(&mut dom0, "after the guest is gone")?;
        Ok(Outcome::Passed(1))
    })
}
