//! Our store in Debian's dom0: started by Debian's own script instead of the stock daemon, used by Debian's tools, by
//! dom0's kernel and by guests, none of which knows.

use super::stock::{again, guest_works, xenstore};
use super::{Outcome, Stage, our_tools};
use crate::build;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::run::Hypervisor;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("our store: Debian's tools, its test and guests on it", move |env| {
        let programs = build::tools(env, &["xenstore"])?;
        let (qemu, mut machine) =
            our_tools::machine_with(env, hypervisor, "store", &[(&programs, "xenstored")])?;
        machine.no_reboot = false;
        let mut dom0 = Session::start(machine.command(&qemu)?, &env.log("store")?)?;
        again(&mut dom0)?;
        our_tools::unpack(&mut dom0, "/usr/local/sbin")?;
        // A kernel connects with one store in its life: the other comes with the next boot.
        dom0.must("echo XENSTORED=/usr/local/sbin/xenstored >> /etc/default/xen && sync", STEP)?;
        dom0.send("reboot\n")?;
        again(&mut dom0)?;
        dom0.must("readlink /proc/$(pidof -s xenstored)/exe | grep -x /usr/local/sbin/xenstored", STEP)?;
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
