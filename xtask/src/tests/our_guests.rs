//! Guests created by our own `xl`, in a dom0 that has nothing of the stock tools: devices and consoles, what is left of
//! each, and who restarts them.

use anyhow::{Result, bail};

use super::{Outcome, Stage};
use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::{self, PASSWORD};
use crate::image::overlay::DOM0_ADDRESS;
use crate::image::small;
use crate::qemu::Console;
use crate::run::{self, Hypervisor};
use crate::setup::{self, Env, QemuVersion};

const PROMPT: &str = r"root@dom0:[^\n]*# ";
/// What guests have in dom0: interfaces, loop devices, files; and the memory that they do not have any more.
const TRACES: &str = "ls /sys/class/net /sys/class/net/xenbr0/brif /var/lib/xen; ls -d /sys/block/loop*/loop; \
     xl info free_memory; ps | grep 'xl[ ]monitor'; true";
/// The guest with a second disk, in a file.
const TWO_DISKS: &str = "/etc/xen/guest.cfg 'disk=[\"phy:/dev/sda,xvda,w\",\"format=raw,vdev=xvdb,access=ro,target=/root/data.img\"]'";

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("our xl: guests from creation to end", move |env| {
        let mut dom0 = boot(env, hypervisor, "our-guests")?;
        let before = settled(&mut dom0)?;
        paused(&mut dom0)?;
        nothing_is_left(&mut dom0, &before)?;
        refused(&mut dom0)?;
        nothing_is_left(&mut dom0, &before)?;
        lives(&mut dom0)?;
        nothing_is_left(&mut dom0, &before)?;
        dom0.send("poweroff -f\n")?;
        dom0.wait_exit(BOOT)?;
        Ok(Outcome::Passed(3))
    })
}

/// The small dom0, at its prompt.
pub fn boot(env: &Env, hypervisor: Hypervisor, log: &str) -> Result<Session> {
    let (qemu, kernel) = (setup::qemu(env, QemuVersion::V10)?, run::kernel(env, "6.1")?);
    let initrd = small::dom0(env, &kernel)?;
    let mut machine = run::machine(env, &qemu, hypervisor, "", &kernel, "", initrd, 2048)?;
    machine.disks = vec![debian::guest(env)?];
    machine.console = Console::Pipes;
    machine.no_reboot = true;
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    dom0.wait(PROMPT, BOOT)?;
    Ok(dom0)
}

/// A first guest makes dom0 and the hypervisor's heap grow; that stays with them.
fn settled(dom0: &mut Session) -> Result<String> {
    dom0.must("dd if=/dev/urandom of=/root/data.img bs=1M count=4", STEP)?;
    dom0.must(&format!("xl create -p {TWO_DISKS}"), BOOT)?;
    dom0.must("xl destroy guest", STEP)?;
    gone(dom0)?;
    dom0.must(TRACES, STEP)
}

fn gone(dom0: &mut Session) -> Result<()> {
    let line = "for i in $(seq 300); do [ $(xl list | wc -l) = 2 ] && ! ps | grep -q 'xl[ ]monitor' && break; sleep 0.2; done; xl list";
    let list = dom0.must(line, STEP)?;
    if list.trim().lines().count() != 2 {
        bail!("a guest is still there:\n{list}");
    }
    Ok(())
}

fn nothing_is_left(dom0: &mut Session, before: &str) -> Result<()> {
    gone(dom0)?;
    // Frames are scrubbed while CPUs idle.
    let mut after = String::new();
    for _ in 0..100 {
        after = dom0.must(&format!("sleep 0.1; {TRACES}"), STEP)?;
        if after == before {
            return Ok(());
        }
    }
    bail!("guests left something: before\n{before}\nafter\n{after}")
}

/// Everything is there before it runs; its end takes all of it away.
fn paused(dom0: &mut Session) -> Result<()> {
    dom0.must(&format!("xl create -p {TWO_DISKS}"), BOOT)?;
    let list = dom0.must("xl list guest", STEP)?;
    if !list.contains("--p---") {
        bail!("the guest is not paused:\n{list}");
    }
    dom0.must("id=$(xl domid guest); [ -e /sys/class/net/xenbr0/brif/vif$id.0 ]", STEP)?;
    dom0.must("[ $(cat /sys/class/net/vif$id.0/address) = fe:ff:ff:ff:ff:ff ]", STEP)?;
    dom0.must("[ $(cat /sys/block/loop0/loop/backing_file) = /root/data.img ]", STEP)?;
    dom0.must("[ $(cat /sys/block/loop0/ro) = 1 ]", STEP)?;
    let disks = dom0.must("xl block-list guest", STEP)?;
    if disks.trim().lines().count() != 3 {
        bail!("two disks were asked for:\n{disks}");
    }
    dom0.must(
        "ls /var/lib/xen/userdata-d.$id.*.libxl-json; xl list -l guest | grep -q '\"name\": \"guest\"'",
        STEP,
    )?;
    // A second one of its name changes nothing.
    let (code, said) = dom0.command("xl create -p /etc/xen/guest.cfg", STEP)?;
    if code == 0 || !said.contains("is taken") {
        bail!("a second guest of the same name: {code}\n{said}");
    }
    dom0.must("xl destroy guest", STEP).map(drop)
}

/// What cannot be is told, and nothing of it stays.
fn refused(dom0: &mut Session) -> Result<()> {
    let cases = [
        ("'vif=[\"bridge=nosuch\"]'", "there is no bridge"),
        ("'disk=[\"phy:/dev/nosuch,xvda,w\"]'", "is not there"),
        ("memory=100000", "MiB free"),
        ("'kernel=\"/srv/guest/initramfs.gz\"'", "preparing the kernel"),
        ("memory=8", "pages of memory needed"),
        ("'vif=[\"script=/bin/false\"]'", "running /bin/false"),
    ];
    for (change, expected) in cases {
        let (code, said) = dom0.command(&format!("xl create /etc/xen/guest.cfg {change}"), STEP)?;
        if code == 0 || !said.contains(expected) {
            bail!("xl create with {change}: {code}\n{said}");
        }
    }
    Ok(())
}

/// A Debian guest: its console, its devices, a new beginning, its end.
fn lives(dom0: &mut Session) -> Result<()> {
    dom0.must("xl create /etc/xen/guest.cfg; id=$(xl domid guest)", BOOT)?;
    login(dom0)?;
    dom0.must("disk-check", STEP)?;
    dom0.must(&format!("ping -c 3 -W 20 {DOM0_ADDRESS}"), STEP)?;
    leave(dom0)?;
    dom0.must("xl reboot guest", STEP)?;
    dom0.must("for i in $(seq 600); do new=$(xl domid guest 2>/dev/null); [ -n \"$new\" ] && [ \"$new\" != $id ] && break; sleep 0.5; done; [ $new != $id ]", BOOT)?;
    login(dom0)?;
    leave(dom0)?;
    dom0.must("xl shutdown -w guest", BOOT)?;
    dom0.must("cat /var/log/xen/xl-guest.log; grep -q 'wants to begin anew; action: restart' /var/log/xen/xl-guest.log && grep -q 'has shut down; action: destroy' /var/log/xen/xl-guest.log", STEP).map(drop)
}

fn login(dom0: &mut Session) -> Result<()> {
    dom0.send("xl console guest\n")?;
    dom0.send("\n")?;
    dom0.login("guest", PASSWORD, BOOT)
}

/// The key counts wherever it stands in what is typed; it is sent alone as a person would.
fn leave(dom0: &mut Session) -> Result<()> {
    dom0.send("\x1d")?;
    dom0.wait(PROMPT, STEP).map(drop)
}
