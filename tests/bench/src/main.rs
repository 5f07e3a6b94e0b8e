//! The benchmark program: what a kernel does all day, timed one operation at a time.
//!
//! It runs natively, in dom0 and in guests, statically linked (target `x86_64-unknown-linux-musl`),
//! and prints one JSON object:
//!
//! ```text
//! {"rounds": 7, "operations": {"syscall": {"ns": 81.2, "total_ns": 5.7e6, "iterations": 10000}, …}}
//! ```
//!
//! Each operation is timed `rounds` times over its `iterations`; `ns` is the median round's time per
//! iteration, `total_ns` all rounds together. An operation the machine cannot do (hypercalls without
//! a hypervisor) is the string `"absent"`. Under QEMU's `-icount shift=0` a nanosecond is an
//! instruction. In dom0 `"memory"` says how many pages the machine has, how many are free, dom0's own, and those of
//! all guests.
//!
//! `block-read` and `block-stream` (1 MiB an iteration) read `/dev/xvda`, where there is one. `udp`, `tcp-send` and
//! `tcp-receive` (1 MiB an iteration) talk to the same program elsewhere, which was started with `--serve`, at the
//! address in `XEN_BENCH_PEER`.
//!
//! `event-round-trip` and `grant-copy-round-trip` go to that program, too, which is in dom0 then.
//!
//! Options: `--rounds N` (7), `--scale PERCENT` of the iterations (100), `--only NAME,…`, `--list`.
//! `--time N COMMAND…` runs a command so often and prints the median as `{"ns": 1.0}`; `--exec COMMAND…` prints the time-stamp counter as `{"tsc": 1}` and becomes the command.
//! `--child` is its own: the program that the exec benchmark starts.

mod block;
mod command;
mod life;
mod memory;
mod net;
mod partner;
mod process;
mod report;
mod sys;
mod xen;

use std::process::ExitCode;

use report::Measured;

/// Runs an operation a number of times.
type Run = Box<dyn FnMut(u64)>;
/// Runs an operation with what has to go with it; answers the nanoseconds that it alone took.
type Timed = Box<dyn FnMut(u64) -> u64>;

/// Prepares an operation. `None`: this machine has not got it.
enum Prepare {
    Whole(fn() -> Option<Run>),
    Alone(fn() -> Option<Timed>),
}
use Prepare::{Alone, Whole};

struct Operation {
    name: &'static str,
    iterations: u64,
    prepare: Prepare,
}

const OPERATIONS: &[Operation] = &[
    Operation { name: "syscall", iterations: 10_000, prepare: Whole(process::null_system_call) },
    Operation { name: "clock", iterations: 10_000, prepare: Whole(process::clock) },
    Operation { name: "signal", iterations: 4_000, prepare: Whole(process::signal) },
    Operation { name: "protection-fault", iterations: 2_000, prepare: Whole(memory::protection_fault) },
    Operation { name: "fresh-page", iterations: 2_000, prepare: Whole(memory::fresh_page) },
    Operation { name: "copy-on-write", iterations: 1_000, prepare: Whole(memory::copy_on_write) },
    Operation { name: "mprotect", iterations: 4_000, prepare: Whole(memory::mprotect) },
    Operation { name: "pipe", iterations: 2_000, prepare: Whole(process::pipe_ping_pong) },
    Operation { name: "fork-exit", iterations: 100, prepare: Whole(process::fork_exit) },
    Operation { name: "fork-exec", iterations: 50, prepare: Whole(process::fork_exec) },
    Operation { name: "xen-version", iterations: 4_000, prepare: Whole(xen::version) },
    Operation { name: "xen-event", iterations: 2_000, prepare: Whole(xen::event_to_self) },
    Operation { name: "block-read", iterations: 1_000, prepare: Whole(block::random_read) },
    Operation { name: "block-stream", iterations: 100, prepare: Whole(block::sequential_read) },
    Operation { name: "udp", iterations: 1_000, prepare: Whole(net::udp_round_trip) },
    Operation { name: "tcp-send", iterations: 100, prepare: Whole(net::tcp_send) },
    Operation { name: "tcp-receive", iterations: 100, prepare: Whole(net::tcp_receive) },
    Operation { name: "event-round-trip", iterations: 2_000, prepare: Whole(net::event_round_trip) },
    Operation {
        name: "grant-copy-round-trip",
        iterations: 2_000,
        prepare: Whole(net::grant_copy_round_trip),
    },
    Operation { name: "domain-create", iterations: 100, prepare: Alone(life::create) },
    Operation { name: "domain-destroy", iterations: 100, prepare: Alone(life::destroy) },
    Operation { name: "domain-create-16m", iterations: 20, prepare: Alone(life::create_16_mib) },
    Operation { name: "domain-destroy-16m", iterations: 20, prepare: Alone(life::destroy_16_mib) },
];

struct Options {
    rounds: usize,
    scale: u64,
    only: Option<Vec<String>>,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { rounds: 7, scale: 100, only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        let number = |text: String| match text.parse::<u64>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("{text}: not a number above 0")),
        };
        match arg.as_str() {
            "--rounds" => options.rounds = number(value()?)? as usize,
            "--scale" => options.scale = number(value()?)?,
            "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--list" => {
                OPERATIONS.iter().for_each(|operation| println!("{}", operation.name));
                return Ok(None);
            }
            "--serve" => net::serve(),
            "--time" => {
                let rounds = number(value()?)? as usize;
                return command::time(rounds, &args.collect::<Vec<_>>()).map(|()| None);
            }
            "--exec" => return Err(command::exec(&args.collect::<Vec<_>>())),
            "--child" => return Ok(None),
            _ => return Err(format!("unknown option {arg}; see the head of main.rs")),
        }
    }
    if let Some(unknown) = options.only.iter().flatten().find(|n| OPERATIONS.iter().all(|o| o.name != **n)) {
        return Err(format!("{unknown}: no such operation; --list names them"));
    }
    Ok(Some(options))
}

fn measure(operation: &Operation, options: &Options) -> Option<Measured> {
    let mut run = match operation.prepare {
        Alone(prepare) => prepare()?,
        Whole(prepare) => {
            let mut run = prepare()?;
            Box::new(move |times| {
                let start = sys::now_ns();
                run(times);
                sys::now_ns() - start
            })
        }
    };
    let iterations = (operation.iterations * options.scale / 100).max(1);
    // The first round warms up and is not counted.
    run(iterations.min(100));
    let rounds: Vec<u64> = (0..options.rounds).map(|_| run(iterations)).collect();
    Some(Measured::new(iterations, &rounds))
}

fn main() -> ExitCode {
    match options() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(options)) => {
            let chosen =
                |o: &&Operation| options.only.as_ref().is_none_or(|only| only.iter().any(|n| n == o.name));
            let results: Vec<_> =
                OPERATIONS.iter().filter(chosen).map(|o| (o.name, measure(o, &options))).collect();
            println!("{}", report::json(options.rounds, &results, xen::memory().as_ref()));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("xen-bench: {message}");
            ExitCode::from(2)
        }
    }
}
