//! `xl shutdown`, `reboot`: asking guests to end.

use abi::domctl::*;
use toolstack::watch::{RELEASE, Watcher};
use xenctl::{DomId, Error};

use crate::tools::{Done, Failure, Tools, complain, words};

#[derive(clap::Args)]
pub struct Args {
    /// All guests
    #[arg(short, long)]
    all: bool,
    /// Waits until they have done it
    #[arg(short, long)]
    wait: bool,
    /// Accepted: PV guests have nothing else to be asked by
    #[arg(short = 'F')]
    _fallback: bool,
    /// A domain, by name or number
    domain: Option<String>,
}

/// `request` is what the guest's kernel reads, `announced` what is said of it.
pub fn ask(tools: &mut Tools, args: &Args, request: &str, announced: &str) -> Done {
    let asked: Vec<DomId> = match (&args.domain, args.all) {
        (Some(called), false) => vec![tools.domain(called)?],
        (None, true) => tools.xen()?.domains(DomId(1))?.iter().map(|d| DomId(d.domain)).collect(),
        (Some(_), true) => return words("You must specify -a or a domain id, not both.\n"),
        (None, false) => return words("You must specify -a or a domain id.\n"),
    };
    // It is told of what ends from now on.
    let mut watcher = if args.wait { Some(Watcher::open()?) } else { None };
    watcher.iter_mut().try_for_each(|watcher| watcher.watch(RELEASE, "end"))?;
    let mut failed = false;
    let mut waiting = Vec::new();
    for id in asked {
        eprintln!("{announced} domain {id}");
        match tell(tools, id, request) {
            Ok(()) => waiting.push(id),
            Err(e) => {
                failed = true;
                match e {
                    Failure::Refused(e) => complain(&e),
                    Failure::Words(text) => complain(&text),
                    Failure::Said(_) => {}
                }
                eprintln!("{request} of domain {id} failed");
            }
        }
    }
    if let Some(watcher) = &mut watcher {
        wait(tools, watcher, waiting)?;
    }
    if failed { Err(Failure::Said(1)) } else { Ok(()) }
}

/// Returns when all of them have ended, and says how.
fn wait(tools: &mut Tools, watcher: &mut Watcher, mut waiting: Vec<DomId>) -> Done {
    let xen = tools.xen()?;
    loop {
        let mut still = Vec::new();
        for id in waiting {
            match xen.domain(id)? {
                None => println!("Domain {id} has been destroyed"),
                Some(d) if d.flags & XEN_DOMINF_SHUTDOWN != 0 => {
                    let reason = (d.flags >> XEN_DOMINF_SHUTDOWNSHIFT) & XEN_DOMINF_SHUTDOWNMASK;
                    println!("Domain {id} has been shut down, reason code {reason}");
                }
                Some(_) => still.push(id),
            }
        }
        waiting = still;
        if waiting.is_empty() {
            return Ok(());
        }
        watcher.wait().map_err(|e| Error::os("waiting for guests to end", &e))?;
    }
}

/// The guest's kernel watches this node.
fn tell(tools: &mut Tools, id: DomId, request: &str) -> Done {
    let (xen, store) = tools.both()?;
    if xen.domain(id)?.is_none() {
        return words(format!("there is no domain {id}"));
    }
    store.write(&format!("/local/domain/{id}/control/shutdown"), request.as_bytes())?;
    Ok(())
}
