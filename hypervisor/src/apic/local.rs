//! The local APIC: x2APIC by MSR where there is one, else the registers in memory (Intel SDM volume 3, 11).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cpu::features;
use crate::cpu::instr::{rdmsr, wrmsr};
use crate::mm::mmio;
use crate::percpu;
use crate::trap::vector;

const MSR_APIC_BASE: u32 = 0x1b;
const ENABLE: u64 = 1 << 11;
const ENABLE_X2APIC: u64 = 1 << 10;
const MSR_X2APIC: u32 = 0x800;

/// Registers, by their offset in memory.
mod reg {
    pub const ID: u32 = 0x20;
    pub const VERSION: u32 = 0x30;
    pub const TPR: u32 = 0x80;
    pub const EOI: u32 = 0xb0;
    pub const LDR: u32 = 0xd0;
    pub const DFR: u32 = 0xe0;
    pub const SPURIOUS: u32 = 0xf0;
    pub const ISR: u32 = 0x100;
    pub const ESR: u32 = 0x280;
    pub const ICR: u32 = 0x300;
    pub const ICR_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_THERMAL: u32 = 0x330;
    pub const LVT_PERF: u32 = 0x340;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const TIMER_INITIAL: u32 = 0x380;
    pub const TIMER_CURRENT: u32 = 0x390;
    pub const TIMER_DIVIDE: u32 = 0x3e0;
}

const MASKED: u32 = 1 << 16;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;
const PENDING: u32 = 1 << 12;
const TO_SELF: u32 = 1 << 18;

static X2APIC: AtomicBool = AtomicBool::new(false);
static REGISTERS: AtomicU64 = AtomicU64::new(0);

fn read(register: u32) -> u32 {
    // SAFETY: the APIC is enabled in the mode that X2APIC says; reading its registers changes nothing.
    unsafe {
        if X2APIC.load(Ordering::Relaxed) {
            rdmsr(MSR_X2APIC + (register >> 4)) as u32
        } else {
            ((REGISTERS.load(Ordering::Relaxed) + u64::from(register)) as *const u32).read_volatile()
        }
    }
}

fn write(register: u32, value: u32) {
    // SAFETY: as above; interrupts that a write may cause go to vectors that the IDT serves.
    unsafe {
        if X2APIC.load(Ordering::Relaxed) {
            wrmsr(MSR_X2APIC + (register >> 4), value.into());
        } else {
            ((REGISTERS.load(Ordering::Relaxed) + u64::from(register)) as *mut u32).write_volatile(value);
        }
    }
}

/// Chooses the mode, on the boot processor. `address` is the MADT's.
pub fn detect(address: u32) {
    // SAFETY: every CPU with an APIC has the register.
    let already = unsafe { rdmsr(MSR_APIC_BASE) } & ENABLE_X2APIC != 0;
    if features::get().x2apic || already {
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        let address = if address == 0 { 0xfee0_0000 } else { u64::from(address) };
        let va = mmio::map(address, 4096).expect("no memory to map the local APIC");
        REGISTERS.store(va, Ordering::Relaxed);
    }
}

/// Whether the APICs are in x2APIC mode.
pub fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Enables this CPU's APIC: all sources masked but errors; NMI at LINT1, as PCs wire it, of the boot processor.
pub fn enable() {
    // SAFETY: enabling in the chosen mode; the base address stays the firmware's.
    unsafe {
        let base = rdmsr(MSR_APIC_BASE) | ENABLE;
        wrmsr(MSR_APIC_BASE, base);
        if is_x2apic() {
            wrmsr(MSR_APIC_BASE, base | ENABLE_X2APIC);
        }
    }
    if !is_x2apic() {
        write(reg::DFR, u32::MAX);
        write(reg::LDR, 0);
    }
    write(reg::SPURIOUS, 0x100 | u32::from(vector::SPURIOUS));
    write(reg::TPR, 0);
    let entries = read(reg::VERSION) >> 16 & 0xff;
    write(reg::LVT_TIMER, MASKED | u32::from(vector::TIMER));
    if entries >= 5 {
        write(reg::LVT_THERMAL, MASKED);
    }
    if entries >= 4 {
        write(reg::LVT_PERF, MASKED);
    }
    write(reg::LVT_LINT0, MASKED);
    write(reg::LVT_LINT1, if percpu::this().id == 0 { DELIVERY_NMI } else { DELIVERY_NMI | MASKED });
    write(reg::ESR, 0);
    write(reg::LVT_ERROR, vector::ERROR.into());
    // What the firmware left in service would block everything below it.
    for word in 0..8 {
        for _ in 0..read(reg::ISR + word * 0x10).count_ones() {
            eoi();
        }
    }
}

/// This CPU's identifier.
pub fn id() -> u32 {
    let id = read(reg::ID);
    if is_x2apic() { id } else { id >> 24 }
}

/// Says that the interrupt in service is done.
#[inline]
pub fn eoi() {
    write(reg::EOI, 0);
}

/// Serves the error interrupt.
pub fn on_error() {
    write(reg::ESR, 0);
    let error = read(reg::ESR);
    eoi();
    crate::warning!("local APIC error {error:#04x} on CPU {}", percpu::this().id);
}

fn command(apic_id: u32, low: u32) {
    if is_x2apic() {
        // SAFETY: sends an interrupt that its target's IDT serves. The fence makes earlier stores visible to it:
        // this register is written without waiting for them.
        unsafe {
            core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
            wrmsr(MSR_X2APIC + (reg::ICR >> 4), u64::from(apic_id) << 32 | u64::from(low));
        }
    } else {
        wait_sent();
        write(reg::ICR_HIGH, apic_id << 24);
        write(reg::ICR, low);
    }
}

fn wait_sent() {
    while !is_x2apic() && read(reg::ICR) & PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// Raises `vector` on CPU `cpu`.
pub fn send_ipi(cpu: u32, vector: u8) {
    if let Some(target) = percpu::shared(cpu) {
        command(target.apic_id.load(Ordering::Relaxed), u32::from(vector) | LEVEL_ASSERT);
    }
}

/// Raises `vector` on this CPU. For an NMI's handler too: one register, written once, and nothing is waited for.
pub fn interrupt_self(vector: u8) {
    write(reg::ICR, u32::from(vector) | LEVEL_ASSERT | TO_SELF);
}

/// Raises NMI on CPU `cpu`.
fn send_nmi(cpu: u32) {
    if let Some(target) = percpu::shared(cpu) {
        command(target.apic_id.load(Ordering::Relaxed), DELIVERY_NMI | LEVEL_ASSERT);
    }
}

/// Raises NMI on every other CPU that runs.
pub fn send_nmi_to_others() {
    let own = percpu::this().id;
    for cpu in (0..percpu::count()).filter(|&c| c != own) {
        if percpu::shared(cpu).is_some_and(|s| s.online.load(Ordering::Relaxed)) {
            send_nmi(cpu);
        }
    }
}

/// Resets the CPU with that identifier; it then waits for [`send_startup`].
pub fn send_init(apic_id: u32) {
    command(apic_id, DELIVERY_INIT | LEVEL_ASSERT);
    wait_sent();
}

/// Starts it in real mode at physical address `page` × 4096.
pub fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, DELIVERY_STARTUP | LEVEL_ASSERT | u32::from(page));
    wait_sent();
}

/// Makes the timer count at the bus's own rate and fire once when it reaches zero.
pub fn timer_enable() {
    write(reg::TIMER_DIVIDE, 0b1011);
    write(reg::LVT_TIMER, vector::TIMER.into());
}

/// Starts the timer with `count`; 0 stops it.
pub fn timer_start(count: u32) {
    write(reg::TIMER_INITIAL, count);
}

/// What is left of the count.
pub fn timer_left() -> u32 {
    read(reg::TIMER_CURRENT)
}
