//! Kernels that are asked to stand still: one does, one does not answer, one dies of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use abi::io::xs_wire::{XS_WATCH_EVENT, XsdSockmsg};
use abi::sched::SHUTDOWN_CRASH;
use xenctl::testing::Bed;
use xenstore::{Quotas, Store};
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::testing::{GUEST, client};

const NODE: &str = "/local/domain/7/control/shutdown";

/// The watches' end of the store: every request is well, and whenever `kernel` has done something that is told. It is
/// called after each, with how many there were, until it has nothing more to do.
fn watches(mut ours: UnixStream, mut kernel: impl FnMut(usize) -> bool) {
    let send = |stream: &mut UnixStream, type_, payload: &[u8]| {
        let head = XsdSockmsg { type_, req_id: 0, tx_id: 0, len: payload.len() as u32 };
        stream.write_all(&[head.as_bytes(), payload].concat()).is_ok()
    };
    let mut asked = 0;
    let mut head = XsdSockmsg::new_zeroed();
    while ours.read_exact(head.as_mut_bytes()).is_ok() {
        let mut payload = vec![0; head.len as usize];
        ours.read_exact(&mut payload).unwrap();
        send(&mut ours, head.type_, b"OK\0");
        asked += 1;
        if asked == 2 {
            let mut step = 0;
            while kernel(step) && send(&mut ours, XS_WATCH_EVENT, b"/any\0suspend\0") {
                step += 1;
            }
        }
    }
}

/// What becomes of a request, with a kernel that does this.
fn asked(
    kernel: impl Fn(usize, &Xen, &mut Client) -> bool + Send + 'static,
    patience: Duration,
) -> (Result<()>, Option<String>, Xen, Client, Bed) {
    let bed = Bed::new(4096, 1);
    bed.guest(GUEST, 1).boot(3);
    let tree = Arc::new(Mutex::new(Store::new(Quotas::default(), None)));
    let (xen, theirs, mut store, mut its) = (bed.xen(), bed.xen(), client(&tree), client(&tree));
    store.write(NODE, b"").unwrap();
    xen.unpause(GUEST).unwrap();
    let (ours, stream) = UnixStream::pair().unwrap();
    let watching = thread::spawn(move || watches(stream, |step| kernel(step, &theirs, &mut its)));
    let mut watcher = Watcher::over(ours);
    let result = suspend(&xen, &mut store, &mut watcher, GUEST, patience);
    drop(watcher);
    watching.join().unwrap();
    let left = store.text(NODE).unwrap();
    (result, left, xen, store, bed)
}

/// Waits until the request is there.
fn request(store: &mut Client) {
    while store.text(NODE).unwrap().as_deref() != Some("suspend") {
        thread::yield_now();
    }
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_kernel_takes_the_request_and_stops_and_goes_on() {
    let kernel = |step, xen: &Xen, store: &mut Client| {
        match step {
            0 => {
                request(store);
                store.write(NODE, b"").unwrap();
            }
            1 => xen.shutdown(GUEST, SHUTDOWN_SUSPEND).unwrap(),
            _ => return false,
        }
        true
    };
    let (result, left, xen, mut store, _bed) = asked(kernel, LONG);
    result.unwrap();
    assert_eq!(left.as_deref(), Some(""));
    store.write(NODE, b"").unwrap();
    // The simulated store knows of no domains; what the hypervisor does is seen all the same.
    let _ = resume(&xen, &mut store, GUEST);
    let info = xen.domain(GUEST).unwrap().unwrap();
    assert_eq!(info.flags & XEN_DOMINF_SHUTDOWN, 0);
    assert_eq!(xen.vcpu_context(GUEST, 0).unwrap().user_regs.rax, 1);
}

#[test]
fn a_kernel_that_does_not_answer_is_not_asked_any_more() {
    let (result, left, ..) = asked(|_, _, _| false, Duration::from_millis(1));
    let e = result.unwrap_err();
    assert_eq!(e.errno, Errno::ETIMEDOUT);
    assert!(e.to_string().contains("does not take the request"), "{e}");
    assert_eq!(left.as_deref(), Some(""));
}

#[test]
fn a_guest_that_ends_instead_is_told() {
    let kernel = |step, xen: &Xen, store: &mut Client| {
        if step == 0 {
            request(store);
            xen.shutdown(GUEST, SHUTDOWN_CRASH).unwrap();
        }
        step == 0
    };
    let e = asked(kernel, LONG).0.unwrap_err().to_string();
    assert!(e.contains("it shut down meanwhile"), "{e}");
}

#[test]
fn guests_that_cannot_answer_are_not_asked() {
    let bed = Bed::new(4096, 1);
    bed.guest(GUEST, 1);
    let tree = Arc::new(Mutex::new(Store::new(Quotas::default(), None)));
    let (xen, mut store) = (bed.xen(), client(&tree));
    let mut said = |domain| {
        let mut watcher = Watcher::over(UnixStream::pair().unwrap().0);
        suspend(&xen, &mut store, &mut watcher, domain, LONG).unwrap_err().to_string()
    };
    assert!(said(GUEST).contains("xl unpause"), "{}", said(GUEST));
    assert!(said(DomId(0)).contains("the domain we run in"));
    assert!(said(DomId(77)).contains("No such process"));
    xen.shutdown(GUEST, SHUTDOWN_SUSPEND).unwrap();
    assert!(said(GUEST).contains("it has shut down"));
}
