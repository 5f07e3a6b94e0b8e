//! dom0 boots: Debian's kernels on the hypervisor, to a shell or a full Debian (`root.rs`), and off again.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::Digest;

use super::root::Work;
use super::{Outcome, Stage, pairs, root};
use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::image::initramfs::{self, Purpose};
use crate::image::loader::Loader;
use crate::image::overlay::HOST_ADDRESS;
use crate::qemu::{Bus, Chipset};
use crate::run::{self, Hypervisor};
use crate::setup::{self, Env, QemuVersion};

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    pub kernel: &'static str,
    pub qemu: QemuVersion,
    pub chipset: Chipset,
    pub loader: Loader,
    /// `None`: the default of that QEMU.
    pub cpu: Option<&'static str>,
    pub smp: u32,
    pub mem: u32,
    /// A Debian root on a disk rather than the shell in an initramfs.
    pub disk: Option<Bus>,
    /// As in [`crate::qemu::Machine`].
    pub second_port: bool,
    pub two_nodes: bool,
}

const SKYLAKE: Option<&str> = Some("Skylake-Client-v4");

pub const PLAIN: Boot = Boot {
    kernel: "6.1",
    qemu: QemuVersion::V10,
    chipset: Chipset::Q35,
    loader: Loader::Qemu,
    cpu: None,
    smp: 1,
    mem: 2048,
    disk: None,
    second_port: false,
    two_nodes: false,
};

/// Every value of each property once where it is cheap, the costly ones together.
const CI: &[Boot] = &[
    Boot { loader: Loader::GrubDisk1, ..PLAIN },
    Boot { qemu: QemuVersion::V7, smp: 2, mem: 4096, ..PLAIN },
    Boot { kernel: "6.12", cpu: SKYLAKE, smp: 2, mem: 3072, disk: Some(Bus::Ata), ..PLAIN },
    Boot {
        kernel: "6.12",
        chipset: Chipset::Pc,
        loader: Loader::GrubCd2,
        cpu: Some("max"),
        smp: 4,
        mem: 1024,
        ..PLAIN
    },
    Boot { chipset: Chipset::Pc, loader: Loader::Pvh, cpu: Some("qemu64"), smp: 2, ..PLAIN },
];

/// What `test full` combines, so that every pair of values meets.
mod values {
    use super::{Bus, Chipset, Loader, QemuVersion, SKYLAKE};

    pub const KERNEL: &[&str] = &["6.1", "6.12"];
    pub const QEMU: &[QemuVersion] = &[QemuVersion::V10, QemuVersion::V7];
    pub const CHIPSET: &[Chipset] = &[Chipset::Q35, Chipset::Pc];
    pub const LOADER: &[Loader] =
        &[Loader::Qemu, Loader::GrubCd1, Loader::GrubCd2, Loader::GrubDisk1, Loader::GrubDisk2, Loader::Pvh];
    pub const CPU: &[Option<&str>] = &[None, SKYLAKE, Some("EPYC-v3"), Some("qemu64"), Some("max")];
    pub const SMP: &[u32] = &[1, 2, 4];
    pub const MEM: &[u32] = &[2048, 1024, 4096, 8192];
    pub const DISK: &[Option<Bus>] = &[None, Some(Bus::Ata), Some(Bus::Nvme), Some(Bus::Virtio)];
}

/// Every pair of values at least once.
fn all_pairs() -> Vec<Boot> {
    use values::*;
    let sizes =
        [KERNEL.len(), QEMU.len(), CHIPSET.len(), LOADER.len(), CPU.len(), SMP.len(), MEM.len(), DISK.len()];
    let rows = pairs::cover(&sizes);
    rows.iter()
        .map(|row| Boot {
            kernel: KERNEL[row[0]],
            qemu: QEMU[row[1]],
            chipset: CHIPSET[row[2]],
            loader: LOADER[row[3]],
            cpu: CPU[row[4]],
            smp: SMP[row[5]],
            mem: MEM[row[6]],
            disk: DISK[row[7]],
            ..PLAIN
        })
        .collect()
}

pub fn ci(hypervisor: Hypervisor) -> Vec<Stage> {
    CI.iter().map(|boot| stage(*boot, Work::Whole, hypervisor)).collect()
}

/// Debian on the machines that people are told to use, in every combination.
fn main_machines() -> impl Iterator<Item = Boot> {
    let cpus = [(QemuVersion::V10, None), (QemuVersion::V10, SKYLAKE), (QemuVersion::V7, Some("EPYC-v3"))];
    ["6.1", "6.12"].into_iter().flat_map(move |kernel| {
        cpus.into_iter().flat_map(move |(qemu, cpu)| {
            [(1, 2048), (2, 4096)].map(|(smp, mem)| Boot {
                kernel,
                qemu,
                cpu,
                smp,
                mem,
                disk: Some(Bus::Ata),
                ..PLAIN
            })
        })
    })
}

/// Debian on disks that signal by MSI-X.
fn other_disks() -> impl Iterator<Item = Boot> {
    ["6.1", "6.12"].into_iter().flat_map(|kernel| {
        [Bus::Nvme, Bus::Virtio].into_iter().flat_map(move |bus| {
            [Chipset::Q35, Chipset::Pc].map(|chipset| Boot {
                kernel,
                chipset,
                smp: 2,
                disk: Some(bus),
                ..PLAIN
            })
        })
    })
}

/// The named machines do all of their work; the combinations show that each boots, to its disk and off again.
pub fn full(hypervisor: Hypervisor) -> Vec<Stage> {
    let named = main_machines().chain(other_disks()).map(|boot| stage(boot, Work::Whole, hypervisor));
    let combined = all_pairs().into_iter().map(|boot| stage(boot, Work::OneBoot, hypervisor));
    named.chain(combined).collect()
}

impl Boot {
    /// Options of the hypervisor: the older QEMU's serial port is polled, for both ways to be used.
    pub fn options(&self) -> &'static str {
        if self.qemu == QemuVersion::V7 { "com1=115200,8n1,0x3f8,0" } else { "" }
    }

    /// Starts the machine with a shell in an initramfs; a reset ends it. QEMU's monitor listens at `monitor_of(log)`.
    pub fn start_shell(
        &self,
        env: &Env,
        hypervisor: Hypervisor,
        options: &str,
        kernel_args: &str,
        log: &str,
    ) -> Result<Session> {
        let qemu = setup::qemu(env, self.qemu)?;
        let kernel = run::kernel(env, self.kernel)?;
        let initrd = initramfs::make(env, &kernel, Purpose::Shell)?;
        let mut machine =
            run::machine(env, &qemu, hypervisor, options, &kernel, kernel_args, initrd, self.mem)?;
        machine.smp = self.smp;
        machine.chipset = self.chipset;
        machine.boot = self.loader.load(env, machine.boot)?;
        machine.no_reboot = true;
        (machine.second_port, machine.two_nodes) = (self.second_port, self.two_nodes);
        if let Some(cpu) = self.cpu {
            machine.cpu = cpu.into();
        }
        let log = env.log(log)?;
        machine.monitor = Some(monitor_of(&log));
        Session::start(machine.command(&qemu)?, &log)
    }

    fn name(&self) -> String {
        format!(
            "boot: {} {} {:?} {:?} {} {} CPU(s) {} MiB {}{}",
            self.kernel,
            if self.qemu == QemuVersion::V10 { "QEMU 10" } else { "QEMU 7.2" },
            self.chipset,
            self.loader,
            self.cpu.unwrap_or("EPYC"),
            self.smp,
            self.mem,
            if self.disk.is_some() { "Debian" } else { "shell" },
            match self.disk {
                None | Some(Bus::Ata) => "",
                Some(Bus::Nvme) => " on NVMe",
                Some(Bus::Virtio) => " on virtio",
            },
        )
    }
}

fn stage(boot: Boot, work: Work, hypervisor: Hypervisor) -> Stage {
    let name = boot.name();
    let log: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    Stage::new(name, move |env| match boot.disk {
        Some(bus) => root::debian(env, &boot, bus, work, hypervisor, &log),
        None => shell(env, &boot, hypervisor, &log),
    })
}

fn monitor_of(log: &Path) -> PathBuf {
    log.with_extension("monitor")
}

/// The monitor of the machine that [`Boot::start_shell`] started with the same `log`.
pub fn monitor(env: &Env, log: &str) -> Result<UnixStream> {
    UnixStream::connect(monitor_of(&env.log(log)?)).context("QEMU's monitor")
}

/// To the shell in the initramfs; the kernel must know where it runs; then power off.
fn shell(env: &Env, boot: &Boot, hypervisor: Hypervisor, log: &str) -> Result<Outcome> {
    let mut dom0 = boot.start_shell(env, hypervisor, boot.options(), "", log)?;
    dom0.wait("dom0# ", BOOT)?;
    println!("a shell after {} s", dom0.elapsed().as_secs());
    // Only what is as grave as the NMI below comes between the answers.
    dom0.must("dmesg -n 1", STEP)?;
    identity(&mut dom0, boot)?;
    host_loopback(&mut dom0, "nc")?;
    nmi(&mut dom0, monitor(env, log)?)?;
    dom0.send("poweroff -f\n")?;
    dom0.wait_exit(STEP)?;
    Ok(Outcome::Passed(1))
}

/// `/sys/hypervisor` and the number of CPUs.
pub fn identity(dom0: &mut Session, boot: &Boot) -> Result<()> {
    let found = dom0.must(
        "cat /sys/hypervisor/type /sys/hypervisor/version/major /sys/hypervisor/version/minor; nproc",
        STEP,
    )?;
    let words: Vec<&str> = found.split_whitespace().collect();
    let cpus = boot.smp.to_string();
    if words != ["xen", "4", "17", &cpus] {
        bail!("/sys/hypervisor and nproc say {words:?}, expected xen 4 17 {cpus}");
    }
    Ok(())
}

/// QEMU's NMI button: dom0's kernel hears of it, and goes on.
fn nmi(dom0: &mut Session, mut monitor: UnixStream) -> Result<()> {
    monitor.write_all(b"nmi\n")?;
    dom0.wait("NMI received for unknown reason", STEP)?;
    dom0.must("true", STEP)?;
    Ok(())
}

/// 4 MiB from a server on this machine's loopback, through QEMU's user network and dom0's e1000e.
pub fn host_loopback(dom0: &mut Session, way: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let data: Vec<u8> = (0..4u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sum: String = sha2::Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    std::thread::spawn(move || {
        for peer in listener.incoming().take(3) {
            let Ok(mut peer) = peer else { return };
            if peer.write_all(&data).is_ok() {
                let _ = peer.shutdown(std::net::Shutdown::Write);
            }
        }
    });
    let fetch = match way {
        "nc" => format!("nc {HOST_ADDRESS} {port} </dev/null | sha256sum"),
        _ => format!("cat </dev/tcp/{HOST_ADDRESS}/{port} | sha256sum"),
    };
    // The link may still be coming up.
    dom0.must(
        &format!("until ping -c 1 -W 1 {HOST_ADDRESS} >/dev/null; do :; done"),
        Duration::from_secs(120),
    )?;
    let got = dom0.must(&fetch, STEP)?;
    if !got.contains(&sum) {
        bail!("fetched {got} from the host's loopback, expected {sum}");
    }
    Ok(())
}
