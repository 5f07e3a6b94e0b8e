//! What a boot loader left: the first byte chooses the protocol, the rest is memory from address 0x1000 on, where the
//! information begins.
#![no_main]

use hypercore::boot::info::BootInfo;
use hypercore::boot::{PhysMem, bundle, multiboot, multiboot2, parse, pvh};
use libfuzzer_sys::fuzz_target;

const BASE: u64 = 0x1000;

struct Memory<'a>(&'a [u8]);

impl PhysMem for Memory<'_> {
    fn bytes(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(addr.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(len)?)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, memory)) = data.split_first() else { return };
    let magic = [multiboot::MAGIC, multiboot2::MAGIC, pvh::MAGIC][usize::from(first) % 3];
    let mut info = BootInfo::new();
    if parse(magic, BASE as u32, &Memory(memory), &mut info).is_ok() {
        assert!(info.ram().iter().all(|r| r.start < r.end && r.start % 4096 == 0 && r.end % 4096 == 0));
        assert!(info.modules.iter().all(|m| m.start <= m.end));
    }
    let _ = bundle::open(memory);
});
