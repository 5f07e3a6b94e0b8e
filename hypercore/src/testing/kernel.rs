//! [`Kernel`]: a booted guest with four tables and some pages, that makes hypercalls as a kernel does.

use super::world::Guest;
use crate::hypercall::dispatch;
use crate::ids::{Mfn, VcpuId};
use crate::machine::{Frames, GuestVa};
use crate::mm;
use crate::mm::types::get_writable;
use crate::refusal::of_interest;
use crate::xen::Stop;
use abi::Errno;
use abi::xen::{HYPERVISOR_GRANT_TABLE_OP, HYPERVISOR_MMU_UPDATE, HYPERVISOR_MMUEXT_OP, MmuUpdate, MmuextOp};
use core::sync::atomic::Ordering::*;
use std::vec::Vec;
use x86::pte::{Pte, index};
use zerocopy::IntoBytes;

/// No hypercall has this command or operation.
const NO_COMMAND: u32 = 0x7777_7777;
/// Where the first page is mapped.
pub const BASE: u64 = 0x1000_0000;
/// A writable mapping of a PV guest.
pub const RW: u64 = Pte::PRESENT | Pte::RW | Pte::USER | Pte::ACCESSED | Pte::DIRTY;
/// A read-only one.
pub const RO: u64 = Pte::PRESENT | Pte::USER | Pte::ACCESSED;

/// A guest that runs: page i is mapped at `BASE + i * 4096`, the tables read-only after them.
#[derive(Clone)]
pub struct Kernel {
    pub guest: Guest,
    /// Level 1..=4 at index 0..=3.
    pub tables: [Mfn; 4],
    pub pages: Vec<Mfn>,
}

impl Guest {
    /// Writes words into an own frame, as a builder does before anything is typed.
    pub fn fill(&self, mfn: Mfn, words: &[(usize, u64)]) {
        let f = self.xen.frames.get(mfn, self.dom.id).expect("an own frame");
        let w = get_writable(self.xen, f).expect("an untyped frame");
        for (i, v) in words {
            self.xen.m.store(&w, i * 8, *v);
        }
    }

    /// Builds tables with `pages` data pages, pins them, and starts every vCPU on them.
    pub fn boot(&self, pages: usize) -> Kernel {
        let frames: Vec<Mfn> = (0..pages + 4).map(|_| self.frame()).collect();
        self.boot_on(&frames)
    }

    /// The same on frames it has, all zeroes: four for the tables, the others for data.
    pub fn boot_on(&self, frames: &[Mfn]) -> Kernel {
        assert!((4..=512).contains(&frames.len()));
        let tables: [Mfn; 4] = core::array::from_fn(|i| frames[i]);
        let pages = frames[4..].to_vec();
        let rw = pages.iter().map(|p| p.0 << 12 | RW);
        let ro = tables.iter().map(|p| p.0 << 12 | RO);
        let words: Vec<(usize, u64)> = rw.chain(ro).enumerate().collect();
        self.fill(tables[0], &words);
        for level in 2..=4u8 {
            let below = tables[usize::from(level) - 2];
            self.fill(tables[usize::from(level) - 1], &[(index(BASE, level), below.0 << 12 | RW)]);
        }
        let k = Kernel { guest: self.clone(), tables, pages };
        mm::pin_l4(self.xen, &self.dom, tables[3]).expect("valid tables");
        self.dom.for_each_vcpu(|v| {
            mm::set_cr3(self.xen, &self.dom, v, true, Some(tables[3])).expect("a valid root");
        });
        k.enter_all();
        k
    }
}

impl Kernel {
    /// Loads each vCPU's tables on its CPU.
    pub fn enter_all(&self) {
        for v in 0..self.guest.dom.max_vcpus {
            self.enter(v);
        }
    }

    /// This thread becomes the CPU of vCPU `v`, with its tables loaded.
    pub fn enter(&self, v: u32) {
        let vcpu = self.guest.dom.vcpu(VcpuId(v)).expect("a vCPU");
        super::machine::set_cpu(vcpu.processor().0);
        let root = vcpu.mm.cr3_to_load(true);
        if self.guest.xen.m.this_cpu().root != Some(root) {
            self.guest.xen.m.load_root(root);
        }
    }

    /// Address of page `i`.
    pub fn va(&self, i: usize) -> u64 {
        BASE + i as u64 * 4096
    }

    /// Machine address of entry `index` of a table.
    pub fn slot(&self, table: Mfn, index: usize) -> u64 {
        (table.0 << 12) | (index as u64 * 8)
    }

    /// Machine address of the level-1 entry of page `i`.
    pub fn pte(&self, i: usize) -> u64 {
        self.slot(self.tables[0], i)
    }

    /// The guest's own store; false if it faults.
    pub fn write(&self, v: u32, va: u64, bytes: &[u8]) -> bool {
        self.enter(v);
        self.guest.xen.m.copy_to_guest(va, bytes).is_ok()
    }

    /// The guest's own load of a word.
    pub fn read(&self, v: u32, va: u64) -> Option<u64> {
        self.enter(v);
        let mut b = [0; 8];
        self.guest.xen.m.copy_from_guest(&mut b, va).ok()?;
        Some(u64::from_le_bytes(b))
    }

    /// A hypercall of vCPU `v`, continued until it is done. One that is refused must have said why.
    pub fn hypercall(&self, v: u32, nr: u32, args: [u64; 6]) -> Result<u64, Errno> {
        self.enter(v);
        let before = self.forget_reasons(v);
        let (mut nr, mut args) = (nr, args);
        for _ in 0..1_000_000 {
            let (r, again) = self.guest.call(v, |cx| (dispatch(cx, nr, &args), cx.restart.take()));
            match (r, again) {
                (Ok(r), _) => return Ok(r),
                (Err(Stop::Errno(e)), _) => {
                    if of_interest(nr) {
                        self.must_be_explained(v, before, &std::format!("{nr} {args:x?}: {e:?}"));
                    }
                    return Err(e);
                }
                (Err(Stop::Continue), Some(r)) => (nr, args) = (r.nr, r.args),
                (Err(Stop::Continue), None) => panic!("a continuation without arguments"),
            }
        }
        panic!("hypercall {nr} never ends");
    }

    /// What was noted before is of another call; how many refusals the vCPU had.
    fn forget_reasons(&self, v: u32) -> u64 {
        let vcpu = self.guest.dom.vcpu(VcpuId(v)).expect("a vCPU");
        self.guest.xen.refusals.begin(vcpu.processor(), NO_COMMAND);
        vcpu.refusals.lock().latest().0
    }

    fn must_be_explained(&self, v: u32, before: u64, what: &str) {
        let (made, command, reasons) =
            self.guest.dom.vcpu(VcpuId(v)).expect("a vCPU").refusals.lock().latest();
        assert!(made > before, "{what}: no refusal was kept");
        assert!(reasons > 0, "{what}: no reason was noted");
        assert!(command != NO_COMMAND, "{what}: of which command?");
    }

    /// One element of a grant operation that answers a status at byte `status_at` of it: EFAULT, or the status, which
    /// must have a reason if it is a refusal.
    pub fn grant_op(&self, v: u32, cmd: u32, element: &[u8], status_at: usize) -> Result<i16, Errno> {
        if !self.write(v, BASE, element) {
            return Err(Errno::EFAULT);
        }
        let before = self.forget_reasons(v);
        self.hypercall(v, HYPERVISOR_GRANT_TABLE_OP, [cmd.into(), BASE, 1, 0, 0, 0])?;
        let mut status = [0; 2];
        let at = BASE + status_at as u64;
        self.guest.xen.m.copy_from_guest(&mut status, at).map_err(|_| Errno::EFAULT)?;
        let status = i16::from_le_bytes(status);
        if status != 0 {
            self.must_be_explained(v, before, &std::format!("grant operation {cmd}: {status}"));
        }
        Ok(status)
    }

    /// Runs a batch call with its elements on page 0; what it answers, and how many were done.
    fn batch(&self, v: u32, nr: u32, bytes: &[u8], n: usize, domid: u64) -> (Result<u64, Errno>, u32) {
        let done_at = self.va(0) + 4088;
        assert!(bytes.len() <= 4088);
        if !self.write(v, self.va(0), bytes) || !self.write(v, done_at, &[0; 4]) {
            return (Err(Errno::EFAULT), 0);
        }
        let r = self.hypercall(v, nr, [self.va(0), n as u64, done_at, domid, 0, 0]);
        (r, self.read(v, done_at).unwrap_or(0) as u32)
    }

    /// `mmu_update` with (ptr, val) pairs.
    pub fn mmu_update(&self, v: u32, reqs: &[(u64, u64)], domid: u64) -> (Result<u64, Errno>, u32) {
        let reqs: Vec<MmuUpdate> = reqs.iter().map(|(ptr, val)| MmuUpdate { ptr: *ptr, val: *val }).collect();
        self.batch(v, HYPERVISOR_MMU_UPDATE, reqs.as_bytes(), reqs.len(), domid)
    }

    /// One page-table write of the domain's own.
    pub fn set_pte(&self, v: u32, ptr: u64, val: u64) -> Result<u64, Errno> {
        self.mmu_update(v, &[(ptr, val)], 0x7ff0).0
    }

    /// One `mmuext_op`.
    pub fn mmuext(&self, v: u32, cmd: u32, arg1: u64, arg2: u64, domid: u64) -> Result<u64, Errno> {
        let op = MmuextOp { cmd, arg1, arg2, ..Default::default() };
        self.batch(v, HYPERVISOR_MMUEXT_OP, op.as_bytes(), 1, domid).0
    }

    /// Lets hypercalls be interrupted at every n-th chance (0: never).
    pub fn preempt_every(&self, n: u32) {
        self.guest.xen.m.preempt_every.store(n, SeqCst);
    }
}
