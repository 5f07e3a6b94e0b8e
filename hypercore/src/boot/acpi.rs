//! The ACPI tables a hypervisor needs before dom0 interprets the rest (ACPI Specification 6.5, chapter 5):
//! MADT (processors, interrupt controllers), FADT (timer, reset and sleep registers), HPET, MCFG, SRAT and SLIT
//! ([`super::affinity`]).

use arrayvec::ArrayVec;

use super::affinity::Affinity;
use super::{PhysMem, le16, le32, le64};

/// Processors that are kept of the MADT.
pub const MAX_CPUS: usize = 256;

/// One enabled processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Local APIC identifier (32 bits for x2APIC entries).
    pub apic_id: u32,
    /// The processor's ACPI UID.
    pub acpi_id: u32,
}

/// One IOAPIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    pub id: u8,
    pub addr: u32,
    /// First global interrupt it serves.
    pub gsi_base: u32,
}

/// How an ISA interrupt is really wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    pub isa_irq: u8,
    pub gsi: u32,
    pub level: bool,
    pub active_low: bool,
}

/// A local APIC pin that raises NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LapicNmi {
    /// ACPI UID of the processor; 0xff: all.
    pub acpi_id: u8,
    pub lint: u8,
}

/// A register as a Generic Address Structure names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Io(u16),
    Memory(u64),
    /// PCI configuration space of segment 0, bus 0.
    PciConfig {
        device: u8,
        function: u8,
        offset: u16,
    },
}

/// From the FADT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fadt {
    /// Port of the power-management timer.
    pub pm_timer: Option<u16>,
    /// Whether that timer counts 32 bits rather than 24.
    pub pm_timer_32bit: bool,
    /// Where to write `reset_value` for a reset.
    pub reset: Option<Register>,
    pub reset_value: u8,
    pub pm1a_cnt: u16,
    pub pm1b_cnt: u16,
    pub pm1a_evt: u16,
    pub pm1b_evt: u16,
    pub sci: u16,
    pub flags: u32,
    /// IA-PC boot flags (`0x4`: VGA not present, `0x20`: CMOS RTC not present).
    pub boot_flags: u16,
}

/// One range of memory-mapped configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mcfg {
    pub base: u64,
    pub segment: u16,
    pub first_bus: u8,
    pub last_bus: u8,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Where the root pointer was found.
    pub rsdp: u64,
    pub local_apic: u32,
    /// Whether the PC/AT's pair of 8259s is there too.
    pub has_8259: bool,
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    pub ioapics: ArrayVec<IoApic, 16>,
    pub overrides: ArrayVec<Override, 16>,
    pub lapic_nmis: ArrayVec<LapicNmi, 16>,
    pub fadt: Fadt,
    /// Physical address of the HPET's registers.
    pub hpet: Option<u64>,
    pub mcfg: ArrayVec<Mcfg, 8>,
    pub affinity: Affinity,
}

/// Why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    NoRsdp,
    /// The table cannot be read or its checksum is wrong.
    BadTable([u8; 4]),
    NoMadt,
}

/// Where the root pointer is: where the loader `told`, else in the extended BIOS data area or the BIOS's
/// read-only memory.
pub fn find_rsdp(told: Option<u64>, mem: &impl PhysMem) -> Option<u64> {
    let is_one = |&at: &u64| mem.bytes(at, 20).is_some_and(|b| &b[..8] == b"RSD PTR " && sum(b) == 0);
    let ebda = mem.bytes(0x40e, 2).map_or(0, |b| u64::from(le16(b, 0)) << 4);
    let areas = [(ebda, 1024), (0xe_0000, 0x2_0000)];
    told.filter(is_one).or_else(|| {
        areas
            .into_iter()
            .filter(|a| a.0 != 0)
            .find_map(|(start, len)| (start..start + len).step_by(16).find(is_one))
    })
}

/// Reads the tables that the root pointer at `rsdp` leads to.
pub fn parse(rsdp: u64, mem: &impl PhysMem) -> Result<Tables, AcpiError> {
    let root = mem.bytes(rsdp, 20).ok_or(AcpiError::NoRsdp)?;
    let xsdt = if root[15] >= 2 { mem.bytes(rsdp + 24, 8).map_or(0, |b| le64(b, 0)) } else { 0 };
    let (table, width) =
        if xsdt != 0 { (table_at(mem, xsdt)?, 8) } else { (table_at(mem, le32(root, 16).into())?, 4) };
    let mut out = Tables { rsdp, ..Tables::default() };
    let mut have_madt = false;
    for entry in table[36..].chunks_exact(width) {
        let addr = if width == 8 { le64(entry, 0) } else { le32(entry, 0).into() };
        // Tables we do not read may be broken without our minding.
        let Some(signature) = mem.bytes(addr, 4) else { continue };
        match signature {
            b"APIC" => {
                madt(table_at(mem, addr)?, &mut out);
                have_madt = true;
            }
            b"FACP" => out.fadt = fadt(table_at(mem, addr)?),
            b"HPET" => {
                let t = table_at(mem, addr)?;
                if t.len() >= 56 && t[40] == 0 {
                    out.hpet = Some(le64(t, 44));
                }
            }
            b"MCFG" => {
                for e in table_at(mem, addr)?.get(44..).unwrap_or(&[]).chunks_exact(16) {
                    let m = Mcfg { base: le64(e, 0), segment: le16(e, 8), first_bus: e[10], last_bus: e[11] };
                    let _ = out.mcfg.try_push(m);
                }
            }
            // Without nodes, or with broken tables of them, the machine is as good as any.
            b"SRAT" => {
                if let Ok(t) = table_at(mem, addr) {
                    out.affinity.srat(t);
                }
            }
            b"SLIT" => {
                if let Ok(t) = table_at(mem, addr) {
                    out.affinity.slit(t);
                }
            }
            _ => {}
        }
    }
    if have_madt { Ok(out) } else { Err(AcpiError::NoMadt) }
}

/// The whole table at `addr`, its length and checksum verified; at least the 36 bytes of its header.
fn table_at<M: PhysMem>(mem: &M, addr: u64) -> Result<&[u8], AcpiError> {
    let head = mem.bytes(addr, 36).ok_or(AcpiError::BadTable(*b"?   "))?;
    let signature = [head[0], head[1], head[2], head[3]];
    let len = le32(head, 4) as usize;
    let bytes = mem.bytes(addr, len.max(36)).ok_or(AcpiError::BadTable(signature))?;
    if len < 36 || sum(bytes) != 0 {
        return Err(AcpiError::BadTable(signature));
    }
    Ok(bytes)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Multiple APIC Description Table (5.2.12).
fn madt(t: &[u8], out: &mut Tables) {
    if t.len() < 44 {
        return;
    }
    out.local_apic = le32(t, 36);
    out.has_8259 = le32(t, 40) & 1 != 0;
    let mut rest = &t[44..];
    while let [kind, len, ..] = *rest {
        let len = usize::from(len);
        if len < 2 || len > rest.len() {
            break;
        }
        let e = &rest[..len];
        match (kind, len) {
            (0, 8..) if le32(e, 4) & 1 != 0 => {
                let _ = out.cpus.try_push(Cpu { apic_id: e[3].into(), acpi_id: e[2].into() });
            }
            (1, 12..) => {
                let _ = out.ioapics.try_push(IoApic { id: e[2], addr: le32(e, 4), gsi_base: le32(e, 8) });
            }
            (2, 10..) => {
                let flags = le16(e, 8);
                // Polarity and trigger mode; 0 means the bus's own, for ISA high and edge.
                let o = Override {
                    isa_irq: e[3],
                    gsi: le32(e, 4),
                    level: flags >> 2 & 3 == 3,
                    active_low: flags & 3 == 3,
                };
                let _ = out.overrides.try_push(o);
            }
            (4, 6..) => {
                let _ = out.lapic_nmis.try_push(LapicNmi { acpi_id: e[2], lint: e[5] });
            }
            (9, 16..) if le32(e, 8) & 1 != 0 => {
                let cpu = Cpu { apic_id: le32(e, 4), acpi_id: le32(e, 12) };
                if !out.cpus.iter().any(|c| c.apic_id == cpu.apic_id) {
                    let _ = out.cpus.try_push(cpu);
                }
            }
            _ => {}
        }
        rest = &rest[len..];
    }
}

/// Fixed ACPI Description Table (5.2.9). Extended addresses win where they are given.
fn fadt(t: &[u8]) -> Fadt {
    let word = |at: usize| if t.len() >= at + 4 { le32(t, at) } else { 0 };
    let half = |at: usize| if t.len() >= at + 2 { le16(t, at) } else { 0 };
    let flags = word(112);
    let gas_port = |at: usize| match gas(t, at) {
        Some(Register::Io(port)) => Some(port),
        _ => None,
    };
    let port = |legacy: usize, extended: usize| gas_port(extended).unwrap_or(word(legacy) as u16);
    let pm_timer = Some(port(76, 208)).filter(|&p| p != 0);
    Fadt {
        pm_timer,
        pm_timer_32bit: flags & 1 << 8 != 0,
        reset: if flags & 1 << 10 != 0 { gas(t, 116) } else { None },
        reset_value: t.get(128).copied().unwrap_or(0),
        pm1a_evt: port(56, 148),
        pm1b_evt: port(60, 160),
        pm1a_cnt: port(64, 172),
        pm1b_cnt: port(68, 184),
        sci: half(46),
        flags,
        boot_flags: half(109),
    }
}

/// Generic Address Structure (5.2.3.2) at `at`; `None` if absent or zero.
fn gas(t: &[u8], at: usize) -> Option<Register> {
    let g = t.get(at..at + 12)?;
    let addr = le64(g, 4);
    if addr == 0 {
        return None;
    }
    match g[0] {
        0 => Some(Register::Memory(addr)),
        1 => Some(Register::Io(addr as u16)),
        2 => Some(Register::PciConfig {
            device: (addr >> 32) as u8,
            function: (addr >> 16) as u8,
            offset: addr as u16,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Memory;
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut t = signature.to_vec();
        t.extend_from_slice(&(36 + body.len() as u32).to_le_bytes());
        t.resize(36, 0);
        t.extend_from_slice(body);
        t[9] = 0u8.wrapping_sub(sum(&t));
        t
    }

    fn machine() -> Memory {
        let mut m = Memory::new(0xe_0000, 0x2_0000);
        let mut madt = Vec::new();
        madt.extend_from_slice(&0xfee0_0000u32.to_le_bytes());
        madt.extend_from_slice(&1u32.to_le_bytes());
        madt.extend_from_slice(&[0, 8, 0, 0, 1, 0, 0, 0]);
        madt.extend_from_slice(&[0, 8, 1, 4, 1, 0, 0, 0]);
        madt.extend_from_slice(&[0, 8, 2, 5, 0, 0, 0, 0]); // disabled
        madt.extend_from_slice(&[1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        madt.extend_from_slice(&[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        madt.extend_from_slice(&[2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]);
        madt.extend_from_slice(&[4, 6, 0xff, 0, 0, 1]);
        madt.extend_from_slice(&[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        let mut fadt = std::vec![0u8; 244 - 36];
        fadt[76 - 36..78 - 36].copy_from_slice(&0x608u16.to_le_bytes());
        fadt[112 - 36..116 - 36].copy_from_slice(&(1u32 << 10).to_le_bytes());
        fadt[116 - 36..128 - 36].copy_from_slice(&[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]);
        fadt[128 - 36] = 0x0f;
        let madt = table(b"APIC", &madt);
        let fadt = table(b"FACP", &fadt);
        m.put(0xf_1000, &madt);
        m.put(0xf_2000, &fadt);
        let mut list = 0xf_1000u32.to_le_bytes().to_vec();
        list.extend_from_slice(&0xf_2000u32.to_le_bytes());
        m.put(0xf_3000, &table(b"RSDT", &list));
        let mut rsdp = b"RSD PTR \0BOCHS \0".to_vec();
        rsdp.extend_from_slice(&0xf_3000u32.to_le_bytes());
        rsdp[8] = 0u8.wrapping_sub(sum(&rsdp));
        m.put(0xf_0010, &rsdp);
        m
    }

    #[test]
    fn reads_what_it_needs() {
        let m = machine();
        assert_eq!(find_rsdp(None, &m), Some(0xf_0010));
        assert_eq!(find_rsdp(Some(0xf_0000), &m), Some(0xf_0010), "what is told may be wrong");
        let t = parse(0xf_0010, &m).unwrap();
        let ids: Vec<_> = t.cpus.iter().map(|c| (c.apic_id, c.acpi_id)).collect();
        assert_eq!(ids, [(0, 0), (4, 1), (256, 9)]);
        assert_eq!(t.ioapics[0], IoApic { id: 7, addr: 0xfec0_0000, gsi_base: 0 });
        assert_eq!(t.overrides[0], Override { isa_irq: 0, gsi: 2, level: false, active_low: false });
        assert_eq!(t.overrides[1], Override { isa_irq: 9, gsi: 9, level: true, active_low: false });
        assert_eq!(t.lapic_nmis[0], LapicNmi { acpi_id: 0xff, lint: 1 });
        assert_eq!(t.fadt.pm_timer, Some(0x608));
        assert_eq!(t.fadt.reset, Some(Register::Io(0xcf9)));
        assert_eq!(t.fadt.reset_value, 0x0f);
    }

    #[test]
    fn a_copy_serves_where_the_firmware_has_none() {
        let mut m = machine();
        let copy = m.bytes(0xf_0010, 20).unwrap().to_vec();
        m.put(0xf_0010, &[0; 20]);
        m.put(0xf_4004, &copy);
        assert_eq!(find_rsdp(None, &m), None);
        assert_eq!(find_rsdp(Some(0xf_4004), &m), Some(0xf_4004));
    }

    #[test]
    fn shift_flags_are_a_bioss() {
        /// The machine's memory with a data area.
        struct Bios(Memory, [u8; 2]);
        impl PhysMem for Bios {
            fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
                match (addr, len) {
                    (0x417, 1) => Some(&self.1[..1]),
                    (0x40e, 2) => Some(&self.1),
                    _ => self.0.bytes(addr, len),
                }
            }
        }
        let mut m = Bios(machine(), [0x60, 0]);
        assert_eq!(super::super::kbd_shift_flags(&m), Some(0x60));
        m.0.put(0xf_0010, &[0; 8]);
        assert_eq!(super::super::kbd_shift_flags(&m), None, "another firmware's memory");
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let mut m = machine();
        m.put(0xf_1000 + 50, &[0x55]);
        assert_eq!(parse(0xf_0010, &m).unwrap_err(), AcpiError::BadTable(*b"APIC"));
    }

    #[test]
    fn a_subtable_without_length_ends_the_list() {
        let mut m = machine();
        let mut body = 0xfee0_0000u32.to_le_bytes().to_vec();
        body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 3, 3]);
        m.put(0xf_1000, &table(b"APIC", &body));
        assert!(parse(0xf_0010, &m).unwrap().cpus.is_empty());
    }
}
