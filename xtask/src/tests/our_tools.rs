//! Our tools in Debian's dom0, beside the stock ones: static programs on a disk of their own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{stock, tools};
use crate::demo::{self, STEP};
use crate::expect::Session;
use crate::image::debian::DOM0_LABEL;
use crate::proc;
use crate::qemu::Machine;
use crate::run::Hypervisor;
use crate::setup::{Env, Qemu};

/// Boots Debian's dom0 and logs in; `files`, each of a folder, are in `/run/ours`.
pub fn dom0_with(env: &Env, hypervisor: Hypervisor, log: &str, files: &[(&Path, &str)]) -> Result<Session> {
    let (qemu, machine) = machine_with(env, hypervisor, log, files)?;
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    stock::again(&mut dom0)?;
    unpack(&mut dom0, "/run/ours")?;
    Ok(dom0)
}

/// The machine of [`dom0_with`], not started yet: `files` are on a disk, for [`unpack`].
pub fn machine_with(
    env: &Env,
    hypervisor: Hypervisor,
    log: &str,
    files: &[(&Path, &str)],
) -> Result<(Qemu, Machine)> {
    let archive = env.target.join("images").join(format!("our-{log}.tar"));
    let mut tar = Command::new("tar");
    // As a disk it has whole sectors.
    tar.args(["--record-size=1M", "-cf"]).arg(&archive);
    for (folder, name) in files {
        tar.arg("-C").arg(folder).arg(name);
    }
    proc::run(&mut tar)?;
    let (qemu, mut machine) = demo::dom0_machine(env, &tools::machine(hypervisor))?;
    machine.disks.push(archive);
    Ok((qemu, machine))
}

/// Unpacks what is on the disk of [`machine_with`] into a folder of dom0.
pub fn unpack(dom0: &mut Session, folder: &str) -> Result<()> {
    let unpack = format!("mkdir -p {folder}; tar -C {folder} -xf $d");
    dom0.must(&format!("d=$(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL})); {unpack}"), STEP)?;
    Ok(())
}
