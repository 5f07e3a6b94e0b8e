//! The IOAPICs: routing of global system interrupts (Intel 82093AA).

use arrayvec::ArrayVec;
use hypercore::boot::acpi::{IoApic, Override, Tables};

use crate::mm::mmio;
use crate::sync::Mutex;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const VERSION: u32 = 1;
const TABLE: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const DELIVERY_NMI: u32 = 4 << 8;
/// Pins of a unit that are used; known ones have 24 to 120.
const MAX_PINS: usize = 128;

struct Unit {
    registers: u64,
    info: IoApic,
    pins: u32,
    /// What was written last: reading back is slow.
    low: [u32; MAX_PINS],
}

struct All {
    units: ArrayVec<Unit, 16>,
    overrides: ArrayVec<Override, 16>,
}

static ALL: Mutex<All> = Mutex::new(All { units: ArrayVec::new_const(), overrides: ArrayVec::new_const() });

impl Unit {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: the unit's own registers; the lock of `ALL` keeps select and window together.
        unsafe {
            ((self.registers + SELECT) as *mut u32).write_volatile(register);
            ((self.registers + WINDOW) as *const u32).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as in `read`; vectors come from `irq`, which has the IDT serve them.
        unsafe {
            ((self.registers + SELECT) as *mut u32).write_volatile(register);
            ((self.registers + WINDOW) as *mut u32).write_volatile(value);
        }
    }

    fn write_low(&mut self, pin: u32, low: u32) {
        self.low[pin as usize] = low;
        self.write(TABLE + 2 * pin, low);
    }
}

/// How a global system interrupt is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wiring {
    pub level: bool,
    pub active_low: bool,
}

/// Maps the units and masks every pin.
pub fn init(tables: &Tables) {
    let mut all = ALL.lock();
    all.overrides = tables.overrides.clone();
    for &info in &tables.ioapics {
        let registers = mmio::map(info.addr.into(), 0x20).expect("no memory to map an IOAPIC");
        let mut unit = Unit { registers, info, pins: 0, low: [0; MAX_PINS] };
        unit.pins = ((unit.read(VERSION) >> 16 & 0xff) + 1).min(MAX_PINS as u32);
        for pin in 0..unit.pins {
            unit.write_low(pin, MASKED);
        }
        all.units.push(unit);
    }
}

fn with<R>(gsi: u32, work: impl FnOnce(&mut Unit, u32) -> R) -> Option<R> {
    let mut all = ALL.lock();
    let unit = all.units.iter_mut().find(|u| gsi.wrapping_sub(u.info.gsi_base) < u.pins)?;
    let pin = gsi - unit.info.gsi_base;
    Some(work(unit, pin))
}

/// First number that is no global system interrupt: one past the highest pin.
pub fn nr_gsis() -> u32 {
    let all = ALL.lock();
    all.units.iter().map(|u| u.info.gsi_base + u.pins).max().unwrap_or(0)
}

/// Where ISA interrupt `isa` arrives.
pub fn isa_gsi(isa: u8) -> u32 {
    let all = ALL.lock();
    all.overrides.iter().find(|o| o.isa_irq == isa).map_or(isa.into(), |o| o.gsi)
}

/// How `gsi` is wired as far as the firmware tells: overrides; else ISA's way below 16 (high, edge), PCI's above
/// (low, level).
pub fn firmware_wiring(gsi: u32) -> Wiring {
    let all = ALL.lock();
    match all.overrides.iter().find(|o| o.gsi == gsi) {
        Some(o) => Wiring { level: o.level, active_low: o.active_low },
        None => Wiring { level: gsi >= 16, active_low: gsi >= 16 },
    }
}

/// Routes `gsi` to `vector` on the CPU with that APIC identifier (physical mode, 8 bits), masked. `false`: no
/// such pin.
pub fn set_route(gsi: u32, vector: u8, apic_id: u32, wiring: Wiring) -> bool {
    with(gsi, |unit, pin| {
        unit.write_low(pin, MASKED);
        unit.write(TABLE + 2 * pin + 1, apic_id << 24);
        let level = if wiring.level { LEVEL } else { 0 };
        let low = if wiring.active_low { ACTIVE_LOW } else { 0 };
        unit.write_low(pin, MASKED | level | low | u32::from(vector));
    })
    .is_some()
}

/// Has `gsi` raise NMI on the CPU with this APIC id. `false`: no such pin.
pub fn route_nmi(gsi: u32, apic_id: u32) -> bool {
    with(gsi, |unit, pin| {
        unit.write_low(pin, MASKED);
        unit.write(TABLE + 2 * pin + 1, apic_id << 24);
        unit.write_low(pin, DELIVERY_NMI);
    })
    .is_some()
}

/// Sends `gsi` to another CPU, masked or not as it was.
pub fn set_destination(gsi: u32, apic_id: u32) {
    with(gsi, |unit, pin| {
        let low = unit.low[pin as usize];
        unit.write_low(pin, low | MASKED);
        unit.write(TABLE + 2 * pin + 1, apic_id << 24);
        unit.write_low(pin, low);
    });
}

/// Holds the pin back.
pub fn mask(gsi: u32) {
    with(gsi, |unit, pin| unit.write_low(pin, unit.low[pin as usize] | MASKED));
}

/// Lets the pin through.
pub fn unmask(gsi: u32) {
    with(gsi, |unit, pin| unit.write_low(pin, unit.low[pin as usize] & !MASKED));
}

/// A register of the unit at physical address `base`, as dom0 may read it (`PHYSDEVOP_apic_read`).
pub fn read_register(base: u64, register: u32) -> Option<u32> {
    let all = ALL.lock();
    let unit = all.units.iter().find(|u| u64::from(u.info.addr) == base)?;
    (register < TABLE + 2 * unit.pins).then(|| unit.read(register))
}

/// The number of a pin of the unit at physical address `base`.
pub fn pin_gsi(base: u64, pin: u32) -> Option<u32> {
    let all = ALL.lock();
    let unit = all.units.iter().find(|u| u64::from(u.info.addr) == base)?;
    (pin < unit.pins).then(|| unit.info.gsi_base + pin)
}

/// Lines for the debug key `z`: every unit, and each of its pins that has a vector.
pub fn dump(mut line: impl FnMut(core::fmt::Arguments)) {
    let all = ALL.lock();
    for unit in &all.units {
        let version = unit.read(VERSION) & 0xff;
        line(format_args!(
            "IO APIC #{} at {:08x}: version {version:#x}, GSIs {}..{}",
            unit.info.id,
            unit.info.addr,
            unit.info.gsi_base,
            unit.info.gsi_base + unit.pins
        ));
        for pin in 0..unit.pins {
            let (low, high) = (unit.read(TABLE + 2 * pin), unit.read(TABLE + 2 * pin + 1));
            if low & 0x7ff == 0 {
                continue;
            }
            line(format_args!(
                " {pin:3}: vec={:02x} delivery={} {} {} {} {} dest_id={:02x}",
                low & 0xff,
                low >> 8 & 7,
                if low & LEVEL != 0 { "level" } else { "edge" },
                if low & ACTIVE_LOW != 0 { "low" } else { "high" },
                if low & 1 << 14 != 0 { "irr" } else { "-" },
                if low & MASKED != 0 { "masked" } else { "-" },
                high >> 24
            ));
        }
    }
}
