//! Room for a guest: memory that dom0 gives up where nothing else is free.

use std::thread::sleep;
use std::time::{Duration, Instant};

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::config::globals::Autoballoon;
use crate::memory::{DOM0_LEAST_KIB, set_target};
use crate::store::Client;

/// KiB the hypervisor needs for a domain besides its memory: page tables of its own, its structures.
const OVERHEAD_KIB: u64 = 2 << 10;
/// For how long dom0 may give up nothing before that is taken for all it has.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// Whether dom0 gives up memory: by itself unless its size was set on the hypervisor's command line.
pub fn wanted(xen: &Xen, setting: Autoballoon) -> Result<bool> {
    match setting {
        Autoballoon::On => Ok(true),
        Autoballoon::Off => Ok(false),
        Autoballoon::Auto => Ok(!xen.command_line()?.contains("dom0_mem=")),
    }
}

/// KiB that are free, or will be once they are scrubbed.
pub fn free_kib(xen: &Xen) -> Result<u64> {
    let info = xen.physinfo()?;
    Ok((info.free_pages + info.scrub_pages) * 4)
}

/// KiB that dom0 can be asked for.
pub fn dom0_kib(store: &mut Client) -> Result<u64> {
    let target = store.text("/local/domain/0/memory/target")?.and_then(|text| text.parse::<u64>().ok());
    Ok(target.unwrap_or(0).saturating_sub(DOM0_LEAST_KIB))
}

/// Has dom0 give up what is missing to `kib`, and waits for it.
pub fn make(xen: &Xen, store: &mut Client, kib: u64) -> Result<()> {
    let need = kib + OVERHEAD_KIB;
    let mut best = free_kib(xen)?;
    if best >= need {
        return Ok(());
    }
    let path = "/local/domain/0/memory/target";
    let now = store.text(path)?.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    set_target(xen, store, DomId(0), now.saturating_sub(need - best))?;
    let mut since = Instant::now();
    while best < need {
        if since.elapsed() > PATIENCE {
            // Dom0 is not left smaller for nothing.
            set_target(xen, store, DomId(0), now)?;
            let why = format!("{} MiB are free and Domain-0 gives up no more", best >> 10);
            return Err(Error::new(format!("making room for {} MiB", kib >> 10), Errno::ENOMEM).because(why));
        }
        sleep(LOOK);
        let free = free_kib(xen)?;
        if free > best {
            (best, since) = (free, Instant::now());
        }
    }
    Ok(())
}
