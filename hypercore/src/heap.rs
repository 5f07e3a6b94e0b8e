//! Where an allocation of the hypervisor's heap comes from, so that the memory it took goes back.
//!
//! What fills a page or more is whole pages of its own ([`whole_pages`]) and is free again at once. Smaller objects
//! share pages: a reserve taken at boot, and beyond it chunks of [`CHUNK_PAGES`], each given back when the last
//! object in it goes ([`Chunks`] counts them).

use arrayvec::ArrayVec;

const PAGE: usize = 4096;
/// Pages that small objects take at a time beyond the reserve; aligned to their number.
pub const CHUNK_PAGES: u64 = 8;
/// Bytes of a chunk.
pub const CHUNK: u64 = CHUNK_PAGES * PAGE as u64;
/// Chunks at most: 64 MiB of small objects, some thousand domains.
pub const MAX_CHUNKS: usize = 2048;

/// Pages an allocation of `size` bytes has to itself, and their alignment in pages (a power of two); `None` for a
/// small object.
pub const fn whole_pages(size: usize, align: usize) -> Option<(u64, u64)> {
    if size < PAGE && align < PAGE {
        return None;
    }
    let aligned = if align > PAGE { align / PAGE } else { 1 };
    Some((size.div_ceil(PAGE) as u64, aligned as u64))
}

/// The chunks there are, and how many objects each holds.
#[derive(Debug)]
pub struct Chunks<const N: usize> {
    /// (address / [`CHUNK`], objects), by address.
    list: ArrayVec<(u32, u32), N>,
}

impl<const N: usize> Default for Chunks<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Chunks<N> {
    /// None yet.
    pub const fn new() -> Self {
        Self { list: ArrayVec::new_const() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds the empty chunk at physical address `start`, a multiple of [`CHUNK`]. False when there is no room for
    /// it in the list.
    pub fn add(&mut self, start: u64) -> bool {
        let Ok(number) = u32::try_from(start / CHUNK) else { return false };
        match self.list.binary_search_by_key(&number, |c| c.0) {
            Ok(_) => false,
            Err(i) => self.list.try_insert(i, (number, 0)).is_ok(),
        }
    }

    /// Counts the object allocated at physical address `at`, if it is in a chunk.
    pub fn took(&mut self, at: u64) {
        if let Some(i) = self.find(at) {
            self.list[i].1 += 1;
        }
    }

    /// Uncounts the object freed at physical address `at`. If it was its chunk's last, the chunk leaves the list:
    /// its start.
    pub fn freed(&mut self, at: u64) -> Option<u64> {
        let i = self.find(at)?;
        let (number, objects) = &mut self.list[i];
        *objects -= 1;
        let start = u64::from(*number) * CHUNK;
        (*objects == 0).then(|| {
            self.list.remove(i);
            start
        })
    }

    fn find(&self, at: u64) -> Option<usize> {
        let number = u32::try_from(at / CHUNK).ok()?;
        self.list.binary_search_by_key(&number, |c| c.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn objects_of_a_page_or_more_have_pages_to_themselves() {
        assert_eq!(whole_pages(4095, 64), None);
        assert_eq!(whole_pages(4096, 8), Some((1, 1)));
        assert_eq!(whole_pages(4097, 4096), Some((2, 1)));
        assert_eq!(whole_pages(64, 4096), Some((1, 1)));
        assert_eq!(whole_pages(1 << 20, 1 << 14), Some((256, 4)));
    }

    /// Objects come and go in any order: a chunk is given back exactly when it is empty, and none is left over.
    #[test]
    fn a_chunk_goes_back_with_its_last_object() {
        let mut chunks = Chunks::<4>::new();
        let starts = [7, 3, 9, 5].map(|n| n * CHUNK);
        let mut live: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..20_000 {
            let start = starts[random(4) as usize];
            let objects = live.entry(start).or_default();
            if random(2) == 0 && objects.len() < 20 {
                if objects.is_empty() {
                    assert!(chunks.add(start));
                }
                let at = start + random(CHUNK);
                chunks.took(at);
                objects.push(at);
            } else if !objects.is_empty() {
                let at = objects.swap_remove(random(objects.len() as u64) as usize);
                assert_eq!(chunks.freed(at), objects.is_empty().then_some(start));
            }
            assert_eq!(chunks.len(), live.values().filter(|o| !o.is_empty()).count());
        }
        for at in live.into_values().flatten() {
            chunks.freed(at);
        }
        assert!(chunks.is_empty());
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut chunks = Chunks::<2>::new();
        assert!(chunks.add(0) && chunks.add(2 * CHUNK));
        assert!(!chunks.add(CHUNK), "full");
        // What is not in a chunk (the reserve) is nobody's business here.
        chunks.took(CHUNK);
        assert_eq!(chunks.freed(CHUNK), None);
    }
}
