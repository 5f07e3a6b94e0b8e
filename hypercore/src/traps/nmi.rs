//! Non-maskable interrupts of the platform: why they came, and dom0's share in them.

use crate::calls::vcpu::send_nmi;
use crate::event::words::update64;
use crate::ids::{DomId, VcpuId};
use crate::machine::Machine;
use crate::xen::Xen;
use abi::nmi::{XEN_NMIREASON_IO_ERROR, XEN_NMIREASON_PCI_SERR, XEN_NMIREASON_UNKNOWN};
use abi::xen::SharedInfo;
use core::mem::offset_of;

/// System control port B of PCs: bits 7 and 6 say why, bits 2 and 3 switch the two sources off.
pub const CONTROL_PORT: u16 = 0x61;
const SERR: u8 = 1 << 7;
const IO_CHECK: u8 = 1 << 6;
const SERR_OFF: u8 = 1 << 2;
const IO_CHECK_OFF: u8 = 1 << 3;
/// What of the port is written back as read: the timer's gate and the speaker.
const KEPT: u8 = 3;

/// `XEN_NMIREASON_*` bits for what [`CONTROL_PORT`] reads as.
pub fn reasons(port: u8) -> u64 {
    let reasons = if port & SERR != 0 { XEN_NMIREASON_PCI_SERR } else { 0 }
        | if port & IO_CHECK != 0 { XEN_NMIREASON_IO_ERROR } else { 0 };
    if reasons == 0 { XEN_NMIREASON_UNKNOWN } else { reasons }
}

/// What to write to [`CONTROL_PORT`], one value after the other, so that its sources of `port` are quiet. An error on
/// PCI stays switched off, as its cause may remain; the other is only acknowledged.
pub fn quieten(port: u8) -> [u8; 2] {
    let off = if port & SERR != 0 { SERR_OFF } else { port & SERR_OFF };
    let keep = port & KEPT | off;
    if port & IO_CHECK != 0 { [keep | IO_CHECK_OFF, keep] } else { [keep | port & IO_CHECK_OFF; 2] }
}

/// Tells dom0: the reasons in its shared_info, and an NMI for its first vCPU.
pub fn to_dom0<M: Machine>(xen: &Xen<M>, reasons: u64) {
    let Some(dom) = xen.domains.get(DomId(0)) else { return };
    let at = offset_of!(SharedInfo, arch) + offset_of!(abi::arch_x86::ArchSharedInfo, nmi_reason);
    update64(&xen.m, &dom.shared_info, at, |old| old | reasons);
    if let Some(v) = dom.vcpu(VcpuId(0)) {
        send_nmi(xen, &v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Frames;
    use crate::testing::World;
    use crate::traps::inject::pending_nmi;
    use core::sync::atomic::Ordering::SeqCst;

    #[test]
    fn the_port_says_why() {
        assert_eq!(reasons(0x30), XEN_NMIREASON_UNKNOWN);
        assert_eq!(reasons(0x80), XEN_NMIREASON_PCI_SERR);
        assert_eq!(reasons(0xc0), XEN_NMIREASON_PCI_SERR | XEN_NMIREASON_IO_ERROR);
    }

    #[test]
    fn sources_are_made_quiet_and_the_speaker_is_left_alone() {
        assert_eq!(quieten(0x33), [3, 3]);
        assert_eq!(quieten(0xb1), [5, 5], "PCI errors stay off");
        assert_eq!(quieten(0x71), [9, 1], "an I/O check is acknowledged");
        assert_eq!(quieten(0x3d), [0xd, 0xd], "what is off stays off");
    }

    #[test]
    fn dom0_hears_and_sees_why() {
        let w = World::new(256, 1);
        to_dom0(w.xen, XEN_NMIREASON_UNKNOWN);
        let g = w.domain(0, 2);
        let other = w.domain(1, 1);
        to_dom0(w.xen, XEN_NMIREASON_PCI_SERR);
        to_dom0(w.xen, XEN_NMIREASON_UNKNOWN);
        let at = offset_of!(SharedInfo, arch) + offset_of!(abi::arch_x86::ArchSharedInfo, nmi_reason);
        assert_eq!(w.xen.m.load(&g.dom.shared_info, at), XEN_NMIREASON_PCI_SERR | XEN_NMIREASON_UNKNOWN);
        let pending =
            |g: &crate::testing::Guest, v| g.dom.vcpu(VcpuId(v)).unwrap().sched.nmi_pending.load(SeqCst);
        assert!(pending(&g, 0) && !pending(&g, 1) && !pending(&other, 0));
    }

    /// Linux sets its handler with the trap table, not as a callback.
    #[test]
    fn it_goes_to_the_trap_tables_handler_one_at_a_time() {
        let w = World::new(1024, 1);
        let g = w.domain(0, 1);
        let mut s = crate::testing::Scratch::new(w.xen);
        let stack = s.room(4096) + 4096;
        g.call(0, |cx| {
            cx.regs.rsp = stack;
            to_dom0(w.xen, XEN_NMIREASON_UNKNOWN);
            pending_nmi(cx).unwrap();
            assert_eq!(cx.regs.rsp, stack, "nobody is there to take it");
            cx.vp.traps.set_nmi(0x5000);
            pending_nmi(cx).unwrap();
            assert_eq!(cx.regs.rip, 0x5000);
            let inside = cx.regs.rsp;
            to_dom0(w.xen, XEN_NMIREASON_UNKNOWN);
            pending_nmi(cx).unwrap();
            assert_eq!(cx.regs.rsp, inside, "not before the handler returned");
            cx.vp.traps.in_nmi = false;
            pending_nmi(cx).unwrap();
            assert!(cx.regs.rsp < inside);
        });
    }
}
