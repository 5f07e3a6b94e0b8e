//! The page of stubs a guest calls to enter the hypervisor.

use abi::xen::HYPERVISOR_IRET;
use x86::pte::PAGE_SIZE;

/// Bytes per stub.
const STUB: usize = 32;

/// Contents of a PV guest's hypercall page: call number n at offset 32 n.
///
/// RCX and R11, which SYSCALL overwrites, are kept on the stack; `iret` does not come back, so its
/// stub leaves them, and RAX, there for the hypervisor to restore (`struct iret_context`).
pub fn contents() -> [u8; PAGE_SIZE] {
    // int3 where nothing is to be executed.
    let mut page = [0xcc; PAGE_SIZE];
    for (n, stub) in page.chunks_exact_mut(STUB).enumerate() {
        let [a, b, c, d] = (n as u32).to_le_bytes();
        if n as u32 == HYPERVISOR_IRET {
            // push rcx; push r11; push rax; mov eax, n; syscall
            stub[..12].copy_from_slice(&[0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05, 0xcc]);
        } else {
            // push rcx; push r11; mov eax, n; syscall; pop r11; pop rcx; ret
            let code = [0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
            stub[..14].copy_from_slice(&code);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stub_loads_its_number() {
        let page = contents();
        assert_eq!(page[17 * 32..][..14], *b"\x51\x41\x53\xb8\x11\0\0\0\x0f\x05\x41\x5b\x59\xc3");
        assert_eq!(page[23 * 32..][..12], *b"\x51\x41\x53\x50\xb8\x17\0\0\0\x0f\x05\xcc");
        assert_eq!(page[127 * 32 + 4], 127);
    }
}
