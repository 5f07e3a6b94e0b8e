//! The x86 branch filter of xz: call and jump targets are stored absolute, which compresses better;
//! this turns them back into relative ones.

/// Whether `byte` can be the top byte of a 32-bit target the filter touches.
fn is_top(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// How far back in a target the last opcode seen in the three bytes before lies, by their mask.
const BACK: [u8; 8] = [0, 1, 2, 2, 3, 3, 3, 3];

/// Undoes the filter over a whole block whose first byte had position 0.
pub(super) fn x86_decode(buf: &mut [u8]) {
    let Some(end) = buf.len().checked_sub(4) else { return };
    // Bit n: an opcode byte whose target was not converted lies n+1 bytes before.
    let mut mask = 0u32;
    let mut last = usize::MAX;
    let mut i = 0;
    while i < end {
        // Skip quickly to the next E8 (call) or E9 (jmp).
        match buf[i..end].iter().position(|b| b & 0xfe == 0xe8) {
            Some(skip) => i += skip,
            None => return,
        }
        let gap = i.wrapping_sub(last);
        last = i;
        mask = if gap > 3 { 0 } else { (mask << (gap - 1)) & 7 };
        if mask != 0 {
            let byte = buf[i + 4 - usize::from(BACK[mask as usize])];
            if !matches!(mask, 1 | 2 | 4) || is_top(byte) {
                mask = (mask << 1) | 1;
                i += 1;
                continue;
            }
        }
        if is_top(buf[i + 4]) {
            let mut stored = u32::from_le_bytes([buf[i + 1], buf[i + 2], buf[i + 3], buf[i + 4]]);
            let mut target;
            loop {
                target = stored.wrapping_sub((i as u32).wrapping_add(5));
                if mask == 0 {
                    break;
                }
                let shift = u32::from(BACK[mask as usize]) * 8;
                if !is_top((target >> (24 - shift)) as u8) {
                    break;
                }
                stored = target ^ (1u32 << (32 - shift)).wrapping_sub(1);
            }
            target &= 0x01ff_ffff;
            target |= (target & 0x0100_0000).wrapping_neg();
            buf[i + 1..i + 5].copy_from_slice(&target.to_le_bytes());
            i += 5;
        } else {
            mask = (mask << 1) | 1;
            i += 1;
        }
    }
}
