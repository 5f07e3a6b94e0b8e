//! The table shared with the guest, in either version, and what is known of each entry in use.
//!
//! A change of version is rare and may wait; uses are many and may not. So there is no lock of the table on the
//! way to an entry: the version is read, the entry locked, and the version read again. Who changes it first says
//! [`CHANGING`], then takes each entry's lock once, and from then on nobody is at any entry before it is done.

use super::active::Active;
use crate::domain::{Domain, NewDomain};
use crate::fallible::boxed;
use crate::frame::{CanRead, HvFrame};
use crate::ids::{GrantRef, Mfn};
use crate::machine::Machine;
use crate::nospec;
use crate::refuse;
use crate::sync::{Mutex, MutexGuard, relax};
use crate::xen::Xen;
use abi::Errno;
use abi::grant_table::{GrantEntryV1, GrantEntryV2};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering::*};
use spin::Once;

/// Entries in a frame of version 1, which are the smallest.
pub const PER_FRAME: u32 = (4096 / size_of::<GrantEntryV1>()) as u32;
const PER_FRAME_V2: u32 = (4096 / size_of::<GrantEntryV2>()) as u32;
/// Status words of version 2 in a frame, 2 bytes each.
const PER_STATUS_FRAME: u32 = 4096 / 2;
/// Frames of entries that one frame of status words is for.
const FRAMES_PER_STATUS: u32 = PER_STATUS_FRAME / PER_FRAME_V2;

/// No version: entries are being rewritten for another.
const CHANGING: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    One = 1,
    Two = 2,
}

/// One frame of entries.
struct Frame {
    shared: HvFrame,
    active: Box<[Mutex<Active>]>,
}

/// Where an entry and its marks are. The entry is locked, and the version stays while it is.
pub struct Slot<'a> {
    pub frame: &'a HvFrame,
    /// Bytes into the frame.
    pub offset: usize,
    /// Version 2: where its marks are, and bytes into that frame.
    pub status: Option<(&'a HvFrame, usize)>,
    pub active: MutexGuard<'a, Active>,
}

impl Slot<'_> {
    pub fn version(&self) -> Version {
        if self.status.is_some() { Version::Two } else { Version::One }
    }
}

pub struct GrantTable {
    frames: Box<[Once<Frame>]>,
    present: AtomicU32,
    /// They stay when the table goes back to version 1, for the next time.
    status: Box<[Once<HvFrame>]>,
    /// A [`Version`], or [`CHANGING`].
    version: AtomicU32,
    max_version: u32,
    /// Held for growth and for a change of version.
    growing: Mutex<()>,
}

impl GrantTable {
    pub fn new(n: &NewDomain) -> Result<Self, Errno> {
        Ok(Self {
            frames: boxed(n.max_grant_frames as usize, Once::new)?,
            present: AtomicU32::new(0),
            status: boxed(status_frames(n.max_grant_frames) as usize, Once::new)?,
            version: AtomicU32::new(Version::One as u32),
            max_version: n.grant_version_max,
            growing: Mutex::new(()),
        })
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

    /// Most frames of status words there may be.
    pub fn max_status_frames(&self) -> u32 {
        self.status.len() as u32
    }

    /// Frames of status words that the guest may see: none in version 1.
    pub fn status_frames(&self) -> u32 {
        match self.version() {
            Version::One => 0,
            Version::Two => status_frames(self.frames()),
        }
    }

    pub fn status_frame(&self, i: u32) -> Option<&HvFrame> {
        self.status.get(i as usize)?.get()
    }

    pub fn max_version(&self) -> u32 {
        self.max_version
    }

    /// The version in force, once it is settled.
    #[inline]
    pub fn version(&self) -> Version {
        loop {
            match self.version.load(Acquire) {
                1 => return Version::One,
                2 => return Version::Two,
                _ => relax(),
            }
        }
    }

    /// The locked entry `r`; `None` if there is no such entry in the version in force.
    #[inline]
    pub fn slot(&self, r: GrantRef) -> Option<Slot<'_>> {
        loop {
            let version = self.version();
            let slot = self.lock(version, r)?;
            if self.version.load(Acquire) == version as u32 {
                return Some(slot);
            }
        }
    }

    #[inline]
    fn lock(&self, version: Version, r: GrantRef) -> Option<Slot<'_>> {
        let (per_frame, size) = match version {
            Version::One => (PER_FRAME, size_of::<GrantEntryV1>()),
            Version::Two => (PER_FRAME_V2, size_of::<GrantEntryV2>()),
        };
        let f = nospec::get(&self.frames, (r.0 / per_frame) as usize)?.get()?;
        let status = match version {
            Version::One => None,
            Version::Two => {
                let frame = nospec::get(&self.status, (r.0 / PER_STATUS_FRAME) as usize)?.get()?;
                Some((frame, (r.0 % PER_STATUS_FRAME) as usize * 2))
            }
        };
        let i = (r.0 % per_frame) as usize;
        Some(Slot { frame: &f.shared, offset: i * size, status, active: f.active[i].lock() })
    }

    /// Status words for `frames` frames of entries. The caller holds `growing`.
    fn grow_status<M: Machine>(&self, xen: &'static Xen<M>, dom: &Domain, frames: u32) -> Result<(), Errno> {
        for place in self.status.iter().take(status_frames(frames) as usize) {
            place
                .try_call_once(|| HvFrame::alloc(&xen.m, xen.frames, dom.id).ok_or_else(|| no_frame(xen)))?;
        }
        Ok(())
    }

    /// Makes `to` the version in force, if `convert` went well. It is told the version before, and rewrites the frames
    /// while nobody is at any entry.
    ///
    /// EBUSY: an entry past the first `kept` is in use. ENOMEM: no frames for status words.
    pub fn change_version<M: Machine>(
        &self,
        xen: &'static Xen<M>,
        dom: &Domain,
        to: Version,
        kept: u32,
        convert: impl FnOnce(Version) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let _growing = self.growing.lock();
        let from = self.version();
        if from == to {
            return Ok(());
        }
        if to == Version::Two {
            self.grow_status(xen, dom, self.frames())?;
        }
        self.version.store(CHANGING, SeqCst);
        let changed = self.settle(xen, kept).and_then(|()| convert(from));
        let now = if changed.is_ok() { to } else { from };
        self.version.store(now as u32, Release);
        changed
    }

    /// Waits until nobody is at an entry. EBUSY if one past the first `kept` is in use.
    fn settle<M: Machine>(&self, xen: &Xen<M>, kept: u32) -> Result<(), Errno> {
        for (i, frame) in self.frames.iter().map_while(Once::get).enumerate() {
            for (j, active) in frame.active.iter().enumerate() {
                let in_use = active.lock().in_use();
                if in_use && (i > 0 || j >= kept as usize) {
                    let e = Errno::EBUSY;
                    return Err(refuse!(xen, e, "entry {} of frame {} of the table is in use", j, i));
                }
            }
        }
        Ok(())
    }
}

/// Frames of status words for `frames` frames of entries.
const fn status_frames(frames: u32) -> u32 {
    frames.div_ceil(FRAMES_PER_STATUS)
}

/// Gives `dom` a table of at least `frames` frames. EINVAL: above its limit, or the domain is dying. ENOMEM.
pub fn grow<M: Machine>(xen: &'static Xen<M>, dom: &Domain, frames: u32) -> Result<(), Errno> {
    let table = &dom.grants.table;
    if frames <= table.frames() {
        return Ok(());
    }
    if frames > table.max_frames() {
        let most = table.max_frames();
        return Err(refuse!(xen, Errno::EINVAL, "{} frames for a table that may have {}", frames, most));
    }
    if !dom.is_alive() {
        return Err(refuse!(xen, Errno::EINVAL, "domain {} is being destroyed", dom.id.0));
    }
    let _growing = table.growing.lock();
    if table.version() == Version::Two {
        table.grow_status(xen, dom, frames)?;
    }
    for i in table.frames()..frames {
        table.frames[i as usize].try_call_once(|| {
            let none = |e| refuse!(xen, e, "the hypervisor's heap has no room for a frame of grants");
            let active = boxed(PER_FRAME as usize, Mutex::default).map_err(none)?;
            let shared = HvFrame::alloc(&xen.m, xen.frames, dom.id).ok_or_else(|| no_frame(xen))?;
            Ok(Frame { shared, active })
        })?;
        table.present.store(i + 1, Release);
    }
    Ok(())
}

#[cold]
fn no_frame<M: Machine>(xen: &Xen<M>) -> Errno {
    refuse!(xen, Errno::ENOMEM, "no frame is free for the grant table")
}

/// Frame `i` of `dom`'s table for a tool that maps it as a resource; the table grows to it.
pub fn resource_frame<M: Machine>(xen: &'static Xen<M>, dom: &Domain, i: u32) -> Result<Mfn, Errno> {
    grow(xen, dom, i.checked_add(1).ok_or(Errno::EINVAL)?)?;
    dom.grants.table.frame(i).map(|f| f.mfn()).ok_or(Errno::EINVAL)
}

/// The same of its status words. EINVAL as well in version 1, which has none.
pub fn resource_status_frame<M: Machine>(xen: &'static Xen<M>, dom: &Domain, i: u32) -> Result<Mfn, Errno> {
    let table = &dom.grants.table;
    if table.version() != Version::Two || i >= table.max_status_frames() {
        let most = table.max_status_frames();
        return Err(refuse!(
            xen,
            Errno::EINVAL,
            "status frame {}: version 2 has {}, version 1 none",
            i,
            most
        ));
    }
    if i >= table.status_frames() {
        grow(xen, dom, (i * FRAMES_PER_STATUS + 1).min(table.max_frames()))?;
    }
    table.status_frame(i).map(|f| f.mfn()).ok_or(Errno::EINVAL)
}
