//! vCPUs: shared state that any CPU may look at, and private registers that the running CPU checks out.

use crate::domain::Domain;
use crate::event::VcpuEvents;
use crate::fallible::{One, shared};
use crate::ids::{CpuId, VcpuId};
use crate::mm::VcpuMm;
use crate::refusal::Kept;
use crate::sched::VcpuSched;
use crate::sync::Mutex;
use crate::time::VcpuTime;
use crate::traps::VcpuTraps;
use abi::Errno;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use x86::regs::GuestRegs;

/// One virtual CPU.
pub struct Vcpu {
    pub id: VcpuId,
    domain: Weak<Domain>,
    /// Why it may not run: a set of [`pause`] bits. Runnable when 0 and its domain's pause count is 0.
    pub pause_flags: AtomicU32,
    /// Nesting count of single-vCPU pauses by the hypervisor.
    pub pause_count: AtomicU32,
    /// Brought up once (`VCPUOP_initialise` / `setvcpucontext` done).
    pub initialised: AtomicBool,
    /// Physical CPU that runs it now or ran it last.
    processor: AtomicU32,
    /// On a CPU now (its private state may be checked out).
    pub running: AtomicBool,
    private: Mutex<Option<One<VcpuPrivate>>>,
    pub events: VcpuEvents,
    pub sched: VcpuSched,
    pub time: VcpuTime,
    pub mm: VcpuMm,
    /// Why its last hypercalls were refused.
    pub refusals: Mutex<Kept>,
    /// Pauses by a debugger.
    pub held: AtomicU32,
    /// Vector by which it stopped for a debugger that has not asked yet (#BP's); 0: it did not.
    pub stopped_by: AtomicU32,
}

/// Bits of [`Vcpu::pause_flags`].
pub mod pause {
    /// Waits for an event (`SCHEDOP_block`, HLT).
    pub const BLOCKED: u32 = 1 << 0;
    /// Offline (`VCPUOP_down`, or never brought up).
    pub const DOWN: u32 = 1 << 1;
    /// In `SCHEDOP_poll`.
    pub const POLL: u32 = 1 << 2;
}

/// What only the CPU that runs the vCPU touches; others need it paused and off-CPU.
pub struct VcpuPrivate {
    /// Saved user-visible registers while not running.
    pub regs: GuestRegs,
    pub traps: VcpuTraps,
    /// Segment bases: FS, GS of the kernel's view (`gs_base_kernel`) and of user mode.
    pub fs_base: u64,
    pub gs_base_kernel: u64,
    pub gs_base_user: u64,
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
    /// In guest-kernel mode (as opposed to guest-user mode).
    pub kernel_mode: bool,
    /// XSAVE image (or FXSAVE in its first 512 bytes), 64-byte aligned.
    pub fpu: FpuArea,
    /// Bits of XCR0 the guest has set.
    pub xcr0: u64,
    pub debugreg: [u64; 8],
    /// Virtual control registers: CR0 bits the guest may see (TS), CR2 as last delivered, CR4.
    pub cr0: u64,
    pub cr4: u64,
    /// I/O privilege level given by `PHYSDEVOP_set_iopl` (0..=3).
    pub iopl: u8,
    /// Guest address and length in ports of the I/O bitmap given by `PHYSDEVOP_set_iobitmap`.
    pub iobitmap: u64,
    pub iobitmap_ports: u32,
    /// Guest's TSC_AUX.
    pub tsc_aux: u64,
}

/// FPU state area; large enough for x87, SSE, AVX and AVX-512 in the standard format.
#[repr(C, align(64))]
pub struct FpuArea(pub [u8; 2752]);

impl VcpuPrivate {
    /// Reset state. ENOMEM.
    pub fn new() -> Result<One<Self>, Errno> {
        let mut fpu = FpuArea([0; 2752]);
        fpu.0[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        fpu.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        One::new(Self {
            regs: GuestRegs::default(),
            traps: VcpuTraps::new()?,
            fs_base: 0,
            gs_base_kernel: 0,
            gs_base_user: 0,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
            kernel_mode: true,
            fpu,
            xcr0: 3,
            debugreg: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            cr0: 0,
            cr4: 0,
            iopl: 0,
            iobitmap: 0,
            iobitmap_ports: 0,
            tsc_aux: 0,
        })
    }
}

impl Vcpu {
    /// A vCPU that is down; installed in its domain by [`crate::lifecycle`]. ENOMEM.
    pub fn new(domain: &Arc<Domain>, id: VcpuId) -> Result<Arc<Self>, Errno> {
        let private = VcpuPrivate::new()?;
        shared(Self {
            id,
            domain: Arc::downgrade(domain),
            pause_flags: AtomicU32::new(pause::DOWN),
            pause_count: AtomicU32::new(0),
            initialised: AtomicBool::new(false),
            processor: AtomicU32::new(0),
            running: AtomicBool::new(false),
            private: Mutex::new(Some(private)),
            events: VcpuEvents::new(domain, id),
            sched: VcpuSched::new(),
            time: VcpuTime::new(),
            mm: VcpuMm::new(),
            refusals: Mutex::default(),
            held: AtomicU32::new(0),
            stopped_by: AtomicU32::new(0),
        })
    }

    /// Its domain; `None` only in the last moments of destruction.
    pub fn domain(&self) -> Option<Arc<Domain>> {
        self.domain.upgrade()
    }

    pub fn processor(&self) -> CpuId {
        CpuId(self.processor.load(Relaxed))
    }

    pub fn set_processor(&self, c: CpuId) {
        self.processor.store(c.0, Relaxed);
    }

    /// The running CPU takes the private state (context switch in).
    pub fn check_out(&self) -> Option<One<VcpuPrivate>> {
        self.private.lock().take()
    }

    /// ... and gives it back (context switch out).
    pub fn check_in(&self, p: One<VcpuPrivate>) {
        *self.private.lock() = Some(p);
    }

    /// Looks at or changes the private state of a vCPU that is not on a CPU; `None` if it is checked out.
    pub fn with_private<R>(&self, f: impl FnOnce(&mut VcpuPrivate) -> R) -> Option<R> {
        self.private.lock().as_deref_mut().map(f)
    }
}

impl core::fmt::Debug for Vcpu {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.domain() {
            Some(d) => write!(f, "{}v{}", d.id, self.id.0),
            None => write!(f, "d?v{}", self.id.0),
        }
    }
}
