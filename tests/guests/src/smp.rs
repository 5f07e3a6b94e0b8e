//! The second vCPU: down but while it runs a piece of a check, on a stack of its own.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use abi::arch_x86::*;
use abi::sched::SCHEDOP_YIELD;
use abi::vcpu::*;
use abi::xen::*;

use crate::hypercall::call;
use crate::mm::{self, l4_mfn, write8};
use crate::{shared, trap};

/// Its number.
pub const SECOND: u64 = 1;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);
// SAFETY: only the second vCPU uses it, as a stack.
unsafe impl Sync for Stack {}
const STACK_BYTES: usize = 32 * 1024;
static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

struct Context(UnsafeCell<Option<VcpuGuestContext>>);
// SAFETY: only the first vCPU touches it.
unsafe impl Sync for Context {}
static CONTEXT: Context = Context(UnsafeCell::new(None));

/// The function that is to be run, or null.
static WORK: AtomicPtr<()> = AtomicPtr::new(null_mut());
static INITIALISED: AtomicBool = AtomicBool::new(false);

fn vcpu_op(command: u32, arg: u64) -> i64 {
    call(HYPERVISOR_VCPU_OP, [command.into(), SECOND, arg, 0])
}

pub fn pause() {
    call(HYPERVISOR_SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0]);
}

/// Both vCPUs run their function; the answer comes when both are done. `Err`: there is no second one.
pub fn both(first: fn(), second: fn()) -> Result<(), i64> {
    WORK.store(second as *mut (), Ordering::Release);
    bring_up()?;
    first();
    while !WORK.load(Ordering::Acquire).is_null() || vcpu_op(VCPUOP_IS_UP, 0) == 1 {
        pause();
    }
    Ok(())
}

fn bring_up() -> Result<(), i64> {
    if !INITIALISED.swap(true, Ordering::Relaxed) {
        write8(shared!(vcpu_info) + SECOND * size_of::<VcpuInfo>() as u64 + MASK, 1);
        // SAFETY: the first vCPU alone comes here, once.
        let context = unsafe { (*CONTEXT.0.get()).insert(VcpuGuestContext::default()) };
        fill(context);
        let answer = vcpu_op(VCPUOP_INITIALISE, (&raw const *context) as u64);
        if answer != 0 {
            return Err(answer);
        }
    }
    match vcpu_op(VCPUOP_UP, 0) {
        0 => Ok(()),
        answer => Err(answer),
    }
}

/// Offset of the event mask in a vcpu_info.
const MASK: u64 = core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask) as u64;

fn fill(c: &mut VcpuGuestContext) {
    let top = STACK.0.get() as u64 + STACK_BYTES as u64;
    // Without VGCF_ONLINE: with it, Debian's Xen takes the vCPU for up already, and VCPUOP_up does not wake it.
    c.flags = VGCF_IN_KERNEL;
    c.user_regs.rip = run as *const () as u64;
    // As after a call.
    c.user_regs.rsp = top - 8;
    c.user_regs.cs = FLAT_KERNEL_CS;
    c.user_regs.ss = FLAT_KERNEL_SS;
    c.user_regs.rflags = 0x202;
    c.kernel_ss = FLAT_KERNEL_SS.into();
    c.kernel_sp = top;
    c.ctrlreg[3] = l4_mfn() << 12;
    c.event_callback_eip = trap::event_stub();
    c.failsafe_callback_eip = trap::failsafe_stub();
    c.syscall_callback_eip = trap::syscall_stub();
    for entry in trap::table() {
        c.trap_ctxt[usize::from(entry.vector)] = entry;
    }
}

extern "C" fn run() -> ! {
    loop {
        let work = WORK.load(Ordering::Acquire);
        if !work.is_null() {
            // SAFETY: `both` stored a function of this type.
            let work = unsafe { core::mem::transmute::<*mut (), fn()>(work) };
            work();
            WORK.store(null_mut(), Ordering::Release);
        }
        vcpu_op(VCPUOP_DOWN, 0);
    }
}

/// Both vCPUs wait here for each other. `turn` counts the meetings, from 0.
pub fn meet(counter: &AtomicU64, turn: u64) {
    counter.fetch_add(1, Ordering::AcqRel);
    while counter.load(Ordering::Acquire) < 2 * (turn + 1) {
        pause();
    }
}

/// An address of the second vCPU's vcpu_info, from the first one's.
pub fn of_second(first: u64) -> u64 {
    debug_assert!(first.wrapping_sub(mm::shared_info_va()) < size_of::<VcpuInfo>() as u64);
    first + SECOND * size_of::<VcpuInfo>() as u64
}
