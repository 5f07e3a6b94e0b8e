//! A guest saved and restored, again and again, while it writes to its disk and talks to dom0.

use anyhow::{Context, Result, bail};

use super::{Stage, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::run::Hypervisor;

/// Where dom0 keeps what is saved: in memory, for its disk is small.
pub const FILE: &str = "/dev/shm/saved";

pub fn stage(hypervisor: Hypervisor, cycles: u32) -> Stage {
    let (name, log) = match cycles {
        0..10 => ("xl: save and restore".to_owned(), "save"),
        _ => (format!("soak: {cycles} save/restore cycles"), "saves"),
    };
    tools::stage(name, log, hypervisor, move |dom0| run(dom0, cycles))
}

/// A guest that writes to its disk and talks to dom0; what it has done.
pub fn begin(dom0: &mut Session) -> Result<Seen> {
    demo::serve(dom0)?;
    demo::create(dom0, "/etc/xen/guest.cfg vcpus=2")?;
    enter(dom0, "guest")?;
    dom0.must("dmesg -n 1; dmesg -C", STEP)?;
    dom0.must("keep-talking & until grep . /run/talk; do sleep 1; done", STEP)?;
    dom0.must("(while disk-check 2 >/run/disk 2>&1; do :; done; echo ended >/run/ended) & true", STEP)?;
    leave(dom0)?;
    seen(dom0)
}

/// Ends it.
pub fn end(dom0: &mut Session) -> Result<()> {
    demo::audit(dom0, "with the guest restored")?;
    dom0.must("xl shutdown -w guest", BOOT)?;
    dom0.must("kill %net-server", STEP).map(drop)
}

fn run(dom0: &mut Session, cycles: u32) -> Result<()> {
    let mut last = begin(dom0)?;
    // Saved and left running; then saved, and looked at before it goes on.
    dom0.must(&format!("xl save -c guest {FILE} && rm {FILE}"), BOOT)?;
    last = goes_on(dom0, last)?;
    dom0.must(&format!("xl save guest {FILE}"), BOOT)?;
    demo::wait_gone(dom0)?;
    let memory = demo::memory(dom0)?;
    dom0.must(&format!("xl restore -p {FILE} && rm {FILE}"), BOOT)?;
    dom0.must("xl list guest | grep -- '--p---' && xl unpause guest", STEP)?;
    last = goes_on(dom0, last)?;
    for n in 1..=cycles {
        dom0.must(&format!("xl save guest {FILE}"), BOOT)?;
        demo::memory_is_back(dom0, memory).with_context(|| format!("cycle {n}"))?;
        dom0.must(&format!("xl restore {FILE} && rm {FILE}"), BOOT)?;
        last = goes_on(dom0, last)?;
        println!("cycle {n}: number {} came back", last.number);
    }
    end(dom0)
}

/// What a guest that is never interrupted sees only grow.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The last number that dom0 sent back.
    number: u64,
    /// Hundredths of a second.
    uptime: u64,
}

/// The guest works: numbers come back on its one connection, its disk is as it wrote it, its clock is dom0's.
pub fn goes_on(dom0: &mut Session, before: Seen) -> Result<Seen> {
    let now = seen(dom0)?;
    if now.number <= before.number || now.uptime <= before.uptime {
        bail!("the guest went back: from {before:?} to {now:?}");
    }
    Ok(now)
}

fn seen(dom0: &mut Session) -> Result<Seen> {
    let from = clock(dom0)?;
    back(dom0, "guest")?;
    // Two more numbers than at its awakening.
    let more = "a=$(cat /run/talk); for i in $(seq 900); do b=$(cat /run/talk); [ \"$b\" -gt $((a + 1)) ] && break; sleep .1; done";
    dom0.must(more, STEP)?;
    let number = dom0.must("echo $b", STEP)?;
    let uptime = dom0.must("cut -d' ' -f1 /proc/uptime | tr -d .", STEP)?;
    let at = clock(dom0)?;
    dom0.must("[ ! -e /run/ended ] && [ $(nproc) = 2 ]", STEP)?;
    let said = dom0.must("dmesg | grep -iE 'bug|oops|warn|stall|stuck|call trace'; true", STEP)?;
    if !said.is_empty() {
        bail!("the guest's kernel says:\n{said}");
    }
    leave(dom0)?;
    let until = clock(dom0)?;
    if at + 1 < from || at > until + 1 {
        bail!("the guest's clock says {at} between dom0's {from} and {until}");
    }
    Ok(Seen { number: number.trim().parse()?, uptime: uptime.trim().parse()? })
}

fn clock(session: &mut Session) -> Result<u64> {
    Ok(session.must("date +%s", STEP)?.trim().parse()?)
}
