//! System calls that std does not have. Every call that fails where it must not ends the program.

use std::ffi::c_int;

/// Ends the program with what went wrong and why.
pub fn die(doing: &str) -> ! {
    eprintln!("xen-bench: {doing}: {}", std::io::Error::last_os_error());
    std::process::exit(1)
}

/// The answer of a system call, or the end of the program if it is -1.
pub fn check(answer: c_int, doing: &str) -> c_int {
    if answer == -1 { die(doing) } else { answer }
}

pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the structure.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) }, "reading the clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub const PAGE: usize = 4096;

/// Anonymous pages, unmapped at the end.
pub struct Pages {
    base: *mut u8,
    count: usize,
}

impl Pages {
    pub fn new(count: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping; nothing refers to it yet.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), count * PAGE, access, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            die("mapping memory");
        }
        // Pages of 4 KiB are what is measured. An old kernel may not know the advice.
        // SAFETY: the mapping is ours.
        unsafe { libc::madvise(base, count * PAGE, libc::MADV_NOHUGEPAGE) };
        Self { base: base.cast(), count }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn page(&self, index: usize) -> *mut u8 {
        assert!(index < self.count);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(index * PAGE) }
    }

    /// Writes one byte of a page.
    pub fn touch(&self, index: usize) {
        // SAFETY: inside the mapping, which stays writable or has a handler for the fault.
        unsafe { self.page(index).write_volatile(1) };
    }

    pub fn protect(&self, index: usize, access: c_int) {
        // SAFETY: the page is of this mapping.
        check(unsafe { libc::mprotect(self.page(index).cast(), PAGE, access) }, "protecting a page");
    }

    /// Gives all frames back; the next touch gets fresh ones.
    pub fn drop_frames(&self) {
        // SAFETY: the mapping is ours, and nothing in it is kept.
        let answer = unsafe { libc::madvise(self.base.cast(), self.count * PAGE, libc::MADV_DONTNEED) };
        check(answer, "dropping frames");
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { libc::munmap(self.base.cast(), self.count * PAGE) };
    }
}

/// Installs a signal handler.
pub fn on_signal(signal: c_int, handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void)) {
    // SAFETY: zeros are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: the handlers of this program do nothing that a signal may not.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }, "installing a signal handler");
}

/// Runs `child` in a new process, which then ends, and waits for it.
pub fn fork_and_wait(child: impl FnOnce()) {
    // SAFETY: the program has one thread, so the child may do anything.
    match check(unsafe { libc::fork() }, "fork") {
        0 => {
            child();
            exit_now()
        }
        pid => {
            let mut status = 0;
            // SAFETY: waits for the child just made.
            check(unsafe { libc::waitpid(pid, &mut status, 0) }, "waiting for a child");
            if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
                eprintln!("xen-bench: a child ended with status {status:#x}");
                std::process::exit(1);
            }
        }
    }
}

/// Ends a child without the parent's clean-up.
pub fn exit_now() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}
