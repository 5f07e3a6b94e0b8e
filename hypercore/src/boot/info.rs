//! What a boot loader told, whichever protocol it spoke: [`BootInfo`], and how its pieces are read.

use arrayvec::{ArrayString, ArrayVec};

use super::PhysMem;
use super::ranges::RangeSet;
use super::video::Framebuffer;

/// Entries of the firmware's memory map that are kept.
pub const MAX_MAP: usize = 128;

/// Why the information could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// eax does not hold the magic number of a known protocol.
    UnknownLoader(u32),
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
    /// Where the loader says that ACPI's root pointer is, or where it put a copy.
    pub rsdp: Option<u64>,
    /// The frame buffer the loader set up, if it did.
    pub video: Option<Framebuffer>,
}

impl BootInfo {
    /// Nothing told yet.
    pub const fn new() -> Self {
        BootInfo {
            command_line: ArrayString::new_const(),
            loader: ArrayString::new_const(),
            memory: ArrayVec::new_const(),
            modules: ArrayVec::new_const(),
            rsdp: None,
            video: None,
        }
    }

    /// Whether the loader puts file names before arguments: QEMU and GRUB 0.9x do, GRUB 2 does not.
    pub(super) fn passes_names(&self) -> bool {
        !self.loader.starts_with("GRUB") || self.loader.starts_with("GRUB 0")
    }

    /// Adds `start..start + len`; what would be empty, or does not fit any more, is left out.
    pub(super) fn add_memory(&mut self, start: u64, len: u64, kind: u32) {
        let end = start.saturating_add(len);
        if end > start {
            let _ = self.memory.try_push(MemoryRange { start, end, kind });
        }
    }

    /// Adds a module at `start..end` with the string at `args` (0: none).
    pub(super) fn add_module(
        &mut self,
        mem: &impl PhysMem,
        (start, end): (u64, u64),
        args: u64,
        named: bool,
    ) -> Result<(), BootError> {
        let mut module = Module { start, end: end.max(start), args: ArrayString::new() };
        if args != 0 {
            copy_string(mem, args, &mut module.args);
            strip_name(&mut module.args, named);
        }
        self.modules.try_push(module).map_err(|_| BootError::Unreadable("module list (more than 8 modules)"))
    }

    /// Sorts the memory map, without which there is no start.
    pub(super) fn finish(&mut self) -> Result<(), BootError> {
        self.memory.sort_unstable_by_key(|r| r.start);
        if self.memory.is_empty() { Err(BootError::NoMemoryMap) } else { Ok(()) }
    }

    /// Whole pages of RAM: usable ranges without what overlaps a range of another type.
    pub fn ram(&self) -> RangeSet<MAX_MAP> {
        let mut set = RangeSet::new();
        for r in self.memory.iter().filter(|r| r.kind == E820_RAM) {
            if let Some(start) = r.start.checked_next_multiple_of(4096) {
                set.add(start, r.end & !4095);
            }
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

/// Appends the NUL-terminated string at `addr`, as far as it fits; bytes outside ASCII become `?`.
pub(super) fn copy_string<const N: usize>(mem: &impl PhysMem, addr: u64, out: &mut ArrayString<N>) {
    for i in 0..N as u64 {
        match mem.bytes(addr.saturating_add(i), 1) {
            Some([0]) | None => return,
            Some(b) => out.push(if b[0].is_ascii() { b[0] as char } else { '?' }),
        }
    }
}

/// Takes the leading file name off (when the loader puts one there) and white space around the rest.
pub(super) fn strip_name<const N: usize>(line: &mut ArrayString<N>, named: bool) {
    let mut rest = line.trim();
    if named {
        rest = rest.find(char::is_whitespace).map_or("", |at| rest[at..].trim_start());
    }
    let kept: ArrayString<N> = ArrayString::from(rest).unwrap_or_default();
    *line = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ranges_win_over_ram() {
        let mut b = BootInfo::default();
        b.memory.push(MemoryRange { start: 0, end: 0x10000, kind: E820_RAM });
        b.memory.push(MemoryRange { start: 0x4800, end: 0x5001, kind: 2 });
        // Not a whole page, at the end of all addresses.
        b.memory.push(MemoryRange { start: u64::MAX - 10, end: u64::MAX, kind: E820_RAM });
        assert_eq!(b.ram().total(), 0x10000 - 0x2000);
        assert!(!b.ram().contains(0x4000));
        assert!(!b.ram().contains(0x5800));
    }
}
