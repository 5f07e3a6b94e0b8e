//! The guest's own list of its frames: where it is, what stands in it, and its entries after a restore.
//!
//! A PV guest keeps the machine frame of each of its pages in words of 64 bits. `shared_info.arch` says where: mapped in a
//! row from `p2m_vaddr` on, under the tables of `p2m_cr3`; or, from older guests, in pages that a tree of two levels names
//! (`xen/arch-x86/xen.h`).

use abi::Errno;
use abi::arch_x86::{ArchSharedInfo, xen_cr3_to_pfn};
use x86::pte::{ENTRIES, Pte, canonical, index};
use xenctl::{DomId, Error, Result, Xen};

use super::tables::PAGE;

/// Entries in a page of the list.
pub const ENTRIES_A_PAGE: u64 = ENTRIES as u64;
/// A page without a frame.
pub const INVALID: u64 = u64::MAX;
/// Bits with which Linux marks what is no frame of the guest's: one of another domain, an address that is its own frame.
const FOREIGN: u64 = 1 << 63;
const IDENTITY: u64 = 1 << 62;
/// The most the tree covers: 512 GiB.
const MOST: u64 = 1 << 27;
/// Pages of the list that are read together.
const TOGETHER: usize = 256;

/// The list of a guest that stands still.
#[derive(Debug, Default)]
pub struct P2m {
    /// Pages it has entries for.
    pub end: u64,
    /// Machine frames the list is in; some may stand more than once.
    pub leaves: Vec<u64>,
    /// Pages with a frame, in the order of the pages.
    pub pages: Vec<(u64, u64)>,
}

/// Reads it. `most` is how many frames the guest has at most.
///
/// # Errors
/// A guest without a list, or with one that cannot be.
pub fn read(xen: &Xen, domain: DomId, shared: &ArchSharedInfo, most: u64) -> Result<P2m> {
    let end = shared.max_pfn;
    if !(1..=MOST).contains(&end) {
        return Err(wrong(domain, format!("it is said to have {end} pages")));
    }
    let pages = end.div_ceil(ENTRIES_A_PAGE) as usize;
    let leaves = match shared.p2m_cr3 {
        0 => tree(xen, domain, shared.pfn_to_mfn_frame_list_list, pages)?,
        _ if shared.p2m_generation & 1 != 0 => {
            return Err(wrong(domain, "it was being changed when the guest stopped"));
        }
        cr3 => mapped(xen, domain, xen_cr3_to_pfn(cr3), shared.p2m_vaddr, pages)?,
    };
    let mut all = P2m { end, leaves, pages: Vec::new() };
    for (first, leaves) in (0..).step_by(TOGETHER).zip(all.leaves.chunks(TOGETHER)) {
        let words = words(xen, domain, leaves)?;
        let numbered = (first as u64 * ENTRIES_A_PAGE..end).zip(words);
        all.pages.extend(numbered.filter(|(_, mfn)| mfn & (FOREIGN | IDENTITY) == 0));
        if all.pages.len() as u64 > most.saturating_mul(2).saturating_add(ENTRIES_A_PAGE) {
            return Err(wrong(domain, format!("it names more frames than the {most} there are")));
        }
    }
    Ok(all)
}

fn wrong(domain: DomId, why: impl Into<String>) -> Error {
    Error::new(format!("reading domain {domain}'s list of its frames"), Errno::EINVAL).because(why)
}

/// The words in these frames.
fn words(xen: &Xen, domain: DomId, frames: &[u64]) -> Result<impl Iterator<Item = u64> + use<>> {
    let doing = format!("reading domain {domain}'s list of its frames");
    let memory = xen.frames(domain, frames, false).map_err(|e| Error { doing, ..e })?;
    let mut bytes = vec![0; frames.len() * PAGE];
    memory.read(0, &mut bytes);
    let count = bytes.len() / 8;
    Ok((0..count).map(move |n| bytes[n * 8..].first_chunk().map_or(INVALID, |b| u64::from_le_bytes(*b))))
}

/// The list's frames, by the tree.
fn tree(xen: &Xen, domain: DomId, root: u64, pages: usize) -> Result<Vec<u64>> {
    if root == 0 || root == INVALID {
        return Err(wrong(domain, "the guest does not say where it is: can its kernel be suspended?"));
    }
    let mid: Vec<u64> = words(xen, domain, &[root])?.take(pages.div_ceil(ENTRIES)).collect();
    let mut leaves = Vec::with_capacity(pages);
    for some in mid.chunks(TOGETHER) {
        leaves.extend(words(xen, domain, some)?);
    }
    leaves.truncate(pages);
    Ok(leaves)
}

/// The list's frames, by the tables it is mapped with.
fn mapped(xen: &Xen, domain: DomId, root: u64, va: u64, pages: usize) -> Result<Vec<u64>> {
    let last = (pages as u64 * PAGE as u64).checked_add(va).map(|end| end - 1);
    if !va.is_multiple_of(PAGE as u64) || !canonical(va) || !last.is_some_and(canonical) {
        return Err(wrong(domain, format!("it cannot be at {va:#x}")));
    }
    // The table of each level that the last page was found by.
    let mut tables: [(u64, Vec<u64>); 4] = Default::default();
    let mut leaves = Vec::with_capacity(pages);
    for page in 0..pages as u64 {
        let va = va + page * PAGE as u64;
        let mut frame = root;
        for level in (1..=4u8).rev() {
            let table = &mut tables[usize::from(level) - 1];
            if table.1.is_empty() || table.0 != frame {
                *table = (frame, words(xen, domain, &[frame])?.collect());
            }
            let pte = Pte(table.1[index(va, level)]);
            if !pte.present() || level > 1 && pte.has(Pte::PSE) {
                return Err(wrong(domain, format!("nothing is mapped at {va:#x}")));
            }
            frame = pte.mfn();
        }
        leaves.push(frame);
    }
    Ok(leaves)
}

/// An entry of the list after a restore: of a page with a frame, or of one without.
pub fn restored(old: u64, frame: Option<u64>) -> u64 {
    match frame {
        Some(frame) => frame,
        None if old & (FOREIGN | IDENTITY) == IDENTITY => old,
        None => INVALID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenctl::testing::Bed;

    const GUEST: DomId = DomId(8);
    const NO_TREE: u64 = INVALID;

    /// A guest whose page 1 has its list, of 600 entries, with pages 2 and 3.
    fn guest() -> (Bed, hypercore::testing::Kernel, ArchSharedInfo) {
        let bed = Bed::new(4096, 1);
        let kernel = bed.guest(GUEST, 1).boot(8);
        let fill = |page: usize, words: &[(usize, u64)]| {
            let mut all = [INVALID; ENTRIES];
            words.iter().for_each(|(n, value)| all[*n] = *value);
            assert!(kernel.write(0, kernel.va(page), zerocopy::IntoBytes::as_bytes(&all)));
        };
        fill(2, &[(0, 0x111), (2, IDENTITY | 2), (3, FOREIGN | 5), (511, 0x222)]);
        fill(3, &[(0, 0x333), (87, 0x444), (88, 0x555)]);
        // The tree.
        fill(4, &[(0, kernel.pages[5].0)]);
        fill(5, &[(0, kernel.pages[2].0), (1, kernel.pages[3].0)]);
        let shared = ArchSharedInfo {
            max_pfn: 600,
            pfn_to_mfn_frame_list_list: NO_TREE,
            p2m_cr3: kernel.tables[3].0 << 12,
            p2m_vaddr: kernel.va(2),
            ..Default::default()
        };
        (bed, kernel, shared)
    }

    #[test]
    fn the_list_is_found_both_ways() {
        let (bed, kernel, shared) = guest();
        let (xen, leaves) = (bed.xen(), [kernel.pages[2].0, kernel.pages[3].0]);
        let pages = [(0, 0x111), (511, 0x222), (512, 0x333), (599, 0x444)];
        let list = read(&xen, GUEST, &shared, 12).unwrap();
        assert_eq!((list.end, &list.leaves[..], &list.pages[..]), (600, &leaves[..], &pages[..]));
        let tree = ArchSharedInfo { p2m_cr3: 0, pfn_to_mfn_frame_list_list: kernel.pages[4].0, ..shared };
        let list = read(&xen, GUEST, &tree, 12).unwrap();
        assert_eq!((list.end, &list.leaves[..], &list.pages[..]), (600, &leaves[..], &pages[..]));
    }

    #[test]
    fn a_list_that_cannot_be_is_refused() {
        let (bed, kernel, shared) = guest();
        let xen = bed.xen();
        let said = |change: &dyn Fn(&mut ArchSharedInfo)| {
            let mut shared = shared;
            change(&mut shared);
            read(&xen, GUEST, &shared, 12).unwrap_err().to_string()
        };
        for (change, words) in [
            (&(|s: &mut ArchSharedInfo| s.max_pfn = 0) as &dyn Fn(&mut ArchSharedInfo), "0 pages"),
            (&|s| s.max_pfn = MOST + 1, "134217729 pages"),
            (&|s| s.p2m_cr3 = 0, "can its kernel be suspended?"),
            (&|s| s.p2m_cr3 = 0xfff_ffff_f000, "cannot be"),
            (&|s| s.p2m_generation = 1, "being changed"),
            (&|s| s.p2m_vaddr += 8, "cannot be at"),
            (&|s| s.p2m_vaddr = 0x7fff_ffff_f000, "cannot be at 0x7ffffffff000"),
            (&|s| s.p2m_vaddr = u64::MAX - 4095, "cannot be at"),
            (&|s| s.p2m_vaddr = 0x4000_0000, "nothing is mapped at 0x40000000"),
            (&|s| s.max_pfn = 512 * 20, "nothing is mapped"),
            (&|s| (s.p2m_cr3, s.pfn_to_mfn_frame_list_list) = (0, kernel.pages[2].0), "cannot be"),
        ] {
            assert!(said(change).contains(words), "{words}: {}", said(change));
        }
        let full = vec![0; PAGE];
        assert!(kernel.write(0, kernel.va(2), &full) && kernel.write(0, kernel.va(3), &full));
        assert!(said(&|_| ()).contains("more frames than the 12"), "{}", said(&|_| ()));
    }

    #[test]
    fn entries_are_the_new_frames() {
        assert_eq!(restored(5, Some(7)), 7);
        assert_eq!(restored(5, None), INVALID);
        assert_eq!(restored(INVALID, None), INVALID);
        assert_eq!(restored(FOREIGN | 3, None), INVALID);
        assert_eq!(restored(IDENTITY | 3, None), IDENTITY | 3);
        assert_eq!(restored(IDENTITY | 3, Some(9)), 9);
    }
}
