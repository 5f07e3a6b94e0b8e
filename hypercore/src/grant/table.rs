//! The table shared with the guest, and what is known of each entry in use.

use crate::domain::Domain;
use crate::fallible::boxed;
use crate::frame::{CanRead, HvFrame};
use crate::ids::{DomId, GrantRef, Mfn};
use crate::machine::Machine;
use crate::nospec;
use crate::sync::Mutex;
use crate::xen::Xen;
use abi::Errno;
use abi::grant_table::GrantEntryV1;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::*};
use spin::Once;

/// Entries in a frame.
pub const PER_FRAME: u32 = (4096 / size_of::<GrantEntryV1>()) as u32;

/// An entry that is in use: fixed from its first use to its last, whatever the guest writes meanwhile.
#[derive(Default)]
pub struct Active {
    /// Who uses it.
    pub grantee: DomId,
    pub mfn: Mfn,
    /// Uses that only read, and those that may write.
    pub readers: u32,
    pub writers: u32,
}

impl Active {
    pub fn in_use(&self) -> bool {
        self.readers != 0 || self.writers != 0
    }
}

/// One frame of entries.
struct Frame {
    shared: HvFrame,
    active: Box<[Mutex<Active>]>,
}

/// A place in the table.
pub struct Slot<'a> {
    pub frame: &'a HvFrame,
    /// Bytes into the frame.
    pub offset: usize,
    pub active: &'a Mutex<Active>,
}

pub struct GrantTable {
    frames: Box<[Once<Frame>]>,
    present: AtomicU32,
    growing: Mutex<()>,
}

impl GrantTable {
    pub fn new(max_frames: u32) -> Result<Self, Errno> {
        let frames = boxed(max_frames as usize, Once::new)?;
        Ok(Self { frames, present: AtomicU32::new(0), growing: Mutex::new(()) })
    }

    pub fn max_frames(&self) -> u32 {
        self.frames.len() as u32
    }

    pub fn frames(&self) -> u32 {
        self.present.load(Acquire)
    }

    pub fn frame(&self, i: u32) -> Option<&HvFrame> {
        Some(&self.frames.get(i as usize)?.get()?.shared)
    }

    #[inline]
    pub fn slot(&self, r: GrantRef) -> Option<Slot<'_>> {
        let f = nospec::get(&self.frames, (r.0 / PER_FRAME) as usize)?.get()?;
        let i = (r.0 % PER_FRAME) as usize;
        Some(Slot { frame: &f.shared, offset: i * size_of::<GrantEntryV1>(), active: &f.active[i] })
    }
}

/// Gives `dom` a table of at least `frames` frames. EINVAL: above its limit, or the domain is dying. ENOMEM.
pub fn grow<M: Machine>(xen: &'static Xen<M>, dom: &Domain, frames: u32) -> Result<(), Errno> {
    let table = &dom.grants.table;
    if frames <= table.frames() {
        return Ok(());
    }
    if frames > table.max_frames() || !dom.is_alive() {
        return Err(Errno::EINVAL);
    }
    let _growing = table.growing.lock();
    for i in table.frames()..frames {
        table.frames[i as usize].try_call_once(|| {
            let active = boxed(PER_FRAME as usize, Mutex::default)?;
            let shared = HvFrame::alloc(&xen.m, xen.frames, dom.id).ok_or(Errno::ENOMEM)?;
            Ok(Frame { shared, active })
        })?;
        table.present.store(i + 1, Release);
    }
    Ok(())
}

/// Frame `i` of `dom`'s table for a tool that maps it as a resource; the table grows to it.
pub fn resource_frame<M: Machine>(xen: &'static Xen<M>, dom: &Domain, i: u32) -> Result<Mfn, Errno> {
    grow(xen, dom, i.checked_add(1).ok_or(Errno::EINVAL)?)?;
    dom.grants.shared_frame(i).map(|f| f.mfn()).ok_or(Errno::EINVAL)
}
