//! `cargo xtask run`: a dom0 in QEMU on this terminal.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::demo::{BOOT, STEP};
use crate::expect::{Session, TCG_WARNING};
use crate::guest_console::PROMPT;
use crate::image::debian::{self, DOM0_LABEL, PASSWORD};
use crate::image::initramfs::{self, Purpose};
use crate::image::loader::Loader;
use crate::image::small;
use crate::qemu::{Boot, Bus, Chipset, Console, ESCAPE_NAME, Machine};
use crate::setup::{self, Env, Kernel, Qemu, QemuVersion};

/// Which hypervisor boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hypervisor {
    /// Ours
    Xenolith,
    /// Debian's Xen 4.17, to compare with
    Debian,
    /// None: Linux on the bare machine, to compare with
    None,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// CPUs of the machine
    #[arg(long, default_value_t = 2)]
    pub smp: u32,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 2048)]
    pub mem: u32,
    /// dom0's kernel: a Debian series (6.1, 6.12) or a file
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// QEMU's CPU model (default: EPYC-v4,-monitor; EPYC-v3,-monitor on 7.2)
    #[arg(long)]
    pub cpu: Option<String>,
    /// Which chipset
    #[arg(long, value_enum, default_value = "q35")]
    pub machine: Chipset,
    /// What the disk is connected by
    #[arg(long, value_enum, default_value = "ata")]
    pub bus: Bus,
    /// How the hypervisor is loaded
    #[arg(long, value_enum, default_value = "qemu")]
    pub loader: Loader,
    /// Which QEMU
    #[arg(long, value_enum, default_value = "10")]
    pub qemu: QemuVersion,
    /// Wait for a debugger on port 1234
    #[arg(long)]
    pub gdb: bool,
    /// A Debian root on a disk instead of the small initramfs
    #[arg(long)]
    pub disk: bool,
    /// The small dom0 with our tools, and a guest's disk
    #[arg(long, conflicts_with = "disk")]
    pub small: bool,
    /// Which hypervisor boots
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
    /// More arguments of dom0's kernel
    #[arg(long, default_value = "")]
    pub kernel_args: String,
    /// Run this in dom0 instead of talking on this terminal, print what it says, end (may be repeated)
    #[arg(long)]
    pub exec: Vec<String>,
    /// Options of the hypervisor
    #[arg(last = true)]
    pub options: Vec<String>,
}

pub fn run(env: &Env, args: &Args) -> Result<()> {
    let qemu = setup::qemu(env, args.qemu)?;
    let kernel = kernel(env, &args.kernel)?;
    let options = args.options.join(" ");
    let mut kernel_args = args.kernel_args.clone();
    let (initrd, disks) = if args.disk {
        kernel_args = format!("root=LABEL={DOM0_LABEL} {kernel_args}");
        (initramfs::make(env, &kernel, Purpose::Root)?, vec![debian::dom0(env)?])
    } else if args.small {
        (small::dom0(env, &kernel)?, vec![debian::guest(env)?])
    } else {
        (initramfs::make(env, &kernel, Purpose::Shell)?, vec![])
    };
    let mut machine =
        machine(env, &qemu, args.hypervisor, &options, &kernel, &kernel_args, initrd, args.mem)?;
    machine.smp = args.smp;
    machine.chipset = args.machine;
    machine.boot = args.loader.load(env, machine.boot)?;
    machine.disks = disks;
    machine.bus = args.bus;
    machine.gdb = args.gdb;
    if args.exec.is_empty() {
        machine.console = Console::Terminal;
        machine.log = Some(env.log("run")?);
    }
    if let Some(cpu) = &args.cpu {
        machine.cpu.clone_from(cpu);
    }
    if !args.exec.is_empty() {
        return exec(env, args, machine.command(&qemu)?);
    }
    println!(
        "run: {ESCAPE_NAME} x ends QEMU, {ESCAPE_NAME} c is its monitor; Ctrl-A three times talks to the hypervisor.\n\
         run: the console is also written to {}",
        env.shown(&env.log("run")?)
    );
    on_terminal(machine.command(&qemu)?)
}

/// Runs commands in dom0, one after another, whatever their exit codes.
fn exec(env: &Env, args: &Args, command: Command) -> Result<()> {
    let mut dom0 = Session::start(command, &env.log("run")?)?;
    if args.disk {
        dom0.login("dom0", PASSWORD, BOOT)?;
    } else if args.small {
        dom0.wait(PROMPT, BOOT)?;
    } else {
        dom0.wait("dom0# ", BOOT)?;
    }
    for line in &args.exec {
        let (code, output) = dom0.command(line, STEP)?;
        println!("[{:4} s] {line}\n{output}", dom0.elapsed().as_secs());
        if code != 0 {
            println!("  exit code {code}");
        }
    }
    Ok(())
}

/// Runs QEMU on this terminal, without its many lines on what TCG lacks of a CPU model.
fn on_terminal(mut command: Command) -> Result<()> {
    let mut child = command.stderr(Stdio::piped()).spawn().context("starting QEMU")?;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if !line.contains(TCG_WARNING) {
                eprintln!("{line}");
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    Ok(())
}

/// A Debian series, or a kernel file (with the modules of 6.1, if they fit).
pub fn kernel(env: &Env, wanted: &str) -> Result<Kernel> {
    let file = PathBuf::from(wanted);
    if wanted.starts_with(|c: char| c.is_ascii_digit()) && !wanted.contains('/') {
        return setup::kernel(env, wanted);
    }
    if !file.is_file() {
        bail!("--kernel {wanted}: neither a Debian series such as 6.1 nor a file");
    }
    let modules = setup::kernel(env, "6.1")?.modules;
    let image = file.canonicalize().with_context(|| format!("--kernel {wanted}"))?;
    Ok(Kernel { version: "file".into(), image, modules })
}

/// The default machine with a hypervisor and dom0.
#[expect(clippy::too_many_arguments, reason = "each is given by some caller")]
pub fn machine(
    env: &Env,
    qemu: &Qemu,
    hypervisor: Hypervisor,
    options: &str,
    kernel: &Kernel,
    kernel_args: &str,
    initrd: PathBuf,
    mem_mib: u32,
) -> Result<Machine> {
    let boot = match hypervisor {
        Hypervisor::None => Boot::Native {
            kernel: kernel.image.clone(),
            kernel_args: format!("console=ttyS0 {kernel_args}").trim_end().to_owned(),
            initrd: Some(initrd),
        },
        _ => {
            let image = match hypervisor {
                Hypervisor::Debian => setup::debian_xen(env)?,
                _ => build::build(env)?.elf,
            };
            let dom0 = dom0_mib(mem_mib);
            Boot::Hypervisor {
                image,
                options: hypervisor_options(dom0, options),
                kernel: kernel.image.clone(),
                kernel_args: format!("console=hvc0 earlyprintk=xen {kernel_args}").trim_end().to_owned(),
                initrd: Some(initrd),
            }
        }
    };
    Ok(Machine {
        chipset: Chipset::Q35,
        cpu: qemu.default_cpu(hypervisor == Hypervisor::Debian).to_owned(),
        smp: 2,
        mem_mib,
        boot,
        disks: Vec::new(),
        bus: Bus::Ata,
        keep: false,
        gdb: false,
        console: Console::Pipes,
        log: None,
        monitor: None,
        icount: false,
        one_thread: false,
        second_port: false,
        two_nodes: false,
        split: false,
        no_reboot: false,
    })
}

/// What every boot gives the hypervisor: console, full log, dom0's memory; then what was asked for.
pub fn hypervisor_options(dom0_mib: u32, more: &str) -> String {
    let options = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all";
    format!("{options} dom0_mem={dom0_mib}M,max:{dom0_mib}M {more}").trim_end().to_owned()
}

/// dom0's share of the machine's memory: what guests leave it, within reason.
pub fn dom0_mib(machine_mib: u32) -> u32 {
    (machine_mib / 2).clamp(512, 1024)
}
