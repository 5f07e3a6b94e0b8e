//! RDTSC in guests, as `tsc_mode=` of `xl` wants it: what the tiny guest finds on two vCPUs, and whether Debian keeps
//! its clock.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Outcome, Stage, guests, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{enter, leave};
use crate::image::debian::{DOM0_LABEL, PASSWORD};
use crate::run::Hypervisor;
use crate::setup::Env;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("xl: RDTSC native and emulated", move |env| {
        let mut dom0 = dom0_with_tiny_guest(env, &tools::machine(hypervisor), "tsc")?;
        // By default as native, for the counters of the emulated machine agree.
        let native = ["emulated=0 mode=0", "emulated=0 mode=2"];
        for (mode, wanted) in ["default", "native"].into_iter().zip(native) {
            tiny(&mut dom0, mode, wanted)?;
        }
        let text = tiny(&mut dom0, "always_emulate", "emulated=1 mode=1")?;
        for line in ["TG tsc.begins-with-domain: ok", "TG tsc.rate: ok"] {
            if !text.contains(line) {
                bail!("no `{line}` where RDTSC is emulated:\n{text}");
            }
        }
        debian(&mut dom0)?;
        Ok(Outcome::Passed(4))
    })
}

/// Boots dom0, with the tiny guest as `/run/tiny` there.
pub fn dom0_with_tiny_guest(env: &Env, args: &demo::Args, log: &str) -> Result<Session> {
    let image = guests::image(env)?;
    let (qemu, mut machine) = demo::dom0_machine(env, args)?;
    machine.disks.push(as_disk(env, &image)?);
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    dom0.login("dom0", PASSWORD, BOOT)?;
    let size = fs::metadata(&image)?.len();
    dom0.must("dmesg -n 1", STEP)?;
    let disk = format!("$(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL}))");
    dom0.must(&format!("head -c {size} {disk} >/run/tiny"), STEP)?;
    Ok(dom0)
}

/// A file as a disk: whole sectors.
fn as_disk(env: &Env, file: &Path) -> Result<PathBuf> {
    let mut bytes = fs::read(file)?;
    bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
    let path = env.target.join("images").join("tiny-guest.disk");
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Runs the tiny guest's checks of the counter in this mode; answers what it says.
fn tiny(dom0: &mut Session, mode: &str, wanted: &str) -> Result<String> {
    let config = format!(
        "name=\"tiny\"\\nkernel=\"/run/tiny\"\\nmemory=32\\nvcpus=2\\nextra=\"group=tsc\"\\ntsc_mode=\"{mode}\"\\non_poweroff=\"destroy\""
    );
    dom0.must(&format!("printf '{config}\\n' >/run/tiny.cfg"), STEP)?;
    let text = dom0.must("xl create -c /run/tiny.cfg", STEP)?;
    demo::wait_gone(dom0)?;
    let mode_line = format!("TG tsc.mode: {wanted} incarnation=0");
    for line in
        [&mode_line, "TG tsc.both: Ok(())", "TG tsc.monotonic: ok", "TG tsc.clock-monotonic: ok", "TG done"]
    {
        if !text.contains(line) {
            bail!("tsc_mode={mode}: no `{line}` in\n{text}");
        }
    }
    if text.contains("BAD") || text.contains("unexpected") {
        bail!("tsc_mode={mode}:\n{text}");
    }
    Ok(text)
}

/// Debian boots with its counter emulated, and its clocks go on at one speed.
fn debian(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/guest.cfg vcpus=2 'tsc_mode=\"always_emulate\"'")?;
    enter(dom0, "guest")?;
    dom0.must("dmesg -n 1", STEP)?;
    let source = dom0.must("cat /sys/devices/system/clocksource/clocksource0/current_clocksource", STEP)?;
    if source != "xen" {
        bail!("the guest's clock is {source}");
    }
    // That it does not rely on the counter (the processor does not say that it is invariant) is no complaint.
    let complaints = dom0.must("dmesg | grep -iE '(tsc|clocksource).*(warp|skew|backward)'; true", STEP)?;
    if !complaints.is_empty() {
        bail!("the guest's kernel says of its clocks:\n{complaints}");
    }
    // Each reading of the clock on the other vCPU.
    dom0.must(
        "last=0; for i in $(seq 40); do now=$(taskset -c $((i % 2)) date +%s%N); [ $now -gt $last ] || exit 1; last=$now; done",
        STEP,
    )?;
    leave(dom0)?;
    dom0.must("xl shutdown -w guest", BOOT)?;
    demo::wait_gone(dom0)
}
