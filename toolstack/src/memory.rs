//! A guest's memory while it runs: what it may have, and what it is asked to keep.

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use crate::store::Client;

/// KiB a domain may have beyond its target, for what its drivers allocate.
pub const SLACK_KIB: u64 = 1024;
/// KiB below which dom0 is not asked to go.
pub const DOM0_LEAST_KIB: u64 = 128 << 10;

/// A size as people write it: a number and b, k, m, g or t; without a letter MiB. Answers KiB.
pub fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    match text[end..].to_ascii_lowercase().as_str() {
        "b" => Some(number >> 10),
        "k" => Some(number),
        "" | "m" => number.checked_mul(1 << 10),
        "g" => number.checked_mul(1 << 20),
        "t" => number.checked_mul(1 << 30),
        _ => None,
    }
}

fn number(store: &mut Client, path: &str) -> Result<Option<u64>> {
    Ok(store.text(path)?.and_then(|text| text.parse().ok()))
}

/// The most memory it may ever be given.
pub fn set_most(xen: &Xen, store: &mut Client, domain: DomId, kib: u64) -> Result<()> {
    let at = format!("/local/domain/{domain}/memory");
    if let Some(target) = number(store, &format!("{at}/target"))?
        && kib < target
    {
        let doing = format!("limiting domain {domain} to {kib} KiB");
        return Err(Error::new(doing, Errno::EINVAL)
            .because(format!("it is to use {target} KiB now; lower that by mem-set first")));
    }
    xen.set_max_memory(domain, kib + SLACK_KIB)?;
    store.write(&format!("{at}/static-max"), kib.to_string().as_bytes())
}

/// Asks the guest to use this much, and lets it have no more.
pub fn set_target(xen: &Xen, store: &mut Client, domain: DomId, kib: u64) -> Result<()> {
    let doing = || format!("asking domain {domain} to use {kib} KiB");
    let at = format!("/local/domain/{domain}/memory");
    let refused = |why: String| Error::new(doing(), Errno::EINVAL).because(why);
    if domain.0 == 0 && kib < DOM0_LEAST_KIB {
        return Err(refused(format!("dom0 needs {DOM0_LEAST_KIB} KiB")));
    }
    let absent = |what: &str| refused(format!("the store does not know its {what}"));
    let mut before = None;
    let asked = store.transaction(|store| {
        let most = number(store, &format!("{at}/static-max"))?.ok_or_else(|| absent("limit"))?;
        if kib > most {
            return Err(refused(format!("it may have {most} KiB at most; raise that by mem-max first")));
        }
        let target = number(store, &format!("{at}/target"))?.ok_or_else(|| absent("target"))?;
        let screen = number(store, &format!("{at}/videoram"))?.unwrap_or(0);
        let info = xen.domain(domain)?.ok_or_else(|| Error::new(doing(), Errno::ESRCH))?;
        // At a second try the first has changed it.
        let limit = *before.get_or_insert(info.max_pages * 4);
        let kib = kib.saturating_sub(screen);
        // The limit follows the target, whatever was added to it.
        xen.set_max_memory(domain, (limit + kib).saturating_sub(target))?;
        store.write(&format!("{at}/target"), kib.to_string().as_bytes())?;
        if let Some(vm) = store.text(&format!("/local/domain/{domain}/vm"))? {
            store.write(&format!("{vm}/memory"), (kib / 1024).to_string().as_bytes())?;
        }
        Ok(())
    });
    // Nothing is half done.
    if let (Err(_), Some(limit)) = (&asked, before) {
        xen.set_max_memory(domain, limit)?;
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_letters() {
        let kib = |text| size(text);
        assert_eq!(kib("200"), Some(200 << 10));
        assert_eq!(kib("200m"), Some(200 << 10));
        assert_eq!(kib("2G"), Some(2 << 20));
        assert_eq!(kib("1t"), Some(1 << 30));
        assert_eq!(kib("64k"), Some(64));
        assert_eq!(kib("4096b"), Some(4));
        assert_eq!((kib("10x"), kib("x"), kib(""), kib("1mm"), kib("-1")), (None, None, None, None, None));
        assert_eq!(kib("99999999999999999999"), None);
    }
}
