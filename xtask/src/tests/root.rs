//! Debian with its root on a disk, on each kind of disk: its default target, a package from a repository on the
//! network, restart and power-off.

use anyhow::{Result, bail};

use super::Outcome;
use super::boots::{Boot, host_loopback, identity};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::PASSWORD;
use crate::image::overlay::HOST_ADDRESS;
use crate::qemu::Bus;
use crate::repository::{PACKAGE, PROGRAM, Repository, SUITE};
use crate::run::Hypervisor;
use crate::setup::Env;

/// How much is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A package is installed, and runs after a reboot as well.
    Whole,
    /// Neither.
    OneBoot,
}

/// To the default target; the root is where it should be and holds what is written; then `work`, and power off.
pub fn debian(
    env: &Env,
    boot: &Boot,
    bus: Bus,
    work: Work,
    hypervisor: Hypervisor,
    log: &str,
) -> Result<Outcome> {
    let args = demo::Args {
        check: true,
        stock: true,
        hypervisor,
        kernel: boot.kernel.into(),
        smp: boot.smp,
        mem: boot.mem,
        cpu: boot.cpu.map(str::to_owned),
        machine: boot.chipset,
        bus,
        loader: boot.loader,
        qemu: boot.qemu,
        options: boot.options().split_whitespace().map(str::to_owned).collect(),
    };
    let (qemu, mut machine) = demo::dom0_machine(env, &args)?;
    machine.no_reboot = false;
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    dom0.login("dom0", PASSWORD, BOOT)?;
    println!("a login prompt after {} s", dom0.elapsed().as_secs());
    dom0.must("dmesg -n 1", STEP)?;
    default_target(&mut dom0)?;
    identity(&mut dom0, boot)?;
    on_its_disk(&mut dom0, bus)?;
    dom0.must(
        "dd if=/dev/urandom of=/root/x bs=1M count=8 && sync && sha256sum /root/x > /root/x.sum",
        STEP,
    )?;
    dom0.must("echo 3 > /proc/sys/vm/drop_caches; sha256sum -c /root/x.sum", STEP)?;
    host_loopback(&mut dom0, "bash")?;
    if work == Work::Whole {
        install_and_reboot(env, &mut dom0)?;
    }
    dom0.send("poweroff\n")?;
    dom0.wait_exit(BOOT)?;
    Ok(Outcome::Passed(1))
}

fn install_and_reboot(env: &Env, dom0: &mut Session) -> Result<()> {
    let repository = Repository::serve(env)?;
    install(dom0, &repository)?;
    println!("{PACKAGE} installed after {} s", dom0.elapsed().as_secs());
    dom0.send("reboot\n")?;
    dom0.login("dom0", PASSWORD, BOOT)?;
    dom0.must("sha256sum -c /root/x.sum", STEP)?;
    runs(dom0, &repository)
}

fn default_target(dom0: &mut Session) -> Result<()> {
    let state = dom0.command("systemctl is-system-running --wait", BOOT)?.1;
    if !state.contains("running") {
        let failed = dom0.command("systemctl --failed --no-legend --plain", STEP)?.1;
        bail!("systemd says `{state}`:\n{failed}");
    }
    dom0.must("systemctl is-active default.target", STEP).map(drop)
}

/// The root is on the disk that this machine was given, and one that has MSI-X uses it.
fn on_its_disk(dom0: &mut Session, bus: Bus) -> Result<()> {
    let (prefix, interrupt) = match bus {
        Bus::Ata => ("/dev/sd", None),
        Bus::Nvme => ("/dev/nvme", Some("msi-x.*nvme0q1")),
        Bus::Virtio => ("/dev/vd", Some("msi-x.*virtio0-req.0")),
    };
    let device = dom0.must("findmnt -n -o SOURCE /", STEP)?;
    if !device.starts_with(prefix) {
        bail!("the root is on {device}, not on {prefix}*");
    }
    if let Some(pattern) = interrupt {
        dom0.must(&format!("cat /proc/interrupts; grep -q '{pattern}' /proc/interrupts"), STEP)?;
    }
    Ok(())
}

/// The package comes from the repository on this machine's loopback; to dom0 or to a guest, at whose prompt we are.
pub fn install(dom0: &mut Session, repository: &Repository) -> Result<()> {
    let source = format!("deb [trusted=yes] http://{HOST_ADDRESS}:{} {SUITE} main", repository.port);
    dom0.must(&format!("echo '{source}' > /etc/apt/sources.list && apt-get update"), BOOT)?;
    dom0.must(&format!("DEBIAN_FRONTEND=noninteractive apt-get install -y {PACKAGE}"), BOOT)?;
    runs(dom0, repository)
}

/// The installed program does its work and is what the package holds.
fn runs(dom0: &mut Session, repository: &Repository) -> Result<()> {
    let said = dom0.must(&format!("/{PROGRAM} && sha256sum /{PROGRAM}"), STEP)?;
    if !said.contains("Hello, world!") || !said.contains(&repository.program_sha256) {
        bail!("/{PROGRAM} says `{said}`; its checksum should be {}", repository.program_sha256);
    }
    Ok(())
}
