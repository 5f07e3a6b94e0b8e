//! `xl restore`: a guest as a file of `xl save` has it.

use std::fs::{self, File};
use std::io::BufReader;

use toolstack::config::model::{DomainConfig, Uuid};
use toolstack::config::{Report, Surroundings, load};
use toolstack::create::Contents;
use toolstack::save::{file, read};
use xenctl::Error;

use crate::create::{globals, make_of};
use crate::progress::Bar;
use crate::tools::{Done, Tools, words};
use crate::{console, monitor};

/// Bytes that are read together.
const TOGETHER: usize = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// Leaves the guest paused
    #[arg(short)]
    paused: bool,
    /// Does not wait for its end: nobody restarts or removes it
    #[arg(short = 'e')]
    exit: bool,
    /// Waits for its end in the foreground
    #[arg(short = 'F')]
    foreground: bool,
    /// Connects to its console
    #[arg(short)]
    console: bool,
    /// Shows the configuration as it was understood
    #[arg(short)]
    debug: bool,
    /// Accepted: a PV guest without a display has nothing to show
    #[arg(short = 'V', long)]
    vncviewer: bool,
    /// As -V
    #[arg(short = 'A', long)]
    vncviewer_autopass: bool,
    /// A configuration in the place of the saved one, and the file of the guest
    #[arg(required = true, num_args = 1..=2)]
    files: Vec<String>,
}

pub fn restore(tools: &mut Tools, args: &Args) -> Done {
    let (path, other) = match &args.files[..] {
        [config, path] => (path, Some(config)),
        [path] => (path, None),
        _ => unreachable!("one or two are asked for"),
    };
    let (text, mut from) = open(path)?;
    eprintln!("Loading new save file {path} (new xl fmt info 0x3/0x0/{})", text.len() + 5);
    eprintln!(" Savefile contains xl domain config in JSON format");
    let config = match other {
        Some(other) => parsed(tools, other)?,
        None => kept(path, &text)?,
    };
    if args.debug {
        eprintln!("{}", config.to_json());
    }
    let all = toolstack::build::memory::target_pages(&config.b_info);
    let mut bar = Bar::new("restoring");
    let mut fill = |xen: &_, domain| {
        let ports = read::guest(xen, domain, &mut from, &mut |done| bar.pages(done, all))?;
        file::close(&mut from).map(|()| ports)
    };
    let made = make_of(tools, config, Contents::Saved(&mut fill), &globals());
    drop(bar);
    let created = made?;
    // Who waits is there before it can end.
    if !args.exit && !args.foreground {
        monitor::begin(&created)?;
    }
    if !args.paused {
        tools.xen()?.unpause(created.domain)?;
    }
    if args.console {
        console::attach(tools, created.domain)?;
    }
    if args.foreground { monitor::stay(tools, created) } else { Ok(()) }
}

/// A saved guest: its configuration, and where its own part begins.
fn open(path: &str) -> Done<(String, BufReader<File>)> {
    let opened = File::open(path).map_err(|e| Error::os(format!("opening {path}"), &e))?;
    let mut from = BufReader::with_capacity(TOGETHER, opened);
    let config = file::open(&mut from).map_err(|e| Error { doing: format!("{} {path}", e.doing), ..e })?;
    Ok((config, from))
}

/// What the guest was made from, and what changed while it ran.
fn kept(path: &str, text: &str) -> Done<DomainConfig> {
    let doing = || format!("reading the configuration in {path}");
    let read = DomainConfig::from_json(text);
    Ok(read.map_err(|e| Error::new(doing(), abi::Errno::EINVAL).because(e.to_string()))?)
}

/// An xl.cfg file.
fn parsed(tools: &mut Tools, file: &str) -> Done<DomainConfig> {
    println!("Parsing config from {file}");
    let text = fs::read_to_string(file).map_err(|e| Error::os(format!("reading {file}"), &e))?;
    let uuid = Uuid::random().map_err(|e| Error::os("choosing a UUID", &e))?;
    let cpu_nodes = tools.xen()?.cpu_topology()?.iter().map(|cpu| cpu.node).collect();
    let loaded = load(&text, &Surroundings { globals: globals(), cpu_nodes, uuid });
    if !loaded.diagnostics.is_empty() {
        eprint!("{}", Report { file, text: &text, diagnostics: &loaded.diagnostics });
    }
    if loaded.failed() { words(format!("Failed to parse config file: {file}")) } else { Ok(loaded.config) }
}
