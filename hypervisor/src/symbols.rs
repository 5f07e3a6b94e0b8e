//! Names of the hypervisor's functions, from the blob that image making puts behind the image
//! (`bootimage::symbols` has the writer and the format).

use crate::layout::PAGE;
use crate::mm::{paging, ram_bytes};

const MAGIC: [u8; 8] = *b"XLSYMS01";
const HEADER: usize = 16;
const ENTRY: usize = 16;

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    pub address: u64,
    pub name: &'static str,
}

/// The image's identification, which the linker makes of its contents; empty if it was told not to.
pub fn build_id() -> &'static [u8] {
    unsafe extern "C" {
        static __build_id_start: u8;
        static __build_id_end: u8;
    }
    let (start, end) = (&raw const __build_id_start, &raw const __build_id_end);
    // SAFETY: the linker puts the note, and nothing else, between these two, in memory that is never written.
    let note = unsafe { core::slice::from_raw_parts(start, end.offset_from(start) as usize) };
    // The lengths of name and contents, and the type; the name is "GNU" with its zero.
    match note {
        [4, 0, 0, 0, len, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, id @ ..] => {
            id.get(..usize::from(*len)).unwrap_or(&[])
        }
        _ => &[],
    }
}

/// The blob; empty if the image came without.
fn blob() -> &'static [u8] {
    let start = paging::image_end();
    // SAFETY: the image's linker script reserves the place behind it for the blob; a loader that loads the
    // image has put RAM there. Nobody writes to it.
    unsafe {
        let head = ram_bytes(start, HEADER);
        if head[..8] != MAGIC {
            return &[];
        }
        ram_bytes(start, word(head, 8) as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Physical address after the blob, page-aligned: the end of all that belongs to the image.
pub fn end() -> u64 {
    (paging::image_end() + blob().len() as u64).next_multiple_of(PAGE)
}

/// How many functions have names.
pub fn count() -> usize {
    let blob = blob();
    if blob.is_empty() { 0 } else { word(blob, 12) as usize }
}

/// Function number `index`, by address.
pub fn get(index: usize) -> Option<Symbol> {
    if index >= count() {
        return None;
    }
    let blob = blob();
    let entry = blob.get(HEADER + index * ENTRY..HEADER + (index + 1) * ENTRY)?;
    let address = u64::from(word(entry, 0)) | u64::from(word(entry, 4)) << 32;
    let (offset, len) = (word(entry, 8) as usize, word(entry, 12) as usize);
    let name = core::str::from_utf8(blob.get(offset..offset.checked_add(len)?)?).ok()?;
    Some(Symbol { address, name })
}

/// The function that `address` is in.
pub fn find(address: u64) -> Option<Symbol> {
    let text = crate::layout::IMAGE_OFFSET + paging::image_start()
        ..crate::layout::IMAGE_OFFSET + paging::image_end();
    if !text.contains(&address) {
        return None;
    }
    let (mut low, mut high) = (0, count());
    while low < high {
        let mid = (low + high) / 2;
        if get(mid)?.address <= address { low = mid + 1 } else { high = mid }
    }
    get(low.checked_sub(1)?)
}
