//! `kill -9` of our store, of either of its processes, while guests come and go and others read: nobody notices.

use anyhow::{Result, bail};

use super::{Outcome, Stage, our_guests};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::run::Hypervisor;

/// Guests until it is enough.
const GUESTS: &str = "(until [ -e /run/enough ]; do xl create -qp /etc/xen/guest.cfg && xl destroy guest || exit 1; \
     echo a guest; done; echo all well) >/run/guests 2>&1 & true";
const READERS: &str = "(until [ -e /run/enough ]; do xl list >/run/list || exit 1; grep -q Domain-0 /run/list || exit 1; done; \
     echo all well) >/run/readers 2>&1 & true";
/// The next one is not killed before it can have taken over.
const KILL: &str = "until w=$(pidof xenstored) && set -- $w $(cat /proc/$w/task/$w/children 2>/dev/null) && [ $# = 2 ]; \
     do :; done; [ $((RANDOM % 2)) = 0 ] || shift; kill -9 $1; usleep $((100000 + RANDOM * 15))";

pub fn stage(hypervisor: Hypervisor, kills: u32) -> Stage {
    let (name, log) = match kills {
        0..100 => ("our xenstored: kill -9 while guests come and go".to_owned(), "store-kills"),
        _ => (format!("soak: xenstored killed {kills} times"), "store-killed"),
    };
    Stage::new(name, move |env| {
        let mut dom0 = our_guests::boot(env, hypervisor, log)?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        dom0.must(GUESTS, STEP)?;
        dom0.must(READERS, STEP)?;
        dom0.must(&format!("(for i in $(seq {kills}); do {KILL}; done)"), BOOT + STEP * kills)?;
        let guests = well(&mut dom0)?;
        demo::nothing_is_left(&mut dom0, before)?;
        println!("{kills} kills, {guests} guests meanwhile");
        // Somebody new lives on it.
        dom0.must("xl create /etc/xen/guest.cfg", BOOT)?;
        crate::guest_console::enter(&mut dom0, "guest")?;
        crate::guest_console::leave(&mut dom0)?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::nothing_is_left(&mut dom0, before)?;
        dom0.send("poweroff\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(1))
    })
}

/// Everybody ends, and says that all was well; how many guests there were.
fn well(dom0: &mut Session) -> Result<usize> {
    dom0.must("touch /run/enough; wait; pidof xenstored", BOOT)?;
    let said = dom0.must("cat /run/readers /run/guests", STEP)?;
    let guests = said.matches("a guest").count();
    if said.matches("all well").count() != 2 || guests == 0 {
        bail!("somebody noticed:\n{said}");
    }
    Ok(guests)
}
