//! `xl create`: a guest as a file and the command line describe it.

use std::path::Path;

use toolstack::build::Boot;
use toolstack::config::check::check;
use toolstack::config::model::{DomainConfig, Uuid};
use toolstack::config::read::Loaded;
use toolstack::config::{Globals, Report, Severity, Surroundings, load};
use toolstack::create::lock::Lock;
use toolstack::create::served::unserved;
use toolstack::create::survey::Survey;
use toolstack::create::{Contents, Created, Order, room};
use toolstack::destroy::USERDATA;
use toolstack::hotplug::SCRIPTS;
use toolstack::image::cache::Cache;
use xenctl::Error;

use crate::pool_create::text;
use crate::tools::{Done, Tools, complain, words};
use crate::{console, monitor};

#[derive(clap::Args)]
pub struct Args {
    /// Reads this file first
    #[arg(short = 'f', long = "defconfig")]
    file: Option<String>,
    /// Leaves the guest paused
    #[arg(short)]
    paused: bool,
    /// Connects to its console
    #[arg(short)]
    console: bool,
    /// Waits for its end in the foreground
    #[arg(short = 'F')]
    foreground: bool,
    /// Does not wait for its end: nobody restarts or removes it
    #[arg(short = 'e')]
    exit: bool,
    /// Only shows what would be made
    #[arg(short = 'n', long)]
    dryrun: bool,
    /// Says nothing of what it does
    #[arg(short, long)]
    quiet: bool,
    /// Accepted: a PV guest without a display has nothing to show
    #[arg(short = 'V', long)]
    vncviewer: bool,
    /// As -V
    #[arg(short = 'A', long)]
    vncviewer_autopass: bool,
    /// Shows the configuration as it was understood
    #[arg(short)]
    debug: bool,
    /// Accepted: pinning follows the configuration alone
    #[arg(long)]
    ignore_global_affinity_masks: bool,
    /// A file, and settings as it has them: memory=512 name="guest"
    settings: Vec<String>,
}

/// xl's own settings.
const GLOBALS: &str = "/etc/xen/xl.conf";
/// Unpacked kernels.
const KERNELS: &str = "/var/cache/xenolith/kernels";

/// The settings of this host; without a file, or where it is wrong, the defaults.
pub fn globals() -> Globals {
    let Ok(text) = std::fs::read_to_string(GLOBALS) else { return Globals::default() };
    let (globals, diagnostics) = Globals::read(&text);
    if !diagnostics.is_empty() {
        eprint!("{}", Report { file: GLOBALS, text: &text, diagnostics: &diagnostics });
    }
    globals
}

pub fn create(tools: &mut Tools, args: &Args) -> Done {
    let (file, text) = text(args.file.clone(), &args.settings)?;
    if !args.quiet {
        println!("Parsing config from {file}");
    }
    let globals = globals();
    let loaded = read(tools, &file, &text, &globals, args)?;
    if args.dryrun {
        println!("{}", loaded.config.to_json());
        return Ok(());
    }
    if args.debug {
        eprintln!("{}", loaded.config.to_json());
    }
    let created = make(tools, loaded.config, &globals)?;
    let id = created.domain;
    // Who waits is there before it can end.
    let waited = if args.exit || args.foreground { Ok(()) } else { monitor::begin(&created) };
    let begun = waited.and_then(|()| if args.paused { Ok(()) } else { Ok(tools.xen()?.unpause(id)?) });
    if begun.is_err() {
        // Who waits for it goes with it.
        monitor::remove(tools, &created)?;
        return begun;
    }
    if args.console {
        console::attach(tools, id)?;
    }
    if args.foreground { monitor::stay(tools, created) } else { Ok(()) }
}

/// Reads the configuration and holds it against the host; nothing is touched.
fn read(tools: &mut Tools, file: &str, text: &str, globals: &Globals, args: &Args) -> Done<Loaded> {
    let uuid = Uuid::random().map_err(|e| Error::os("choosing a UUID", &e))?;
    // What is only shown needs no hypervisor.
    let nodes = match tools.xen() {
        Ok(xen) => xen.cpu_topology()?.iter().map(|cpu| cpu.node).collect(),
        Err(_) if args.dryrun => Vec::new(),
        Err(e) => return Err(e),
    };
    let mut loaded = load(text, &Surroundings { globals: globals.clone(), cpu_nodes: nodes, uuid });
    if !args.dryrun {
        let (xen, store) = tools.both()?;
        let survey = Survey::take(xen, store, globals)?;
        let more = check(&loaded, survey.host());
        let unserved = unserved(&loaded);
        loaded.diagnostics.extend(more.into_iter().chain(unserved));
        // Said twice where two know of it.
        let mut seen = Vec::new();
        loaded.diagnostics.retain(|one| {
            let new = !seen.contains(&(one.at, one.message.clone()));
            seen.push((one.at, one.message.clone()));
            new
        });
    }
    let shown: Vec<_> =
        loaded.diagnostics.iter().filter(|d| !args.quiet || d.severity == Severity::Error).cloned().collect();
    if !shown.is_empty() {
        eprint!("{}", Report { file, text, diagnostics: &shown });
    }
    if loaded.failed() { words(format!("Failed to parse config file: {file}")) } else { Ok(loaded) }
}

/// Makes the guest, paused; nobody else creates one meanwhile.
pub fn make(tools: &mut Tools, config: DomainConfig, globals: &Globals) -> Done<Created> {
    let boot = Boot::read(&config.b_info, &Cache::new(KERNELS))?;
    make_of(tools, config, Contents::Boot(&boot), globals)
}

/// The same, of what it is to begin with.
pub fn make_of(
    tools: &mut Tools,
    config: DomainConfig,
    contents: Contents<'_>,
    globals: &Globals,
) -> Done<Created> {
    let lock = &globals.lockfile;
    let _lock =
        Lock::take(Path::new(lock), || complain(&format!("waiting for {lock}: another guest is created")))?;
    let (xen, store) = tools.both()?;
    if room::wanted(xen, globals.autoballoon)? {
        room::make(xen, store, toolstack::build::memory::target_kib(&config.b_info))?;
    }
    let order = Order { config, contents, folder: Path::new(USERDATA), scripts: SCRIPTS };
    Ok(toolstack::create::create(xen, store, order, &mut |e| complain(e))?)
}
