//! [`stop`]: what a guest's kernel does when it is suspended.

use std::mem::offset_of;

use abi::arch_x86::ArchSharedInfo;
use abi::sched::SHUTDOWN_SUSPEND;
use abi::xen::{SharedInfo, StartInfo};
use hypercore::ids::Mfn;
use hypercore::machine::Frames;
use xenctl::testing::Bed;
use xenctl::{DomId, Xen};
use zerocopy::{FromBytes, IntoBytes};

use super::kernel::{BASE, P2M};
use crate::save::p2m;

/// A word that a pending event leaves.
pub const PENDING: [u8; 8] = [0xff; 8];

/// Stops a guest that was built of [`super::kernel::Files`], or restored, and has not run.
pub fn stop(bed: &Bed, xen: &Xen, guest: DomId) {
    let page_of = |frame: u64| bed.world.xen.m.get_m2p(Mfn(frame));
    let ours = |frame: u64| xen.frames(guest, &[frame], true).expect("a frame of the guest");
    let info = xen.domain(guest).expect("an answer").expect("the guest");
    let mut context = xen.vcpu_context(guest, 0).expect("its registers");
    let arch = ArchSharedInfo {
        max_pfn: info.tot_pages,
        p2m_cr3: context.ctrlreg[3],
        p2m_vaddr: P2M,
        ..Default::default()
    };
    let list = p2m::read(xen, guest, &arch, info.tot_pages).expect("its list of frames");
    // Where its kernel was told of it at its start.
    let (_, start_info) = list.pages[((context.user_regs.rsi - BASE) / 4096) as usize];
    let page = ours(start_info);
    let mut bytes = [0; size_of::<StartInfo>()];
    page.read(0, &mut bytes);
    let mut info_page = StartInfo::read_from_bytes(&bytes).expect("as many bytes");
    info_page.store_mfn = page_of(info_page.store_mfn);
    info_page.console_mfn = page_of(info_page.console_mfn);
    page.write(0, info_page.as_bytes());
    let shared = ours(info.shared_info_frame);
    shared.write(offset_of!(SharedInfo, arch), arch.as_bytes());
    shared.write(offset_of!(SharedInfo, evtchn_pending), &PENDING);
    context.user_regs.rdx = start_info;
    context.user_regs.rip = 0x1234_5678;
    xen.set_context(guest, 0, &context).expect("registers that can be");
    xen.shutdown(guest, SHUTDOWN_SUSPEND).expect("a guest that can stop");
}
