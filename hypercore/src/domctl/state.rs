//! The rest of a vCPU's state, for saving and restoring: extended FPU state and MSRs.

use super::vcpu::with_paused;
use super::{Call, DONE, OpResult, not_self, vcpu_of};
use crate::domain::Domain;
use crate::fallible::filled;
use crate::guest;
use crate::machine::Machine;
use crate::refuse;
use crate::vcpu::VcpuPrivate;
use crate::xen::Cx;
use crate::xstate::{self, BadImage, word};
use abi::Errno;
use abi::domctl::*;

/// What stands before the XSAVE image in a tool's buffer: XCR0, and all bits it ever had.
const HEAD: usize = 16;

/// The only MSR of a PV vCPU that is neither policy nor in its context.
const MSR_TSC_AUX: u32 = 0xc000_0103;
const MSRS: u32 = 1;

/// Bytes of a whole buffer; 0 without XSAVE.
fn ext_size<M: Machine>(cx: &Cx<'_, M>) -> usize {
    let host = &cx.xen.host;
    if host.xcr0_mask == 0 { 0 } else { HEAD + host.xsave_size as usize }
}

/// Size 0 asks for the size and the components.
pub(super) fn get_ext<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut e: DomctlVcpuextstate = call.get();
    let v = vcpu_of(cx, dom, e.vcpu)?;
    not_self(cx, dom)?;
    let (size, mask) = (ext_size(cx), cx.xen.host.xcr0_mask);
    if e.size == 0 && e.xfeature_mask == 0 || e.buffer.is_null() {
        (e.size, e.xfeature_mask) = (size as u64, mask);
        call.put(&cx.xen.m, &e)?;
        return DONE;
    }
    if e.size != size as u64 || e.xfeature_mask != mask {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} bytes, the state has {}", e.size, size));
    }
    let mut bytes = filled(size, || 0u8)?;
    with_paused(cx, &v, |p| {
        let image = &p.fpu.0[..size - HEAD];
        // What the guest has switched off since may be in use all the same.
        let ever = p.xcr0 | xstate::components(image);
        bytes[..8].copy_from_slice(&p.xcr0.to_le_bytes());
        bytes[8..HEAD].copy_from_slice(&ever.to_le_bytes());
        bytes[HEAD..].copy_from_slice(image);
    })?;
    guest::write_bytes(&cx.xen.m, e.buffer.addr(), &bytes).map_err(|_| Errno::EFAULT)?;
    DONE
}

/// EINVAL: an image the processor would refuse, or states the domain cannot have.
pub(super) fn set_ext<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let e: DomctlVcpuextstate = call.get();
    let v = vcpu_of(cx, dom, e.vcpu)?;
    not_self(cx, dom)?;
    let most = ext_size(cx);
    let size = match usize::try_from(e.size) {
        Ok(size) if (HEAD..=most).contains(&size) => size,
        _ => return Err(refuse!(cx.xen, Errno::EINVAL, "{} bytes, at most {} can be", e.size, most)),
    };
    let mut bytes = filled(size, || 0u8)?;
    guest::read_bytes(&cx.xen.m, e.buffer.addr(), &mut bytes).map_err(|_| Errno::EFAULT)?;
    let (xcr0, ever) = (word(&bytes, 0), word(&bytes, 8));
    let may = dom.policy.with(|p| p.xstates()) & cx.xen.host.xcr0_mask;
    if !xstate::xcr0_valid(xcr0, may) || xcr0 & !ever != 0 || ever & !may != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "xcr0 {:x} where the domain may have {:x}", xcr0, may));
    }
    let image = &bytes[HEAD..];
    if !image.is_empty() {
        let end = |states| cx.xen.host.policies.host.xsave_size(states);
        match xstate::check(image, ever, end) {
            Ok(()) => {}
            Err(BadImage::Header) => {
                return Err(refuse!(
                    cx.xen,
                    Errno::EINVAL,
                    "the XSAVE header is not one the processor takes"
                ));
            }
            Err(BadImage::Short) => {
                return Err(refuse!(cx.xen, Errno::EINVAL, "{} bytes do not hold what it has", image.len()));
            }
            Err(BadImage::Mxcsr(m)) => {
                return Err(refuse!(cx.xen, Errno::EINVAL, "MXCSR {:x} has reserved bits", m));
            }
        }
    }
    with_paused(cx, &v, |p| {
        p.xcr0 = xcr0;
        p.fpu.set(image);
    })?;
    DONE
}

/// A null list asks how many there can be. ENOBUFS: more than there is room for.
pub(super) fn get_msrs<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let mut l: DomctlVcpuMsrs = call.get();
    let v = vcpu_of(cx, dom, l.vcpu)?;
    not_self(cx, dom)?;
    if l.msrs.is_null() {
        l.msr_count = MSRS;
    } else {
        let value = with_paused(cx, &v, |p: &mut VcpuPrivate| p.tsc_aux)?;
        // What is 0 need not be carried.
        let used = u32::from(value != 0);
        if l.msr_count < used {
            return Err(refuse!(cx.xen, Errno::ENOBUFS, "room for {} MSRs, there are {}", l.msr_count, used));
        }
        if used != 0 {
            let msr = DomctlVcpuMsr { index: MSR_TSC_AUX, reserved: 0, value };
            guest::write(&cx.xen.m, l.msrs.addr(), &msr).map_err(|_| Errno::EFAULT)?;
        }
        l.msr_count = used;
    }
    call.put(&cx.xen.m, &l)?;
    DONE
}

/// EINVAL: an MSR that is none of these, or a value it cannot have; those before it are set.
pub(super) fn set_msrs<M: Machine>(cx: &mut Cx<'_, M>, dom: &Domain, call: &Call) -> OpResult {
    let l: DomctlVcpuMsrs = call.get();
    let v = vcpu_of(cx, dom, l.vcpu)?;
    not_self(cx, dom)?;
    if l.msr_count > MSRS {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} MSRs, at most {} can be", l.msr_count, MSRS));
    }
    for i in 0..l.msr_count {
        let msr: DomctlVcpuMsr =
            guest::read_at(&cx.xen.m, l.msrs.addr(), i.into()).map_err(|_| Errno::EFAULT)?;
        let valid = msr.reserved == 0 && msr.index == MSR_TSC_AUX && msr.value <= u32::MAX.into();
        if !valid {
            return Err(refuse!(
                cx.xen,
                Errno::EINVAL,
                "MSR {:x} cannot be set to {:x}",
                msr.index,
                msr.value
            ));
        }
        with_paused(cx, &v, |p| p.tsc_aux = msr.value)?;
    }
    DONE
}
