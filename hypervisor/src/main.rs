//! Xenolith on bare metal.
#![no_std]
#![no_main]

mod boot;
mod layout;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
