//! The symbol blob: function addresses and demangled names, for backtraces and `XENPF_get_symbol`.
//!
//! Little-endian: `magic: [u8; 8]`, `total_len: u32` (whole blob), `count: u32`, then `count` entries of
//! `{ address: u64, name_offset: u32, name_len: u32 }` sorted by address, then the names (offsets count from
//! the blob's start). The hypervisor has the reader.

/// First bytes of the blob.
pub const MAGIC: [u8; 8] = *b"XLSYMS01";
const HEADER: usize = 16;
const ENTRY: usize = 16;

/// Sorts `functions` (address, name) and encodes them; of several names for an address the first stays.
pub fn encode(mut functions: Vec<(u64, String)>) -> Vec<u8> {
    functions.sort();
    functions.dedup_by_key(|f| f.0);
    let mut names = Vec::new();
    let mut entries = Vec::new();
    let names_at = HEADER + ENTRY * functions.len();
    for (address, name) in &functions {
        entries.extend_from_slice(&address.to_le_bytes());
        entries.extend_from_slice(&((names_at + names.len()) as u32).to_le_bytes());
        entries.extend_from_slice(&(name.len() as u32).to_le_bytes());
        names.extend_from_slice(name.as_bytes());
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&((names_at + names.len()) as u32).to_le_bytes());
    out.extend_from_slice(&(functions.len() as u32).to_le_bytes());
    out.extend_from_slice(&entries);
    out.extend_from_slice(&names);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_and_point_at_their_names() {
        let blob = encode(vec![(9, "nine".into()), (4, "four".into()), (9, "other".into())]);
        assert_eq!(&blob[..8], &MAGIC);
        assert_eq!(u32::from_le_bytes(blob[8..12].try_into().unwrap()) as usize, blob.len());
        assert_eq!(u32::from_le_bytes(blob[12..16].try_into().unwrap()), 2);
        assert_eq!(u64::from_le_bytes(blob[16..24].try_into().unwrap()), 4);
        let at = u32::from_le_bytes(blob[24..28].try_into().unwrap()) as usize;
        assert_eq!(&blob[at..at + 4], b"four");
    }
}
