//! `cargo xtask bench`: one static program on Linux itself, on Debian's Xen and on Xenolith, in dom0 and in a PV
//! guest; by instructions and by the wall clock.
//!
//! By instructions: one CPU under `-icount shift=0,sleep=off`, where virtual time is 1 ns per instruction, so that
//! the numbers repeat on any machine. By the wall clock: the same without `-icount`; those numbers are of TCG on
//! the machine this runs on, and of how busy it was. The hypervisors take turns. The guest's disk is a file in dom0's
//! memory, and dom0 is who it talks to over the network. [`clock`] reads the virtual time
//! from outside; [`report`] makes the tables; [`profile`] shows where an operation's instructions go.

mod clock;
mod guest;
mod monitor;
pub mod profile;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build;
use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::image::cpio::Cpio;
use crate::image::initramfs::{self, Purpose};
use crate::proc;
use crate::qemu::Machine;
use crate::run::{self, Hypervisor};
use crate::setup::{self, Env, Kernel, Qemu, QemuVersion};
use crate::tests::guests;
use clock::Clock;

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// By instructions only, each machine once
    #[arg(long)]
    pub quick: bool,
    /// No PV guest: needs no Debian disk
    #[arg(long)]
    pub dom0_only: bool,
    /// Nothing but the PV guest and dom0's tools
    #[arg(long, conflicts_with = "dom0_only")]
    pub guest_only: bool,
    /// Only these hypervisors (may be repeated)
    #[arg(long, value_enum)]
    pub hypervisor: Vec<Hypervisor>,
    /// dom0's and the guest's kernel: a Debian series (6.1, 6.12) or a file
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// Options of the hypervisors
    #[arg(last = true)]
    pub options: Vec<String>,
}

/// What a machine's time is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Instructions,
    Wall,
}

/// Where the program ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// dom0, or Linux on the bare machine.
    Dom0,
    Guest,
    /// A Debian dom0, at what its tools do.
    Life,
}

/// One run of the program.
pub struct Run {
    pub hypervisor: Hypervisor,
    pub mode: Mode,
    pub role: Role,
    /// What the program printed.
    pub result: Value,
    /// Seconds of virtual or real time from switching on to dom0's first line and to its init.
    pub boot: Option<[f64; 2]>,
}

const MEM_MIB: u32 = 1024;
/// With a Debian root as dom0 and a guest.
const MEM_GUEST_MIB: u32 = 2048;
const KERNEL_ARGS: &str = "norandmaps nokaslr";
const TARGET: &str = "x86_64-unknown-linux-musl";
const ICOUNT_REPEATS: usize = 2;
const WALL_REPEATS: usize = 3;
/// Fewer repeats than the program's own default: under `-icount` they agree.
const ROUNDS: &str = "--rounds 5 --scale 40";
/// A busy machine and no parallel translation: long.
const LIMIT: Duration = Duration::from_secs(1200);

/// What all runs share.
struct Bench<'a> {
    env: &'a Env,
    /// Of the hypervisors.
    options: String,
    qemu: Qemu,
    kernel: Kernel,
    initramfs: PathBuf,
    /// What dom0 needs to make the guest, as a disk that is a tar archive.
    disk: PathBuf,
    runs: Vec<Run>,
}

pub fn bench(env: &Env, args: &Args) -> Result<()> {
    let mut bench = Bench::new(env, &args.kernel, &args.options)?;
    let hypervisors = match args.hypervisor[..] {
        [] => vec![Hypervisor::None, Hypervisor::Debian, Hypervisor::Xenolith],
        ref chosen => chosen.to_vec(),
    };
    let mut plan = vec![Mode::Instructions];
    if !args.quick {
        plan = [vec![Mode::Instructions; ICOUNT_REPEATS], vec![Mode::Wall; WALL_REPEATS]].concat();
    }
    for mode in plan {
        for &hypervisor in &hypervisors {
            if !args.guest_only {
                bench.dom0(hypervisor, mode)?;
            }
            if hypervisor != Hypervisor::None && !args.dom0_only {
                bench.guest(hypervisor, mode)?;
            }
            report::write(env, &bench.runs, &hypervisors)?;
        }
    }
    println!("{}", report::markdown(&bench.runs, &hypervisors));
    println!("bench: written to target/bench/bench.md and target/bench/bench.json");
    Ok(())
}

/// Builds the program.
fn program(env: &Env) -> Result<PathBuf> {
    setup::rust_target(env, TARGET)?;
    println!("build: xen-bench");
    proc::run(env.cargo().args(["build", "--quiet", "--release", "-p", "xen-bench", "--target", TARGET]))?;
    Ok(build::cargo_target(env)?.join(TARGET).join("release/xen-bench"))
}

/// The small initramfs with the program added: Linux unpacks archives that follow one another.
fn initramfs_with_program(env: &Env, kernel: &Kernel, program: &Path) -> Result<PathBuf> {
    let mut bytes = fs::read(initramfs::make(env, kernel, Purpose::Shell)?)?;
    let mut cpio = Cpio::default();
    cpio.file(
        "bin/xen-bench",
        0o755,
        &fs::read(program).with_context(|| format!("reading {}", program.display()))?,
    );
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &cpio.finish())?;
    bytes.extend(gz.finish()?);
    let dir = env.target.join("bench");
    fs::create_dir_all(&dir)?;
    let path = dir.join("initramfs.gz");
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Files as an archive that fills a disk: whole sectors.
fn disk(env: &Env, files: &[&Path]) -> Result<PathBuf> {
    let path = env.target.join("bench/disk.tar");
    let mut command = Command::new("tar");
    command.arg("--create").arg("--file").arg(&path).arg("--record-size=1M");
    for file in files {
        let (dir, name) = (file.parent().context("a folder")?, file.file_name().context("a name")?);
        command.arg("-C").arg(dir).arg(name);
    }
    proc::run(&mut command)?;
    Ok(path)
}

impl<'a> Bench<'a> {
    fn new(env: &'a Env, kernel: &str, options: &[String]) -> Result<Bench<'a>> {
        let kernel = run::kernel(env, kernel)?;
        let program = program(env)?;
        let initramfs = initramfs_with_program(env, &kernel, &program)?;
        let disk = disk(env, &[&initramfs, &program, &guests::image(env)?])?;
        let qemu = setup::qemu(env, QemuVersion::V10)?;
        Ok(Bench { env, options: options.join(" "), qemu, kernel, initramfs, disk, runs: Vec::new() })
    }

    /// The program in the small dom0, or on Linux without a hypervisor.
    fn dom0(&mut self, hypervisor: Hypervisor, mode: Mode) -> Result<()> {
        let machine = self.small_machine(hypervisor, mode)?;
        let (mut session, mut clock) = self.start(&machine, hypervisor, mode)?;
        session.wait("Linux version", LIMIT)?;
        let first = clock.seconds(&session)?;
        session.wait("Run /init as init process", LIMIT)?;
        let init = clock.seconds(&session)?;
        session.wait("dom0# ", LIMIT)?;
        let result = measure(&mut session)?;
        self.add(&session, Run { hypervisor, mode, role: Role::Dom0, result, boot: Some([first, init]) });
        Ok(())
    }

    fn small_machine(&self, hypervisor: Hypervisor, mode: Mode) -> Result<Machine> {
        let early = if hypervisor == Hypervisor::None { "earlyprintk=ttyS0,115200" } else { "" };
        let args = format!("{KERNEL_ARGS} {early}");
        self.machine(hypervisor, mode, &args, self.initramfs.clone(), MEM_MIB)
    }

    fn machine(
        &self,
        hypervisor: Hypervisor,
        mode: Mode,
        kernel_args: &str,
        initrd: PathBuf,
        mem: u32,
    ) -> Result<Machine> {
        let mut machine = run::machine(
            self.env,
            &self.qemu,
            hypervisor,
            &self.options,
            &self.kernel,
            kernel_args,
            initrd,
            mem,
        )?;
        machine.smp = 1;
        machine.icount = mode == Mode::Instructions;
        machine.no_reboot = true;
        Ok(machine)
    }

    fn start(&self, machine: &Machine, hypervisor: Hypervisor, mode: Mode) -> Result<(Session, Clock)> {
        println!("bench: starting {hypervisor:?} ({mode:?})");
        let mut command = machine.command(&self.qemu)?;
        let clock = match mode {
            Mode::Instructions => Clock::of_instructions(&mut command)?,
            Mode::Wall => Clock::of_the_wall(),
        };
        Ok((Session::start(command, &self.env.log("bench")?)?, clock))
    }

    fn add(&mut self, session: &Session, run: Run) {
        println!(
            "bench: {:?} {:?} {:?}: {} s",
            run.hypervisor,
            run.role,
            run.mode,
            session.elapsed().as_secs()
        );
        self.runs.push(run);
    }
}

/// Runs the program at the small system's prompt.
fn measure(session: &mut Session) -> Result<Value> {
    session.must("dmesg -n 1", STEP.max(BOOT))?;
    ask(session, &format!("xen-bench {ROUNDS}"))
}

/// Runs a command that prints an object.
fn ask(session: &mut Session, command: &str) -> Result<Value> {
    object(&session.must(command, LIMIT)?)
}

/// The object among what was printed.
fn object(output: &str) -> Result<Value> {
    let line = output.lines().find(|line| line.starts_with('{')).context("xen-bench printed no result")?;
    serde_json::from_str(line).with_context(|| format!("what xen-bench printed: {line}"))
}
