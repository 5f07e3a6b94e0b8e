//! Files added to a Debian root: console login, network, quiet services, and the guest's configuration.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::proc;

enum Item {
    Text { mode: u32, text: String },
    Link(String),
    Copy(PathBuf),
}

/// What is laid over a root, by path.
pub struct Overlay {
    items: BTreeMap<String, Item>,
}

/// Services that cost boot time and serve nothing here; links to `/dev/null` mask them.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
];

/// Unit generators that find nothing to generate here; each is a process at every boot.
const MASKED_GENERATORS: &[&str] = &[
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-veritysetup-generator",
];

/// udev looks at disks, network cards and the console at boot, not at every device there is.
const UDEV_TRIGGER: &str = "[Service]\nExecStart=\n\
    ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=net --subsystem-match=block\n\
    ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=tty --sysname-match=hvc0\n";

/// The format is described in Xen's docs/misc/dump-core-format.txt.
const CORE_CHECK: &str = r#"#!/usr/bin/python3
# core-check CORE VCPUS TEXT: what `xl dump-core` wrote is a core of a PV guest of VCPUS vCPUs, whole, and TEXT is in it.
import mmap, struct, sys
file = open(sys.argv[1])
core = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
vcpus, text = int(sys.argv[2]), sys.argv[3].encode()
assert core[:6] == b"\x7fELF\x02\x01", "64-bit little-endian ELF"
assert struct.unpack_from("<HH", core, 16) == (4, 62), "a core of x86-64"
shoff, = struct.unpack_from("<Q", core, 40)
shsize, shnum, shstr = struct.unpack_from("<HHH", core, 58)
headers = [struct.unpack_from("<IIQQQQIIQQ", core, shoff + shsize * n) for n in range(shnum)]
names = headers[shstr][4]
sections = {core[names + h[0]:core.find(b"\0", names + h[0])].decode(): h for h in headers}
for name, h in sections.items():
    assert h[4] + h[5] <= len(core), name + " ends in the file"
_, _, _, _, at, size, _, _, _, _ = sections[".note.Xen"]
notes, end = {}, at + size
while at < end:
    namesz, descsz, kind = struct.unpack_from("<III", core, at)
    assert core[at + 12:at + 12 + namesz].rstrip(b"\0") == b"Xen"
    at += 12 + (namesz + 3 & ~3)
    notes[kind] = core[at:at + descsz]
    at += descsz + 3 & ~3
magic, nr_vcpus, nr_pages, page = struct.unpack("<4Q", notes[0x2000001])
assert (magic, nr_vcpus, page) == (0xf00febed, vcpus, 4096), "header %x %d %d" % (magic, nr_vcpus, page)
assert notes[0x2000002][:16] == struct.pack("<QQ", 4, 17), "Xen 4.17"
assert notes[0x2000003] == struct.pack("<Q", 1), "format 0.1"
contexts, pages, p2m = (sections[".xen_" + n] for n in ("prstatus", "pages", "p2m"))
assert contexts[5] == vcpus * 5168 and sections[".xen_shared_info"][5] == 4096
assert pages[5] == nr_pages * 4096 and p2m[5] == nr_pages * 16
pairs = list(struct.iter_unpack("<QQ", core[p2m[4]:p2m[4] + p2m[5]]))
assert len({p for p, _ in pairs}) == len({g for _, g in pairs}) == nr_pages, "each frame once"
for n in range(vcpus):
    rip, = struct.unpack_from("<Q", core, contexts[4] + n * 5168 + 512 + 8 + 16 * 8)
    assert rip >> 47 in (0, 0x1ffff), "vCPU %d at %x" % (n, rip)
assert core.find(text, pages[4]) >= 0, "the text is in the guest's memory"
print("core-check:", nr_pages, "pages match")
"#;

/// dom0's address; QEMU's user network gives the machine this one and the host 10.0.2.2.
pub const DOM0_ADDRESS: &str = "10.0.2.15";
pub const HOST_ADDRESS: &str = "10.0.2.2";
pub const GUEST_ADDRESS: &str = "10.0.2.20";

impl Overlay {
    /// What both roots share.
    pub fn new(hostname: &str, password: &str) -> Overlay {
        let mut overlay = Overlay { items: BTreeMap::new() };
        overlay.text("etc/hostname", format!("{hostname}\n"));
        overlay.text("etc/hosts", format!("127.0.0.1 localhost {hostname}\n"));
        // A fixed identity: without one systemd treats every boot as the first.
        overlay.text("etc/machine-id", format!("{}\n", "5".repeat(32)));
        overlay.text("etc/fstab", "# The root is mounted by the initramfs.\n".into());
        // An emulated machine on a busy host may look at its console's device for longer than the usual 90 s, after
        // which nobody could log in.
        overlay.text(
            "etc/systemd/system.conf.d/patient.conf",
            "[Manager]\nDefaultTimeoutStartSec=15min\n".into(),
        );
        overlay.text("etc/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\n".into());
        overlay
            .text("etc/issue", format!("Debian 12 ({hostname}). Log in as root, password {password}.\n\n"));
        // Wide lines, so that the shell does not fold what is typed at it.
        overlay.text(
            "root/.bash_profile",
            format!(
                "export PS1='root@{hostname}:\\w# ' TERM=vt220\nstty rows 40 cols 160\n\
                 bind 'set enable-bracketed-paste off' 2>/dev/null\n"
            ),
        );
        overlay.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target");
        let networkd = "/lib/systemd/system/systemd-networkd.service";
        overlay.link("etc/systemd/system/multi-user.target.wants/systemd-networkd.service", networkd);
        overlay.text("etc/systemd/system/systemd-udev-trigger.service.d/few.conf", UDEV_TRIGGER.into());
        for generator in MASKED_GENERATORS {
            overlay.link(&format!("etc/systemd/system-generators/{generator}"), "/dev/null");
        }
        for unit in MASKED {
            overlay.link(&format!("etc/systemd/system/{unit}"), "/dev/null");
        }
        overlay
    }

    /// dom0: the bridge, the back-end drivers, and a guest ready to be created.
    pub fn dom0(&mut self) {
        self.text(
            "etc/systemd/network/xenbr0.netdev",
            "[NetDev]\nName=xenbr0\nKind=bridge\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n".into(),
        );
        self.text(
            "etc/systemd/network/10-nic.network",
            "[Match]\nName=en* eth*\n\n[Network]\nBridge=xenbr0\nLinkLocalAddressing=no\n".into(),
        );
        self.text(
            "etc/systemd/network/20-bridge.network",
            format!("[Match]\nName=xenbr0\n\n[Network]\nAddress={DOM0_ADDRESS}/24\nGateway={HOST_ADDRESS}\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"),
        );
        self.text(
            "etc/modules-load.d/xen.conf",
            "e1000e\nbridge\nloop\nxen-blkback\nxen-netback\nxen-gntdev\nxen-evtchn\n".into(),
        );
        self.link("etc/systemd/system/xendomains.service", "/dev/null");
        self.text(
            "etc/xen/guest.cfg",
            "# A PV guest: Debian's kernel, a disk in a file, a network card on dom0's bridge.\n\
             name = \"guest\"\nkernel = \"/srv/guest/vmlinuz\"\nramdisk = \"/srv/guest/initramfs.gz\"\n\
             extra = \"root=LABEL=guest-root console=hvc0 systemd.show_status=auto systemd.log_level=warning\"\nmemory = 256\nvcpus = 1\n\
             disk = [ \"format=raw,vdev=xvda,access=rw,target=/srv/guest/disk.img\" ]\n\
             vif = [ \"bridge=xenbr0,mac=00:16:3e:00:00:01\" ]\n"
                .into(),
        );
        self.text(
            "etc/xen/pvgrub.cfg",
            "# The same guest, booted by GRUB from its own disk.\n\
             name = \"guest\"\nkernel = \"/srv/guest/pvgrub\"\nmemory = 256\nvcpus = 1\n\
             disk = [ \"format=raw,vdev=xvda,access=rw,target=/srv/guest/disk.img\" ]\n\
             vif = [ \"bridge=xenbr0,mac=00:16:3e:00:00:01\" ]\n"
                .into(),
        );
        self.program(
            "usr/local/sbin/xen-memory",
            "#!/usr/bin/python3\n\
             # Prints the hypervisor's free and scrub memory in KiB, from the physinfo call.\n\
             import sys\n\
             sys.path.insert(0, \"/usr/lib/xen-4.17/lib/python\")\n\
             from xen.lowlevel.xc import xc\n\
             info = xc().physinfo()\n\
             print(\"free\", info[\"free_memory\"], \"scrub\", info[\"scrub_memory\"])\n",
        );
        self.program(
            "usr/local/sbin/hold-page",
            "#!/usr/bin/python3\n\
             # Maps a frame (2) of a PV guest (1); prints its SHA-256 at once and after each line of input.\n\
             import ctypes, hashlib, sys\n\
             lib = ctypes.CDLL(\"libxenforeignmemory.so.1\")\n\
             lib.xenforeignmemory_open.restype = lib.xenforeignmemory_map.restype = ctypes.c_void_p\n\
             handle = ctypes.c_void_p(lib.xenforeignmemory_open(None, 0))\n\
             frame, error = ctypes.c_uint64(int(sys.argv[2])), ctypes.c_int()\n\
             frames, errors = ctypes.byref(frame), ctypes.byref(error)\n\
             at = lib.xenforeignmemory_map(handle, int(sys.argv[1]), 1, ctypes.c_size_t(1), frames, errors)\n\
             if not at or error.value:\n\
             \x20   sys.exit(f\"not mapped: {error.value}\")\n\
             while True:\n\
             \x20   print(hashlib.sha256(ctypes.string_at(at, 4096)).hexdigest(), flush=True)\n\
             \x20   if not sys.stdin.readline():\n\
             \x20       break\n",
        );
        // On dom0's address: 7001 sends the test file, 7002 answers with
        // the checksum of what it was sent, 7003 sends everything back.
        self.program(
            "usr/local/sbin/net-server",
            "#!/usr/bin/python3\n\
             # For the network checks: on port 7001 sends 4 MiB; on port 7002 answers the SHA-256 of what it is sent;\n\
             # port 7003 sends back what it is sent.\n\
             import contextlib, hashlib, random, socket, threading\n\
             data = random.Random(1).randbytes(4 << 20)\n\
             print(hashlib.sha256(data).hexdigest(), flush=True)\n\
             def answer(peer, work):\n\
             \x20   # A guest may be gone before it has all.\n\
             \x20   with peer, contextlib.suppress(OSError):\n\
             \x20       work(peer)\n\
             def serve(port, work):\n\
             \x20   listener = socket.create_server((\"\", port))\n\
             \x20   while True:\n\
             \x20       threading.Thread(target=answer, args=(listener.accept()[0], work)).start()\n\
             def digest(peer):\n\
             \x20   seen = hashlib.sha256()\n\
             \x20   while part := peer.recv(65536):\n\
             \x20       seen.update(part)\n\
             \x20   peer.sendall(seen.hexdigest().encode())\n\
             def echo(peer):\n\
             \x20   while part := peer.recv(65536):\n\
             \x20       peer.sendall(part)\n\
             threading.Thread(target=serve, args=(7001, lambda peer: peer.sendall(data))).start()\n\
             threading.Thread(target=serve, args=(7003, echo)).start()\n\
             serve(7002, digest)\n",
        );
    }

    /// dom0, for guests that do real work: what looks into a file of `xl dump-core`.
    pub fn work(&mut self) {
        self.program("usr/local/sbin/core-check", CORE_CHECK);
    }

    /// libvirt's daemon: who may talk to it, and the same guest as its XML describes one.
    pub fn libvirt(&mut self) {
        self.text(
            "etc/libvirt/libvirtd.conf",
            "unix_sock_group = \"root\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n".into(),
        );
        self.text(
            "etc/xen/guest.xml",
            "<domain type='xen'>\n\
             <name>guest</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>\n\
             <os><type arch='x86_64' machine='xenpv'>linux</type>\n\
             <kernel>/srv/guest/vmlinuz</kernel><initrd>/srv/guest/initramfs.gz</initrd>\n\
             <cmdline>root=LABEL=guest-root console=hvc0 systemd.show_status=auto systemd.log_level=warning</cmdline></os>\n\
             <devices>\n\
             <disk type='file' device='disk'><driver name='phy' type='raw'/>\n\
             <source file='/srv/guest/disk.img'/><target dev='xvda' bus='xen'/></disk>\n\
             <interface type='bridge'><mac address='00:16:3e:00:00:01'/><source bridge='xenbr0'/></interface>\n\
             <console type='pty'/>\n\
             </devices></domain>\n"
                .into(),
        );
    }

    /// The guest: an address on dom0's bridge, what GRUB needs to boot it from its disk, and the checks it runs on itself.
    pub fn guest(&mut self) {
        self.text(
            "boot/grub/grub.cfg",
            "set timeout=0\nmenuentry Debian {\n\
             linux /boot/vmlinuz root=LABEL=guest-root console=hvc0 systemd.show_status=auto systemd.log_level=warning by=grub\n\
             initrd /boot/initrd.gz\n}\n"
                .into(),
        );
        self.text(
            "etc/systemd/network/10-nic.network",
            format!("[Match]\nName=en* eth*\n\n[Network]\nAddress={GUEST_ADDRESS}/24\nGateway={HOST_ADDRESS}\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"),
        );
        self.program(
            "usr/local/sbin/disk-check",
            "#!/bin/bash -e\n\
             # Writes random data, drops the caches, reads it back from the disk and compares.\n\
             size=${1:-16}\n\
             wrote=$(head -c ${size}M /dev/urandom | tee /root/disk-check.bin | sha256sum)\n\
             sync\n\
             echo 3 > /proc/sys/vm/drop_caches\n\
             read=$(sha256sum < /root/disk-check.bin)\n\
             rm /root/disk-check.bin\n\
             [ \"$wrote\" = \"$read\" ]\n\
             echo \"disk-check: $size MiB $(grep -o 'xvd[a-z]*' /proc/partitions | head -1) match\"\n",
        );
        self.program(
            "usr/local/sbin/net-check",
            format!(
                "#!/bin/bash -e\n\
                 # Pings dom0, fetches 4 MiB from it and sends 4 MiB to it; checksums are compared.\n\
                 dom0={DOM0_ADDRESS}\n\
                 ping -c 3 -W 20 $dom0\n\
                 got=$(cat < /dev/tcp/$dom0/7001 | sha256sum)\n\
                 [ \"${{got%% *}}\" = \"$1\" ] || {{ echo \"net-check: fetched $got, expected $1\"; exit 1; }}\n\
                 head -c 4M /dev/urandom > /root/net-check.bin\n\
                 mine=$(sha256sum < /root/net-check.bin)\n\
                 theirs=$(nc -N $dom0 7002 < /root/net-check.bin)\n\
                 rm /root/net-check.bin\n\
                 [ \"${{mine%% *}}\" = \"$theirs\" ] || {{ echo \"net-check: sent $mine, dom0 saw $theirs\"; exit 1; }}\n\
                 echo \"net-check: 4 MiB each way match\"\n"
            )
            .as_str(),
        );
        self.program(
            "usr/local/sbin/keep-talking",
            format!(
                "#!/bin/bash\n\
                 # One connection to dom0, kept for good: every number sent comes back. /run/talk has the last one,\n\
                 # or what went wrong.\n\
                 exec 3<> /dev/tcp/{DOM0_ADDRESS}/7003 || {{ echo no connection > /run/talk; exit 1; }}\n\
                 n=0\n\
                 while n=$((n + 1)); echo $n >&3; read -r -u 3 back; do\n\
                 \x20   [ \"$back\" = $n ] || {{ echo \"sent $n, got $back\" > /run/talk; exit 1; }}\n\
                 \x20   echo $n > /run/talk\n\
                 \x20   sleep 0.1\n\
                 done\n\
                 echo connection lost > /run/talk\n"
            )
            .as_str(),
        );
    }

    fn text(&mut self, path: &str, text: String) {
        self.items.insert(path.into(), Item::Text { mode: 0o644, text });
    }

    fn program(&mut self, path: &str, text: &str) {
        self.items.insert(path.into(), Item::Text { mode: 0o755, text: text.into() });
    }

    fn link(&mut self, path: &str, to: &str) {
        self.items.insert(path.into(), Item::Link(to.into()));
    }

    /// A file or a folder of this machine; one that is not there is left out.
    pub fn copy(&mut self, path: &str, from: &Path) {
        self.items.insert(path.into(), Item::Copy(from.to_owned()));
    }

    /// All of it as text: what the image's cache key is made from. Copied files are named by a path that
    /// holds their own version or recipe.
    pub fn describe(&self) -> String {
        let mut all = String::new();
        for (path, item) in &self.items {
            let item = match item {
                Item::Text { mode, text } => format!("{mode:o} {text}"),
                Item::Link(to) => format!("-> {to}"),
                Item::Copy(from) => format!("= {}", from.display()),
            };
            all += &format!("{path} {item}\n");
        }
        all
    }

    /// Writes everything below `dir`, which is emptied first.
    pub fn write(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        for (path, item) in &self.items {
            let dest = dir.join(path);
            fs::create_dir_all(dest.parent().context("a path below the root")?)?;
            match item {
                Item::Text { mode, text } => {
                    fs::write(&dest, text)?;
                    fs::set_permissions(&dest, fs::Permissions::from_mode(*mode))?;
                }
                Item::Link(to) => symlink(to, &dest)?,
                Item::Copy(from) if from.exists() => {
                    let mut command = Command::new("cp");
                    proc::capture(command.args(["-r", "--sparse=always", "-T"]).arg(from).arg(&dest))?;
                }
                Item::Copy(_) => {}
            }
        }
        Ok(())
    }
}
