//! Guests that make any hypercall with any arguments, one after another, beside a Debian guest that works: neither it
//! nor dom0 notices, and nothing of theirs stays.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use regex::Regex;

use super::{Outcome, Stage, tools, tsc};
use crate::demo::{self, BOOT, STEP};
use crate::guest_console::{back, enter, leave};
use crate::run::Hypervisor;

/// How long guests keep being created, by the clock.
const TIME: Duration = Duration::from_secs(30 * 60);
/// Calls of a guest at most. Most end before: by what they do to themselves, or by waiting for nothing.
const CALLS: u64 = 200_000;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("soak: half an hour of any hypercalls beside a working guest", move |env| {
        // Why each call is refused would fill the log.
        let args = demo::Args { options: vec!["guest_loglvl=warning".into()], ..tools::machine(hypervisor) };
        let mut dom0 = tsc::dom0_with_tiny_guest(env, &args, "anything")?;
        demo::warm_up(&mut dom0)?;
        let before = demo::memory(&mut dom0)?;
        demo::create(&mut dom0, "/etc/xen/guest.cfg")?;
        enter(&mut dom0, "guest")?;
        let work = "until [ -e /run/enough ]; do disk-check 2 || touch /run/wrong; echo >>/run/rounds; done";
        dom0.must(&format!("({work}) >/run/work.log 2>&1 & true"), STEP)?;
        leave(&mut dom0)?;

        let (start, mut seed, mut calls) = (Instant::now(), 0, (0, 0));
        while start.elapsed() < TIME {
            seed += 1;
            let (made, succeeded) = once(&mut dom0, seed)?;
            calls = (calls.0 + made, calls.1 + succeeded);
            if seed % 10 == 0 {
                demo::audit(&mut dom0, &format!("after {seed} guests and {} calls", calls.0))?;
            }
        }
        println!("{seed} guests made {} calls, {} succeeded", calls.0, calls.1);
        if calls.1 == 0 {
            bail!("no call succeeded");
        }

        back(&mut dom0, "guest")?;
        dom0.must("touch /run/enough; wait; [ ! -e /run/wrong ] && wc -l /run/rounds", BOOT)?;
        dom0.must("[ $(wc -l </run/rounds) -gt 2 ]", STEP)?;
        leave(&mut dom0)?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::nothing_is_left(&mut dom0, before)?;
        Ok(Outcome::Passed(1))
    })
}

/// One guest, from its creation until nothing is left of it: calls that it told of, and how many succeeded.
fn once(dom0: &mut crate::expect::Session, seed: u64) -> Result<(u64, u64)> {
    let config = format!(
        "name=\"any\"\\nkernel=\"/run/tiny\"\\nmemory=32\\nvcpus=1\\nextra=\"group=anything seed={seed} calls={CALLS}\"\\n\
         on_poweroff=\"destroy\"\\non_reboot=\"destroy\"\\non_crash=\"destroy\""
    );
    dom0.must(&format!("printf '{config}\\n' >/run/any.cfg"), STEP)?;
    // The console's program ends with the domain; what it says may be anything.
    let text = dom0
        .command(
            "timeout -s KILL 90 xl create -c /run/any.cfg 2>&1 | tr -cd '[:print:]\\n'; xl destroy any 2>/dev/null; \
             for i in $(seq 120); do xl domid any >/dev/null 2>&1 || break; sleep 1; done; xl list | grep -v '^any '",
            STEP,
        )?
        .1;
    if text.contains("(null)") {
        bail!("guest {seed} is still there:\n{text}");
    }
    let line = Regex::new(r"TG anything.calls: made=(\d+) succeeded=(\d+)")?;
    let told = line.captures_iter(&text).last();
    let number = |n: usize| told.as_ref().map_or(Ok(0), |found| found[n].parse());
    Ok((number(1)?, number(2)?))
}
