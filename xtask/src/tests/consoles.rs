//! Our console daemon in the place of Debian's: guests' consoles, logs, and `kill -9` while they are used.

use anyhow::{Result, bail};

use super::{Outcome, Stage, our_tools};
use crate::build;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::run::Hypervisor;

const LOGS: &str = "/var/log/xen/console";

pub fn stage(hypervisor: Hypervisor, kills: u32) -> Stage {
    let (name, log) = match kills {
        0..100 => ("our xenconsoled: consoles and logs".to_owned(), "consoles"),
        _ => (format!("soak: xenconsoled killed {kills} times"), "consoles-killed"),
    };
    Stage::new(name, move |env| {
        let programs = build::tools(env, &["consoled"])?;
        let mut dom0 = our_tools::dom0_with(env, hypervisor, log, &[(&programs, "xenconsoled")])?;
        instead_of_the_stock_one(&mut dom0)?;
        demo::create(&mut dom0, "/etc/xen/guest.cfg")?;
        enter(&mut dom0, "guest")?;
        dom0.must("dmesg -n 1", STEP)?;
        leave(&mut dom0)?;
        killed(&mut dom0, kills)?;
        logs(&mut dom0)?;
        leaves(&mut dom0)?;
        dom0.send("poweroff\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(4))
    })
}

fn instead_of_the_stock_one(dom0: &mut Session) -> Result<()> {
    dom0.must(
        "for p in /proc/[0-9]*; do [ $(cat $p/comm) = xenconsoled ] && kill ${p#/proc/}; done; true",
        STEP,
    )?;
    dom0.must("/run/ours/xenconsoled --pid-file=/run/ours.pid --log=all --log-size=1", STEP)?;
    // `ours` names the daemon's processes, its keeper last, once there are both and the worker works.
    dom0.must(
        "ours() { while :; do w=$(cat /run/ours.pid); set -- $w $(cat /proc/$w/task/$w/children 2>/dev/null); \
         [ $# = 2 ] && break; done; echo $*; }",
        STEP,
    )?;
    dom0.must("ours; [ $(ours | wc -w) = 2 ]", STEP).map(drop)
}

/// While the guest writes, and while somebody types, either process of the daemon is killed.
fn killed(dom0: &mut Session, kills: u32) -> Result<()> {
    back(dom0, "guest")?;
    // It goes on until it is told to end, and leaves the others some of the CPUs.
    let write = "n=0; until [ -e /run/enough ]; do for i in $(seq 100); do n=$((n+1)); echo line $n of many; done; sleep 0.1; done; echo all $n; touch /run/over";
    dom0.send(&format!("stty -echo; ({write}) & true\n"))?;
    dom0.wait("line 100 of many", BOOT)?;
    leave(dom0)?;
    let kill = "set -- $(ours); [ $((RANDOM % 2)) = 0 ] && shift; kill -9 $1; sleep 0.$((RANDOM % 10))";
    dom0.must(&format!("for i in $(seq {kills}); do {kill}; done"), BOOT + STEP * kills)?;
    dom0.must("ours", STEP)?;
    dom0.send("xl console guest\n")?;
    // What is typed reaches the guest, and what it writes reaches the screen.
    dom0.send("touch /run/enough\n")?;
    dom0.wait(r"all \d+", BOOT)?;
    dom0.must("[ -e /run/over ]; stty echo", STEP)?;
    leave(dom0)
}

fn logs(dom0: &mut Session) -> Result<()> {
    let lines = format!(
        "cat {LOGS}/guest-guest.log.[4321] {LOGS}/guest-guest.log 2>/dev/null | tr -d '\\r' | grep -o 'line [0-9]* of many'"
    );
    // The oldest files may be gone: those that are there go on one from the other.
    let check = format!(
        "{lines} | awk 'NR > 1 && $2 != last + 1 {{ print \"after\", last, \"came\", $2 }} {{ last = $2 }} END {{ print NR, \"lines\" }}'"
    );
    let said = dom0.must(&check, BOOT)?;
    if said.contains("after") || said.trim() == "0 lines" {
        bail!("the guest's log is not what it wrote: {said}");
    }
    println!("consoles: the log has {}, each once", said.trim());
    dom0.must(&format!("ls -l {LOGS}; grep -q . {LOGS}/hypervisor.log"), STEP).map(drop)
}

/// A guest that goes takes its console along; the daemon goes when it is asked to.
fn leaves(dom0: &mut Session) -> Result<()> {
    dom0.must("xl destroy guest", STEP)?;
    demo::wait_gone(dom0)?;
    dom0.must("kill $(cat /run/ours.pid); while [ -e /run/ours.pid ]; do sleep 0.2; done", BOOT)?;
    dom0.must(
        "for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" != xenconsoled ] || exit 1; done",
        BOOT,
    )
    .map(drop)
}
