//! A vCPU's state as it is saved: its blobs, with page numbers where the hypervisor has frames.

use abi::arch_x86::{VcpuGuestContext, xen_cr3_to_pfn, xen_pfn_to_cr3};
use abi::domctl::{DomctlExtVcpucontext, DomctlVcpuMsr};
use xenctl::{DomId, Result, Xen};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::image::{Part, Record};
use super::wire::damaged;

/// Descriptors in a page of the GDT.
const DESCRIPTORS: u64 = 512;
/// In a saved user page-table base: there is one. (Only its page number says so otherwise, and page 0 is one.)
const THERE: u64 = 1;

/// Replaces frames by pages, or pages by frames, as `other` says; the number that it does not know is the error.
fn renumber(
    context: &mut VcpuGuestContext,
    other: impl Fn(u64) -> Option<u64>,
) -> std::result::Result<(), u64> {
    let other = |number| other(number).ok_or(number);
    let pages = context.gdt_ents.div_ceil(DESCRIPTORS) as usize;
    for (n, frame) in context.gdt_frames.iter_mut().enumerate() {
        *frame = if n < pages { other(*frame)? } else { 0 };
    }
    context.ctrlreg[3] = xen_pfn_to_cr3(other(xen_cr3_to_pfn(context.ctrlreg[3]))?);
    Ok(())
}

/// The records of a vCPU that stands still.
///
/// # Errors
/// One with tables that are not the guest's.
pub fn records(
    xen: &Xen,
    domain: DomId,
    vcpu: u32,
    page_of: impl Fn(u64) -> Option<u64>,
) -> Result<Vec<Record>> {
    let mut context = xen.vcpu_context(domain, vcpu)?;
    let foreign = |frame| {
        let why = format!("vCPU {vcpu} uses frame {frame:#x}, which is not the guest's");
        xenctl::Error::new(format!("saving domain {domain}"), abi::Errno::EINVAL).because(why)
    };
    // The page with what it is told at its start; the guest leaves its frame there when it suspends.
    let regs = &mut context.user_regs;
    if vcpu == 0 {
        regs.rdx = page_of(regs.rdx).ok_or_else(|| foreign(regs.rdx))?;
    }
    if context.ctrlreg[1] != 0 {
        let frame = xen_cr3_to_pfn(context.ctrlreg[1]);
        let page = page_of(frame).ok_or_else(|| foreign(frame))?;
        context.ctrlreg[1] = xen_pfn_to_cr3(page) | THERE;
    }
    renumber(&mut context, &page_of).map_err(foreign)?;
    let extension = xen.vcpu_extension(domain, vcpu)?;
    let used = (extension.size as usize).min(size_of_val(&extension));
    let mut records = vec![
        Record::Vcpu(Part::Basic, vcpu, context.as_bytes().to_vec()),
        Record::Vcpu(Part::Extended, vcpu, extension.as_bytes()[..used].to_vec()),
    ];
    let xsave = xen.vcpu_xsave(domain, vcpu)?;
    if !xsave.is_empty() {
        records.push(Record::Vcpu(Part::Xsave, vcpu, xsave));
    }
    let msrs = xen.vcpu_msrs(domain, vcpu)?;
    if !msrs.is_empty() {
        records.push(Record::Vcpu(Part::Msrs, vcpu, msrs.as_bytes().to_vec()));
    }
    Ok(records)
}

/// What a file has of a vCPU.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub basic: Option<Box<VcpuGuestContext>>,
    extended: Option<DomctlExtVcpucontext>,
    xsave: Vec<u8>,
    msrs: Vec<DomctlVcpuMsr>,
}

impl Saved {
    /// Takes a blob.
    ///
    /// # Errors
    /// One of a size that cannot be.
    pub fn take(&mut self, part: Part, vcpu: u32, state: Vec<u8>) -> Result<()> {
        let wrong = || damaged(format!("{} bytes of a state of vCPU {vcpu} cannot be", state.len()));
        match part {
            Part::Basic => {
                let context = VcpuGuestContext::read_from_bytes(&state).map_err(|_| wrong())?;
                self.basic = Some(Box::new(context));
            }
            Part::Extended => {
                let mut extension = DomctlExtVcpucontext::new_zeroed();
                let room = extension.as_mut_bytes().get_mut(..state.len()).ok_or_else(wrong)?;
                room.copy_from_slice(&state);
                (extension.vcpu, extension.size) = (vcpu, state.len() as u32);
                self.extended = Some(extension);
            }
            Part::Xsave if state.len() < 16 => return Err(wrong()),
            Part::Xsave => self.xsave = state,
            Part::Msrs => {
                let one = size_of::<DomctlVcpuMsr>();
                if !state.len().is_multiple_of(one) {
                    return Err(wrong());
                }
                let msrs = state.chunks(one).filter_map(|bytes| DomctlVcpuMsr::read_from_bytes(bytes).ok());
                self.msrs = msrs.collect();
            }
        }
        Ok(())
    }

    /// Gives the state to a vCPU that has not run.
    ///
    /// # Errors
    /// Pages that the guest does not have, or what the hypervisor refuses.
    pub fn set(
        mut self,
        xen: &Xen,
        domain: DomId,
        vcpu: u32,
        frame_of: impl Fn(u64) -> Option<u64>,
    ) -> Result<()> {
        let Some(mut context) = self.basic.take() else {
            return Err(damaged(format!("there are no registers of vCPU {vcpu}")));
        };
        let missing = |page| damaged(format!("vCPU {vcpu} uses page {page:#x}, which is not there"));
        if vcpu == 0 {
            let page = context.user_regs.rdx;
            context.user_regs.rdx = frame_of(page).ok_or_else(|| missing(page))?;
        }
        let user = context.ctrlreg[1];
        if user != 0 {
            let page = xen_cr3_to_pfn(user);
            context.ctrlreg[1] = xen_pfn_to_cr3(frame_of(page).ok_or_else(|| missing(page))?);
        }
        renumber(&mut context, &frame_of).map_err(missing)?;
        xen.set_context(domain, vcpu, &context)?;
        if let Some(extension) = &self.extended {
            xen.set_vcpu_extension(domain, extension)?;
        }
        if !self.xsave.is_empty() {
            xen.set_vcpu_xsave(domain, vcpu, &self.xsave)?;
        }
        match self.msrs.is_empty() {
            true => Ok(()),
            false => xen.set_vcpu_msrs(domain, vcpu, &self.msrs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_pages_and_come_back() {
        let mut context = VcpuGuestContext::new_zeroed();
        context.gdt_ents = 513;
        context.gdt_frames[..3].copy_from_slice(&[100, 101, 102]);
        context.ctrlreg[3] = xen_pfn_to_cr3(103);
        renumber(&mut context, |mfn| mfn.checked_sub(99)).unwrap();
        assert_eq!(context.gdt_frames[..3], [1, 2, 0], "what is not used is not kept");
        assert_eq!(context.ctrlreg[3], xen_pfn_to_cr3(4));
        renumber(&mut context, |pfn| Some(pfn + 99)).unwrap();
        assert_eq!((context.gdt_frames[1], context.ctrlreg[3]), (101, xen_pfn_to_cr3(103)));
        assert_eq!(renumber(&mut context, |n| (n != 103).then_some(n)), Err(103));
        context.gdt_ents = u64::MAX;
        assert_eq!(renumber(&mut context, |n| (n != 0).then_some(n)), Err(0));
    }

    #[test]
    fn blobs_have_their_sizes() {
        let mut saved = Saved::default();
        let mut take = |part, bytes: usize| saved.take(part, 3, vec![1; bytes]);
        for (part, right, wrong) in [
            (Part::Basic, size_of::<VcpuGuestContext>(), size_of::<VcpuGuestContext>() - 1),
            (Part::Extended, 40, 65),
            (Part::Xsave, 16, 15),
            (Part::Msrs, 32, 33),
        ] {
            take(part, right).unwrap();
            let e = take(part, wrong).unwrap_err().to_string();
            assert!(e.contains("state of vCPU 3"), "{e}");
        }
        assert_eq!(saved.msrs.len(), 2);
        let extended = saved.extended.unwrap();
        assert_eq!((extended.vcpu, extended.size), (3, 40));
    }
}
