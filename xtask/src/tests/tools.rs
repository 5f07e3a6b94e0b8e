//! Debian's `xl`, command by command, on guests of one and two vCPUs; three guests at once.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Outcome, Stage};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::{self, PASSWORD};
use crate::image::loader::Loader;
use crate::qemu::{Bus, Chipset};
use crate::run::Hypervisor;
use crate::setup::{Env, QemuVersion};

pub fn stages(hypervisor: Hypervisor) -> [Stage; 2] {
    [
        stage("xl: every command", "xl", hypervisor, commands),
        stage("xl: three guests of two vCPUs at once", "three", hypervisor, three_guests),
    ]
}

/// All of a guest's memory comes back after the work.
pub fn stage(
    name: impl Into<String>,
    log: &'static str,
    hypervisor: Hypervisor,
    work: impl Fn(&mut Session) -> Result<()> + 'static,
) -> Stage {
    stage_on(debian::dom0, name, log, hypervisor, move |_, dom0| work(dom0))
}

/// The same with another disk of dom0's.
pub fn stage_on(
    disk: fn(&Env) -> Result<PathBuf>,
    name: impl Into<String>,
    log: &'static str,
    hypervisor: Hypervisor,
    work: impl Fn(&Env, &mut Session) -> Result<()> + 'static,
) -> Stage {
    Stage::new(name, move |env| {
        let (qemu, mut qemu_machine) = demo::dom0_machine(env, &machine(hypervisor))?;
        qemu_machine.disks = vec![disk(env)?];
        let mut dom0 = Session::start(qemu_machine.command(&qemu)?, &env.log(log)?)?;
        dom0.login("dom0", PASSWORD, BOOT)?;
        dom0.must("dmesg -n 1", STEP)?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        dom0.must("xl debug-keys m", STEP)?;
        work(env, &mut dom0)?;
        demo::wait_gone(&mut dom0)?;
        let after = demo::memory(&mut dom0)?;
        if after != before {
            let heap = dom0.must("xl debug-keys m; xl dmesg | grep heap:", STEP)?;
            bail!("memory did not come back: before {before:?}, after {after:?}\n{heap}");
        }
        demo::audit(&mut dom0, "after the guests are gone")?;
        Ok(Outcome::Passed(1))
    })
}

/// Room for three guests.
pub fn machine(hypervisor: Hypervisor) -> demo::Args {
    demo::Args {
        check: true,
        hypervisor,
        kernel: "6.1".into(),
        smp: 2,
        mem: 4096,
        cpu: None,
        machine: Chipset::Q35,
        bus: Bus::Ata,
        loader: Loader::Qemu,
        qemu: QemuVersion::V10,
        options: Vec::new(),
    }
}

/// The state letters `xl list` shows of a domain ("r-----").
fn state(dom0: &mut Session, name: &str) -> Result<String> {
    let line = dom0.must(&format!("xl list {name} | tail -1"), STEP)?;
    Ok(line.split_whitespace().nth(4).unwrap_or("").to_owned())
}

fn commands(dom0: &mut Session) -> Result<()> {
    let info = dom0.must("xl info", STEP)?;
    if !info.contains("xen_major              : 4") || !info.contains("xen_minor              : 17") {
        bail!("xl info does not say 4.17:\n{info}");
    }
    dom0.must("xl dmesg | grep -q .", STEP)?;
    demo::create(dom0, "-p /etc/xen/guest.cfg vcpus=2")?;
    let paused = state(dom0, "guest")?;
    if !paused.contains('p') {
        bail!("after `xl create -p` the state is {paused}");
    }
    dom0.must("xl unpause guest", STEP)?;
    dom0.send("xl console guest\n")?;
    dom0.login("guest", PASSWORD, BOOT)?;
    let cpus = dom0.must("nproc", STEP)?;
    if cpus != "2" {
        bail!("a guest of two vCPUs has {cpus}");
    }
    dom0.must("disk-check", STEP)?;
    dom0.send("\x1d")?;
    dom0.wait(r"root@dom0:[^\n]*# ", STEP)?;
    dom0.must("xl pause guest", STEP)?;
    let paused = state(dom0, "guest")?;
    if !paused.contains('p') {
        bail!("after `xl pause` the state is {paused}");
    }
    dom0.must("xl unpause guest", STEP)?;
    let vcpus = dom0.must("xl vcpu-list guest | tail -n +2 | wc -l", STEP)?;
    if vcpus != "2" {
        bail!("xl vcpu-list shows {vcpus} vCPUs of two");
    }
    // `xl top` passes no options on; this is what it runs.
    dom0.must("xentop -b -i 1 | grep -q guest", STEP)?;
    dom0.must("xl shutdown -w guest", BOOT)?;
    Ok(())
}

/// Three guests of two vCPUs from copies of the disk, one ended by `destroy`.
fn three_guests(dom0: &mut Session) -> Result<()> {
    for n in 1..=3 {
        dom0.must(&format!("cp --sparse=always /srv/guest/disk.img /srv/guest/disk{n}.img && sync"), BOOT)?;
        let disk = format!("disk=[\"format=raw,vdev=xvda,access=rw,target=/srv/guest/disk{n}.img\"]");
        let vif = format!("vif=[\"bridge=xenbr0,mac=00:16:3e:00:01:0{n}\"]");
        demo::create(dom0, &format!("/etc/xen/guest.cfg vcpus=2 'name=\"g{n}\"' '{disk}' '{vif}'"))?;
    }
    for n in 1..=3 {
        dom0.send(&format!("xl console g{n}\n"))?;
        // A guest that was at its prompt before we looked shows it again after a line.
        dom0.send("\n")?;
        dom0.login("guest", PASSWORD, BOOT)?;
        dom0.must("[ $(nproc) = 2 ] && disk-check 8", STEP)?;
        dom0.send("\x1d")?;
        dom0.wait(r"root@dom0:[^\n]*# ", STEP)?;
    }
    let count = dom0.must("xl list | wc -l", STEP)?;
    if count != "5" {
        bail!("xl list shows {count} lines with dom0 and three guests");
    }
    dom0.must("xl debug-keys m", STEP)?;
    dom0.must("xl destroy g1", STEP)?;
    dom0.must("xl shutdown -w g2", BOOT)?;
    dom0.must("xl shutdown -w g3", BOOT)?;
    Ok(())
}
