//! Our store in Debian's dom0: started by Debian's own script instead of the stock daemon, used by Debian's tools, by
//! dom0's kernel and by guests, none of which knows.

use std::process::Command;

use super::stock::{again, guest_works, xenstore};
use super::tools::machine;
use super::{Outcome, Stage};
use crate::build;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::DOM0_LABEL;
use crate::proc;
use crate::run::Hypervisor;
use crate::setup;

const TARGET: &str = "x86_64-unknown-linux-musl";

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("our store: Debian's tools, its test and guests on it", move |env| {
        setup::rust_target(env, TARGET)?;
        println!("build: our store");
        let package = ["build", "--quiet", "--release", "-p", "xenstore", "--target", TARGET];
        proc::run(env.cargo().args(package))?;
        let programs = build::cargo_target(env)?.join(TARGET).join("release");
        let archive = env.target.join("images").join("our-store.tar");
        let mut tar = Command::new("tar");
        // As a disk it has whole sectors.
        tar.args(["--record-size=1M", "-cf"]).arg(&archive).arg("-C").arg(programs);
        proc::run(tar.arg("xenstored"))?;

        let (qemu, mut machine) = demo::dom0_machine(env, &machine(hypervisor))?;
        machine.no_reboot = false;
        machine.disks.push(archive);
        let mut dom0 = Session::start(machine.command(&qemu)?, &env.log("store")?)?;
        again(&mut dom0)?;
        let unpack = "tar -xf $d -C /usr/local/sbin";
        dom0.must(&format!("d=$(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL})); {unpack}"), STEP)?;
        // A kernel connects with one store in its life: the other comes with the next boot.
        dom0.must("echo XENSTORED=/usr/local/sbin/xenstored >> /etc/default/xen && sync", STEP)?;
        dom0.send("reboot\n")?;
        again(&mut dom0)?;
        dom0.must("readlink /proc/$(pidof xenstored)/exe | grep -x /usr/local/sbin/xenstored", STEP)?;
        dom0.must("/usr/lib/xen-4.17/bin/test-xenstore", BOOT)?;
        xenstore(&mut dom0)?;
        guest_works(&mut dom0)?;
        dom0.must("xenstore-control check && xenstore-control quota | grep -q 'nodes .* 1000'", STEP)?;
        demo::audit(&mut dom0, "at the end")?;
        dom0.send("poweroff\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(1))
    })
}
