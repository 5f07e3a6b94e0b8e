//! Who waits for a guest's end and does what its configuration says of it: a process in the background, as scripts and
//! people know it from the stock `xl`, whose words go to `/var/log/xen/xl-NAME.log`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abi::Errno;
use toolstack::config::model::{Action, DomainConfig, Uuid};
use toolstack::create::Created;
use toolstack::life::{self, End};
use toolstack::watch::Watcher;
use toolstack::{destroy, names};
use xenctl::{DomId, Error};

use crate::create::{globals, make};
use crate::tools::{Done, Tools, complain};

const LOGS: &str = "/var/log/xen";
/// A guest that ends sooner is not restarted at once, again and again.
const SHORT_LIFE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct Args {
    /// The domain; its configuration comes by standard input
    domain: u16,
}

/// Starts the process that waits for the guest.
pub fn begin(created: &Created) -> Done {
    let failed =
        |e: &std::io::Error| Error::os(format!("starting who waits for domain {}", created.domain), e);
    fs::create_dir_all(LOGS).map_err(|e| failed(&e))?;
    let name = created.config.c_info.name.as_deref().unwrap_or_default();
    let log = format!("{LOGS}/xl-{name}.log");
    let log = OpenOptions::new().create(true).append(true).open(&log).map_err(|e| failed(&e))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("xl")
        .args(["monitor", &created.domain.to_string()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(|e| failed(&e))?)
        .stderr(log)
        .spawn()
        .map_err(|e| failed(&e))?;
    let text = created.config.to_json();
    let told = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
    told.map_err(|e| failed(&e))?;
    Ok(())
}

/// `xl monitor`, which [`begin`] starts.
pub fn run(tools: &mut Tools, args: &Args) -> Done {
    // A terminal that goes takes its processes with it, unless they have a session of their own.
    let _ = rustix::process::setsid();
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Error::os("reading the guest's configuration", &e))?;
    let config = DomainConfig::from_json(&text)
        .map_err(|e| Error::new("reading the guest's configuration", Errno::EINVAL).because(e.to_string()))?;
    stay(tools, Created { domain: DomId(args.domain), config })
}

/// Waits, and starts the guest again as often as its configuration says.
pub fn stay(tools: &mut Tools, mut guest: Created) -> Done {
    let mut watcher = Watcher::open()?;
    loop {
        let (began, handle) = (Instant::now(), guest.config.c_info.uuid.0);
        let id = guest.domain;
        println!("Waiting for domain {} (domid {id}) to end", name(&guest.config));
        let end = life::wait(tools.xen()?, &mut watcher, id, &handle)?;
        let action = end.action(&guest.config);
        println!("Domain {id} {}; action: {}", end.words(), action.map_or("none", Action::name));
        let Some(action) = action else { return Ok(()) };
        if !act(tools, &mut guest, end, action)? {
            return Ok(());
        }
        if began.elapsed() < SHORT_LIFE {
            std::thread::sleep(SHORT_LIFE);
        }
        let mut config = guest.config.clone();
        // The hypervisor chooses its number anew.
        config.c_info.domid = None;
        guest = make(tools, config, &globals())?;
        tools.xen()?.unpause(guest.domain)?;
        println!("Domain {id} is domain {} now", guest.domain);
    }
}

fn name(config: &DomainConfig) -> &str {
    config.c_info.name.as_deref().unwrap_or_default()
}

/// Does what is to be done with the domain that has ended; whether another is to follow.
fn act(tools: &mut Tools, guest: &mut Created, end: End, action: Action) -> Done<bool> {
    match action {
        Action::Preserve => Ok(false),
        Action::RestartRename => {
            rename(tools, guest)?;
            Ok(true)
        }
        Action::Destroy | Action::CoredumpDestroy | Action::SoftReset => remove(tools, guest).map(|()| false),
        Action::Restart | Action::CoredumpRestart => remove(tools, guest).map(|()| end != End::Gone),
    }
}

/// Ends the domain, with all that was made for it.
pub fn remove(tools: &mut Tools, guest: &Created) -> Done {
    let uuid = guest.config.c_info.uuid.to_string();
    let (xen, store) = tools.both()?;
    Ok(destroy::destroy(xen, store, guest.domain, &uuid, &mut |e| complain(e))?)
}

/// Keeps the domain under another name; who follows it has a UUID of its own.
fn rename(tools: &mut Tools, guest: &mut Created) -> Done {
    let (xen, store) = tools.both()?;
    let (id, old) = (guest.domain, name(&guest.config).to_owned());
    let mut new = format!("{old}-1");
    let mut number = 1;
    while names::named(xen, store, &new)?.is_some() {
        number += 1;
        new = format!("{old}-{number}");
    }
    names::rename(store, id, &new)?;
    guest.config.c_info.uuid = Uuid::random().map_err(|e| Error::os("choosing a UUID", &e))?;
    Ok(())
}
