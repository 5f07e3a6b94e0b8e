//! Errors that wait for dom0 to fetch them, in the public header's form.

use super::bank::Logout;
use crate::fallible::TryVec;
use crate::ids::{DomId, Mfn, VcpuId};
use crate::machine::Machine;
use crate::sync::Mutex;
use crate::xen::Xen;
use abi::xen_mca::*;
use alloc::vec::Vec;
use zerocopy::{Immutable, IntoBytes};

/// Errors of each kind that are kept; later ones are lost, as a bank loses them.
const KEPT: usize = 16;

/// What dom0 has not acknowledged yet.
#[derive(Default)]
pub struct Telemetry {
    /// By [`Urgency`].
    queues: [Mutex<Queue>; 2],
}

/// How soon dom0 should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Corrected, found by looking.
    Later = 0,
    /// A machine check.
    Now = 1,
}

#[derive(Default)]
struct Queue {
    /// The oldest first.
    waiting: Vec<(u64, McInfo)>,
    /// Identifier of the last one that came.
    last: u64,
}

impl Telemetry {
    /// Adds a record; `false`: there is no room.
    pub fn add(&self, urgency: Urgency, info: McInfo) -> bool {
        let mut q = self.queues[urgency as usize].lock();
        q.last += 1;
        let id = q.last;
        q.waiting.len() < KEPT && q.waiting.try_push((id, info)).is_ok()
    }

    /// The oldest one and its identifier; it stays until it is acknowledged.
    pub fn oldest(&self, urgency: Urgency) -> Option<(u64, McInfo)> {
        self.queues[urgency as usize].lock().waiting.first().copied()
    }

    /// Dom0 has consumed this one. One that is not there is nobody's concern.
    pub fn acknowledge(&self, urgency: Urgency, id: u64) {
        self.queues[urgency as usize].lock().waiting.retain(|w| w.0 != id);
    }
}

/// Where an error was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// APIC identifier, core, socket.
    pub cpu: (u32, u32, u32),
    /// What ran, if a guest did.
    pub running: Option<(DomId, VcpuId)>,
}

/// The record of what was read out: one about the processor, one for each bank.
pub fn describe<M: Machine>(xen: &Xen<M>, at: &Place, l: &Logout, flags: u32) -> McInfo {
    let (apic, core, socket) = at.cpu;
    let (domid, vcpuid) =
        at.running.map_or((DomId::INVALID.0, XEN_MC_VCPUID_INVALID), |(d, v)| (d.0, v.0 as u16));
    let mut info = McInfo::default();
    let mut used = 0;
    let global = McinfoGlobal {
        common: head::<McinfoGlobal>(MC_TYPE_GLOBAL),
        mc_domid: domid,
        mc_vcpuid: vcpuid,
        mc_socketid: socket,
        mc_coreid: core as u16,
        mc_core_threadid: 0,
        mc_apicid: apic,
        mc_flags: flags,
        mc_gstatus: l.gstatus,
    };
    append(&mut info, &mut used, &global);
    for b in &l.banks {
        let owner = xen.frames.peek(Mfn(b.addr >> 12)).filter(|_| b.addr != 0).map(|(a, _)| a.owner());
        let bank = McinfoBank {
            common: head::<McinfoBank>(MC_TYPE_BANK),
            mc_bank: b.number,
            mc_domid: owner.unwrap_or(DomId::INVALID).0,
            mc_status: b.status,
            mc_addr: b.addr,
            mc_misc: b.misc,
            mc_ctrl2: 0,
            mc_tsc: l.tsc,
        };
        append(&mut info, &mut used, &bank);
    }
    info
}

fn head<T>(type_: u16) -> McinfoCommon {
    McinfoCommon { type_, size: size_of::<T>() as u16 }
}

/// One record more; what does not fit is left out.
fn append<T: IntoBytes + Immutable>(info: &mut McInfo, used: &mut usize, record: &T) {
    let room = info.mi_data.as_mut_bytes();
    if let Some(to) = room.get_mut(*used..*used + size_of::<T>()) {
        to.copy_from_slice(record.as_bytes());
        *used += size_of::<T>();
        info.mi_nentries += 1;
    }
}

const _: () = assert!(
    size_of::<McinfoGlobal>() + super::bank::MAX_BANKS * size_of::<McinfoBank>() <= size_of::<[u64; 95]>(),
    "every bank fits"
);
