//! `xl block-attach`, `block-detach`, `network-attach`, `network-detach`: devices of a guest that is there.

use std::path::Path;

use toolstack::attach::{self, Guest};
use toolstack::config::{Diagnostic, Report, read};
use toolstack::destroy::USERDATA;
use toolstack::devices::Device;
use toolstack::store::Client;

use crate::create::globals;
use crate::list::uuid;
use crate::tools::{Done, Tools, complain, words};

#[derive(clap::Args)]
pub struct AddArgs {
    /// A domain, by name or number
    domain: String,
    /// What it gets, as configuration files describe it; several parts are joined by commas
    parts: Vec<String>,
}

#[derive(clap::Args)]
pub struct RemoveArgs {
    /// Takes it away though the guest still uses it
    #[arg(long)]
    force: bool,
    /// A domain, by name or number
    domain: String,
    /// A disk's name or number, an interface's number or Ethernet address
    device: String,
}

/// Does something to a guest and its devices.
fn with<R>(
    tools: &mut Tools,
    called: &str,
    work: impl FnOnce(&mut Client, Guest<'_>) -> xenctl::Result<R>,
) -> Done<R> {
    let domain = tools.domain(called)?;
    let (xen, store) = tools.both()?;
    let Some(info) = xen.domain(domain)? else { return words(format!("there is no domain {domain}")) };
    let uuid = uuid(&info.handle);
    Ok(work(store, Guest { domain, uuid: &uuid, folder: Path::new(USERDATA) })?)
}

/// What was described, or the end with all that is wrong with it.
fn described<T>(text: &str, read: Result<T, Vec<Diagnostic>>) -> Done<T> {
    read.or_else(|diagnostics| {
        eprint!("{}", Report { file: "command line", text, diagnostics: &diagnostics });
        words("the device could not be understood")
    })
}

pub fn add_disk(tools: &mut Tools, args: &AddArgs) -> Done {
    let text = args.parts.join(",");
    let disk = described(&text, read::disk(&text))?;
    with(tools, &args.domain, |store, guest| attach::add_disk(store, guest, &disk))
}

pub fn add_nic(tools: &mut Tools, args: &AddArgs) -> Done {
    let text = args.parts.join(",");
    let nic = described(&text, read::nic(&text, &globals()))?;
    with(tools, &args.domain, |store, guest| attach::add_nic(store, guest, &nic)).map(drop)
}

type Find = fn(&mut Client, Guest<'_>, &str) -> xenctl::Result<Option<Device>>;

fn remove(tools: &mut Tools, args: &RemoveArgs, what: &str, find: Find) -> Done {
    let removed = with(tools, &args.domain, |store, guest| match find(store, guest, &args.device)? {
        Some(device) => attach::remove(store, guest, &device, args.force).map(|()| true),
        None => Ok(false),
    })?;
    if removed {
        return Ok(());
    }
    complain(&format!("the guest has no {what} {}", args.device));
    words(format!("Unknown device {}.", args.device))
}

pub fn remove_disk(tools: &mut Tools, args: &RemoveArgs) -> Done {
    remove(tools, args, "disk", attach::find_disk)
}

pub fn remove_nic(tools: &mut Tools, args: &RemoveArgs) -> Done {
    remove(tools, args, "interface", attach::find_nic)
}
