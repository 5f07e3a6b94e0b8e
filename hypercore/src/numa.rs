//! The machine's nodes: which memory and which processors are close to each other, as the firmware's tables say
//! ([`crate::boot::affinity`]). Memory is given out without regard to them; what tools are told of them is true.

use crate::boot::affinity::{Affinity, LOCAL, MAX_NODES, REMOTE};
use arrayvec::ArrayVec;

/// A run of memory that belongs to one node; frames `first..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub end: u64,
    pub node: u32,
}

/// All of them. Without tables there is one, to which everything belongs.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// The firmware's proximity domain of each node; empty: one node.
    domains: ArrayVec<u32, MAX_NODES>,
    /// APIC id and node.
    cpus: ArrayVec<(u32, u32), { crate::boot::acpi::MAX_CPUS }>,
    spans: ArrayVec<Span, { crate::boot::affinity::MAX_SPANS }>,
    /// By node, rows one after another.
    distances: ArrayVec<u8, { MAX_NODES * MAX_NODES }>,
}

/// Why the firmware's tables are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    TooManyNodes,
    /// Two nodes have this address.
    Shared(u64),
    /// No node has this address, where there is RAM.
    Nobodys(u64),
}

impl Nodes {
    /// What the tables tell, for a machine with RAM at `ram` (addresses: start and end). Nodes are numbered in the order in
    /// which processors, and then memory, name them.
    pub fn new(a: &Affinity, ram: impl Iterator<Item = (u64, u64)>) -> Result<Self, Unusable> {
        let mut n = Self::default();
        for &(apic_id, domain) in &a.cpus {
            let node = n.number(domain)?;
            // There is room: the tables keep no more.
            let _ = n.cpus.try_push((apic_id, node));
        }
        for m in &a.memory {
            let node = n.number(m.domain)?;
            let _ = n.spans.try_push(Span { first: m.start >> 12, end: m.end >> 12, node });
        }
        n.spans.sort_unstable_by_key(|s| s.first);
        for pair in n.spans.windows(2) {
            if pair[0].end > pair[1].first && pair[0].node != pair[1].node {
                return Err(Unusable::Shared(pair[1].first << 12));
            }
        }
        for (start, end) in ram {
            let mut at = start.div_ceil(4096);
            for s in &n.spans {
                if s.first <= at && at < s.end {
                    at = s.end;
                }
            }
            if at < end >> 12 {
                return Err(Unusable::Nobodys(at << 12));
            }
        }
        for &from in &n.domains {
            for &to in &n.domains {
                let default = if from == to { LOCAL } else { REMOTE };
                let _ = n.distances.try_push(a.distance(from, to).unwrap_or(default));
            }
        }
        Ok(n)
    }

    fn number(&mut self, domain: u32) -> Result<u32, Unusable> {
        if let Some(at) = self.domains.iter().position(|d| *d == domain) {
            return Ok(at as u32);
        }
        self.domains.try_push(domain).map_err(|_| Unusable::TooManyNodes)?;
        Ok(self.domains.len() as u32 - 1)
    }

    /// How many there are; their numbers are below this.
    pub fn count(&self) -> u32 {
        (self.domains.len() as u32).max(1)
    }

    /// The node of the processor with this APIC id; one that is in no table is at the first.
    pub fn of_cpu(&self, apic_id: u32) -> u32 {
        self.cpus.iter().find(|c| c.0 == apic_id).map_or(0, |c| c.1)
    }

    /// Runs of frames of a node, where they end at most at `end`. Of a machine without tables: all of them.
    pub fn spans(&self, node: u32, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let whole = (self.domains.is_empty() && node == 0).then_some((0, end));
        let of = move |s: &&Span| s.node == node && s.first < end;
        whole.into_iter().chain(self.spans.iter().filter(of).map(move |s| (s.first, s.end.min(end))))
    }

    /// How far two nodes are from each other, as ACPI's SLIT counts: 10 is local. `None`: there is no such node.
    pub fn distance(&self, from: u32, to: u32) -> Option<u32> {
        let n = self.count();
        if from >= n || to >= n {
            return None;
        }
        Some(self.distances.get((from * n + to) as usize).copied().unwrap_or(LOCAL).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::affinity::Memory;
    extern crate std;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn memory(start: u64, end: u64, domain: u32) -> Memory {
        Memory { start: start * MIB, end: end * MIB, domain }
    }

    fn affinity(memory: &[Memory]) -> Affinity {
        let mut a = Affinity::default();
        a.cpus.extend([(0, 7), (1, 3)]);
        a.memory.extend(memory.iter().copied());
        a
    }

    #[test]
    fn without_tables_there_is_one() {
        let n = Nodes::default();
        assert_eq!((n.count(), n.of_cpu(9), n.distance(0, 0), n.distance(0, 1)), (1, 0, Some(10), None));
        assert_eq!(n.spans(0, 77).collect::<Vec<_>>(), [(0, 77)]);
        assert_eq!(n.spans(1, 77).count(), 0);
    }

    #[test]
    fn nodes_are_numbered_as_they_are_named() {
        let a = affinity(&[memory(0, 1, 3), memory(1, 64, 3), memory(64, 128, 7)]);
        let n = Nodes::new(&a, [(0, 128 * MIB)].into_iter()).unwrap();
        assert_eq!((n.count(), n.of_cpu(0), n.of_cpu(1), n.of_cpu(5)), (2, 0, 1, 0));
        assert_eq!(n.spans(0, u64::MAX).collect::<Vec<_>>(), [(0x4000, 0x8000)]);
        assert_eq!(n.spans(1, 0x200).collect::<Vec<_>>(), [(0, 0x100), (0x100, 0x200)]);
        let d = |a, b| n.distance(a, b).unwrap();
        assert_eq!((d(0, 0), d(0, 1), d(1, 0), d(1, 1)), (10, 20, 20, 10));
        assert_eq!(n.distance(2, 0), None);
    }

    #[test]
    fn distances_are_the_tables() {
        let mut a = affinity(&[memory(0, 128, 3)]);
        // Of domains 0 to 7: from 7 to 3 it is 31, the way back 32.
        a.distances.extend((0..64).map(|i| match i {
            59 => 31,
            31 => 32,
            i if i % 9 == 0 => 10,
            _ => 99,
        }));
        let n = Nodes::new(&a, core::iter::empty()).unwrap();
        assert_eq!((n.distance(0, 1), n.distance(1, 0), n.distance(1, 1)), (Some(31), Some(32), Some(10)));
    }

    #[test]
    fn tables_that_do_not_tell_of_all_memory_are_not_used() {
        let ram = || [(0, 96 * MIB), (100 * MIB, 128 * MIB)].into_iter();
        let of = |m: &[Memory]| Nodes::new(&affinity(m), ram()).map(|n| n.count());
        assert_eq!(of(&[memory(0, 128, 3)]), Ok(2));
        assert_eq!(of(&[memory(100, 128, 3), memory(0, 96, 7)]), Ok(2));
        assert_eq!(of(&[memory(0, 95, 3), memory(100, 128, 7)]), Err(Unusable::Nobodys(95 * MIB)));
        assert_eq!(of(&[memory(0, 70, 3), memory(64, 128, 7)]), Err(Unusable::Shared(64 * MIB)));
        let mut many = affinity(&[memory(0, 128, 3)]);
        many.cpus.extend((0..MAX_NODES as u32).map(|i| (10 + i, 10 + i)));
        assert_eq!(Nodes::new(&many, ram()).map(|n| n.count()), Err(Unusable::TooManyNodes));
    }
}
