//! Proximity of processors and memory: the System Resource Affinity Table and the System Locality Distance Information
//! Table (ACPI Specification 6.5, 5.2.16 and 5.2.17).

use arrayvec::ArrayVec;

use super::acpi::MAX_CPUS;
use super::{le32, le64};

/// Most nodes that are told apart.
pub const MAX_NODES: usize = 32;
/// Runs of memory that are kept.
pub const MAX_SPANS: usize = 64;
/// Distance of a node to itself.
pub const LOCAL: u8 = 10;
/// Distance of two nodes of which nothing else is known.
pub const REMOTE: u8 = 20;
/// A distance that says: there is no way.
const UNREACHABLE: u8 = 255;

/// Addresses of one proximity domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub start: u64,
    pub end: u64,
    pub domain: u32,
}

/// What the two tables tell. Lists that overflow are cut.
#[derive(Clone, Debug, Default)]
pub struct Affinity {
    /// APIC id and proximity domain; those named with 32 bits first.
    pub cpus: ArrayVec<(u32, u32), MAX_CPUS>,
    pub memory: ArrayVec<Memory, MAX_SPANS>,
    /// Distances between proximity domains, row by row; empty: nothing is told, or nothing sound.
    pub distances: ArrayVec<u8, { MAX_NODES * MAX_NODES }>,
}

impl Affinity {
    /// Reads an SRAT whose checksum is right.
    pub fn srat(&mut self, t: &[u8]) {
        // The domain of a processor has 32 bits from revision 2 on.
        let wide = t[8] >= 2;
        for wanted in [2, 0, 1] {
            let mut rest = t.get(48..).unwrap_or(&[]);
            while let [kind, len, ..] = *rest {
                let len = usize::from(len);
                if len < 2 || len > rest.len() {
                    break;
                }
                if kind == wanted {
                    self.entry(&rest[..len], wide);
                }
                rest = &rest[len..];
            }
        }
    }

    fn entry(&mut self, e: &[u8], wide: bool) {
        match (e[0], e.len()) {
            (0, 16..) if le32(e, 4) & 1 != 0 => {
                let high = if wide { le32(e, 8) & !0xff } else { 0 };
                self.cpu(e[3].into(), high | u32::from(e[2]));
            }
            (1, 40..) if le32(e, 28) & 1 != 0 => {
                let domain = if wide { le32(e, 2) } else { e[2].into() };
                let (start, len) = (le64(e, 8), le64(e, 16));
                if len > 0 {
                    let _ = self.memory.try_push(Memory { start, end: start.saturating_add(len), domain });
                }
            }
            (2, 24..) if le32(e, 12) & 1 != 0 => self.cpu(le32(e, 8), le32(e, 4)),
            _ => {}
        }
    }

    fn cpu(&mut self, apic_id: u32, domain: u32) {
        if !self.cpus.iter().any(|c| c.0 == apic_id) {
            let _ = self.cpus.try_push((apic_id, domain));
        }
    }

    /// Reads a SLIT whose checksum is right. One that is not sound (a way of no length, or nodes that are far from
    /// themselves) is not believed.
    pub fn slit(&mut self, t: &[u8]) {
        let n = t.get(36..44).map_or(0, |b| le64(b, 0)) as usize;
        let Some(rows) = t.get(44..).filter(|_| n <= MAX_NODES).and_then(|rows| rows.get(..n * n)) else {
            return;
        };
        let sound = |i: usize, d: u8| if i.is_multiple_of(n + 1) { d == LOCAL } else { d > LOCAL };
        if rows.iter().enumerate().all(|(i, d)| sound(i, *d)) {
            self.distances = rows.iter().copied().collect();
        }
    }

    /// What is told of the way from one proximity domain to another.
    pub fn distance(&self, from: u32, to: u32) -> Option<u8> {
        let n = self.distances.len().isqrt();
        let (from, to) = (from as usize, to as usize);
        if from >= n || to >= n {
            return None;
        }
        self.distances.get(from * n + to).copied().filter(|d| *d != UNREACHABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn table(revision: u8, body: &[u8]) -> Vec<u8> {
        let mut t = std::vec![0; 36];
        t[8] = revision;
        t.extend_from_slice(body);
        t
    }

    fn memory(domain: u32, start: u64, len: u64, flags: u32) -> Vec<u8> {
        let mut e = std::vec![1, 40];
        e.extend_from_slice(&domain.to_le_bytes());
        e.extend_from_slice(&[0; 2]);
        e.extend_from_slice(&start.to_le_bytes());
        e.extend_from_slice(&len.to_le_bytes());
        e.extend_from_slice(&[0; 4]);
        e.extend_from_slice(&flags.to_le_bytes());
        e.resize(40, 0);
        e
    }

    fn srat(revision: u8) -> Affinity {
        let mut body = std::vec![0; 12];
        body.extend_from_slice(&[0, 16, 5, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[0, 16, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // disabled
        body.extend_from_slice(&memory(0x105, 1 << 32, 1 << 30, 1));
        body.extend_from_slice(&memory(7, 0, 1 << 20, 0)); // disabled
        body.extend_from_slice(&memory(7, 0, 0, 1)); // nothing
        body.extend_from_slice(&[2, 24, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0]);
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&[2, 24, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]); // disabled
        body.extend_from_slice(&[0; 8]);
        // An entry without length ends the list.
        body.extend_from_slice(&[0, 0, 1, 1, 1, 0, 0, 0]);
        let mut a = Affinity::default();
        a.srat(&table(revision, &body));
        a
    }

    #[test]
    fn processors_and_memory_that_are_enabled() {
        let a = srat(3);
        assert_eq!(a.cpus[..], [(256, 9), (1, 0x105)]);
        assert_eq!(a.memory[..], [Memory { start: 1 << 32, end: (1 << 32) + (1 << 30), domain: 0x105 }]);
        // The first revision has one byte of the domain.
        let a = srat(1);
        assert_eq!((a.cpus[1], a.memory[0].domain), ((1, 5), 5));
    }

    fn slit(n: u64, rows: &[u8]) -> Affinity {
        let mut body = n.to_le_bytes().to_vec();
        body.extend_from_slice(rows);
        let mut a = Affinity::default();
        a.slit(&table(1, &body));
        a
    }

    #[test]
    fn distances_that_make_sense() {
        let a = slit(2, &[10, 21, 255, 10]);
        assert_eq!(
            [(0, 0), (0, 1), (1, 0), (1, 2)].map(|(i, j)| a.distance(i, j)),
            [Some(10), Some(21), None, None]
        );
        for (n, rows) in
            [(2, &[10, 10, 21, 10][..]), (2, &[11, 21, 21, 10]), (2, &[10, 21, 21]), (1 << 40, &[10; 9])]
        {
            assert!(slit(n, rows).distances.is_empty(), "{n} {rows:?}");
        }
        assert_eq!(srat(3).distance(0, 0), None);
    }
}
