//! Guests do real work under Debian's `xl`, with checksums: their kernels, disks, network and processors.

use anyhow::{Context, Result, bail};

use super::{Stage, root, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::image::debian;
use crate::image::overlay::DOM0_ADDRESS;
use crate::repository::Repository;
use crate::run::Hypervisor;
use crate::setup::Env;

pub fn stages(hypervisor: Hypervisor) -> [Stage; 3] {
    [
        stage("work: guests with the kernels 6.1 and 6.12", "work-kernels", hypervisor, |_, dom0| {
            kernels(dom0)
        }),
        stage("work: disks from files, loop devices and qcow2", "work-disks", hypervisor, |_, dom0| {
            disks(dom0)
        }),
        stage("work: fio, iperf3, xz and apt in guests", "work-load", hypervisor, load),
    ]
}

pub fn stage(
    name: &str,
    log: &'static str,
    hypervisor: Hypervisor,
    work: impl Fn(&Env, &mut Session) -> Result<()> + 'static,
) -> Stage {
    tools::stage_on(debian::dom0_for_work, name, log, hypervisor, work)
}

/// What `xl create` is given for a guest with the kernel 6.12.
const NEW_KERNEL: &str = "'kernel=\"/srv/guest/vmlinuz-6.12\"' 'ramdisk=\"/srv/guest/initramfs-6.12.gz\"'";

/// From `xl create` to `xl shutdown` with each of Debian's kernels: the console both ways, disk and network, and all
/// that the hypervisor gave is back.
fn kernels(dom0: &mut Session) -> Result<()> {
    let sum = demo::serve(dom0)?;
    let before = demo::memory(dom0)?;
    for (series, options) in [("6.1.", ""), ("6.12.", NEW_KERNEL)] {
        demo::create(dom0, &format!("/etc/xen/guest.cfg vcpus=2 {options}"))?;
        enter(dom0, "guest")?;
        let release = dom0.must("uname -r && [ $(nproc) = 2 ]", STEP)?;
        if !release.starts_with(series) {
            bail!("the guest's kernel is {release}, not {series}*");
        }
        dom0.must("disk-check", STEP)?;
        dom0.must(&format!("net-check {sum}"), STEP)?;
        leave(dom0)?;
        demo::audit(dom0, "with a guest running")?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::memory_is_back(dom0, before).with_context(|| format!("after a guest with {release}"))?;
        println!("{release}: {} s", dom0.elapsed().as_secs());
    }
    dom0.must("kill %net-server", STEP).map(drop)
}

/// Of the network card that comes while the guest runs.
const MAC: &str = "00:16:3e:00:00:77";

/// A guest's root in a file, on a loop device and in a qcow2 image; with each, another disk and another network card
/// come while it runs, are used, and go.
fn disks(dom0: &mut Session) -> Result<()> {
    dom0.must("cd /srv/guest && qemu-img convert -O qcow2 disk.img disk.qcow2", BOOT)?;
    dom0.must("truncate -s 64M more.img && qemu-img create -f qcow2 more.qcow2 64M", STEP)?;
    dom0.must("sync; losetup /dev/loop6 disk.img && losetup /dev/loop7 more.img", STEP)?;
    let kinds = [
        ("raw", "/srv/guest/disk.img", "/srv/guest/more.img"),
        ("raw", "/dev/loop6", "/dev/loop7"),
        ("qcow2", "/srv/guest/disk.qcow2", "/srv/guest/more.qcow2"),
    ];
    for (format, root, more) in kinds {
        let disk = |vdev, target| format!("format={format},vdev={vdev},access=rw,target={target}");
        demo::create(dom0, &format!("/etc/xen/guest.cfg 'disk=[\"{}\"]'", disk("xvda", root)))?;
        enter(dom0, "guest")?;
        dom0.must("disk-check && [ ! -e /dev/xvdb ] && [ $(ls /sys/class/net | wc -l) = 2 ]", STEP)?;
        leave(dom0)?;
        dom0.must(&format!("xl block-attach guest {}", disk("xvdb", more)), STEP)?;
        dom0.must(&format!("xl network-attach guest bridge=xenbr0 mac={MAC}"), STEP)?;
        dom0.must(
            &format!("[ $(xl block-list guest | wc -l) = 3 ] && xl network-list guest | grep {MAC}"),
            STEP,
        )?;
        back(dom0, "guest")?;
        wait_for(dom0, "[ -b /dev/xvdb ]")?;
        dom0.must("[ $(blockdev --getsize64 /dev/xvdb) = $((64 << 20)) ]", STEP)?;
        dom0.must(&fio("/dev/xvdb", 16), BOOT)?;
        wait_for(dom0, &format!("grep -q {MAC} /sys/class/net/enX1/address"))?;
        dom0.must("ip addr replace 10.0.2.30/24 dev enX1 && ip link set enX1 up", STEP)?;
        dom0.must(&format!("ping -c 3 -W 20 -I enX1 {DOM0_ADDRESS}"), STEP)?;
        leave(dom0)?;
        dom0.must(&format!("xl block-detach guest xvdb && xl network-detach guest {MAC}"), STEP)?;
        back(dom0, "guest")?;
        wait_for(dom0, "[ ! -e /dev/xvdb ] && [ $(ls /sys/class/net | wc -l) = 2 ]")?;
        dom0.must("disk-check 2", STEP)?;
        leave(dom0)?;
        dom0.must(
            "[ $(xl block-list guest | wc -l) = 2 ] && [ $(xl network-list guest | wc -l) = 2 ]",
            STEP,
        )?;
        dom0.must("xl shutdown -w guest", BOOT)?;
        demo::wait_gone(dom0)?;
        println!("{root}: {} s", dom0.elapsed().as_secs());
    }
    dom0.must(
        "losetup -d /dev/loop6 /dev/loop7; qemu-img check disk.qcow2 && qemu-img check more.qcow2",
        STEP,
    )?;
    dom0.must("cd", STEP).map(drop)
}

/// Two guests: the one, of two vCPUs, reads what it has written to its disk, talks to dom0 as fast as it can, compresses
/// what dom0 compresses as well, and installs a package; both talk to each other.
fn load(env: &Env, dom0: &mut Session) -> Result<()> {
    let repository = Repository::serve(env)?;
    dom0.must("cp --sparse=always /srv/guest/disk.img /srv/guest/disk2.img && sync", BOOT)?;
    dom0.must("iperf3 -s -D", STEP)?;
    let sums = dom0.must(COMPRESS, BOOT)?;
    demo::create(dom0, "/etc/xen/guest.cfg vcpus=2 memory=512")?;
    let disk = "disk=[\"format=raw,vdev=xvda,access=rw,target=/srv/guest/disk2.img\"]";
    let vif = "vif=[\"bridge=xenbr0,mac=00:16:3e:00:00:02\"]";
    demo::create(dom0, &format!("/etc/xen/guest.cfg 'name=\"other\"' '{disk}' '{vif}'"))?;
    enter(dom0, "other")?;
    dom0.must(
        "nic=$(basename /sys/class/net/e*); ip addr replace 10.0.2.21/24 dev $nic && ip addr del 10.0.2.20/24 dev $nic && iperf3 -s -D",
        STEP,
    )?;
    leave(dom0)?;
    enter(dom0, "guest")?;
    dom0.must(&fio("/root/fio", 32), BOOT)?;
    for (peer, who) in [(DOM0_ADDRESS, "dom0"), ("10.0.2.21", "another guest")] {
        for way in ["", "-R"] {
            let said = dom0.must(&format!("iperf3 -c {peer} -t 5 {way}"), STEP)?;
            let rate = said.lines().find(|line| line.contains("receiver")).unwrap_or_default();
            println!("iperf3 with {who} {way}: {rate}");
        }
    }
    let here = dom0.must(COMPRESS, BOOT)?;
    if here != sums {
        bail!("compressed in the guest:\n{here}\nand in dom0:\n{sums}");
    }
    root::install(dom0, &repository)?;
    leave(dom0)?;
    demo::audit(dom0, "with both guests running")?;
    dom0.must("xl shutdown -w guest && xl shutdown -w other", BOOT)?;
    dom0.must("kill $(pidof iperf3)", STEP).map(drop)
}

/// Writes and reads back, each block with its checksum, many requests at a time.
fn fio(file: &str, mib: u32) -> String {
    format!(
        "fio --name=v --filename={file} --size={mib}M --rw=randrw --bsrange=512-64k --direct=1 --ioengine=libaio \
         --iodepth=32 --verify=crc32c --verify_fatal=1 --eta=never --output=/run/fio.log || {{ cat /run/fio.log; false; }}"
    )
}

/// Something big, compressed by two threads of two programs and unpacked again; the same everywhere.
const COMPRESS: &str = "cd /root && seq 2000000 > big && xz -k -2 -T2 --block-size=2MiB big && zstd -q -k -6 -T2 big && \
     sha256sum big big.xz big.zst && xz -dc -T2 big.xz | cmp - big && zstd -dc big.zst | cmp - big && rm big*";

/// What comes about soon.
pub fn wait_for(session: &mut Session, condition: &str) -> Result<()> {
    let wait = format!("for i in $(seq 300); do {condition} && break; sleep .2; done; {condition}");
    session.must(&wait, STEP).map(drop)
}
