//! Multiboot 1 information (Multiboot Specification 0.6.96, section 3.3), as QEMU's `-kernel` and GRUB's
//! `multiboot` leave it.

use arrayvec::{ArrayString, ArrayVec};

use super::ranges::RangeSet;
use super::{PhysMem, le32, le64};

/// What the loader leaves in eax.
pub const BOOTLOADER_MAGIC: u32 = 0x2bad_b002;

/// Entries of the firmware's memory map that are kept.
pub const MAX_MAP: usize = 128;

/// Why the information could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// eax does not hold the loader's magic number.
    NotMultiboot(u32),
    /// The structure, or a part of it that the field names, cannot be read.
    Unreadable(&'static str),
    /// Neither a memory map nor the size of memory was given.
    NoMemoryMap,
}

/// One entry of the firmware's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    pub start: u64,
    pub end: u64,
    /// E820 type: 1 RAM, 2 reserved, 3 ACPI reclaimable, 4 ACPI NVS, 5 unusable.
    pub kind: u32,
}

/// E820 type of usable RAM.
pub const E820_RAM: u32 = 1;
/// E820 type of ACPI tables.
pub const E820_ACPI: u32 = 3;
/// E820 type of ACPI non-volatile storage.
pub const E820_NVS: u32 = 4;

/// A file the loader put into memory: `start..end`, with its arguments (without the file's name).
#[derive(Clone, Debug)]
pub struct Module {
    pub start: u64,
    pub end: u64,
    pub args: ArrayString<2048>,
}

/// Everything the loader told. Some 20 KiB: kept in a static, filled in place.
#[derive(Debug)]
pub struct BootInfo {
    /// The hypervisor's command line, without the image's name.
    pub command_line: ArrayString<2048>,
    pub loader: ArrayString<64>,
    /// As the firmware gave it.
    pub memory: ArrayVec<MemoryRange, MAX_MAP>,
    pub modules: ArrayVec<Module, 8>,
}

impl BootInfo {
    /// Nothing told yet.
    pub const fn new() -> Self {
        BootInfo {
            command_line: ArrayString::new_const(),
            loader: ArrayString::new_const(),
            memory: ArrayVec::new_const(),
            modules: ArrayVec::new_const(),
        }
    }

    /// Whole pages of RAM: usable ranges without what overlaps a range of another type.
    pub fn ram(&self) -> RangeSet<MAX_MAP> {
        let mut set = RangeSet::new();
        for r in self.memory.iter().filter(|r| r.kind == E820_RAM) {
            set.add(r.start.next_multiple_of(4096), r.end & !4095);
        }
        for r in self.memory.iter().filter(|r| r.kind != E820_RAM) {
            set.remove(r.start & !4095, r.end.saturating_add(4095) & !4095);
        }
        set
    }
}

impl Default for BootInfo {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the information at `info` into `out`, which is new; `magic` is what eax held.
pub fn parse(magic: u32, info: u32, mem: &impl PhysMem, out: &mut BootInfo) -> Result<(), BootError> {
    if magic != BOOTLOADER_MAGIC {
        return Err(BootError::NotMultiboot(magic));
    }
    let head = mem.bytes(info.into(), 88).ok_or(BootError::Unreadable("multiboot information"))?;
    let flags = le32(head, 0);
    let has = |bit: u32| flags & 1 << bit != 0;
    if has(9) {
        copy_string(mem, le32(head, 64), &mut out.loader);
    }
    // GRUB 2 passes the arguments alone; QEMU and GRUB 0.9x put the file's name first.
    let named = !out.loader.starts_with("GRUB") || out.loader.starts_with("GRUB 0");
    if has(2) {
        copy_string(mem, le32(head, 16), &mut out.command_line);
        strip_name(&mut out.command_line, named);
    }
    if has(3) {
        let (count, table) = (le32(head, 20), le32(head, 24));
        for i in 0..count {
            let entry = mem
                .bytes(u64::from(table) + u64::from(i) * 16, 16)
                .ok_or(BootError::Unreadable("module list"))?;
            let (start, end) = (u64::from(le32(entry, 0)), u64::from(le32(entry, 4)));
            let module = Module { start, end: end.max(start), args: ArrayString::new() };
            if out.modules.try_push(module).is_err() {
                return Err(BootError::Unreadable("module list (more than 8 modules)"));
            }
            if let Some(module) = out.modules.last_mut().filter(|_| le32(entry, 8) != 0) {
                copy_string(mem, le32(entry, 8), &mut module.args);
                strip_name(&mut module.args, named);
            }
        }
    }
    if has(6) {
        read_map(mem, le32(head, 48), le32(head, 44), out)?;
    } else if has(0) {
        let (lower, upper) = (u64::from(le32(head, 4)), u64::from(le32(head, 8)));
        out.memory.push(MemoryRange { start: 0, end: lower << 10, kind: E820_RAM });
        out.memory.push(MemoryRange { start: 1 << 20, end: (1 << 20) + (upper << 10), kind: E820_RAM });
    }
    if out.memory.is_empty() {
        return Err(BootError::NoMemoryMap);
    }
    Ok(())
}

/// Reads the memory map: entries of `{ size: u32, base: u64, length: u64, type: u32 }`, `size` not counting
/// itself.
fn read_map(mem: &impl PhysMem, addr: u32, len: u32, out: &mut BootInfo) -> Result<(), BootError> {
    let bytes = mem.bytes(addr.into(), len as usize).ok_or(BootError::Unreadable("memory map"))?;
    let mut at = 0;
    while at + 24 <= bytes.len() {
        let size = le32(bytes, at) as usize;
        let start = le64(bytes, at + 4);
        let end = start.saturating_add(le64(bytes, at + 12));
        let kind = le32(bytes, at + 20);
        if end > start && out.memory.try_push(MemoryRange { start, end, kind }).is_err() {
            break;
        }
        at += size.max(20) + 4;
    }
    out.memory.sort_by_key(|r| r.start);
    Ok(())
}

/// Appends the NUL-terminated string at `addr`, as far as it fits; bytes outside ASCII become `?`.
fn copy_string<const N: usize>(mem: &impl PhysMem, addr: u32, out: &mut ArrayString<N>) {
    for i in 0..N as u64 {
        match mem.bytes(u64::from(addr) + i, 1) {
            Some([0]) | None => return,
            Some(b) => out.push(if b[0].is_ascii() { b[0] as char } else { '?' }),
        }
    }
}

/// Takes the leading file name off (when the loader puts one there) and white space around the rest.
fn strip_name<const N: usize>(line: &mut ArrayString<N>, named: bool) {
    let mut rest = line.trim();
    if named {
        rest = rest.find(char::is_whitespace).map_or("", |at| rest[at..].trim_start());
    }
    let kept: ArrayString<N> = ArrayString::from(rest).unwrap_or_default();
    *line = kept;
}

#[cfg(test)]
mod tests {
    use super::super::testing::Memory;
    use super::*;

    fn parse(magic: u32, info: u32, mem: &Memory) -> Result<BootInfo, BootError> {
        let mut out = BootInfo::new();
        super::parse(magic, info, mem, &mut out).map(|()| out)
    }

    fn sample(loader: &[u8]) -> Memory {
        let mut m = Memory::new(0x9000, 0x1000);
        m.put32(0x9000, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
        m.put32(0x9010, 0x9200);
        m.put(0x9200, b"xenolith  console=com1 loglvl=all \0");
        m.put32(0x9014, 2);
        m.put32(0x9018, 0x9100);
        for (i, w) in [0x40_0000, 0x50_0000, 0x9300, 0, 0x60_0000, 0x60_0010, 0, 0].iter().enumerate() {
            m.put32(0x9100 + 4 * i as u64, *w);
        }
        m.put(0x9300, b"vmlinuz root=/dev/sda console=hvc0\0");
        m.put32(0x902c, 48);
        m.put32(0x9030, 0x9400);
        for (i, (base, len, kind)) in
            [(0x10_0000u64, 0x7ff0_0000u64, 1u32), (0, 0x9fc00, 1)].iter().enumerate()
        {
            let at = 0x9400 + 24 * i as u64;
            m.put32(at, 20);
            m.put(at + 4, &base.to_le_bytes());
            m.put(at + 12, &len.to_le_bytes());
            m.put32(at + 20, *kind);
        }
        m.put32(0x9040, 0x9500);
        m.put(0x9500, loader);
        m
    }

    #[test]
    fn qemu_puts_the_names_first() {
        let b = parse(BOOTLOADER_MAGIC, 0x9000, &sample(b"qemu\0")).unwrap();
        assert_eq!(&b.command_line[..], "console=com1 loglvl=all");
        assert_eq!(b.modules.len(), 2);
        assert_eq!(&b.modules[0].args[..], "root=/dev/sda console=hvc0");
        assert_eq!((b.modules[1].start, b.modules[1].end), (0x60_0000, 0x60_0010));
        assert_eq!(b.memory[0].end, 0x9fc00);
        assert_eq!(b.ram().total(), 0x7ff0_0000 + 0x9f000);
    }

    #[test]
    fn grub_2_passes_arguments_alone() {
        let b = parse(BOOTLOADER_MAGIC, 0x9000, &sample(b"GRUB 2.06\0")).unwrap();
        assert_eq!(&b.command_line[..], "xenolith  console=com1 loglvl=all");
    }

    #[test]
    fn without_a_map_the_sizes_serve() {
        let mut m = sample(b"qemu\0");
        m.put32(0x9000, 1);
        m.put32(0x9004, 639);
        m.put32(0x9008, 1024);
        let b = parse(BOOTLOADER_MAGIC, 0x9000, &m).unwrap();
        assert_eq!(b.memory[1], MemoryRange { start: 1 << 20, end: 2 << 20, kind: E820_RAM });
        m.put32(0x9000, 0);
        assert_eq!(parse(BOOTLOADER_MAGIC, 0x9000, &m).unwrap_err(), BootError::NoMemoryMap);
    }

    #[test]
    fn refuses_what_is_not_multiboot_or_unreadable() {
        let m = sample(b"qemu\0");
        assert_eq!(parse(7, 0x9000, &m).unwrap_err(), BootError::NotMultiboot(7));
        assert!(matches!(parse(BOOTLOADER_MAGIC, 0x1_0000, &m), Err(BootError::Unreadable(_))));
    }

    #[test]
    fn reserved_ranges_win_over_ram() {
        let mut b = BootInfo::default();
        b.memory.push(MemoryRange { start: 0, end: 0x10000, kind: E820_RAM });
        b.memory.push(MemoryRange { start: 0x4800, end: 0x5001, kind: 2 });
        assert_eq!(b.ram().total(), 0x10000 - 0x2000);
        assert!(!b.ram().contains(0x4000));
        assert!(!b.ram().contains(0x5800));
    }
}
