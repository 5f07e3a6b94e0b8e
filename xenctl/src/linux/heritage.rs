//! [`Heritage`]: the descriptors that the program executed before this one, by the same process, left open for it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Descriptors above the standard three that were open when this program began, each until it is taken.
///
/// They are told from this program's own by their flag: what survives execve(2) lacks `FD_CLOEXEC`, and whatever std or
/// rustix opens has it. So each has one owner, whatever number somebody recorded.
pub struct Heritage(BTreeMap<RawFd, OwnedFd>);

impl Heritage {
    /// All there are; from here on they close when a program is executed ([`keep_on_exec`] changes that).
    ///
    /// # Errors
    /// `AlreadyExists` where this process has claimed them before; where `/proc` is not there.
    pub fn claim() -> io::Result<Self> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        if CLAIMED.swap(true, Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the descriptors have an owner already",
            ));
        }
        let mut kept = BTreeMap::new();
        for number in descriptors()? {
            if flags(number).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0) {
                set_flags(number, libc::FD_CLOEXEC)?;
                // SAFETY: open (its flags were just read), and without the flag that this program's own have: it came with
                // the process, and nothing else in it owns it, for this is done once.
                kept.insert(number, unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        Ok(Self(kept))
    }

    /// The one of that number. `None` where it is not open, or was taken.
    pub fn take(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.0.remove(&number)
    }

    /// The one of that number, which stays.
    pub fn borrow(&self, number: RawFd) -> Option<BorrowedFd<'_>> {
        self.0.get(&number).map(OwnedFd::as_fd)
    }

    /// All that are left but those in `known`.
    pub fn take_others(&mut self, known: &[RawFd]) -> Vec<OwnedFd> {
        let others = self.0.extract_if(.., |number, _| !known.contains(number));
        others.map(|(_, fd)| fd).collect()
    }
}

/// Whether all open descriptors, but for the standard three, stay open when this process executes a program.
///
/// # Errors
/// Where `/proc` is not there.
pub fn keep_on_exec(yes: bool) -> io::Result<()> {
    let wanted = if yes { 0 } else { libc::FD_CLOEXEC };
    descriptors()?.into_iter().try_for_each(|number| set_flags(number, wanted))
}

/// The numbers of all open descriptors but the standard three.
fn descriptors() -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // The folder's own is among them, and is closed by now.
    numbers.retain(|&number| number > 2 && flags(number).is_ok());
    Ok(numbers)
}

fn flags(number: RawFd) -> io::Result<i32> {
    // SAFETY: no memory is involved, and nothing but an answer comes of it.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags),
    }
}

fn set_flags(number: RawFd, flags: i32) -> io::Result<()> {
    // SAFETY: no memory is involved; what the flag changes concerns execve(2) alone.
    match unsafe { libc::fcntl(number, libc::F_SETFD, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn what_came_with_the_process_has_one_owner() {
        let own = fs::File::open("/dev/null").unwrap();
        let came = fs::File::open("/dev/null").unwrap().into_raw_fd();
        set_flags(came, 0).unwrap();
        let mut heritage = Heritage::claim().unwrap();
        assert!(heritage.take(std::os::fd::AsRawFd::as_raw_fd(&own)).is_none(), "this program's own");
        assert!(heritage.take_others(&[came]).iter().all(|fd| std::os::fd::AsRawFd::as_raw_fd(fd) != came));
        assert_eq!(flags(came).unwrap(), libc::FD_CLOEXEC);
        assert!(heritage.take(came).is_some());
        assert!(heritage.take(came).is_none());
        assert!(Heritage::claim().is_err());
    }
}
