//! One life of a worker: from a program's start until it is killed, is replaced or leaves.

use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};

use crate::region::{Head, Region};
use crate::signals::Signals;
use crate::sys::{self, Side};

/// The descriptor of the region, told to the program that is executed anew.
const VARIABLE: &str = "KEEPER_REGION";

/// So many lives in a row that did not come as far as [`Life::settled`], and the next one waits for [`PAUSE`]: a worker that
/// cannot start must not keep a CPU busy, and one that is killed must not be waited for.
const PATIENCE: u64 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// The worker's side of the arrangement. Dropping it keeps the arrangement: only [`Life::end`] ends it.
pub struct Life {
    /// The memory that outlives the worker.
    pub region: Region,
    signals: Signals,
    keeper: OwnedFd,
    number: u64,
}

impl Life {
    /// Begins one, with a keeper beside it. Call it first in `main`: the process must have one thread and hold nothing that a
    /// copy of it should not.
    ///
    /// From here on SIGTERM, SIGINT and SIGHUP are blocked and come through [`Life::signals`], and a worker that goes in any
    /// way but by [`Life::end`] is started again.
    ///
    /// # Errors
    /// As the system calls used; `InvalidInput` where the process has threads.
    pub fn begin(name: &str) -> io::Result<Life> {
        let region = match env::var(VARIABLE) {
            Ok(number) => {
                sys::forget_variable(VARIABLE);
                let region = Region::inherit(number.parse().map_err(io::Error::other)?)?;
                bury(&region);
                region
            }
            Err(_) => Region::create(name, 0)?,
        };
        sys::close_on_exec(true)?;
        // Executed by another path, the process would be called by that.
        rustix::thread::set_name(&CString::new(name)?)?;
        let signals = Signals::block()?;
        record(&region, Head::Signalfd, &signals);
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        record(&region, Head::WorkerPidfd, &own);
        region.head(Head::Unsettled).fetch_add(1, Ordering::SeqCst);
        let number = region.head(Head::Lives).fetch_add(1, Ordering::SeqCst) + 1;
        let keeper = match sys::clone_sharing_descriptors()? {
            Side::Child => keep(&region, &own, &signals),
            Side::Parent { child } => {
                let child =
                    Pid::from_raw(child).ok_or_else(|| io::Error::other("a process without a number"))?;
                pidfd_open(child, PidfdFlags::empty())?
            }
        };
        record(&region, Head::KeeperPidfd, &keeper);
        // It stays open until the next life closes it: the keeper waits on it.
        std::mem::forget(own);
        Ok(Life { region, signals, keeper, number })
    }

    /// 1 for the first, and one more after each time that the worker or its keeper was killed or replaced.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What to wait for besides the worker's own: readable once the keeper has gone. Then call [`Life::again`].
    pub fn keeper(&self) -> BorrowedFd<'_> {
        self.keeper.as_fd()
    }

    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// A descriptor that an earlier life recorded in the region as its own. `None` where it is not open.
    pub fn inherit(&self, number: RawFd) -> Option<OwnedFd> {
        sys::inherit(number)
    }

    /// Descriptors that nobody knows: open, but for the standard three, and neither the arrangement's own nor in `known`, which
    /// is all that the lives before recorded. What the life before had opened, accepted or given up, and was killed before it
    /// could record that.
    ///
    /// # Errors
    /// Where `/proc` is not there.
    pub fn strangers(&self, known: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
        let head = |word| self.region.head(word).load(Ordering::SeqCst) as RawFd - 1;
        let own = [Head::WorkerPidfd, Head::KeeperPidfd, Head::Signalfd].map(head);
        let mut numbers = sys::descriptors()?;
        numbers.retain(|number| {
            !own.contains(number) && !known.contains(number) && *number != self.region.number()
        });
        Ok(numbers.into_iter().filter_map(sys::inherit).collect())
    }

    /// Says that this life has found everything again and works.
    pub fn settled(&self) {
        self.region.head(Head::Unsettled).store(0, Ordering::SeqCst);
    }

    /// Begins the next life: executes this program, or another one for a live update, with the same arguments, descriptors
    /// and region. Comes back only with an error, and this life then goes on.
    pub fn again(&self, program: Option<&Path>) -> io::Error {
        execute(&self.region, program.map_or(OsStr::new("/proc/self/exe"), Path::as_os_str))
    }

    /// Ends the last life, and the keeper's with it.
    pub fn end(self, code: i32) -> ! {
        self.region.head(Head::Ended).store(1, Ordering::SeqCst);
        process::exit(code)
    }
}

/// The keeper: waits until the worker has gone, and takes its place. Who asks it to leave is asking the worker.
fn keep(region: &Region, worker: &OwnedFd, signals: &Signals) -> ! {
    loop {
        let mut waiting = [PollFd::new(worker, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let gone = poll(&mut waiting, None).is_ok() && !waiting[0].revents().is_empty();
        while let Ok(Some(signal)) = signals.next() {
            let _ = pidfd_send_signal(worker, signal.number());
        }
        if gone {
            break;
        }
    }
    if region.head(Head::Ended).load(Ordering::SeqCst) == 1 {
        sys::leave(0);
    }
    if region.head(Head::Unsettled).load(Ordering::SeqCst) > PATIENCE {
        thread::sleep(PAUSE);
    }
    loop {
        let error = execute(region, OsStr::new("/proc/self/exe"));
        eprintln!(
            "the program that was killed cannot be started again, which is tried every second: {error}"
        );
        thread::sleep(PAUSE);
    }
}

fn execute(region: &Region, program: &OsStr) -> io::Error {
    if let Err(error) = sys::close_on_exec(false) {
        return error;
    }
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).env(VARIABLE, region.number().to_string()).exec();
    match sys::close_on_exec(true) {
        Ok(()) => error,
        Err(error) => error,
    }
}

/// Closes what the life before used for the arrangement itself, and collects the process that has gone.
fn bury(region: &Region) {
    for word in [Head::WorkerPidfd, Head::KeeperPidfd, Head::Signalfd] {
        let number = region.head(word).swap(0, Ordering::SeqCst);
        let number = i32::try_from(number).unwrap_or(0) - 1;
        let Some(fd) = sys::inherit(number) else { continue };
        if !matches!(word, Head::Signalfd) {
            // Where it is no child of this process, init collects it.
            let _ = waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

fn record(region: &Region, word: Head, fd: &impl AsFd) {
    let number = u64::try_from(fd.as_fd().as_raw_fd()).expect("an open descriptor's number is not negative");
    region.head(word).store(number + 1, Ordering::SeqCst);
}
