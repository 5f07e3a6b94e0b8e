//! `cargo xtask test [full|soak]`: stages in a row, one summary.
//!
//! A stage answers how many tests passed, or why it failed; the others run all the same. The last line is
//! plain: `N passed, M failed`.

mod anything;
mod board;
mod boots;
mod consoles;
mod crash;
mod debugger;
mod dmesg;
mod faults;
pub mod guests;
mod host;
mod licences;
mod lints;
mod living;
mod mca;
mod miri;
mod our_guests;
mod our_tools;
mod ours;
mod ours_save;
mod pairs;
mod root;
mod same;
mod save;
mod soak;
mod stock;
mod store;
mod store_killed;
mod tools;
mod tsc;
mod work;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::demo;
use crate::image::loader::Loader;
use crate::qemu::{Bus, Chipset};
use crate::run::Hypervisor;
use crate::setup::{Env, QemuVersion};

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How much: what fits CI; every combination; or hours of load
    #[arg(value_enum, default_value = "ci")]
    pub extent: Extent,
    /// Only stages whose name contains this
    #[arg(long, default_value = "")]
    pub only: String,
    /// Show the stages' names and stop
    #[arg(long)]
    pub list: bool,
    /// Which hypervisor the boots use
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Extent {
    Ci,
    Full,
    Soak,
}

/// What a stage found.
pub enum Outcome {
    Passed(u32),
    /// Not run, and why: something is missing on this machine.
    Skipped(String),
}

type Work = Box<dyn Fn(&Env) -> Result<Outcome>>;

/// A named piece of the tests.
pub struct Stage {
    name: String,
    work: Work,
}

impl Stage {
    pub fn new(name: impl Into<String>, work: impl Fn(&Env) -> Result<Outcome> + 'static) -> Stage {
        Stage { name: name.into(), work: Box::new(work) }
    }
}

pub fn test(env: &Env, args: &Args) -> Result<()> {
    let mut stages = stages(args);
    stages.retain(|stage| stage.name.contains(&args.only));
    if args.list {
        stages.iter().for_each(|stage| println!("{}", stage.name));
        return Ok(());
    }
    if stages.is_empty() {
        bail!("no stage's name contains `{}`; see `cargo xtask test --list`", args.only);
    }
    let (mut passed, mut failed) = (0, 0);
    let mut rows = Vec::new();
    for stage in &stages {
        println!("\n== {}", stage.name);
        let started = Instant::now();
        let outcome = (stage.work)(env);
        let took = started.elapsed().as_secs();
        let (mark, note) = match outcome {
            Ok(Outcome::Passed(count)) => {
                passed += count;
                ("ok", if count == 1 { String::new() } else { format!("{count} tests") })
            }
            Ok(Outcome::Skipped(why)) => ("skipped", why),
            Err(error) => {
                failed += 1;
                println!("{} FAILED: {error:#}", stage.name);
                ("FAILED", error.to_string().lines().next().unwrap_or("").to_owned())
            }
        };
        rows.push(format!("{mark:8} {took:5} s  {:40} {note}", stage.name).trim_end().to_owned());
    }
    println!("\n== summary");
    rows.iter().for_each(|row| println!("{row}"));
    println!("\n{passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn stages(args: &Args) -> Vec<Stage> {
    let hypervisor = args.hypervisor;
    match args.extent {
        Extent::Ci => {
            let mut stages = host::stages();
            stages.push(miri::stage(Some(300)));
            stages.push(guests::ci());
            stages.extend(boots::ci(hypervisor));
            stages.push(demo_check(hypervisor, false, "6.1", QemuVersion::V10, None));
            stages.push(demo_check(hypervisor, true, "6.1", QemuVersion::V10, None));
            stages
        }
        Extent::Full => {
            let mut stages = host::stages();
            stages.push(miri::stage(Some(300)));
            stages.extend(guests::full());
            stages.extend(boots::full(hypervisor));
            stages.push(board::stage(hypervisor));
            stages.extend(crash::stages(hypervisor));
            stages.extend(dmesg::stages());
            stages.extend(mca::stages(hypervisor));
            stages.push(demo_check(hypervisor, false, "6.1", QemuVersion::V10, None));
            stages.push(demo_check(hypervisor, true, "6.1", QemuVersion::V10, None));
            stages.push(demo_check(hypervisor, true, "6.12", QemuVersion::V10, Some("Skylake-Client-v4")));
            stages.push(demo_check(hypervisor, true, "6.1", QemuVersion::V7, None));
            stages.extend(tools::stages(hypervisor));
            stages.push(debugger::stage(hypervisor));
            stages.extend(stock::stages(hypervisor));
            stages.push(store::stage(hypervisor));
            stages.push(tsc::stage(hypervisor));
            stages.push(save::stage(hypervisor, 3));
            stages.extend(work::stages(hypervisor));
            stages.push(living::stage(hypervisor));
            stages.push(faults::stage(hypervisor));
            stages.push(same::stage());
            stages.push(ours::stage(hypervisor));
            stages.push(our_guests::stage(hypervisor));
            stages.push(ours_save::stage(hypervisor));
            stages.push(store_killed::stage(hypervisor, 30));
            stages.push(consoles::stage(hypervisor, 30));
            stages
        }
        Extent::Soak => {
            let mut stages = soak::stages(hypervisor);
            stages.push(save::stage(hypervisor, 50));
            stages.push(anything::stage(hypervisor));
            stages.push(store_killed::stage(hypervisor, 200));
            stages.push(consoles::stage(hypervisor, 200));
            stages.push(miri::stage(None));
            stages
        }
    }
}

/// The demo, done and verified: on the small dom0 with our tools, or on Debian with the `stock` ones.
fn demo_check(
    hypervisor: Hypervisor,
    stock: bool,
    kernel: &'static str,
    qemu: QemuVersion,
    cpu: Option<&'static str>,
) -> Stage {
    let version = if qemu == QemuVersion::V10 { "QEMU 10" } else { "QEMU 7.2" };
    let tools = if stock { "Debian's tools" } else { "our tools" };
    Stage::new(format!("demo: {tools} {kernel} {version} {}", cpu.unwrap_or("EPYC")), move |env| {
        let args = demo::Args {
            check: true,
            stock,
            hypervisor,
            kernel: kernel.into(),
            smp: 2,
            mem: 2048,
            cpu: cpu.map(str::to_owned),
            machine: Chipset::Q35,
            bus: Bus::Ata,
            loader: Loader::Qemu,
            qemu,
            options: Vec::new(),
        };
        demo::demo(env, &args).map(|()| Outcome::Passed(1))
    })
}
