//! What Debian's `xl` changes of a guest that runs, seen from inside it: memory, vCPUs, shares of time, name, signals; its
//! memory in a file; its restart and its crash.

use anyhow::{Context, Result, bail};

use super::Stage;
use super::work::{self, wait_for};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::run::Hypervisor;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    work::stage("work: xl changes a running guest", "work-living", hypervisor, |_, dom0| {
        demo::create(dom0, "/etc/xen/guest.cfg vcpus=2 maxmem=512")?;
        enter(dom0, "guest")?;
        leave(dom0)?;
        names(dom0)?;
        memory(dom0)?;
        vcpus(dom0)?;
        time(dom0)?;
        signals(dom0)?;
        core(dom0)?;
        restart(dom0)?;
        crash(dom0)
    })
}

fn names(dom0: &mut Session) -> Result<()> {
    dom0.must("id=$(xl domid guest) && [ $(xl domname $id) = guest ]", STEP)?;
    dom0.must("xl rename guest gast && [ $(xl domid gast) = $id ] && ! xl domid guest", STEP)?;
    dom0.must("xl rename gast guest && xl list guest", STEP)?;
    dom0.must("xl uptime guest | grep -E '^guest +[0-9]+ +([0-9]+:)+[0-9]+$'", STEP)?;
    dom0.must("xl claims | grep -E '^guest +[0-9]+ +256 +2 .* 0$'", STEP)?;
    dom0.must("xl network-list guest | grep '^0 .*00:16:3e:00:00:01 .* 4 '", STEP)?;
    dom0.must("xl block-list guest | grep -E '^51712 +0 +[0-9]+ +4 '", STEP).map(drop)
}

/// The balloon: the hypervisor has what the guest gave, and the guest what it got; not more than it may.
fn memory(dom0: &mut Session) -> Result<()> {
    back(dom0, "guest")?;
    let first = total(dom0)?;
    leave(dom0)?;
    let free = demo::memory(dom0)?.free;
    for mib in [192, 320, 256] {
        dom0.must(&format!("xl mem-set guest {mib}"), STEP)?;
        wait_for(dom0, &format!("xl list guest | grep -q ' {mib} '"))?;
        let change = free as i64 - settled(dom0)? as i64;
        let wanted = (mib - 256) * 1024;
        // A few pages of tables and of the hypervisor's own come and go.
        if (change - wanted).abs() > 512 {
            bail!("with the guest at {mib} MiB it holds {change} KiB more, and should {wanted}");
        }
        back(dom0, "guest")?;
        let now = total(dom0)?;
        if (now as i64 - first as i64 - wanted).abs() > 512 {
            bail!("a guest at {mib} MiB has {now} KiB, and with 256 it had {first}");
        }
        leave(dom0)?;
    }
    // What it asks for beyond its limit it does not get; the tools leave it a mebibyte more.
    dom0.must("xl mem-max guest 300", STEP)?;
    back(dom0, "guest")?;
    let target = "/sys/devices/system/xen_memory/xen_memory0/target_kb";
    dom0.must(&format!("echo 409600 > {target} && sleep 10; echo 307200 > {target}"), STEP)?;
    let got = (total(dom0)? - first) / 1024;
    if !(40..=45).contains(&got) {
        bail!("a guest that may have 300 MiB and had 256 got {got} more when it wanted 400");
    }
    leave(dom0)?;
    dom0.must("xl mem-set guest 256", STEP)?;
    back(dom0, "guest")?;
    dom0.must("disk-check 4", STEP)?;
    leave(dom0)
}

/// What the guest has, in KiB.
fn total(guest: &mut Session) -> Result<u64> {
    let line = guest.must("grep MemTotal /proc/meminfo", STEP)?;
    let line = line.lines().find(|line| line.starts_with("MemTotal")).context("MemTotal")?;
    Ok(line.split_whitespace().nth(1).context("MemTotal")?.parse()?)
}

/// The hypervisor's free memory, once nothing waits to be scrubbed.
fn settled(dom0: &mut Session) -> Result<u64> {
    wait_for(dom0, "[ $(xen-memory | cut -d' ' -f4) = 0 ]")?;
    Ok(demo::memory(dom0)?.free)
}

fn vcpus(dom0: &mut Session) -> Result<()> {
    for (count, paused) in [(1, 1), (2, 0)] {
        dom0.must(&format!("xl vcpu-set guest {count}"), STEP)?;
        back(dom0, "guest")?;
        if count == 2 {
            // Debian leaves it to its administrator to use a processor that came.
            wait_for(dom0, "echo 1 > /sys/devices/system/cpu/cpu1/online")?;
        }
        wait_for(dom0, &format!("[ $(nproc) = {count} ]"))?;
        dom0.must(&format!("taskset -c {} disk-check 2", count - 1), STEP)?;
        leave(dom0)?;
        dom0.must(&format!("[ $(xl vcpu-list guest | grep -c -e ' --p ') = {paused} ]"), STEP)?;
    }
    dom0.must("xl vcpu-pin guest 0 1 && xl vcpu-pin guest 1 0", STEP)?;
    dom0.must("[ \"$(xl vcpu-list guest | awk 'NR > 1 {printf $7}')\" = 10 ]", STEP)?;
    back(dom0, "guest")?;
    dom0.must("taskset -c 0 disk-check 2 && taskset -c 1 disk-check 2", STEP)?;
    leave(dom0)?;
    dom0.must("[ \"$(xl vcpu-list guest | awk 'NR > 1 {printf $4}')\" = 10 ]", STEP)?;
    dom0.must("xl vcpu-pin guest all all all", STEP).map(drop)
}

/// A cap holds.
fn time(dom0: &mut Session) -> Result<()> {
    dom0.must("xl sched-credit2 -d guest -w 512 -c 25", STEP)?;
    dom0.must("xl sched-credit2 -d guest | grep -E '^guest +[0-9]+ +512 +25$'", STEP)?;
    back(dom0, "guest")?;
    dom0.must("for i in 1 2; do (while :; do :; done) & done", STEP)?;
    leave(dom0)?;
    let spent = "t() { xl list guest | awk 'NR == 2 {print $NF}'; }; a=$(t); u=$(cut -d' ' -f1 /proc/uptime); sleep 20; b=$(t); \
                 v=$(cut -d' ' -f1 /proc/uptime); echo $a $b $u $v | awk '{print 100 * ($2 - $1) / ($4 - $3)}'";
    let share: f64 = dom0.must(spent, STEP)?.trim().parse()?;
    println!("a guest with two endless loops and a cap of 25 % of a CPU used {share} %");
    // On a busy host it may get less.
    if !(5.0..=28.0).contains(&share) {
        bail!("a cap of 25 % let the guest use {share} %");
    }
    dom0.must("xl sched-credit2 -d guest -w 256 -c 0", STEP)?;
    back(dom0, "guest")?;
    dom0.must("kill %1 %2; wait", STEP)?;
    leave(dom0)
}

fn signals(dom0: &mut Session) -> Result<()> {
    back(dom0, "guest")?;
    dom0.must("dmesg -n 1; echo 1 > /proc/sys/kernel/sysrq; dmesg -C", STEP)?;
    leave(dom0)?;
    dom0.must("xl sysrq guest h && xl trigger guest nmi", STEP)?;
    back(dom0, "guest")?;
    wait_for(dom0, "dmesg | grep -q 'sysrq: HELP'")?;
    wait_for(dom0, "dmesg | grep -q NMI")?;
    leave(dom0)
}

/// `xl dump-core` writes all of the guest's memory, and the guest goes on.
fn core(dom0: &mut Session) -> Result<()> {
    back(dom0, "guest")?;
    let text = dom0.must("head -c 32 /dev/urandom | sha256sum | cut -c-64 | tee /run/text", STEP)?;
    leave(dom0)?;
    dom0.must("xl dump-core guest /srv/guest/core", BOOT)?;
    let said = dom0.must(&format!("core-check /srv/guest/core 2 {text}"), STEP)?;
    println!("{said}");
    dom0.must("rm /srv/guest/core", STEP)?;
    back(dom0, "guest")?;
    dom0.must("disk-check 2", STEP)?;
    leave(dom0)
}

/// `xl reboot`: the guest comes back as a new domain.
fn restart(dom0: &mut Session) -> Result<()> {
    dom0.must("xl reboot guest", STEP)?;
    let waits = "for i in $(seq 900); do new=$(xl domid guest 2>/dev/null) && [ \"$new\" != $id ] && xenstore-exists /local/domain/$new/console/tty && break; sleep 1; done; [ \"$new\" -gt $id ]";
    dom0.must(waits, BOOT)?;
    enter(dom0, "guest")?;
    dom0.must("disk-check 4 && [ $(nproc) = 2 ]", STEP)?;
    leave(dom0)
}

/// A crash leaves nothing, and is no one else's.
fn crash(dom0: &mut Session) -> Result<()> {
    back(dom0, "guest")?;
    dom0.must("echo 1 > /proc/sys/kernel/sysrq", STEP)?;
    leave(dom0)?;
    dom0.must("xl sysrq guest c", STEP)?;
    demo::wait_gone(dom0)?;
    dom0.must("grep -q 'reason code 3' /var/log/xen/xl-guest.log", STEP).map(drop)
}
