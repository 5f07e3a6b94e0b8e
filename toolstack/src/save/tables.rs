//! Page tables with the guest's page numbers in place of machine frames, and back.
//!
//! A saved guest gets other frames when it comes back, so its tables are saved with page numbers in their entries: what
//! is present is changed, what is not is the guest's own affair and stays.

use x86::pte::{ENTRIES, HV_L4_END, HV_L4_FIRST, Pte};

pub const PAGE: usize = 4096;

/// An entry that cannot be saved or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It maps this frame (saving) or page (restoring), which is none of the guest's.
    Foreign { index: usize, number: u64 },
    /// It maps a large page, which PV guests have none of.
    Large { index: usize },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign { index, number } => {
                write!(f, "entry {index} maps {number:#x}, which is not the guest's")
            }
            Self::Large { index } => write!(f, "entry {index} maps a large page"),
        }
    }
}

/// Entry `n` of a table.
fn entry(table: &[u8], n: usize) -> Pte {
    let bytes = table[n * 8..].first_chunk().expect("a table has 512 entries");
    Pte(u64::from_le_bytes(*bytes))
}

/// The hypervisor's own entries: it fills them in whatever the guest has there.
fn is_hypervisors(level: u8, n: usize) -> bool {
    level == 4 && (HV_L4_FIRST..HV_L4_END).contains(&n)
}

/// Numbers that a table's entries have, frames or pages, as long as it may be restored with them.
pub fn numbers(table: &[u8], level: u8) -> impl Iterator<Item = u64> {
    let entries = (0..ENTRIES).filter(move |n| !is_hypervisors(level, *n)).map(|n| entry(table, n));
    entries.filter(|pte| pte.present()).map(Pte::mfn)
}

/// Replaces the number in each entry by `other` of it. A table of 4 KiB, which is half done after a refusal.
pub fn renumber(
    table: &mut [u8],
    level: u8,
    other: impl Fn(u64) -> Option<u64>,
) -> std::result::Result<(), Refused> {
    for index in 0..ENTRIES {
        let old = entry(table, index);
        let new = match old {
            _ if is_hypervisors(level, index) => Pte(0),
            pte if !pte.present() => continue,
            pte if level > 1 && pte.has(Pte::PSE) => return Err(Refused::Large { index }),
            pte => {
                let number = pte.mfn();
                Pte::new(other(number).ok_or(Refused::Foreign { index, number })?, pte.flags())
            }
        };
        table[index * 8..][..8].copy_from_slice(&new.0.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(usize, u64)]) -> Vec<u8> {
        let mut table = vec![0; PAGE];
        for (n, value) in entries {
            table[n * 8..][..8].copy_from_slice(&value.to_le_bytes());
        }
        table
    }

    const FLAGS: u64 = Pte::PRESENT | Pte::RW | Pte::USER | Pte::NX | Pte::AVAIL_HIGH | Pte::DIRTY;

    #[test]
    fn what_is_present_is_renumbered_and_comes_back() {
        let absent = (9, 0x1234_5678 << 12);
        let before = table(&[(0, 100 << 12 | FLAGS), (511, 300 << 12 | Pte::PRESENT), absent]);
        let mut page = before.clone();
        renumber(&mut page, 1, |mfn| Some(mfn - 99)).unwrap();
        assert_eq!(page, table(&[(0, 1 << 12 | FLAGS), (511, 201 << 12 | Pte::PRESENT), absent]));
        assert_eq!(numbers(&page, 1).collect::<Vec<_>>(), [1, 201]);
        renumber(&mut page, 1, |pfn| Some(pfn + 99)).unwrap();
        assert_eq!(page, before);
    }

    #[test]
    fn the_hypervisors_entries_are_emptied() {
        let own = |n| (n, 7 << 12 | FLAGS);
        let mut page = table(&[own(255), own(256), own(271), own(272)]);
        assert_eq!(numbers(&page, 4).count(), 2);
        renumber(&mut page, 4, Some).unwrap();
        assert_eq!(page, table(&[own(255), own(272)]));
        let mut page = table(&[own(256)]);
        renumber(&mut page, 3, Some).unwrap();
        assert_eq!(page, table(&[own(256)]), "of a root alone");
    }

    #[test]
    fn what_is_not_the_guests_is_refused() {
        let mut page = table(&[(3, 7 << 12 | FLAGS)]);
        let e = renumber(&mut page, 1, |_| None).unwrap_err();
        assert_eq!(e, Refused::Foreign { index: 3, number: 7 });
        let mut page = table(&[(5, 512 << 12 | FLAGS | Pte::PSE)]);
        assert_eq!(renumber(&mut page, 2, Some), Err(Refused::Large { index: 5 }));
        // In a table of level 1 the bit is the cache's.
        renumber(&mut page, 1, Some).unwrap();
    }
}
