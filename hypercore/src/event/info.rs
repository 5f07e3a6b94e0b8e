//! Where a vCPU's `struct vcpu_info` lives, and access to it.
//!
//! The first 32 vCPUs start with a slot of shared_info; any vCPU may register a place in a frame of its own,
//! once. The frame stays pinned (existence and writable type) until [`InfoPlace::release`].
//!
//! Two ways in: [`InfoPlace::own`] takes no lock and is for the CPU that runs the vCPU, because the place
//! moves and goes only while the vCPU is off its CPU or by its own hand; [`InfoPlace::with`] holds the lock
//! and is for everybody else.

use super::words::update64;
use crate::domain::Domain;
use crate::frame::proof::sealed::Sealed;
use crate::frame::{CanRead, CanWrite, FrameRef, WritableRef};
use crate::ids::{Mfn, VcpuId};
use crate::machine::{Frames, Machine};
use crate::sync::RwLock;
use crate::vcpu::{Vcpu, pause};
use crate::xen::Xen;
use abi::Errno;
use abi::arch_x86::LEGACY_MAX_VCPUS;
use abi::xen::VcpuInfo;
use alloc::sync::Arc;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::*};

const PAGE: usize = 4096;
/// `evtchn_upcall_pending` is the first byte of the area, `evtchn_upcall_mask` the second.
const UPCALL: usize = offset_of!(VcpuInfo, evtchn_upcall_pending);
const PENDING_BYTE: u64 = 0xff;
const MASK_BYTE: u64 = 0xff00;
const _: () = assert!(UPCALL == 0 && offset_of!(VcpuInfo, evtchn_upcall_mask) == 1);

/// A `struct vcpu_info` that may be read and written now. Offsets are within the structure; words are 8
/// bytes and aligned.
pub struct InfoArea<'a> {
    frame: AreaFrame,
    offset: usize,
    _pinned: PhantomData<&'a InfoPlace>,
}

/// Proof for the frame of an area: made only here, from a place whose frame is pinned.
struct AreaFrame(Mfn);

impl Sealed for AreaFrame {}
impl CanRead for AreaFrame {
    #[inline]
    fn mfn(&self) -> Mfn {
        self.0
    }
}
impl CanWrite for AreaFrame {}

impl InfoArea<'_> {
    #[inline]
    pub fn load<M: Frames>(&self, m: &M, offset: usize) -> u64 {
        debug_assert!(offset + 8 <= size_of::<VcpuInfo>());
        m.load(&self.frame, self.offset + offset)
    }

    #[inline]
    pub fn store<M: Frames>(&self, m: &M, offset: usize, value: u64) {
        debug_assert!(offset + 8 <= size_of::<VcpuInfo>());
        m.store(&self.frame, self.offset + offset, value);
    }

    /// See [`update64`].
    pub fn update<M: Frames>(&self, m: &M, offset: usize, change: impl Fn(u64) -> u64) -> Option<u64> {
        debug_assert!(offset + 8 <= size_of::<VcpuInfo>());
        update64(m, &self.frame, self.offset + offset, change)
    }

    /// Whether the guest takes upcalls and one is due.
    #[inline]
    pub fn upcall_due<M: Frames>(&self, m: &M) -> bool {
        let w = self.load(m, UPCALL);
        w & PENDING_BYTE != 0 && w & MASK_BYTE == 0
    }

    /// Sets `evtchn_upcall_pending`; true if it was clear.
    pub(super) fn raise_upcall<M: Frames>(&self, m: &M) -> bool {
        self.update(m, UPCALL, |w| w & !PENDING_BYTE | 1).is_some_and(|old| old & PENDING_BYTE == 0)
    }

    /// `evtchn_upcall_mask`.
    #[inline]
    pub(super) fn masked<M: Frames>(&self, m: &M) -> bool {
        self.load(m, UPCALL) & MASK_BYTE != 0
    }

    /// Sets or clears `evtchn_upcall_mask`; what it was.
    ///
    /// By the CPU that runs the vCPU: nobody else of good will writes the byte, so nothing is lost between the two
    /// accesses. Whoever makes an event pending kicks this CPU whatever the mask is.
    #[inline]
    pub(super) fn set_mask<M: Frames>(&self, m: &M, masked: bool) -> bool {
        let was = self.masked(m);
        m.store_byte(&self.frame, self.offset + UPCALL + 1, masked.into());
        was
    }
}

/// The place itself.
pub struct InfoPlace {
    /// Keeps the default slot's frame while this vCPU lives.
    _home: Option<FrameRef>,
    /// Machine address of the area; 0 is none.
    at: AtomicU64,
    /// The registered frame. Its lock is held by everybody but the running CPU while they use [`Self::at`].
    registered: RwLock<Option<WritableRef>>,
}

impl InfoPlace {
    /// The default slot of vCPU `id`, if it has one.
    pub fn new(domain: &Domain, id: VcpuId) -> Self {
        let slot = id.0 as usize;
        let home = if slot < LEGACY_MAX_VCPUS { domain.shared_info.frame().try_clone() } else { None };
        let at = home.as_ref().map_or(0, |f| f.mfn().0 << 12 | (slot * size_of::<VcpuInfo>()) as u64);
        Self { _home: home, at: AtomicU64::new(at), registered: RwLock::new(None) }
    }

    #[inline]
    fn area(&self) -> Option<InfoArea<'_>> {
        let at = self.at.load(Acquire);
        (at != 0).then_some(InfoArea {
            frame: AreaFrame(Mfn(at >> 12)),
            offset: at as usize & (PAGE - 1),
            _pinned: PhantomData,
        })
    }

    /// For the CPU that runs the vCPU. `None`: no slot and nothing registered yet.
    #[inline]
    pub fn own(&self) -> Option<InfoArea<'_>> {
        self.area()
    }

    /// For everybody else; `None` as for [`Self::own`].
    pub fn with<R>(&self, f: impl FnOnce(&InfoArea<'_>) -> R) -> Option<R> {
        let _held = self.registered.read();
        self.area().map(|a| f(&a))
    }

    /// Whether there is an area at all (a vCPU without one cannot be brought up).
    pub fn exists(&self) -> bool {
        self.at.load(Acquire) != 0
    }

    /// Frame registered by the guest, for the audit.
    pub fn registered_frame(&self) -> Option<Mfn> {
        self.registered.read().as_ref().map(|w| w.mfn())
    }

    /// Teardown, with the vCPU off its CPU: unpins the registered frame; there is no area afterwards.
    pub fn release(&self) {
        let mut registered = self.registered.write();
        self.at.store(0, Release);
        *registered = None;
    }

    fn move_to<M: Machine>(&self, m: &M, frame: WritableRef, offset: usize) -> Result<(), Errno> {
        let mut registered = self.registered.write();
        if registered.is_some() {
            return Err(Errno::EINVAL);
        }
        let new = InfoArea { frame: AreaFrame(frame.mfn()), offset, _pinned: PhantomData };
        match self.area() {
            Some(old) => {
                for o in (0..size_of::<VcpuInfo>()).step_by(8) {
                    new.store(m, o, old.load(m, o));
                }
            }
            None => {
                for o in (0..size_of::<VcpuInfo>()).step_by(8) {
                    new.store(m, o, 0);
                }
                // As after reset: no upcalls until the guest asks for them.
                new.store(m, UPCALL, 1 << 8);
            }
        }
        // Another CPU of the guest may have changed the old slot meanwhile: have it look everywhere.
        new.update(m, UPCALL, |w| w & !PENDING_BYTE | 1);
        new.store(m, offset_of!(VcpuInfo, evtchn_pending_sel), u64::MAX);
        self.at.store(frame.mfn().0 << 12 | offset as u64, Release);
        *registered = Some(frame);
        Ok(())
    }
}

/// `VCPUOP_register_vcpu_info`: `vcpu` of `dom` keeps its vcpu_info at `offset` bytes into `mfn` from now on.
/// ENXIO: it does not lie within the page. EINVAL: registered already, not the running vCPU and not down either,
/// or no such writable frame.
pub fn register_vcpu_info<M: Machine>(
    xen: &'static Xen<M>,
    dom: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    mfn: Mfn,
    offset: u32,
) -> Result<(), Errno> {
    let offset = offset as usize;
    if offset > PAGE - size_of::<VcpuInfo>() || !offset.is_multiple_of(8) {
        return Err(Errno::ENXIO);
    }
    let here = vcpu.running.load(Acquire) && vcpu.processor() == xen.m.cpu();
    if !here && vcpu.pause_flags.load(Acquire) & pause::DOWN == 0 {
        return Err(Errno::EINVAL);
    }
    let frame = super::writable_frame(xen, dom, mfn.0).ok_or(Errno::EINVAL)?;
    vcpu.events.info.move_to(&xen.m, frame, offset)
}
