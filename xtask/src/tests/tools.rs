//! Debian's `xl`, command by command, on a guest of two vCPUs; four such guests at once, and what each gets of the CPUs.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Outcome, Stage};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::image::debian::{self, PASSWORD};
use crate::image::loader::Loader;
use crate::qemu::{Bus, Chipset};
use crate::run::Hypervisor;
use crate::setup::{Env, QemuVersion};

pub fn stages(hypervisor: Hypervisor) -> [Stage; 2] {
    [
        stage("xl: every command", "xl", hypervisor, commands),
        stage("xl: four guests of two vCPUs at once, by weight and cap", "four", hypervisor, four_guests),
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
        demo::nothing_is_left(&mut dom0, before)?;
        Ok(Outcome::Passed(1))
    })
}

/// Room for four guests.
pub fn machine(hypervisor: Hypervisor) -> demo::Args {
    demo::Args {
        check: true,
        stock: true,
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
pub fn state(dom0: &mut Session, name: &str) -> Result<String> {
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
    enter(dom0, "guest")?;
    let cpus = dom0.must("nproc", STEP)?;
    if cpus != "2" {
        bail!("a guest of two vCPUs has {cpus}");
    }
    dom0.must("disk-check", STEP)?;
    leave(dom0)?;
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

/// Four guests of two vCPUs from copies of the disk. All of them work at once; then they compete; two are ended by
/// `destroy`, while they do.
fn four_guests(dom0: &mut Session) -> Result<()> {
    let all = ["g1", "g2", "g3", "g4"];
    for (n, name) in all.iter().enumerate() {
        dom0.must(&format!("cp --sparse=always /srv/guest/disk.img /srv/guest/{name}.img && sync"), BOOT)?;
        let disk = format!("disk=[\"format=raw,vdev=xvda,access=rw,target=/srv/guest/{name}.img\"]");
        let vif = format!("vif=[\"bridge=xenbr0,mac=00:16:3e:00:01:0{n}\"]");
        demo::create(dom0, &format!("/etc/xen/guest.cfg vcpus=2 'name=\"{name}\"' '{disk}' '{vif}'"))?;
    }
    for name in all {
        enter(dom0, name)?;
        dom0.must("dmesg -n 1; [ $(nproc) = 2 ]", STEP)?;
        leave(dom0)?;
    }
    for name in all {
        back(dom0, name)?;
        dom0.must("(disk-check 8 >/run/checked; stress-ng --cpu 2 >/dev/null 2>&1) & true", STEP)?;
        leave(dom0)?;
    }
    for name in all {
        back(dom0, name)?;
        dom0.must(
            "until grep match /run/checked; do sleep 1; done; grep -q stress-ng /proc/[0-9]*/comm",
            BOOT,
        )?;
        leave(dom0)?;
    }
    let count = dom0.must("xl list | wc -l", STEP)?;
    if count != "6" {
        bail!("xl list shows {count} lines with dom0 and four guests");
    }
    // Eight busy vCPUs on two CPUs.
    let weights = [256, 256, 512, 1024];
    for (name, weight) in all.iter().zip(weights) {
        dom0.must(&format!("xl sched-credit2 -d {name} -w {weight}"), STEP)?;
    }
    let (ran, _) = run_for(dom0, 60, &all)?;
    let (work, weight) = (ran.iter().sum::<f64>(), weights.iter().sum::<u32>());
    for ((name, ran), of) in all.iter().zip(ran).zip(weights) {
        near(name, ran / work, f64::from(of) / f64::from(weight))?;
    }
    dom0.must("for g in g2 g3 g4; do xl pause $g; done", STEP)?;
    for cap in [40, 150] {
        dom0.must(&format!("xl sched-credit2 -d g1 -c {cap}"), STEP)?;
        let (ran, time) = run_for(dom0, 40, &["g1"])?;
        near("g1 with a cap", ran[0] / time, f64::from(cap) / 100.0)?;
    }
    // dom0 has to do the most of what follows, against the others.
    dom0.must("xl sched-credit2 -d Domain-0 -w 4096; for g in g2 g3 g4; do xl unpause $g; done", STEP)?;
    dom0.must("xl debug-keys m", STEP)?;
    dom0.must("xl destroy g1 && xl destroy g4", STEP)?;
    dom0.must("xl shutdown -w g2", BOOT)?;
    dom0.must("xl shutdown -w g3", BOOT).map(drop)
}

/// CPU time that each guest gets while dom0 sleeps, and how long that was, in seconds of the hypervisor's clock.
fn run_for(dom0: &mut Session, seconds: u32, names: &[&str]) -> Result<(Vec<f64>, f64)> {
    // What was changed just now takes hold.
    dom0.must("sleep 5", STEP)?;
    let mut look = || -> Result<Vec<f64>> {
        let said = dom0.must("xl list | awk 'NR>2{print $1, $6}'; cut -d' ' -f1 /proc/uptime", STEP)?;
        dom0.must(&format!("sleep {seconds}"), STEP)?;
        let number = |name: &str| -> Result<f64> {
            let line = said.lines().find(|l| l.starts_with(name));
            Ok(line.and_then(|l| l.split_whitespace().last()).unwrap_or("").parse()?)
        };
        let uptime = said.lines().last().unwrap_or("").trim().parse()?;
        names.iter().map(|name| number(name)).chain([Ok(uptime)]).collect()
    };
    let (before, after) = (look()?, look()?);
    let mut ran: Vec<f64> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    let time = ran.pop().unwrap_or(0.0);
    println!("in {time:.1} s {names:?} ran {ran:.1?} s");
    Ok((ran, time))
}

/// Within a tenth.
fn near(what: &str, is: f64, should: f64) -> Result<()> {
    if (is / should - 1.0).abs() > 0.1 {
        bail!("{what} got {is:.3} of the CPUs where it should get {should:.3}");
    }
    Ok(())
}
