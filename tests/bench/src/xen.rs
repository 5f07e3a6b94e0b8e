//! Hypercalls and events, as tools in dom0 and in guests make them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use abi::domctl::DomctlGetdomaininfo;
use abi::memory::XENMEM_CURRENT_RESERVATION;
use abi::sysctl::*;
use abi::xen::{DOMID_SELF, HYPERVISOR_MEMORY_OP, HYPERVISOR_SYSCTL, HYPERVISOR_XEN_VERSION};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sys::{self, PAGE, Pages};

/// `struct privcmd_hypercall` (Linux, `xen/privcmd.h`).
#[repr(C)]
struct PrivcmdHypercall {
    op: u64,
    arg: [u64; 5],
}

/// `struct ioctl_evtchn_bind_unbound_port`, `ioctl_evtchn_notify` (Linux, `xen/evtchn.h`): one word.
#[repr(C)]
pub struct Word(pub u32);

/// `struct ioctl_evtchn_bind_interdomain`.
#[repr(C)]
pub struct BindInterdomain {
    pub remote_domain: u32,
    pub remote_port: u32,
}

/// `_IOC(_IOC_NONE, type, nr, size)`.
pub const fn ioc(kind: u8, nr: u32, size: usize) -> u32 {
    (size as u32) << 16 | (kind as u32) << 8 | nr
}

const IOCTL_PRIVCMD_HYPERCALL: u32 = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
pub const IOCTL_EVTCHN_BIND_INTERDOMAIN: u32 = ioc(b'E', 1, size_of::<BindInterdomain>());
pub const IOCTL_EVTCHN_BIND_UNBOUND_PORT: u32 = ioc(b'E', 2, size_of::<Word>());
pub const IOCTL_EVTCHN_NOTIFY: u32 = ioc(b'E', 4, size_of::<Word>());

pub fn open(name: &str) -> Option<File> {
    [format!("/dev/xen/{name}"), format!("/proc/xen/{name}")]
        .iter()
        .find_map(|path| OpenOptions::new().read(true).write(true).open(path).ok())
}

pub fn ioctl<T>(file: &File, request: u32, arg: &mut T) -> i32 {
    // SAFETY: the request's size and layout are those of `T`, as the constants above say.
    unsafe { libc::ioctl(file.as_raw_fd(), request as _, std::ptr::from_mut(arg)) }
}

/// The way of hypercalls.
pub struct Privcmd(File);

impl Privcmd {
    pub fn open() -> Option<Privcmd> {
        open("privcmd").map(Privcmd)
    }

    /// The answer, or -1 with errno.
    pub fn call(&self, op: u32, arg: [u64; 5]) -> i32 {
        ioctl(&self.0, IOCTL_PRIVCMD_HYPERCALL, &mut PrivcmdHypercall { op: op.into(), arg })
    }
}

/// Memory that a hypercall reads and writes. Hypercalls do not page in: it is locked.
pub struct Argument(Pages);

impl Argument {
    /// Room for the information of this many domains, and for everything else.
    const DOMAINS: usize = 100;
    const PAGES: usize = (Self::DOMAINS * size_of::<DomctlGetdomaininfo>()).div_ceil(PAGE);

    pub fn new() -> Argument {
        let pages = Pages::new(Self::PAGES);
        // SAFETY: the memory is ours.
        let answer = unsafe { libc::mlock(pages.page(0).cast(), Self::PAGES * PAGE) };
        sys::check(answer, "locking memory");
        Argument(pages)
    }

    pub fn address(&self) -> u64 {
        self.0.page(0) as u64
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the pages are ours and this is their only reference; no hypercall runs while it lives.
        unsafe { std::slice::from_raw_parts_mut(self.0.page(0), Self::PAGES * PAGE) }
    }

    pub fn put<T: IntoBytes + Immutable>(&mut self, at: usize, value: &T) {
        self.bytes()[at..][..size_of::<T>()].copy_from_slice(value.as_bytes());
    }

    pub fn get<T: FromBytes>(&mut self, at: usize) -> T {
        T::read_from_bytes(&self.bytes()[at..][..size_of::<T>()])
            .unwrap_or_else(|_| sys::die("the size of a value"))
    }
}

/// xen_version's version, through the kernel.
pub fn version() -> Option<Box<dyn FnMut(u64)>> {
    let privcmd = Privcmd::open()?;
    let call = move || privcmd.call(HYPERVISOR_XEN_VERSION, [0; 5]);
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

/// sysctl's argument: header and union.
fn sysctl<T: IntoBytes + Immutable>(privcmd: &Privcmd, cmd: u32, payload: &T) -> Option<Argument> {
    let mut argument = Argument::new();
    argument.put(0, &SysctlHeader { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION });
    argument.put(SYSCTL_PAYLOAD_OFFSET, payload);
    let answer = privcmd.call(HYPERVISOR_SYSCTL, [argument.address(), 0, 0, 0, 0]);
    (answer == 0).then_some(argument)
}

/// All domains but dom0; only dom0 is told.
pub fn guests() -> Option<Vec<DomctlGetdomaininfo>> {
    let mut list = Argument::new();
    let ask = SysctlGetdomaininfolist {
        first_domain: 1,
        max_domains: Argument::DOMAINS as u32,
        buffer: abi::GuestHandle::new(list.address()),
        ..Default::default()
    };
    let mut answer = sysctl(&Privcmd::open()?, XEN_SYSCTL_GETDOMAININFOLIST, &ask)?;
    let count = answer.get::<SysctlGetdomaininfolist>(SYSCTL_PAYLOAD_OFFSET).num_domains as usize;
    Some((0..count).map(|n| list.get(n * size_of::<DomctlGetdomaininfo>())).collect())
}

/// Pages of the machine, free ones, this domain's, and those of all guests.
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub own: u64,
    pub guests: usize,
    pub guests_own: u64,
}

/// What the hypervisor says of its memory; only dom0 is told.
pub fn memory() -> Option<Memory> {
    let privcmd = Privcmd::open()?;
    let mut answer = sysctl(&privcmd, XEN_SYSCTL_PHYSINFO, &SysctlPhysinfo::default())?;
    let info: SysctlPhysinfo = answer.get(SYSCTL_PAYLOAD_OFFSET);
    answer.put(0, &DOMID_SELF);
    let args = [XENMEM_CURRENT_RESERVATION.into(), answer.address(), 0, 0, 0];
    let own = u64::try_from(privcmd.call(HYPERVISOR_MEMORY_OP, args)).ok()?;
    let guests = guests()?;
    Some(Memory {
        total: info.total_pages,
        free: info.free_pages + info.scrub_pages,
        own,
        guests: guests.len(),
        guests_own: guests.iter().map(|guest| guest.tot_pages).sum(),
    })
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
