//! Linear mappings (line 8): single cases, and random sequences against a model.

use super::*;
use crate::frame::record::Linear;

fn linear(k: &Kernel, mfn: Mfn) -> Linear {
    flags(&k.guest, mfn).linear()
}

fn set(k: &Kernel, table: Mfn, index: usize, to: Option<Mfn>) -> Result<u64, Errno> {
    k.set_pte(0, k.slot(table, index), to.map_or(0, |to| to.0 << 12 | RO))
}

#[test]
fn line_8_a_table_may_show_itself_read_only() {
    let k = one();
    let g = &k.guest;
    let l4 = k.tables[3];
    let before = kind(g, l4);
    assert_eq!(k.set_pte(0, k.slot(l4, 300), l4.0 << 12 | RW), Err(Errno::EINVAL));
    assert_eq!(set(&k, l4, 300, Some(l4)), Ok(0));
    // It holds nothing.
    assert_eq!((kind(g, l4), linear(&k, l4)), (before, Linear::Refers(0)));
    let base = 0xffff << 48 | 300 << 39 | 300 << 30 | 300 << 21 | 300 << 12;
    assert_eq!(k.read(0, base + 8 * 300).map(|e| Pte(e).mfn()), Some(l4.0));
    assert!(!k.write(0, base, &[0; 8]));
    // A hypervisor's slot is no more readable so than by itself.
    assert_eq!(k.read(0, base & !(511 << 12) | 262 << 12), None);
    // The level-1 table of the first pages, by which the guest may write to it.
    let l1_at = 0xffff << 48 | 300 << 39 | BASE >> 9 & !0xfff & ((1 << 39) - 1);
    assert_eq!(k.read(0, l1_at + 8 * 3).map(|e| Pte(e).mfn()), Some(k.pages[3].0));
    check(g.xen, "with a table that shows itself");
    assert_eq!(set(&k, l4, 300, None), Ok(0));
    assert_eq!(kind(g, l4), before);

    // Two more levels, in tables that show themselves when they are validated.
    for level in 2..=3 {
        let own = unmap(&k, 8);
        g.fill(own, &[(7, own.0 << 12 | RO)]);
        assert_eq!(pin(&k, level, own), Ok(0));
        assert_eq!(kind(g, own), (FrameType::table(level as u8), 1, 2));
        check(g.xen, "with another one");
        assert_eq!(unpin(&k, own), Ok(0));
        assert_eq!(kind(g, own).1, 0);
        g.fill(own, &[(7, 0)]);
        assert_eq!(k.set_pte(0, k.pte(8), own.0 << 12 | RW), Ok(0));
    }
    check(g.xen, "at the end");
}

#[test]
fn line_8_no_table_refers_and_is_referred_to() {
    for level in 2..=4u32 {
        let k = one();
        let g = &k.guest;
        let [a, b, c] = core::array::from_fn(|i| unmap(&k, 8 + i));
        for t in [a, b, c] {
            assert_eq!(pin(&k, level, t), Ok(0));
        }
        assert_eq!(k.set_pte(0, k.slot(a, 3), b.0 << 12 | RW), Err(Errno::EINVAL));
        assert_eq!(set(&k, a, 3, Some(b)), Ok(0));
        assert_eq!(set(&k, a, 4, Some(b)), Ok(0));
        assert_eq!((linear(&k, a), linear(&k, b)), (Linear::Refers(2), Linear::Referred(2)));
        assert_eq!(kind(g, b), (FrameType::table(level as u8), 3, 4));
        for (from, to) in [(b, c), (b, a), (c, a)] {
            assert_eq!(set(&k, from, 9, Some(to)), Err(Errno::EINVAL));
        }
        check(g.xen, "after refusals");
        // A flag more changes no count.
        assert_eq!(k.set_pte(0, k.slot(a, 4), b.0 << 12 | RO | 1 << 9), Ok(0));
        assert_eq!(linear(&k, b), Linear::Referred(2));
        // The pin goes, the references keep it a table: and then the last does not.
        assert_eq!(unpin(&k, b), Ok(0));
        assert_eq!(set(&k, a, 3, None), Ok(0));
        assert_eq!(kind(g, b).1, 1);
        assert_eq!(k.set_pte(0, k.pte(5), b.0 << 12 | RW), Err(Errno::EBUSY));
        assert_eq!(set(&k, a, 4, None), Ok(0));
        assert_eq!((kind(g, b).1, linear(&k, a)), (0, Linear::Refers(0)));
        assert_eq!(set(&k, c, 9, Some(a)), Ok(0));
        check(g.xen, "the other way round");
        assert_eq!(unpin(&k, a), Ok(0));
        // The user's end is the used one's.
        assert_eq!(unpin(&k, c), Ok(0));
        assert_eq!((kind(g, a).1, kind(g, c).1), (0, 0));
        check(g.xen, "at the end");
    }
}

#[test]
fn line_8_counts_of_linear_entries_refuse_to_overflow() {
    let k = one();
    let [a, b] = core::array::from_fn(|i| unmap(&k, 8 + i));
    for t in [a, b] {
        assert_eq!(pin(&k, 2, t), Ok(0));
    }
    let full = |mfn: Mfn, n: Linear| {
        let r = k.guest.xen.frames.rec(mfn).unwrap();
        r.b.fetch_update(SeqCst, SeqCst, |b| Some(B(b).with_linear(n).0)).unwrap();
    };
    full(b, Linear::Referred(Linear::MAX));
    assert_eq!(set(&k, a, 3, Some(b)), Err(Errno::EBUSY));
    full(b, Linear::Refers(0));
    full(a, Linear::Refers(Linear::MAX));
    assert_eq!(set(&k, a, 3, Some(b)), Err(Errno::EBUSY));
    full(a, Linear::Refers(0));
    check(k.guest.xen, "after refusals");
}

#[test]
fn line_2_a_linear_view_ends_before_the_tables_frame_changes() {
    let k = one();
    let [a, b] = core::array::from_fn(|i| unmap(&k, 8 + i));
    for t in [a, b] {
        k.guest.fill(t, &[(index(BASE, 4), k.tables[2].0 << 12 | RW)]);
        assert_eq!(pin(&k, 4, t), Ok(0));
    }
    assert_eq!(set(&k, a, 300, Some(b)), Ok(0));
    assert_eq!(set(&k, b, 300, Some(b)), Ok(0));
    for v in 0..2 {
        assert_eq!(k.mmuext(v, MMUEXT_NEW_BASEPTR, a.0, 0, SELF), Ok(0));
        let base = 0xffff << 48 | 300 << 39 | 300 << 30 | 300 << 21 | 300 << 12;
        assert_eq!(k.read(v, base + 8 * 300).map(|e| Pte(e).mfn()), Some(b.0));
    }
    assert_eq!(k.guest.xen.m.cached().iter().filter(|c| c.2.mfn == b).count(), 2);
    assert_eq!(set(&k, a, 300, None), Ok(0));
    assert_eq!(unpin(&k, b), Ok(0));
    assert_eq!(k.set_pte(0, k.pte(9), b.0 << 12 | RW), Ok(0));
    assert_eq!(k.guest.xen.m.cached().iter().filter(|c| c.2.mfn == b).count(), 0);
    check(k.guest.xen, "with the table a page");
}

const TABLES: usize = 5;
const SLOTS: usize = 4;

/// What the rule says, in the simplest words: tables, who has them pinned, and what their slots name.
#[derive(Clone, Default)]
struct Model {
    pinned: [bool; TABLES],
    /// A table now.
    live: [bool; TABLES],
    slots: [[Option<usize>; SLOTS]; TABLES],
}

impl Model {
    fn refers(&self, t: usize) -> usize {
        let others = self.slots[t].iter().flatten().filter(|to| **to != t).count();
        if self.live[t] { others } else { 0 }
    }

    fn referred(&self, t: usize) -> usize {
        let named = |from: usize| self.slots[from].iter().filter(|to| **to == Some(t)).count();
        (0..TABLES).filter(|from| *from != t && self.live[*from]).map(named).sum()
    }

    fn allows(&self, from: usize, to: usize) -> bool {
        from == to || (self.live[to] && self.refers(to) == 0 && self.referred(from) == 0)
    }

    /// Tables that nothing keeps end, and with them what they refer to.
    fn settle(&mut self) {
        for _ in 0..2 {
            for t in 0..TABLES {
                self.live[t] &= self.pinned[t] || self.referred(t) > 0;
            }
        }
    }
}

#[test]
fn line_8_random_sequences_agree_with_the_model() {
    let mut done = [0u32; 4];
    for (seed, level) in [(1u64, 2u32), (2, 3), (3, 4), (4, 4)] {
        let k = one();
        let tables: [Mfn; TABLES] = core::array::from_fn(|i| unmap(&k, 8 + i));
        let mut model = Model::default();
        let mut state = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33) % n
        };
        for step in 0..1500 {
            k.preempt_every([0, 0, 1, 2, 3][below(5) as usize]);
            let (t, to, slot) = (below(5) as usize, below(5) as usize, below(SLOTS as u64) as usize);
            match below(8) {
                0 | 1 if !model.pinned[t] => {
                    // What a table that ended refers to may be none any more, and would be taken for one of the
                    // level below.
                    for slot in 0..SLOTS {
                        if !model.live[t] && model.slots[t][slot].is_some_and(|to| to != t && !model.live[to])
                        {
                            assert_eq!(set(&k, tables[t], 20 + slot, None), Ok(0));
                            model.slots[t][slot] = None;
                        }
                    }
                    let fine =
                        model.live[t] || model.slots[t].iter().flatten().all(|to| model.allows(t, *to));
                    let answer = pin(&k, level, tables[t]);
                    assert_eq!(answer, if fine { Ok(0) } else { Err(Errno::EINVAL) }, "step {step}");
                    model.pinned[t] = fine;
                    model.live[t] |= fine;
                    done[0] += u32::from(fine);
                }
                2 if model.pinned[t] => {
                    assert_eq!(unpin(&k, tables[t]), Ok(0), "step {step}");
                    model.pinned[t] = false;
                    done[1] += 1;
                }
                3 if model.live[t] => {
                    assert_eq!(set(&k, tables[t], 20 + slot, None), Ok(0), "step {step}");
                    model.slots[t][slot] = None;
                }
                _ if model.live[t] && model.live[to] => {
                    // The old entry goes when the new one stands.
                    let fine = model.slots[t][slot] == Some(to) || model.allows(t, to);
                    let answer = set(&k, tables[t], 20 + slot, Some(tables[to]));
                    assert_eq!(answer, if fine { Ok(0) } else { Err(Errno::EINVAL) }, "step {step}");
                    if fine {
                        model.slots[t][slot] = Some(to);
                    }
                    done[if fine { 2 } else { 3 }] += 1;
                }
                _ => {}
            }
            model.settle();
            // What was interrupted while it ended, the next call finishes.
            assert_eq!(k.mmuext(0, MMUEXT_TLB_FLUSH_LOCAL, 0, 0, SELF), Ok(0));
            for (i, mfn) in tables.iter().enumerate() {
                let b = flags(&k.guest, *mfn);
                let want = match model.referred(i) {
                    0 => Linear::Refers(model.refers(i) as u16),
                    n => Linear::Referred(n as u16),
                };
                assert_eq!(b.has(B::VALIDATED), model.live[i], "step {step}, table {i}");
                assert!(
                    !model.live[i] || b.linear() == want,
                    "step {step}, table {i}: {:?}, not {want:?}",
                    b.linear()
                );
                let pin = u64::from(model.pinned[i]);
                assert!(!model.live[i] || b.count() == pin + model.referred(i) as u64);
            }
            check(k.guest.xen, "after a step");
        }
    }
    assert!(done.iter().all(|n| *n > 200), "{done:?}");
}
