//! A program in dom0 that answers events of one in a guest, and copies through its grants.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use crate::sys::{self, PAGE, Pages, check};
use crate::xen::{self, BindInterdomain, IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_EVTCHN_BIND_UNBOUND_PORT};
use crate::xen::{IOCTL_EVTCHN_NOTIFY, Word, ioc, ioctl};

/// `struct ioctl_gntalloc_alloc_gref` for one page (Linux, `xen/gntalloc.h`).
#[repr(C)]
struct AllocGref {
    domid: u16,
    flags: u16,
    count: u32,
    index: u64,
    gref: u32,
    _pad: u32,
}

const IOCTL_GNTALLOC_ALLOC_GREF: u32 = ioc(b'G', 5, size_of::<AllocGref>());
const GNTALLOC_FLAG_WRITABLE: u16 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct Foreign {
    grant: u32,
    offset: u16,
    domain: u16,
}

/// One end of a copy: an address of ours, or another domain's grant.
#[repr(C)]
union CopyEnd {
    address: *mut u8,
    foreign: Foreign,
}

/// `struct gntdev_grant_copy_segment` (Linux, `xen/gntdev.h`).
#[repr(C)]
struct CopySegment {
    source: CopyEnd,
    dest: CopyEnd,
    len: u16,
    flags: u16,
    status: i16,
}

/// `struct ioctl_gntdev_grant_copy`.
#[repr(C)]
struct GrantCopy {
    count: u32,
    segments: *mut CopySegment,
}

const IOCTL_GNTDEV_GRANT_COPY: u32 = ioc(b'G', 8, size_of::<GrantCopy>());
const GNTCOPY_SOURCE_GREF: u16 = 1;
const GNTCOPY_DEST_GREF: u16 = 2;

/// Our end of an event channel.
struct Channel {
    evtchn: File,
    port: u32,
}

impl Channel {
    fn notify(&self) {
        check(ioctl(&self.evtchn, IOCTL_EVTCHN_NOTIFY, &mut Word(self.port)), "sending an event");
    }

    /// Waits for an event and lets the next one through.
    fn take(&mut self) -> std::io::Result<()> {
        let mut port = [0; 4];
        self.evtchn.read_exact(&mut port)?;
        self.evtchn.write_all(&port)
    }
}

/// What the guest offers: a port, and a grant of a page (0: none).
#[derive(Clone, Copy)]
pub struct Offer {
    pub port: u32,
    pub grant: u32,
}

/// In dom0: answers the events of the only guest, for ever. `false`: that could not be set up.
pub fn answer(offer: Offer) -> bool {
    let Some(channel) = bind(offer.port) else { return false };
    std::thread::spawn(move || answer_all(channel, offer.grant));
    true
}

fn bind(remote_port: u32) -> Option<Channel> {
    let remote_domain = u32::from(xen::guests()?.first()?.domain);
    let evtchn = xen::open("evtchn")?;
    let mut bind = BindInterdomain { remote_domain, remote_port };
    let port = u32::try_from(ioctl(&evtchn, IOCTL_EVTCHN_BIND_INTERDOMAIN, &mut bind)).ok()?;
    let mut channel = Channel { evtchn, port };
    // Binding makes this end pending once.
    channel.take().ok()?;
    Some(channel)
}

fn answer_all(mut channel: Channel, grant: u32) {
    let gntdev = xen::open("gntdev");
    let Some(guest) = xen::guests().and_then(|all| Some(all.first()?.domain)) else { return };
    let buffer = Pages::new(1);
    buffer.touch(0);
    while channel.take().is_ok() {
        if let (1.., Some(gntdev)) = (grant, &gntdev) {
            let ours = || CopyEnd { address: buffer.page(0) };
            let theirs = || CopyEnd { foreign: Foreign { grant, offset: 0, domain: guest } };
            copy(gntdev, theirs(), ours(), GNTCOPY_SOURCE_GREF);
            copy(gntdev, ours(), theirs(), GNTCOPY_DEST_GREF);
        }
        channel.notify();
    }
}

/// A page from one end to the other.
fn copy(gntdev: &File, source: CopyEnd, dest: CopyEnd, flags: u16) {
    let mut segment = CopySegment { source, dest, len: PAGE as u16, flags, status: 0 };
    let mut request = GrantCopy { count: 1, segments: &raw mut segment };
    check(ioctl(gntdev, IOCTL_GNTDEV_GRANT_COPY, &mut request), "copying through a grant");
    if segment.status != 0 {
        sys::die("copying through a grant: refused");
    }
}

/// A page of the guest that dom0 may read and write.
fn grant_a_page() -> Option<u32> {
    let gntalloc = xen::open("gntalloc")?;
    let mut alloc =
        AllocGref { domid: 0, flags: GNTALLOC_FLAG_WRITABLE, count: 1, index: 0, gref: 0, _pad: 0 };
    check(ioctl(&gntalloc, IOCTL_GNTALLOC_ALLOC_GREF, &mut alloc), "granting a page");
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let (fd, at) = (gntalloc.as_raw_fd(), alloc.index.cast_signed());
    // SAFETY: a new mapping, which nothing here refers to; it keeps the page until the program ends.
    let page = unsafe { libc::mmap64(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, fd, at) };
    (page != libc::MAP_FAILED).then_some(alloc.gref)
}

/// In the guest: sends an event, waits for the answer. `offer` tells dom0's program, and says whether it works.
pub fn round_trip(grant: bool, offer: impl FnOnce(Offer) -> bool) -> Option<Box<dyn FnMut(u64)>> {
    let evtchn = xen::open("evtchn")?;
    let port = u32::try_from(ioctl(&evtchn, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &mut Word(0))).ok()?;
    let grant = if grant { grant_a_page()? } else { 0 };
    if !offer(Offer { port, grant }) {
        return None;
    }
    let mut channel = Channel { evtchn, port };
    Some(Box::new(move |times| {
        for _ in 0..times {
            channel.notify();
            if channel.take().is_err() {
                sys::die("waiting for an event");
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_kernel() {
        assert_eq!(IOCTL_GNTALLOC_ALLOC_GREF, 0x0018_4705);
        assert_eq!(IOCTL_GNTDEV_GRANT_COPY, 0x0010_4708);
        assert_eq!(size_of::<CopySegment>(), 24);
    }
}
