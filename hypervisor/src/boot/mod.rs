//! Boot: from the loader's hand-over to a running system.

pub mod entry;

/// First Rust code; `magic` and `info` are what the multiboot loader left in eax and ebx.
extern "C" fn start(_magic: u32, _info: u32) -> ! {
    for &b in b"(XEN) Xenolith 4.17\r\n" {
        // SAFETY: the first serial port's data register; nothing else drives it yet.
        unsafe { core::arch::asm!("out dx, al", in("dx") 0x3f8u16, in("al") b) }
    }
    loop {
        core::hint::spin_loop();
    }
}
