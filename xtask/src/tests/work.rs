//! Guests do real work under Debian's `xl`, with checksums: their kernels, disks, network and processors.

use anyhow::{Context, Result, bail};

use super::{Stage, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::{self, PASSWORD};
use crate::run::Hypervisor;
use crate::setup::Env;

pub fn stages(hypervisor: Hypervisor) -> [Stage; 1] {
    [stage("work: guests with the kernels 6.1 and 6.12", "work-kernels", hypervisor, |_, dom0| kernels(dom0))]
}

fn stage(
    name: &str,
    log: &'static str,
    hypervisor: Hypervisor,
    work: impl Fn(&Env, &mut Session) -> Result<()> + 'static,
) -> Stage {
    tools::stage_on(debian::dom0_for_work, name, log, hypervisor, work)
}

/// What `xl create` is given for a guest with the kernel 6.12.
const NEW_KERNEL: &str = "'kernel=\"/srv/guest/vmlinuz-6.12\"' 'ramdisk=\"/srv/guest/initramfs-6.12.gz\"'";

/// From `xl create` to `xl shutdown` with each of Debian's kernels: the console both ways, disk and network, and all
/// that the hypervisor gave is back.
fn kernels(dom0: &mut Session) -> Result<()> {
    let sum = dom0.must(
        "net-server >/run/net-server & sleep 1; until grep . /run/net-server; do sleep 1; done",
        STEP,
    )?;
    let sum = sum.lines().last().context("net-server's checksum")?.trim().to_owned();
    let before = demo::memory(dom0)?;
    for (series, options) in [("6.1.", ""), ("6.12.", NEW_KERNEL)] {
        demo::create(dom0, &format!("/etc/xen/guest.cfg vcpus=2 {options}"))?;
        enter(dom0, "guest")?;
        let release = dom0.must("uname -r && [ $(nproc) = 2 ]", STEP)?;
        if !release.starts_with(series) {
            bail!("the guest's kernel is {release}, not {series}*");
        }
        dom0.must("disk-check", STEP)?;
        dom0.must(&format!("net-check {sum}"), STEP)?;
        leave(dom0)?;
        demo::audit(dom0, "with a guest running")?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::wait_gone(dom0)?;
        let after = demo::memory(dom0)?;
        if after != before {
            bail!("memory after a guest with {release}: {after:?}, and was {before:?}");
        }
        println!("{release}: {} s", dom0.elapsed().as_secs());
    }
    dom0.must("kill %net-server", STEP).map(drop)
}

/// To the console of a guest that boots, and into it.
fn enter(dom0: &mut Session, name: &str) -> Result<()> {
    dom0.send(&format!("xl console {name}\n"))?;
    // One that was at its prompt before we looked shows it again after a line.
    dom0.send("\n")?;
    dom0.login("guest", PASSWORD, BOOT)
}

/// From the guest's console to dom0's prompt.
fn leave(dom0: &mut Session) -> Result<()> {
    dom0.send("\x1d")?;
    dom0.wait(r"root@dom0:[^\n]*# ", STEP).map(drop)
}
