//! A virtual machine: which QEMU, which hardware, what it boots; turned into a command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::setup::{Qemu, QemuVersion};

/// The key before QEMU's own commands on a `-serial mon:stdio` terminal, in place of Ctrl-A, which is
/// the hypervisor's key to switch the console.
pub const ESCAPE: u8 = 0x1e;
pub const ESCAPE_NAME: &str = "Ctrl-^";

/// How the guest's first serial port reaches us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// This terminal, shared with QEMU's monitor.
    Terminal,
    /// Pipes: standard input and output of the QEMU process.
    Pipes,
}

/// What the machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// A hypervisor (multiboot), with dom0's kernel and initramfs as modules.
    Hypervisor {
        image: PathBuf,
        options: String,
        kernel: PathBuf,
        kernel_args: String,
        initrd: Option<PathBuf>,
    },
    /// A hypervisor by its PVH note; one module holds kernel and initramfs, and what dom0's kernel is told
    /// follows ` -- ` in the options.
    Pvh {
        image: PathBuf,
        options: String,
        bundle: PathBuf,
    },
    /// What the firmware finds on a CD or on a disk.
    Cd {
        image: PathBuf,
    },
    Disk {
        image: PathBuf,
    },
    /// Linux without a hypervisor, to compare with.
    Native {
        kernel: PathBuf,
        kernel_args: String,
        initrd: Option<PathBuf>,
    },
}

/// The chipset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Chipset {
    /// Q35 and ICH9: PCI Express, AHCI
    #[default]
    Q35,
    /// i440FX and PIIX: PCI, IDE
    Pc,
}

/// What a disk is connected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Bus {
    /// AHCI (`pc`: IDE)
    #[default]
    Ata,
    Nvme,
    Virtio,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Machine {
    pub chipset: Chipset,
    pub cpu: String,
    pub smp: u32,
    pub mem_mib: u32,
    pub boot: Boot,
    /// Raw disk images; written to a throw-away layer unless `keep`.
    pub disks: Vec<PathBuf>,
    pub bus: Bus,
    pub keep: bool,
    pub gdb: bool,
    pub console: Console,
    pub log: Option<PathBuf>,
    /// A socket at which QEMU's monitor listens.
    pub monitor: Option<PathBuf>,
    /// Virtual time counts instructions; for measurements.
    pub icount: bool,
    /// The CPUs take turns in one thread of QEMU, whatever its version.
    pub one_thread: bool,
    /// The console is at the second serial port; the first is not connected.
    pub second_port: bool,
    /// CPUs and memory are at two nodes, half of them at each.
    pub two_nodes: bool,
    /// Half of the memory lies above 4 GiB, behind a hole of more than 2 GiB.
    pub split: bool,
    /// A reset ends QEMU.
    pub no_reboot: bool,
}

impl Qemu {
    /// The program with the libraries, modules and firmware that belong to it.
    pub fn command(&self) -> Command {
        let at = |path: &str| self.root.join(path);
        let libs =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|lib| at(lib).display().to_string());
        let mut command = Command::new(at("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libs.join(":")).arg(at("usr/bin/qemu-system-x86_64"));
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(at(data));
        }
        command.env("QEMU_MODULE_DIR", at("usr/lib/x86_64-linux-gnu/qemu"));
        command
    }

    /// The CPU model of the default machine. What is taken off is for Debian's Xen (`debian`): it uses MONITOR as TCG
    /// does not implement it, and on QEMU 7.2 RDTSCP and SMAP. (Ours gives SMAP up by itself there.)
    pub fn default_cpu(&self, debian: bool) -> &'static str {
        match (self.version, debian) {
            (QemuVersion::V10, _) => "EPYC-v4,-monitor",
            (QemuVersion::V7, false) => "EPYC-v3,-monitor",
            (QemuVersion::V7, true) => "EPYC-v3,-monitor,-smap,-rdtscp",
        }
    }
}

impl Machine {
    /// Whether the CPUs take turns in one thread.
    ///
    /// A CPU of QEMU 7.2 may go on with instructions that another has replaced, if it was translating them just then
    /// (later ones lock the page first). Linux, which replaces its own while it runs, meets a breakpoint that nobody
    /// knows of any more: `Oops: int3`, on the bare machine as well:
    /// `cargo xtask run --hypervisor none --qemu 7.2 --kernel 6.12 --smp 4`, and there
    /// `while :; do echo 1 >/proc/sys/kernel/sched_schedstats; echo 0 >/proc/sys/kernel/sched_schedstats; done`.
    fn one_thread(&self, version: QemuVersion) -> bool {
        self.one_thread || self.icount || version == QemuVersion::V7
    }

    /// The CPU model as QEMU is told it: where the CPUs have a thread each, with x2APIC, unless it says which it wants.
    ///
    /// A CPU of QEMU 10.0.2 may look a device's registers up in a memory map that has been given up: another CPU
    /// moves a PCI device's registers, and the map is freed before the first has learnt of the new one
    /// (gitlab.com/qemu-project/qemu/-/issues/3040, fixed later). The access is lost. When dom0 sets its devices up,
    /// that is most often the end of an interrupt, written to the local APIC, and no interrupt comes to that CPU any
    /// more: about one boot in sixty, seen with `-trace apic_register_write` as a handler whose first write is
    /// missing. By x2APIC the local APIC's registers are no memory.
    fn cpu(&self, version: QemuVersion) -> String {
        let by_memory = self.smp == 1 || self.one_thread(version) || self.cpu.contains("x2apic");
        format!("{}{}", self.cpu, if by_memory { "" } else { ",+x2apic" })
    }

    /// The command line that starts this machine.
    pub fn command(&self, qemu: &Qemu) -> Result<Command> {
        let mut command = qemu.command();
        let accel = format!("tcg,thread={}", if self.one_thread(qemu.version) { "single" } else { "multi" });
        let chipset = if self.chipset == Chipset::Q35 { "q35" } else { "pc" };
        let below =
            if self.split { format!(",max-ram-below-4g={}M", self.mem_mib / 2) } else { String::new() };
        command.args([
            "-machine",
            &format!("{chipset}{below}"),
            "-accel",
            &accel,
            "-cpu",
            &self.cpu(qemu.version),
        ]);
        if self.icount {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        command.arg("-smp").arg(self.smp.to_string()).arg("-m").arg(format!("{}M", self.mem_mib));
        if self.two_nodes {
            self.nodes(&mut command);
        }
        command.args(["-display", "none", "-nodefaults", "-vga", "std"]);
        command.args(["-netdev", "user,id=n0", "-device", "e1000e,netdev=n0,mac=52:54:00:12:34:56"]);
        self.serial(&mut command);
        let medium = match &self.boot {
            Boot::Cd { image } => Some((image, "ide-cd")),
            Boot::Disk { image } => Some((image, "ide-hd")),
            _ => None,
        };
        let device = match self.bus {
            Bus::Ata => "ide-hd",
            Bus::Nvme => "nvme",
            Bus::Virtio => "virtio-blk-pci",
        };
        let disks = self.disks.iter().map(|disk| (disk, device));
        for (index, (disk, device)) in medium.into_iter().chain(disks).enumerate() {
            let snapshot = if self.keep { "off" } else { "on" };
            let read_only = if device == "ide-cd" { ",media=cdrom" } else { "" };
            let file = disk.display().to_string().replace(',', ",,");
            command.arg("-drive").arg(format!(
                "file={file},format=raw,if=none,id=d{index},snapshot={snapshot},cache=unsafe,discard=unmap{read_only}"
            ));
            let place = match (device, self.chipset) {
                ("nvme", _) => format!(",serial=disk{index}"),
                ("virtio-blk-pci", _) => String::new(),
                (_, Chipset::Q35) => format!(",bus=ide.{index}"),
                (_, Chipset::Pc) => format!(",bus=ide.{},unit={}", index / 2, index % 2),
            };
            command.arg("-device").arg(format!("{device},drive=d{index}{place}"));
        }
        match &self.boot {
            Boot::Hypervisor { image, options, kernel, kernel_args, initrd } => {
                command.arg("-kernel").arg(image).arg("-append").arg(options);
                let mut modules = module(kernel, kernel_args);
                if let Some(initrd) = initrd {
                    modules += ",";
                    modules += &module(initrd, "");
                }
                command.arg("-initrd").arg(modules);
            }
            Boot::Pvh { image, options, bundle } => {
                command.arg("-kernel").arg(image).arg("-append").arg(options).arg("-initrd").arg(bundle);
            }
            Boot::Cd { .. } | Boot::Disk { .. } => {}
            Boot::Native { kernel, kernel_args, initrd } => {
                command.arg("-kernel").arg(kernel).arg("-append").arg(kernel_args);
                if let Some(initrd) = initrd {
                    command.arg("-initrd").arg(initrd);
                }
            }
        }
        if self.gdb {
            command.args(["-s", "-S"]);
        }
        if let Some(socket) = &self.monitor {
            let path = socket.display().to_string().replace(',', ",,");
            command.arg("-monitor").arg(format!("unix:{path},server,nowait"));
        }
        if self.no_reboot {
            command.arg("-no-reboot");
        }
        Ok(command)
    }

    /// Nodes with the two halves of the machine, 21 from one to the other and 31 back.
    fn nodes(&self, command: &mut Command) {
        let (cpus, mib) = (self.smp / 2, self.mem_mib / 2);
        for (node, first, last) in [(0, 0, cpus - 1), (1, cpus, self.smp - 1)] {
            command.arg("-object").arg(format!("memory-backend-ram,id=m{node},size={mib}M"));
            command.arg("-numa").arg(format!("node,nodeid={node},cpus={first}-{last},memdev=m{node}"));
        }
        for way in ["src=0,dst=1,val=21", "src=1,dst=0,val=31"] {
            command.arg("-numa").arg(format!("dist,{way}"));
        }
    }

    fn serial(&self, command: &mut Command) {
        let mut chardev = String::from("stdio,id=s0,signal=off");
        if let Some(log) = &self.log {
            chardev += &format!(",logfile={}", log.display().to_string().replace(',', ",,"));
        }
        if self.console == Console::Terminal {
            chardev += ",mux=on";
        }
        command.arg("-chardev").arg(chardev);
        if self.second_port {
            command.args(["-serial", "null"]);
        }
        command.args(["-serial", "chardev:s0"]);
        if self.console == Console::Terminal {
            command.args(["-mon", "chardev=s0", "-echr", &format!("{ESCAPE:#x}")]);
        }
    }
}

/// A multiboot module for `-initrd`: file, then its command line, where a comma is written twice.
fn module(file: &Path, args: &str) -> String {
    format!("{} {args}", file.display()).trim_end().replace(',', ",,")
}
