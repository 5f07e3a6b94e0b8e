//! The small dom0: a kernel's modules, busybox and our tools in an initramfs, with all daemons running and a guest to
//! create.

use std::path::PathBuf;

use anyhow::Result;

use super::debian;
use super::initramfs::{self, File, Purpose, Recipe};
use super::overlay::{DOM0_ADDRESS, HOST_ADDRESS};
use crate::build;
use crate::setup::{Env, Kernel};

/// Packages of our tools, and the programs they make.
const PACKAGES: &[&str] = &["xl", "xenstore", "consoled"];
const PROGRAMS: &[&str] = &["xl", "xen-init-dom0", "xenstored", "xenconsoled"];

const INITTAB: &str =
    "::sysinit:/etc/start\n::respawn:/etc/shell\n::shutdown:/etc/stop\n::ctrlaltdel:/bin/reboot\n";

/// The daemons say when they serve.
const START: &str = r#"#!/bin/sh
export PATH=/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts && mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mkdir -p /run/lock /run/xen /var/lib/xen /var/log/xen
ln -sfn /run /var/run
ln -sfn /run/lock /var/lock
for m in $(cat /modules/order); do insmod /modules/$m.ko 2>/dev/null; done
mount -t xenfs xenfs /proc/xen
hostname dom0
ip link set lo up
brctl addbr xenbr0
if ip link set eth0 up 2>/dev/null; then brctl addif xenbr0 eth0; fi
ip addr add DOM0/24 dev xenbr0
ip link set xenbr0 up
ip route add default via HOST
ln -s "$(findfs LABEL=GUEST)" /srv/guest/disk
xenstored && xen-init-dom0 && xenconsoled --log=all
dmesg -n 1
"#;

const STOP: &str = r#"#!/bin/sh
export PATH=/sbin:/bin
[ "$(xl list | wc -l)" -le 2 ] || xl shutdown -a -w
sync
"#;

/// A shell at the console the kernel was told of; as init starts it, it leads its session, so that the terminal is its own.
const SHELL: &str = r#"#!/bin/sh
export PATH=/sbin:/bin HOME=/root PS1='root@dom0:\w# ' TERM=vt220
console=$(sed 's/.*console=\([a-zA-Z0-9]*\).*/\1/' /proc/cmdline)
cd /root
exec sh -l </dev/$console >/dev/$console 2>&1
"#;

/// Answers whom asks on the network, as the Debian dom0's program of this name does, and says that it does.
const NET_SERVER: &str = r#"#!/bin/sh
head -c 4194304 /dev/urandom >/run/net-data
while :; do nc -l -p 7001 -e cat /run/net-data; done &
while :; do nc -l -p 7002 -e /sbin/net-digest; done &
sha256sum </run/net-data | cut -d ' ' -f 1
"#;
const NET_DIGEST: &str = "#!/bin/sh\nsha256sum | tr -d ' \\n-'\n";

/// The hypervisor's free and scrub memory in KiB, as the Debian dom0's program of this name prints it.
const XEN_MEMORY: &str = r#"#!/bin/sh
echo free $(($(xl info free_pages) * 4)) scrub $(($(xl info scrub_pages) * 4))
"#;

const GUEST: &str = "# A PV guest: Debian's kernel, dom0's first disk, a network card on dom0's bridge.\n\
    name = \"guest\"\nkernel = \"/srv/guest/vmlinuz\"\nramdisk = \"/srv/guest/initramfs.gz\"\n\
    extra = \"root=LABEL=guest-root console=hvc0 systemd.show_status=auto systemd.log_level=warning\"\n\
    memory = 256\nvcpus = 1\n\
    disk = [ \"phy:/srv/guest/disk,xvda,w\" ]\n\
    vif = [ \"bridge=xenbr0,mac=00:16:3e:00:00:01\" ]\n";

/// Makes the initramfs for a dom0 kernel, or finds it made.
pub fn dom0(env: &Env, kernel: &Kernel) -> Result<PathBuf> {
    let programs = build::tools(env, PACKAGES)?;
    let guest = debian::guest_kernel(env)?;
    let start = START
        .replace("DOM0", DOM0_ADDRESS)
        .replace("HOST", HOST_ADDRESS)
        .replace("GUEST", debian::GUEST_LABEL);
    let mut files = vec![
        File::program("init", "#!/bin/busybox sh\nexec /bin/busybox init\n"),
        File::text("etc/inittab", INITTAB),
        File::program("etc/start", start),
        File::program("etc/stop", STOP),
        File::program("etc/shell", SHELL),
        File::program("sbin/xen-memory", XEN_MEMORY),
        File::program("sbin/net-server", NET_SERVER),
        File::program("sbin/net-digest", NET_DIGEST),
        File::text("etc/passwd", "root::0:0:root:/root:/bin/sh\n"),
        File::text("etc/xen/guest.cfg", GUEST),
        File::copy("srv/guest/vmlinuz", &guest.image)?,
        File::copy("srv/guest/initramfs.gz", &initramfs::make(env, &guest, Purpose::Root)?)?,
    ];
    for name in PROGRAMS {
        files.push(File::copy(&format!("sbin/{name}"), &programs.join(name))?.executable());
    }
    initramfs::pack(env, kernel, &Recipe { name: "small", modules: initramfs::serving(), files })
}
