//! One life of a worker: from a program's start until it is killed, is replaced or leaves.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};

use xenctl::{Heritage, Region, Signal, Signals, keep_on_exec, process};

/// The descriptor of the region, told to the program that is executed anew.
const VARIABLE: &str = "KEEPER_REGION";

/// So many lives in a row that did not come as far as [`Life::settled`], and the next one waits for [`PAUSE`]: a worker that
/// cannot start must not keep a CPU busy, and one that is killed must not be waited for.
const PATIENCE: u64 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What a keeper is called: whoever kills by a daemon's name kills the worker.
const KEEPER: &str = "xen-keeper";

/// "keepers ".
const MAGIC: u64 = u64::from_le_bytes(*b"keepers ");

/// Words of the region's head: the keeper and the worker have them at the same time.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Head {
    Magic,
    /// Lives begun.
    Lives,
    /// Lives in a row that did not come as far as to work.
    Unsettled,
    /// 1: the worker left on purpose.
    Ended,
    /// Descriptor numbers, one more than they are.
    WorkerPidfd,
    KeeperPidfd,
    Signalfd,
}

impl Head {
    fn of(self, region: &Region) -> &AtomicU64 {
        region.head(self as usize)
    }
}

/// The worker's side of the arrangement. Dropping it keeps the arrangement: only [`Life::end`] ends it.
pub struct Life {
    /// The memory that outlives the worker.
    pub region: Region,
    program: Program,
    heritage: Heritage,
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
        let number = process::take_variable(VARIABLE)?;
        let mut heritage = Heritage::claim()?;
        let region = match number {
            Some(number) => earlier(&mut heritage, &number)?,
            None => {
                let region = Region::create(name, 0)?;
                Head::Magic.of(&region).store(MAGIC, Ordering::SeqCst);
                region
            }
        };
        // Executed by another path, the process would be called by that.
        rustix::thread::set_name(&CString::new(name)?)?;
        let signals = Signals::block()?;
        record(&region, Head::Signalfd, &signals);
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        record(&region, Head::WorkerPidfd, &own);
        Head::Unsettled.of(&region).fetch_add(1, Ordering::SeqCst);
        let number = Head::Lives.of(&region).fetch_add(1, Ordering::SeqCst) + 1;
        if number == 1 {
            // One that cannot begin has ended: nobody counts on it yet.
            Head::Ended.of(&region).store(1, Ordering::SeqCst);
        }
        let program = Program::this();
        let child = process::clone_sharing_descriptors(&|| {
            // It keeps by any name.
            let _ = process::call_itself(KEEPER);
            keep(&program, &region, &own, &signals)
        })?;
        let child = i32::try_from(child).ok().and_then(Pid::from_raw);
        let child = child.ok_or_else(|| io::Error::other("a process without a number"))?;
        let keeper = pidfd_open(child, PidfdFlags::empty())?;
        record(&region, Head::KeeperPidfd, &keeper);
        // It stays open until the next life closes it: the keeper waits on it.
        std::mem::forget(own);
        Ok(Life { region, program, heritage, signals, keeper, number })
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

    /// A descriptor that an earlier life recorded in the region. `None` where it is not open, or was inherited already.
    pub fn inherit(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.heritage.take(number)
    }

    /// One that can still be inherited.
    pub fn borrow(&self, number: RawFd) -> Option<BorrowedFd<'_>> {
        self.heritage.borrow(number)
    }

    /// Descriptors that nobody knows: those that the life before left, but for what was inherited by now and what is in
    /// `known`, which is all else that the lives before recorded. What the life before had opened, accepted or given up, and
    /// was killed before it could record that.
    pub fn strangers(&mut self, known: &[RawFd]) -> Vec<OwnedFd> {
        self.heritage.take_others(known)
    }

    /// Says that this life has found everything again and works. A first one that ends before is not started again.
    pub fn settled(&self) {
        Head::Unsettled.of(&self.region).store(0, Ordering::SeqCst);
        Head::Ended.of(&self.region).store(0, Ordering::SeqCst);
    }

    /// Begins the next life: executes this program, or another one for a live update, with the same arguments, descriptors
    /// and region. Comes back only with an error, and this life then goes on.
    pub fn again(&self, program: Option<&Path>) -> io::Error {
        // It has descriptors of its own from here on, and would wait for this process beside the next life's.
        let _ = pidfd_send_signal(&self.keeper, rustix::process::Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.keeper()), WaitIdOptions::EXITED);
        self.program.execute(&self.region, program)
    }

    /// Ends the last life, and the keeper's with it.
    pub fn end(self, code: i32) -> ! {
        Head::Ended.of(&self.region).store(1, Ordering::SeqCst);
        std::process::exit(code)
    }
}

/// The keeper: waits until the worker has gone, and takes its place. Who asks it to leave is asking the worker.
fn keep(program: &Program, region: &Region, worker: &OwnedFd, signals: &Signals) -> ! {
    loop {
        let mut waiting = [PollFd::new(worker, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let gone = poll(&mut waiting, None).is_ok() && !waiting[0].revents().is_empty();
        while let Ok(Some(signal)) = signals.next() {
            let signal = match signal {
                Signal::Terminate => rustix::process::Signal::TERM,
                Signal::Hangup => rustix::process::Signal::HUP,
            };
            let _ = pidfd_send_signal(worker, signal);
        }
        if gone {
            break;
        }
    }
    if Head::Ended.of(region).load(Ordering::SeqCst) == 1 {
        process::leave(0);
    }
    if Head::Unsettled.of(region).load(Ordering::SeqCst) > PATIENCE {
        thread::sleep(PAUSE);
    }
    loop {
        let error = program.execute(region, None);
        eprintln!(
            "the program that was killed cannot be started again, which is tried every second: {error}"
        );
        thread::sleep(PAUSE);
    }
}

/// What this process was executed with, name included.
struct Program(Vec<OsString>);

impl Program {
    fn this() -> Self {
        Self(env::args_os().collect())
    }

    /// Executes it anew, or another one in its place; comes back only with an error.
    fn execute(&self, region: &Region, other: Option<&Path>) -> io::Error {
        if let Err(error) = keep_on_exec(true) {
            return error;
        }
        let mut command = Command::new(other.unwrap_or(Path::new("/proc/self/exe")));
        if let [name, arguments @ ..] = &self.0[..] {
            command.arg0(name).args(arguments);
        }
        let error = command.env(VARIABLE, region.as_raw_fd().to_string()).exec();
        match keep_on_exec(false) {
            Ok(()) => error,
            Err(error) => error,
        }
    }
}

/// The region of the lives before, by its descriptor's number, with the arrangement of the last one undone.
fn earlier(heritage: &mut Heritage, number: &OsStr) -> io::Result<Region> {
    let missing =
        || io::Error::new(io::ErrorKind::InvalidData, "no earlier life's memory under this descriptor");
    let number = number.to_str().and_then(|number| number.parse().ok());
    let region = Region::of(number.and_then(|number| heritage.take(number)).ok_or_else(missing)?)?;
    if Head::Magic.of(&region).load(Ordering::SeqCst) != MAGIC {
        return Err(missing());
    }
    bury(&region, heritage);
    Ok(region)
}

/// Closes what the life before used for the arrangement itself, and collects the process that has gone.
fn bury(region: &Region, heritage: &mut Heritage) {
    for word in [Head::WorkerPidfd, Head::KeeperPidfd, Head::Signalfd] {
        let number = word.of(region).swap(0, Ordering::SeqCst);
        let number = i32::try_from(number).unwrap_or(0) - 1;
        let Some(fd) = heritage.take(number) else { continue };
        if !matches!(word, Head::Signalfd) {
            // Where it is no child of this process, init collects it.
            let _ = waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

fn record(region: &Region, word: Head, fd: &impl AsFd) {
    let number = u64::try_from(fd.as_fd().as_raw_fd()).expect("an open descriptor's number is not negative");
    word.of(region).store(number + 1, Ordering::SeqCst);
}
