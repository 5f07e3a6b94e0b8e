//! System calls, signals, pipes and processes.

use std::ffi::{CString, c_int, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

use crate::sys::{self, check, on_signal};

/// What a program that asks for the time does, by whichever clock the kernel chose.
pub fn clock() -> Option<Box<dyn FnMut(u64)>> {
    Some(Box::new(|times| {
        for _ in 0..times {
            sys::now_ns();
        }
    }))
}

/// The cheapest system call that enters the kernel.
pub fn null_system_call() -> Option<Box<dyn FnMut(u64)>> {
    Some(Box::new(|times| {
        for _ in 0..times {
            // SAFETY: getppid changes nothing.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
    }))
}

extern "C" fn nothing(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

/// A signal to oneself: sent, handled, returned from.
pub fn signal() -> Option<Box<dyn FnMut(u64)>> {
    on_signal(libc::SIGUSR1, nothing);
    Some(Box::new(|times| {
        for _ in 0..times {
            // SAFETY: the handler does nothing.
            check(unsafe { libc::raise(libc::SIGUSR1) }, "raising a signal");
        }
    }))
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors, which are ours from then on.
    unsafe {
        check(libc::pipe(ends.as_mut_ptr()), "making a pipe");
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

/// One byte to another process and back.
pub fn pipe_ping_pong() -> Option<Box<dyn FnMut(u64)>> {
    let (mut there_out, there_in) = pipe();
    let (back_out, mut back_in) = pipe();
    // SAFETY: the program has one thread, so the child may do anything.
    let child = check(unsafe { libc::fork() }, "fork");
    if child == 0 {
        drop((there_in, back_out));
        let mut byte = [0];
        while matches!(there_out.read(&mut byte), Ok(1)) && back_in.write_all(&byte).is_ok() {}
        sys::exit_now();
    }
    drop((there_out, back_in));
    let mut partner = Partner { child, to: Some(there_in), from: back_out };
    Some(Box::new(move |times| partner.ping(times)))
}

struct Partner {
    child: libc::pid_t,
    to: Option<File>,
    from: File,
}

impl Partner {
    fn ping(&mut self, times: u64) {
        let mut byte = [7];
        for _ in 0..times {
            let sent = self.to.as_mut().is_some_and(|to| to.write_all(&byte).is_ok());
            if !sent || self.from.read_exact(&mut byte).is_err() {
                sys::die("talking to the other process");
            }
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // The child sees the end of its pipe and ends.
        self.to = None;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(self.child, std::ptr::null_mut(), 0) };
    }
}

pub fn fork_exit() -> Option<Box<dyn FnMut(u64)>> {
    Some(Box::new(|times| {
        for _ in 0..times {
            sys::fork_and_wait(|| ());
        }
    }))
}

/// A child that executes this program, which ends at once.
pub fn fork_exec() -> Option<Box<dyn FnMut(u64)>> {
    let (program, option) = (CString::new("/proc/self/exe").ok()?, CString::new("--child").ok()?);
    Some(Box::new(move |times| {
        for _ in 0..times {
            sys::fork_and_wait(|| {
                let arguments = [program.as_ptr(), option.as_ptr(), std::ptr::null()];
                // SAFETY: the strings and the array outlive the call, which does not return if it works.
                unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
                sys::die("executing /proc/self/exe (is /proc mounted?)")
            });
        }
    }))
}
