//! More of what Debian's packages bring, as packaged: GRUB as a guest's kernel, the interface's own tests, the daemons.

use anyhow::{Result, bail};

use super::tools::{self, machine};
use super::{Outcome, Stage};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{enter, leave};
use crate::image::debian::{self, PASSWORD};
use crate::run::Hypervisor;

pub fn stages(hypervisor: Hypervisor) -> [Stage; 3] {
    [
        tools::stage("xl: a guest boots from its own disk by GRUB", "pvgrub", hypervisor, pvgrub),
        Stage::new("stock tools: their tests, both xenstoreds, the watchdog", move |env| {
            let (qemu, mut machine) = demo::dom0_machine(env, &machine(hypervisor))?;
            machine.no_reboot = false;
            let mut dom0 = Session::start(machine.command(&qemu)?, &env.log("stock")?)?;
            again(&mut dom0)?;
            programs(&mut dom0)?;
            // Debian starts the one; the other comes with the next boot.
            dom0.must("pidof oxenstored && ! pidof xenstored", STEP)?;
            guest_works(&mut dom0)?;
            dom0.must("echo XENSTORED=/usr/lib/xen-4.17/bin/xenstored >> /etc/default/xen && sync", STEP)?;
            watchdog(&mut dom0)?;
            again(&mut dom0)?;
            dom0.must("pidof xenstored && ! pidof oxenstored", STEP)?;
            dom0.must("/usr/lib/xen-4.17/bin/test-xenstore", BOOT)?;
            xenstore(&mut dom0)?;
            guest_works(&mut dom0)?;
            demo::audit(&mut dom0, "at the end")?;
            dom0.send("poweroff\n")?;
            dom0.wait_exit(BOOT)?;
            Ok(Outcome::Passed(1))
        }),
        Stage::new("libvirt: virsh manages a guest", move |env| {
            let (qemu, mut machine) = demo::dom0_machine(env, &machine(hypervisor))?;
            machine.disks = vec![debian::dom0_with_libvirt(env)?];
            let mut dom0 = Session::start(machine.command(&qemu)?, &env.log("libvirt")?)?;
            again(&mut dom0)?;
            libvirt(&mut dom0)?;
            demo::audit(&mut dom0, "at the end")?;
            dom0.send("poweroff\n")?;
            dom0.wait_exit(BOOT)?;
            Ok(Outcome::Passed(1))
        }),
    ]
}

/// The toolstack knows of no kernel of the guest's: GRUB finds it on the disk.
fn pvgrub(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/pvgrub.cfg")?;
    enter(dom0, "guest")?;
    dom0.must("grep by=grub /proc/cmdline && disk-check 4", STEP)?;
    leave(dom0)?;
    dom0.must("xl shutdown -w guest", BOOT).map(drop)
}

fn programs(dom0: &mut Session) -> Result<()> {
    dom0.must("export PATH=$PATH:/usr/lib/xen-4.17/bin", STEP)?;
    let resources = dom0.must("test-resource", STEP)?;
    if !resources.contains("Test grant table") || resources.contains("Fail") {
        bail!("test-resource says:\n{resources}");
    }
    // It ends with 0 only if every one of its transactions did what it should.
    dom0.must("test-xenstore", BOOT)?;
    xenstore(dom0)?;
    dom0.must("xentop -b -i 1 | grep -q Domain-0", STEP)?;
    dom0.must("xen-init-dom0", STEP)?;
    for (program, says) in [
        ("lsevtchn", "Virtual IRQ 0"),
        ("xen-diag gnttab_query_size 0", "nr_frames"),
        ("xenpm get-cpu-topology", "CPU1"),
        ("xen-detect -N", "PV"),
    ] {
        let said = dom0.must(&format!("{program}; true"), STEP)?;
        if !said.contains(says) {
            bail!("{program} says:\n{said}");
        }
    }
    Ok(())
}

/// Every command of xenstore-utils.
pub(super) fn xenstore(dom0: &mut Session) -> Result<()> {
    dom0.must("xenstore-write /test/a one /test/b two && [ $(xenstore-read /test/a) = one ]", STEP)?;
    dom0.must("[ \"$(xenstore-list /test | xargs)\" = 'a b' ] && xenstore-exists /test/b", STEP)?;
    dom0.must("xenstore-chmod /test/a r0 && xenstore-ls -p /test | grep 'a = \"one\".*r0'", STEP)?;
    dom0.must("(sleep 2; xenstore-write /test/c 3) & timeout 60 xenstore-watch -n 2 /test/c", STEP)?;
    dom0.must("xenstore-rm /test && ! xenstore-exists /test/a", STEP).map(drop)
}

/// `xenwatchdogd` keeps the domain's watchdog quiet, and disarms it when it is asked to end; if it is killed, dom0 is
/// restarted, and with it the machine.
fn watchdog(dom0: &mut Session) -> Result<()> {
    dom0.must("xenwatchdogd 30 5 && sleep 2 && kill -USR1 $(pidof xenwatchdogd)", STEP)?;
    dom0.must("while pidof xenwatchdogd; do sleep 1; done; sleep 45", STEP)?;
    dom0.must("xenwatchdogd 30 5 && sleep 2 && sync", STEP)?;
    dom0.send("kill -KILL $(pidof xenwatchdogd)\n")?;
    dom0.wait("[Ww]atchdog", BOOT).map(drop)
}

/// QEMU's emulated CPUs lack VME, which even the least of libvirt's CPU models has: it is taken out there.
fn libvirt(dom0: &mut Session) -> Result<()> {
    dom0.must("sed -i /vme/d /usr/share/libvirt/cpu_map/x86_486.xml", STEP)?;
    // The daemon wants the user that its other driver's package makes.
    dom0.must("useradd -r -U libvirt-qemu", STEP)?;
    dom0.must("libvirtd -d && export LIBVIRT_DEFAULT_URI=xen:///system", STEP)?;
    dom0.must("until virsh list; do sleep 1; done", STEP)?;
    dom0.must("virsh create /etc/xen/guest.xml", BOOT)?;
    dom0.send("virsh console guest\n")?;
    dom0.login("guest", PASSWORD, BOOT)?;
    dom0.must("disk-check 4", STEP)?;
    leave(dom0)?;
    dom0.must("virsh list | grep -q 'guest *running' && virsh dominfo guest | grep -q 'CPU(s): *1'", STEP)?;
    dom0.must("virsh suspend guest && [ \"$(virsh domstate guest | head -1)\" = paused ]", STEP)?;
    dom0.must("virsh resume guest && [ \"$(virsh domstate guest | head -1)\" = running ]", STEP)?;
    dom0.must("virsh vcpuinfo guest && virsh schedinfo guest", STEP)?;
    dom0.must("virsh save guest /dev/shm/saved && ! virsh domstate guest", BOOT)?;
    dom0.must("virsh restore /dev/shm/saved && rm /dev/shm/saved", BOOT)?;
    dom0.send("virsh console guest\n")?;
    dom0.wait("Escape character", STEP)?;
    dom0.send("\n")?;
    dom0.wait(r"root@guest:[^\n]*# ", BOOT)?;
    dom0.must("disk-check 4", STEP)?;
    leave(dom0)?;
    dom0.must("virsh destroy guest && ! virsh domstate guest", BOOT)?;
    demo::wait_gone(dom0)
}

pub(super) fn guest_works(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/guest.cfg")?;
    enter(dom0, "guest")?;
    dom0.must("disk-check 4", STEP)?;
    leave(dom0)?;
    dom0.must("xl shutdown -w guest", BOOT)?;
    demo::wait_gone(dom0)
}

/// Logs in after a boot.
pub(super) fn again(dom0: &mut Session) -> Result<()> {
    dom0.login("dom0", PASSWORD, BOOT)?;
    dom0.must("dmesg -n 1", STEP).map(drop)
}
