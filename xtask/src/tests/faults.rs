//! Guests that end badly: in the middle of I/O, by a crash of their own, while others hold their memory.

use anyhow::{Result, bail};

use super::{Stage, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{enter, leave};
use crate::run::Hypervisor;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    tools::stage("xl: guests that end badly", "faults", hypervisor, |dom0| {
        demo::serve(dom0)?;
        in_the_middle_of_io(dom0)?;
        by_a_crash(dom0)?;
        while_it_boots(dom0)?;
        while_its_memory_is_mapped(dom0)?;
        dom0.must("kill %net-server", STEP).map(drop)
    })
}

/// The back-ends hold grants of buffers that go to the disk and the network at that moment.
fn in_the_middle_of_io(dom0: &mut Session) -> Result<()> {
    // The second time nobody is there to clean up after the guest but who destroys it.
    for end in ["xl destroy guest", "kill -9 $(pidof xl); xl destroy guest"] {
        demo::create(dom0, "/etc/xen/guest.cfg vcpus=2")?;
        enter(dom0, "guest")?;
        dom0.must("dmesg -n 1", STEP)?;
        dom0.must("(while disk-check 8 && date >/run/disk; do :; done) >/dev/null 2>&1 & true", STEP)?;
        let receive = "cat </dev/tcp/10.0.2.15/7001 >/dev/null && date >/run/net";
        dom0.must(&format!("(while :; do {receive} || sleep 1; done) >/dev/null 2>&1 & true"), STEP)?;
        dom0.must("until [ -e /run/disk ] && [ -e /run/net ]; do sleep 1; done", BOOT)?;
        leave(dom0)?;
        dom0.must(end, STEP)?;
        demo::wait_gone(dom0)?;
        demo::audit(dom0, "after a guest was destroyed in the middle of I/O")?;
    }
    Ok(())
}

/// Its kernel panics: seen as crashed while it is kept, then ended.
fn by_a_crash(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/guest.cfg 'on_crash=\"preserve\"'")?;
    enter(dom0, "guest")?;
    dom0.send("echo c >/proc/sysrq-trigger\n")?;
    dom0.wait("Kernel panic", BOOT)?;
    leave(dom0)?;
    dom0.must("until xl list guest | grep -e '-sc-'; do sleep 1; done", BOOT)?;
    let reason = dom0.must("xl list -v guest | tail -1", STEP)?;
    if !reason.contains(" 3 ") {
        bail!("a crash is reason 3, and xl list -v says\n{reason}");
    }
    dom0.must(
        "xl dump-core guest /dev/shm/core && head -c 4 /dev/shm/core | grep -q ELF; rm /dev/shm/core",
        BOOT,
    )?;
    dom0.must("xl destroy guest", STEP)?;
    demo::wait_gone(dom0)
}

/// At moments of its life that chance picks.
fn while_it_boots(dom0: &mut Session) -> Result<()> {
    for seconds in ["0", "0.5", "1", "2", "4"] {
        demo::create(dom0, "/etc/xen/guest.cfg vcpus=2")?;
        dom0.must(&format!("sleep {seconds}; xl destroy guest"), STEP)?;
        demo::wait_gone(dom0)?;
    }
    Ok(())
}

/// Who has mapped it keeps it, readable, until the mapping goes: the domain stays in the list as a zombie.
fn while_its_memory_is_mapped(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/guest.cfg")?;
    enter(dom0, "guest")?;
    leave(dom0)?;
    dom0.must("xl pause guest; id=$(xl domid guest)", STEP)?;
    // A PV guest's console is a frame, and the store tells its number.
    dom0.must("frame=$(xenstore-read /local/domain/$id/console/ring-ref)", STEP)?;
    dom0.must("mkfifo /run/ask; hold-page $id $frame </run/ask >/run/held & exec 7>/run/ask", STEP)?;
    let first = "until [ $(wc -l </run/held) = 1 ]; do sleep 1; done; cat /run/held";
    let before = dom0.must(first, STEP)?;
    dom0.must("xl destroy guest", STEP)?;
    let zombie = dom0.must("until xl list | grep null; do sleep 1; done", STEP)?;
    if !zombie.contains("d ") {
        bail!("a domain whose memory is mapped is dying:\n{zombie}");
    }
    let second = "echo >&7; until [ $(wc -l </run/held) = 2 ]; do sleep 1; done; tail -1 /run/held";
    let after = dom0.must(second, STEP)?;
    if before != after {
        bail!("the frame of a guest that is gone reads {after}, and read {before}");
    }
    dom0.must("exec 7>&-; wait %hold-page; rm /run/ask", STEP)?;
    demo::wait_gone(dom0)
}
