//! Our tools in Debian's dom0, beside the stock ones: static programs on a disk of their own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::tools;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::{DOM0_LABEL, PASSWORD};
use crate::proc;
use crate::run::Hypervisor;
use crate::setup::Env;

/// Boots Debian's dom0 and logs in; `files`, each of a folder, are in `/run/ours`.
pub fn dom0_with(env: &Env, hypervisor: Hypervisor, log: &str, files: &[(&Path, &str)]) -> Result<Session> {
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
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    dom0.login("dom0", PASSWORD, BOOT)?;
    dom0.must("dmesg -n 1", STEP)?;
    let unpack = "mkdir -p /run/ours; tar -C /run/ours -xf $d";
    dom0.must(&format!("d=$(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL})); {unpack}"), STEP)?;
    Ok(dom0)
}
