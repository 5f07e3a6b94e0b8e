//! Device interrupts: which source raises which vector on which CPU.
//!
//! Numbers below [`nr_gsis`] are global system interrupts (IOAPIC pins); those above are message-signalled and
//! handed out by [`alloc_msi`]. A vector means the same interrupt on every CPU, so moving one loses nothing.
//!
//! An interrupt is acknowledged to the local APIC as soon as it is taken. A level-triggered pin is masked until
//! [`eoi`], so that a device nobody serves cannot hold the CPU. A message interrupt that arrives while masked is
//! remembered and delivered by [`unmask`].

use core::sync::atomic::{AtomicU16, Ordering};

use spin::mutex::SpinMutexGuard;

use crate::apic;
use crate::apic::ioapic::{self, Wiring};
use crate::sync::Mutex;
use crate::{console, hooks, percpu};

/// Numbers that exist at most.
pub const MAX_IRQS: usize = 1024;
const FIRST_VECTOR: u8 = 0x30;
const LAST_VECTOR: u8 = 0xef;
/// Vectors that guests use for system calls by INT n; their gates are not for devices.
const NOT_FOR_DEVICES: [u8; 2] = [0x80, 0x82];
const NONE: u16 = u16::MAX;

/// Why an interrupt could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqError {
    NoSuchIrq,
    InUse,
    NoVector,
    NoSuchCpu,
}

/// Where an interrupt goes.
#[derive(Clone, Copy, Debug)]
pub struct Irq {
    /// 0: not set up.
    pub vector: u8,
    pub cpu: u32,
    pub level: bool,
    /// Message-signalled rather than a pin.
    pub msi: bool,
    pub masked: bool,
    /// Came while masked (message-signalled only).
    pending: bool,
    /// A message interrupt's number that somebody holds.
    taken: bool,
}

impl Irq {
    const FREE: Irq =
        Irq { vector: 0, cpu: 0, level: false, msi: false, masked: true, pending: false, taken: false };
}

static IRQS: [Mutex<Irq>; MAX_IRQS] = [const { Mutex::new(Irq::FREE) }; MAX_IRQS];
static BY_VECTOR: [AtomicU16; 256] = [const { AtomicU16::new(NONE) }; 256];

/// First number that is no global system interrupt.
pub fn nr_gsis() -> u32 {
    ioapic::nr_gsis()
}

/// First number that is no interrupt at all.
pub fn nr_irqs() -> u32 {
    MAX_IRQS as u32
}

/// The entry of `irq`, locked.
fn lock(irq: u32) -> Result<SpinMutexGuard<'static, Irq>, IrqError> {
    IRQS.get(irq as usize).map(|e| e.lock()).ok_or(IrqError::NoSuchIrq)
}

/// The entry of `irq`, locked, if it is set up.
fn bound(irq: u32) -> Option<SpinMutexGuard<'static, Irq>> {
    lock(irq).ok().filter(|e| e.vector != 0)
}

/// Takes a free vector for `irq`.
fn alloc_vector(irq: u32) -> Result<u8, IrqError> {
    let take = |v: &u8| {
        let place = &BY_VECTOR[usize::from(*v)];
        !NOT_FOR_DEVICES.contains(v)
            && place.compare_exchange(NONE, irq as u16, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    // Spread over the priority classes (the high four bits), so that no class queues many.
    let classes = FIRST_VECTOR >> 4..=LAST_VECTOR >> 4;
    (0..16).find_map(|low| classes.clone().map(|c| c << 4 | low).find(take)).ok_or(IrqError::NoVector)
}

fn target(cpu: u32) -> Result<u32, IrqError> {
    let shared =
        percpu::shared(cpu).filter(|s| s.online.load(Ordering::Relaxed)).ok_or(IrqError::NoSuchCpu)?;
    let id = shared.apic_id.load(Ordering::Relaxed);
    // Without interrupt remapping a device can name only 8-bit identifiers.
    if id < 0xff { Ok(id) } else { Err(IrqError::NoSuchCpu) }
}

/// Sets up pin `gsi` to interrupt `cpu`, masked. `wiring`: as the firmware or dom0 says.
pub fn bind_gsi(gsi: u32, cpu: u32, wiring: Wiring) -> Result<u8, IrqError> {
    if gsi >= nr_gsis() {
        return Err(IrqError::NoSuchIrq);
    }
    let apic_id = target(cpu)?;
    let mut entry = lock(gsi)?;
    if entry.vector != 0 {
        return Err(IrqError::InUse);
    }
    let vector = alloc_vector(gsi)?;
    if !ioapic::set_route(gsi, vector, apic_id, wiring) {
        BY_VECTOR[usize::from(vector)].store(NONE, Ordering::Release);
        return Err(IrqError::NoSuchIrq);
    }
    *entry = Irq { vector, cpu, level: wiring.level, ..Irq::FREE };
    Ok(vector)
}

/// Takes a number for a message-signalled interrupt.
pub fn alloc_msi() -> Option<u32> {
    (nr_gsis()..nr_irqs()).find(|&irq| {
        lock(irq).is_ok_and(|mut entry| {
            let free = !entry.taken;
            if free {
                *entry = Irq { msi: true, taken: true, ..Irq::FREE };
            }
            free
        })
    })
}

/// Sets up message-signalled interrupt `irq` to interrupt `cpu`, masked; [`msi_message`] says what the device is
/// to write.
pub fn bind_msi(irq: u32, cpu: u32) -> Result<u8, IrqError> {
    target(cpu)?;
    let mut entry = lock(irq)?;
    if !entry.msi || entry.vector != 0 {
        return Err(if entry.msi { IrqError::InUse } else { IrqError::NoSuchIrq });
    }
    let vector = alloc_vector(irq)?;
    *entry = Irq { vector, cpu, msi: true, taken: true, ..Irq::FREE };
    Ok(vector)
}

/// Undoes [`bind_gsi`] or [`bind_msi`]; the source must be quiet (a message's device already told to stop).
pub fn unbind(irq: u32) {
    if let Some(mut entry) = bound(irq) {
        if !entry.msi {
            ioapic::mask(irq);
        }
        BY_VECTOR[usize::from(entry.vector)].store(NONE, Ordering::Release);
        *entry = Irq { msi: entry.msi, taken: entry.taken, ..Irq::FREE };
    }
}

/// Gives a number from [`alloc_msi`] back, unbinding it.
pub fn free_msi(irq: u32) {
    unbind(irq);
    if let Ok(mut entry) = lock(irq)
        && entry.msi
    {
        *entry = Irq::FREE;
    }
}

/// Where `irq` goes; `None`: it is not set up.
pub fn get(irq: u32) -> Option<Irq> {
    bound(irq).map(|e| *e)
}

/// Address and data that make a device raise `irq` (SDM volume 3, 11.11: physical, fixed, edge).
pub fn msi_message(irq: u32) -> Option<(u64, u32)> {
    let entry = get(irq).filter(|e| e.msi)?;
    let apic_id = target(entry.cpu).ok()?;
    Some((0xfee0_0000 | u64::from(apic_id) << 12, entry.vector.into()))
}

/// Moves `irq` to `cpu`. A message-signalled one's device must then be given the new [`msi_message`].
pub fn set_affinity(irq: u32, cpu: u32) -> Result<(), IrqError> {
    let apic_id = target(cpu)?;
    let mut entry = bound(irq).ok_or(IrqError::NoSuchIrq)?;
    entry.cpu = cpu;
    if !entry.msi {
        ioapic::set_destination(irq, apic_id);
    }
    Ok(())
}

/// Holds `irq` back.
pub fn mask(irq: u32) {
    if let Some(mut entry) = bound(irq) {
        entry.masked = true;
        if !entry.msi {
            ioapic::mask(irq);
        }
    }
}

/// Lets `irq` through; a message that came meanwhile is delivered now, on this CPU.
pub fn unmask(irq: u32) {
    let deliver = {
        let Some(mut entry) = bound(irq) else { return };
        entry.masked = false;
        if !entry.msi {
            ioapic::unmask(irq);
        }
        core::mem::take(&mut entry.pending)
    };
    if deliver {
        deliver_to_owner(irq);
    }
}

/// Whoever handles `irq` is done with it: a level-triggered pin is let through again.
pub fn eoi(irq: u32) {
    if let Some(mut entry) = bound(irq)
        && entry.level
        && entry.masked
    {
        entry.masked = false;
        ioapic::unmask(irq);
    }
}

/// Lines for the debug key `i`: each interrupt that is set up; `owner` says whose it is.
pub fn dump(mut line: impl FnMut(core::fmt::Arguments), owner: impl Fn(u32) -> Option<(u16, u32)>) {
    for n in 0..nr_irqs() {
        let Some(irq) = get(n) else { continue };
        let kind = match (irq.msi, irq.level) {
            (true, _) => "PCI-MSI",
            (false, true) => "IO-APIC-level",
            (false, false) => "IO-APIC-edge",
        };
        let masked = if irq.masked { "masked" } else { "" };
        let head = format_args!("   IRQ:{n:4} vec:{:02x} CPU{} {kind:14}", irq.vector, irq.cpu);
        match owner(n) {
            Some((domain, pirq)) => line(format_args!("{head} d{domain}:{pirq:3} {masked}")),
            None if console::is_console_irq(n) => line(format_args!("{head} console {masked}")),
            None => line(format_args!("{head} nobody {masked}")),
        }
    }
}

/// Serves a device's vector.
pub fn dispatch(vector: u8) {
    let irq = BY_VECTOR[usize::from(vector)].load(Ordering::Acquire);
    let deliver = bound(irq.into()).is_some_and(|mut entry| {
        if entry.level {
            entry.masked = true;
            ioapic::mask(irq.into());
            true
        } else if entry.masked && entry.msi {
            entry.pending = true;
            false
        } else {
            true
        }
    });
    apic::eoi();
    if deliver {
        deliver_to_owner(irq.into());
    }
}

fn deliver_to_owner(irq: u32) {
    if console::is_console_irq(irq) {
        console::on_interrupt();
        eoi(irq);
    } else {
        hooks::device_irq(irq);
    }
}
