//! `cargo xtask profile OPERATION`: where the instructions of one of the benchmark's operations go.
//!
//! Under `-icount`, with one translation block per instruction, QEMU's execution log has a line for each instruction.
//! It goes through a pipe and is counted by address. The program runs twice, with more rounds the second time: the
//! difference is the operation alone, with all that the machine does for it (the other domain, the hypervisor), without
//! the program's start.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::clock::Clock;
use super::guest::enter_guest;
use super::{Bench, LIMIT, Mode, object};
use crate::expect::Session;
use crate::run::Hypervisor;
use crate::setup::Env;
use crate::{build, proc};

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The operation, as `xen-bench --list` names it
    pub operation: String,
    /// In a PV guest of a Debian dom0 instead of a small dom0
    #[arg(long)]
    pub guest: bool,
    /// Which hypervisor
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
    /// Iterations, in per cent of the benchmark's
    #[arg(long, default_value_t = 5)]
    pub scale: u32,
    /// How many functions are shown
    #[arg(long, default_value_t = 40)]
    pub rows: usize,
    /// The kernel: a Debian series (6.1, 6.12) or a file
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// Options of the hypervisor
    #[arg(last = true)]
    pub options: Vec<String>,
}

/// Rounds of the two runs.
const ROUNDS: [usize; 2] = [1, 3];
/// Where hypervisors are, ours and Xen.
const HYPERVISOR: std::ops::Range<u64> = 0xffff_8000_0000_0000..0xffff_8800_0000_0000;
/// From here Linux has its modules; a guest's are not where dom0's are.
const MODULES: u64 = 0xffff_ffff_c000_0000;

/// How often each address was executed.
type Counts = HashMap<u64, u64>;

pub fn profile(env: &Env, args: &Args) -> Result<()> {
    let bench = Bench::new(env, &args.kernel, &args.options)?;
    let pipe = Pipe::make(env)?;
    let (mut session, mut clock) = bench.profiled(args)?;
    let mut names = Names::kernel(&session.must("grep -i ' t ' /proc/kallsyms | grep -v '\\['", LIMIT)?);
    if args.hypervisor == Hypervisor::Xenolith {
        names.add(bootimage::functions(&fs::read(build::build(env)?.linked)?)?);
    }
    if args.guest {
        enter_guest(&mut session)?;
    }
    let mut of = |rounds| pass(&mut session, &mut clock, &pipe, args, rounds);
    let ((_, once), (iterations, more)) = (of(ROUNDS[0])?, of(ROUNDS[1])?);
    let per = (ROUNDS[1] - ROUNDS[0]) as f64 * iterations;
    println!("{}", report(&once, &more, per, &names, args.rows));
    Ok(())
}

impl Bench<'_> {
    /// A machine at its prompt.
    fn profiled(&self, args: &Args) -> Result<(Session, Clock)> {
        if args.guest {
            return self.debian(args.hypervisor, Mode::Instructions);
        }
        let machine = self.small_machine(args.hypervisor, Mode::Instructions)?;
        let (mut session, clock) = self.start(&machine, args.hypervisor, Mode::Instructions)?;
        session.wait("dom0# ", LIMIT)?;
        session.must("dmesg -n 1", LIMIT)?;
        Ok((session, clock))
    }
}

/// Runs the program and counts; answers its iterations as well.
fn pass(
    session: &mut Session,
    clock: &mut Clock,
    pipe: &Pipe,
    args: &Args,
    rounds: usize,
) -> Result<(f64, Counts)> {
    println!("profile: {rounds} rounds");
    let command = format!("xen-bench --rounds {rounds} --scale {} --only {}", args.scale, args.operation);
    let monitor = clock.monitor()?.context("no monitor")?;
    let counts = pipe.count();
    let logfile = format!("logfile {}", pipe.0.display());
    for line in ["stop", "one-insn-per-tb on", &logfile, "log exec,nochain", "cont"] {
        monitor.ask(line)?;
    }
    let output = session.must(&command, LIMIT)?;
    for line in ["stop", "log none", "logfile /dev/null", "cont"] {
        monitor.ask(line)?;
    }
    let counts = counts.join().map_err(|_| anyhow!("the log's reader died"))??;
    let iterations = object(&output)?["operations"][&args.operation]["iterations"]
        .as_f64()
        .with_context(|| format!("{} cannot be done there: {output}", args.operation))?;
    Ok((iterations, counts))
}

/// The named pipe that QEMU's log goes to.
struct Pipe(PathBuf);

impl Pipe {
    fn make(env: &Env) -> Result<Pipe> {
        let path = env.target.join(format!("bench/profile-{}.pipe", std::process::id()));
        let _ = fs::remove_file(&path);
        proc::run(Command::new("mkfifo").arg(&path))?;
        Ok(Pipe(path))
    }

    /// Counts what is written from now on, until QEMU closes it.
    fn count(&self) -> JoinHandle<Result<Counts>> {
        let path = self.0.clone();
        std::thread::spawn(move || count(&path))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn count(path: &Path) -> Result<Counts> {
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut counts, mut line) = (Counts::new(), Vec::new());
    while lines.read_until(b'\n', &mut line)? != 0 {
        if let Some(address) = executed(&line) {
            *counts.entry(address).or_default() += 1;
        }
        line.clear();
    }
    Ok(counts)
}

/// The address in a line `Trace 0: 0x7f… [cs_base/address/flags/cflags] symbol`.
fn executed(line: &[u8]) -> Option<u64> {
    let address = line.strip_prefix(b"Trace ")?.split(|&b| b == b'/').nth(1)?;
    u64::from_str_radix(std::str::from_utf8(address).ok()?, 16).ok()
}

/// Functions by address, sorted.
struct Names(Vec<(u64, String)>);

impl Names {
    /// From `/proc/kallsyms`.
    fn kernel(text: &str) -> Names {
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            let (address, name) = (u64::from_str_radix(words.next()?, 16).ok()?, words.nth(1)?);
            Some((address, name.to_owned()))
        };
        let mut names = Names(text.lines().filter_map(parse).collect());
        names.0.sort();
        names
    }

    fn add(&mut self, functions: Vec<(u64, String)>) {
        self.0.extend(functions);
        self.0.sort();
    }

    /// The part, the function, and whether this is its first instruction.
    fn of(&self, address: u64) -> (&'static str, &str, bool) {
        let part = part(address);
        let before = self.0[..self.0.partition_point(|f| f.0 <= address)].last();
        let known = part != PROGRAMS && address < MODULES;
        match before.filter(|f| known && self::part(f.0) == part) {
            Some((start, name)) => (part, name, *start == address),
            None => (part, "", false),
        }
    }
}

const PROGRAMS: &str = "programs";

fn part(address: u64) -> &'static str {
    match address {
        a if HYPERVISOR.contains(&a) => "hypervisor",
        a if a >> 63 == 0 => PROGRAMS,
        MODULES.. => "kernel modules",
        _ => "kernels",
    }
}

/// Markdown: the parts, then the functions, in instructions an iteration; and how often each function was entered.
fn report(once: &Counts, more: &Counts, per: f64, names: &Names, rows: usize) -> String {
    let mut functions: HashMap<(&str, &str), (f64, f64)> = HashMap::new();
    for (&address, &count) in more {
        let count = (count as f64 - once.get(&address).copied().unwrap_or(0) as f64) / per;
        let (part, name, first) = names.of(address);
        let row = functions.entry((part, name)).or_default();
        row.0 += count;
        row.1 += if first { count } else { 0.0 };
        if !name.is_empty() {
            functions.entry((part, "")).or_default().0 += count;
        }
    }
    let mut table: Vec<_> = functions.into_iter().collect();
    table.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let (parts, functions): (Vec<_>, Vec<_>) = table.into_iter().partition(|((_, name), _)| name.is_empty());
    let sum: f64 = parts.iter().map(|(_, (count, _))| count).sum();
    let mut text = format!("| of {sum:.0} instructions | | share | entered |\n|---|---:|---:|---:|\n");
    for ((part, name), (count, calls)) in parts.into_iter().chain(functions.into_iter().take(rows)) {
        let share = count * 100.0 / sum;
        let _ = match name {
            "" => writeln!(text, "| {part} | {count:.0} | {share:.1} % | |"),
            _ => writeln!(text, "| {part}: `{name}` | {count:.0} | {share:.1} % | {calls:.1} |"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Counts, Names, executed, report};

    const LINE: &[u8] = b"Trace 0: 0x7f4bd8000100 [0000000000000000/ffffffff81000010/00c0b0b3/ff000201] \n";

    #[test]
    fn a_line_of_the_log_has_an_address() {
        assert_eq!(executed(LINE), Some(0xffff_ffff_8100_0010));
        assert_eq!(executed(b"Stopped execution of TB chain\n"), None);
    }

    #[test]
    fn the_start_of_the_program_is_taken_off() {
        let mut names = Names::kernel("ffffffff81000000 T start\nffffffff81000010 t work\n");
        names.add(vec![(0xffff_8280_0000_0000, "hypercore::sched".into())]);
        let counts = |work, sched| {
            Counts::from([
                (0xffff_ffff_8100_0001, 50),
                (0xffff_ffff_8100_0010, work),
                (0xffff_8280_0000_0004, sched),
            ])
        };
        let text = report(&counts(100, 10), &counts(300, 50), 20.0, &names, 9);
        assert!(text.starts_with("| of 12 instructions"), "{text}");
        assert!(text.contains("| kernels: `work` | 10 | 83.3 % | 10.0 |"), "{text}");
        assert!(text.contains("| hypervisor: `hypercore::sched` | 2 | 16.7 % | 0.0 |"), "{text}");
    }
}
