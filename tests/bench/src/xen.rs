//! A hypercall and an event, as tools in dom0 and in guests make them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use crate::sys;

/// `struct privcmd_hypercall` (Linux, `xen/privcmd.h`).
#[repr(C)]
struct PrivcmdHypercall {
    op: u64,
    arg: [u64; 5],
}

/// `struct ioctl_evtchn_bind_unbound_port`, `ioctl_evtchn_notify` (Linux, `xen/evtchn.h`): one word.
#[repr(C)]
struct Word(u32);

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
struct BindInterdomain {
    remote_domain: u32,
    remote_port: u32,
}

/// `_IOC(_IOC_NONE, type, nr, size)`.
const fn ioc(kind: u8, nr: u32, size: usize) -> u32 {
    (size as u32) << 16 | (kind as u32) << 8 | nr
}

const IOCTL_PRIVCMD_HYPERCALL: u32 = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
const IOCTL_EVTCHN_BIND_INTERDOMAIN: u32 = ioc(b'E', 1, size_of::<BindInterdomain>());
const IOCTL_EVTCHN_BIND_UNBOUND_PORT: u32 = ioc(b'E', 2, size_of::<Word>());
const IOCTL_EVTCHN_NOTIFY: u32 = ioc(b'E', 4, size_of::<Word>());

const HYPERVISOR_MEMORY_OP: u64 = 12;
const HYPERVISOR_XEN_VERSION: u64 = 17;
const HYPERVISOR_SYSCTL: u64 = 35;
const XENMEM_CURRENT_RESERVATION: u64 = 3;
const XEN_SYSCTL_PHYSINFO: u32 = 3;
const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;

fn open(name: &str) -> Option<File> {
    [format!("/dev/xen/{name}"), format!("/proc/xen/{name}")]
        .iter()
        .find_map(|path| OpenOptions::new().read(true).write(true).open(path).ok())
}

fn ioctl<T>(file: &File, request: u32, arg: &mut T) -> i32 {
    // SAFETY: the request's size and layout are those of `T`, as the constants above say.
    unsafe { libc::ioctl(file.as_raw_fd(), request as _, std::ptr::from_mut(arg)) }
}

/// xen_version's version, through the kernel.
pub fn version() -> Option<Box<dyn FnMut(u64)>> {
    let privcmd = open("privcmd")?;
    let call = move || {
        ioctl(
            &privcmd,
            IOCTL_PRIVCMD_HYPERCALL,
            &mut PrivcmdHypercall { op: HYPERVISOR_XEN_VERSION, arg: [0; 5] },
        )
    };
    if call() < 0x4_0000 {
        return None;
    }
    Some(Box::new(move |times| {
        for _ in 0..times {
            if call() < 0 {
                sys::die("asking xen_version");
            }
        }
    }))
}

/// The caller, whichever domain it is (`xen.h`).
const DOMID_SELF: u16 = 0x7ff0;

/// An event from one of our ports to another: sent, delivered, read and unmasked.
pub fn event_to_self() -> Option<Box<dyn FnMut(u64)>> {
    let domain = u32::from(DOMID_SELF);
    let mut evtchn = open("evtchn")?;
    let local = u32::try_from(ioctl(&evtchn, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &mut Word(domain))).ok()?;
    let mut bind = BindInterdomain { remote_domain: domain, remote_port: local };
    let remote = u32::try_from(ioctl(&evtchn, IOCTL_EVTCHN_BIND_INTERDOMAIN, &mut bind)).ok()?;
    // Binding makes the other end pending once.
    let mut port = [0; 4];
    let mut take = move |evtchn: &mut File| {
        if evtchn.read_exact(&mut port).is_err() || evtchn.write_all(&port).is_err() {
            sys::die("reading an event");
        }
    };
    take(&mut evtchn);
    Some(Box::new(move |times| {
        for _ in 0..times {
            if ioctl(&evtchn, IOCTL_EVTCHN_NOTIFY, &mut Word(remote)) != 0 {
                sys::die("sending an event");
            }
            take(&mut evtchn);
        }
    }))
}

/// `struct xen_sysctl` with physinfo (`sysctl.h`).
#[repr(C, align(4096))]
struct Physinfo {
    cmd: u32,
    interface_version: u32,
    counts: [u32; 10],
    total_pages: u64,
    free_pages: u64,
    scrub_pages: u64,
    rest: [u64; 10],
}

/// Pages of the machine, free ones, and this domain's.
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub own: u64,
}

/// What the hypervisor says of its memory; only dom0 is told.
pub fn memory() -> Option<Memory> {
    let privcmd = open("privcmd")?;
    let mut info = Box::new(Physinfo {
        cmd: XEN_SYSCTL_PHYSINFO,
        interface_version: XEN_SYSCTL_INTERFACE_VERSION,
        counts: [0; 10],
        total_pages: 0,
        free_pages: 0,
        scrub_pages: 0,
        rest: [0; 10],
    });
    // Hypercalls do not page in: what they write must be there.
    // SAFETY: the memory is ours, whole pages of it.
    unsafe { libc::mlock(std::ptr::from_ref(&*info).cast(), size_of::<Physinfo>()) };
    let mut call = PrivcmdHypercall { op: HYPERVISOR_SYSCTL, arg: [&raw mut *info as u64, 0, 0, 0, 0] };
    let answer = ioctl(&privcmd, IOCTL_PRIVCMD_HYPERCALL, &mut call);
    if answer != 0 {
        return None;
    }
    let (total, free) = (info.total_pages, info.free_pages + info.scrub_pages);
    info.cmd = DOMID_SELF.into();
    let arg = [XENMEM_CURRENT_RESERVATION, &raw mut *info as u64, 0, 0, 0];
    let mut call = PrivcmdHypercall { op: HYPERVISOR_MEMORY_OP, arg };
    let own = u64::try_from(ioctl(&privcmd, IOCTL_PRIVCMD_HYPERCALL, &mut call)).ok()?;
    Some(Memory { total, free, own })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_kernel() {
        assert_eq!(IOCTL_PRIVCMD_HYPERCALL, 0x0030_5000);
        assert_eq!(IOCTL_EVTCHN_BIND_INTERDOMAIN, 0x0008_4501);
        assert_eq!(IOCTL_EVTCHN_BIND_UNBOUND_PORT, 0x0004_4502);
        assert_eq!(IOCTL_EVTCHN_NOTIFY, 0x0004_4504);
    }
}
