//! Guests that our `xl` saves and restores, beside Debian's, which takes our files as we take its.

use anyhow::{Context, Result};

use super::save::{FILE, Seen, begin, end, goes_on};
use super::{Outcome, Stage, our_tools};
use crate::build;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::run::Hypervisor;

const OURS: &str = "/run/ours/xl";
const STOCK: &str = "xl";

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("our xl: save and restore", move |env| {
        let programs = build::tools(env, &["xl"])?;
        let mut dom0 = our_tools::dom0_with(env, hypervisor, "ours-save", &[(&programs, "xl")])?;
        demo::warm_up(&mut dom0)?;
        let mut last = begin(&mut dom0)?;
        // Saved and left running; the same, and looked at before it goes on.
        dom0.must(&format!("{OURS} save -c guest {FILE} && rm {FILE}"), BOOT)?;
        last = goes_on(&mut dom0, last).context("saved by ours and left running")?;
        dom0.must(&format!("{OURS} save -p guest {FILE} && rm {FILE}"), BOOT)?;
        dom0.must("xl list guest | grep -- '--p---' && xl unpause guest", STEP)?;
        last = goes_on(&mut dom0, last).context("saved by ours and left paused")?;
        refusals(&mut dom0)?;
        last = goes_on(&mut dom0, last).context("not saved by ours")?;
        for (saves, restores) in [(STOCK, OURS), (OURS, STOCK), (OURS, OURS)] {
            last = cycle(&mut dom0, last, saves, restores)
                .with_context(|| format!("saved by {saves}, restored by {restores}"))?;
        }
        dom0.must(
            &format!("{OURS} dump-core guest {FILE} && readelf -SW {FILE} | grep .xen_pages; rm {FILE}"),
            BOOT,
        )?;
        goes_on(&mut dom0, last).context("dumped by ours")?;
        end(&mut dom0)?;
        dom0.send("poweroff\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(3))
    })
}

fn cycle(dom0: &mut Session, last: Seen, saves: &str, restores: &str) -> Result<Seen> {
    dom0.must(&format!("{saves} save guest {FILE}"), BOOT)?;
    demo::wait_gone(dom0)?;
    dom0.must(&format!("{restores} restore {FILE} && rm {FILE}"), BOOT)?;
    goes_on(dom0, last)
}

/// What cannot be saved goes on, and what cannot be restored leaves nothing.
fn refusals(dom0: &mut Session) -> Result<()> {
    dom0.must(&format!("! {OURS} save guest /dev/full"), BOOT)?;
    dom0.must(&format!("! {OURS} save guest /nonexistent/file"), BOOT)?;
    dom0.must(&format!("echo nothing >{FILE}; ! {OURS} restore {FILE}; rm {FILE}"), BOOT)?;
    dom0.must("[ $(ls /dev/shm | wc -l) = 0 ]", STEP).map(drop)
}
