//! A domain's state as it is saved and restored: vCPUs, CPU policy, the clock, what its frames are used as.

use abi::arch_x86::VcpuGuestContext;
use abi::cpu_policy::{CpuidLeaf, MsrEntry};
use abi::domctl::*;
use abi::{Errno, GuestHandle};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::DomId;
use crate::call::{Buffer, Xen};
use crate::error::{Error, Result};

/// Frames asked about in one call.
const FRAMES: usize = 1024;
/// Bytes of a vCPU's extended state beyond which an answer is not believed.
const MOST_EXTENDED: u64 = 1 << 20;

/// What CPUID and MSRs tell a domain.
#[derive(Clone, Default)]
pub struct Policy {
    pub leaves: Vec<CpuidLeaf>,
    pub msrs: Vec<MsrEntry>,
}

impl Xen {
    /// A list's copy for a call; a null handle for none.
    fn list<T: IntoBytes + Immutable>(&self, list: &[T]) -> Result<(Buffer<'_>, GuestHandle)> {
        let mut buffer = self.buffer(size_of_val(list))?;
        buffer.put(0, list);
        let at = if list.is_empty() { 0 } else { buffer.address() };
        Ok((buffer, GuestHandle::new(at)))
    }

    /// What each frame is used as, in the order of `frames`: `XEN_DOMCTL_PFINFO_*`, XTAB for one that is not the
    /// domain's.
    pub fn frame_types(&self, domain: DomId, frames: &[u64]) -> Result<Vec<u32>> {
        let doing = || format!("asking what frames of domain {domain} are used as");
        let mut types = Vec::with_capacity(frames.len());
        for some in frames.chunks(FRAMES) {
            let (buffer, array) = self.list(some)?;
            let mut ask = DomctlGetpageframeinfo3 { num: some.len() as u64, array };
            self.domctl(doing, XEN_DOMCTL_GETPAGEFRAMEINFO3, domain, &mut ask)?;
            types.extend(buffer.list::<u64>(some.len()).into_iter().map(|kind| kind as u32));
        }
        Ok(types)
    }

    /// A vCPU's registers and tables, with machine frames.
    pub fn vcpu_context(&self, domain: DomId, vcpu: u32) -> Result<VcpuGuestContext> {
        let doing = || format!("reading the registers of vCPU {vcpu} of domain {domain}");
        let buffer = self.buffer(size_of::<VcpuGuestContext>())?;
        let mut ask = DomctlVcpucontext { vcpu, _pad0: 0, ctxt: GuestHandle::new(buffer.address()) };
        self.domctl(doing, XEN_DOMCTL_GETVCPUCONTEXT, domain, &mut ask)?;
        Ok(buffer.get(0))
    }

    /// What registers have beyond the context: callbacks of 32-bit code, machine-check banks.
    pub fn vcpu_extension(&self, domain: DomId, vcpu: u32) -> Result<DomctlExtVcpucontext> {
        let doing = || format!("reading the callbacks of vCPU {vcpu} of domain {domain}");
        let mut ask = DomctlExtVcpucontext { vcpu, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_GET_EXT_VCPUCONTEXT, domain, &mut ask)?;
        Ok(ask)
    }

    /// As [`Self::vcpu_extension`] answered it; `vcpu` and `size` are in it.
    pub fn set_vcpu_extension(&self, domain: DomId, extension: &DomctlExtVcpucontext) -> Result<()> {
        let vcpu = extension.vcpu;
        let doing = || format!("setting the callbacks of vCPU {vcpu} of domain {domain}");
        self.domctl(doing, XEN_DOMCTL_SET_EXT_VCPUCONTEXT, domain, &mut extension.clone())
    }

    /// Extended registers: XCR0, all of XCR0's bits that ever were, an XSAVE image. Nothing where there is no XSAVE.
    pub fn vcpu_xsave(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>> {
        let doing = || format!("reading the extended registers of vCPU {vcpu} of domain {domain}");
        let mut ask = DomctlVcpuextstate { vcpu, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_GETVCPUEXTSTATE, domain, &mut ask)?;
        if ask.size == 0 || ask.xfeature_mask == 0 {
            return Ok(Vec::new());
        }
        if ask.size > MOST_EXTENDED {
            let why = format!("{} bytes are said to be there", ask.size);
            return Err(Error::new(doing(), Errno::EMSGSIZE).because(why));
        }
        let buffer = self.buffer(ask.size as usize)?;
        ask.buffer = GuestHandle::new(buffer.address());
        self.domctl(doing, XEN_DOMCTL_GETVCPUEXTSTATE, domain, &mut ask)?;
        let mut bytes = vec![0; ask.size.min(buffer.len() as u64) as usize];
        buffer.read(0, &mut bytes);
        Ok(bytes)
    }

    /// As [`Self::vcpu_xsave`] answered it.
    pub fn set_vcpu_xsave(&self, domain: DomId, vcpu: u32, state: &[u8]) -> Result<()> {
        let doing = || format!("setting the extended registers of vCPU {vcpu} of domain {domain}");
        let xcr0 = state.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (_buffer, buffer) = self.list(state)?;
        let size = state.len() as u64;
        let mut ask = DomctlVcpuextstate { vcpu, xfeature_mask: xcr0, size, buffer, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_SETVCPUEXTSTATE, domain, &mut ask)
    }

    /// MSRs that are neither policy nor in the context.
    pub fn vcpu_msrs(&self, domain: DomId, vcpu: u32) -> Result<Vec<DomctlVcpuMsr>> {
        let doing = || format!("reading the MSRs of vCPU {vcpu} of domain {domain}");
        let mut ask = DomctlVcpuMsrs { vcpu, ..Default::default() };
        self.domctl(doing, XEN_DOMCTL_GET_VCPU_MSRS, domain, &mut ask)?;
        let room = ask.msr_count as usize;
        if room == 0 {
            return Ok(Vec::new());
        }
        let (buffer, msrs) = self.list(&vec![DomctlVcpuMsr::default(); room])?;
        ask.msrs = msrs;
        self.domctl(doing, XEN_DOMCTL_GET_VCPU_MSRS, domain, &mut ask)?;
        Ok(buffer.list(room.min(ask.msr_count as usize)))
    }

    pub fn set_vcpu_msrs(&self, domain: DomId, vcpu: u32, msrs: &[DomctlVcpuMsr]) -> Result<()> {
        let doing = || format!("setting the MSRs of vCPU {vcpu} of domain {domain}");
        let (_buffer, list) = self.list(msrs)?;
        let mut ask = DomctlVcpuMsrs { vcpu, msr_count: msrs.len() as u32, msrs: list };
        self.domctl(doing, XEN_DOMCTL_SET_VCPU_MSRS, domain, &mut ask)
    }

    /// How it counts time; [`Xen::set_tsc_mode`] begins it anew.
    pub fn tsc_info(&self, domain: DomId) -> Result<DomctlTscInfo> {
        let doing = || format!("reading the clock of domain {domain}");
        let mut ask = DomctlTscInfo::default();
        self.domctl(doing, XEN_DOMCTL_GETTSCINFO, domain, &mut ask)?;
        Ok(ask)
    }

    pub fn set_tsc_info(&self, domain: DomId, info: &DomctlTscInfo) -> Result<()> {
        let doing = || format!("setting the clock of domain {domain}");
        self.domctl(doing, XEN_DOMCTL_SETTSCINFO, domain, &mut info.clone())
    }

    pub fn policy(&self, domain: DomId) -> Result<Policy> {
        let doing = || format!("reading the CPU policy of domain {domain}");
        let mut ask = DomctlCpuPolicy::default();
        self.domctl(doing, XEN_DOMCTL_GET_CPU_POLICY, domain, &mut ask)?;
        let room = (ask.nr_leaves as usize, ask.nr_msrs as usize);
        let (leaves, at) = self.list(&vec![CpuidLeaf::new_zeroed(); room.0])?;
        ask.leaves = at;
        let (msrs, at) = self.list(&vec![MsrEntry::new_zeroed(); room.1])?;
        ask.msrs = at;
        self.domctl(doing, XEN_DOMCTL_GET_CPU_POLICY, domain, &mut ask)?;
        Ok(Policy {
            leaves: leaves.list(room.0.min(ask.nr_leaves as usize)),
            msrs: msrs.list(room.1.min(ask.nr_msrs as usize)),
        })
    }

    /// Before it has run. What the policy does not name stays as it is.
    pub fn set_policy(&self, domain: DomId, policy: &Policy) -> Result<()> {
        let doing = || format!("setting the CPU policy of domain {domain}");
        let (_kept, leaves) = self.list(&policy.leaves)?;
        let (_also, msrs) = self.list(&policy.msrs)?;
        let mut ask = DomctlCpuPolicy {
            nr_leaves: policy.leaves.len() as u32,
            nr_msrs: policy.msrs.len() as u32,
            leaves,
            msrs,
            ..Default::default()
        };
        let set = self.domctl(doing, XEN_DOMCTL_SET_CPU_POLICY, domain, &mut ask);
        set.map_err(|e| match (ask.err_leaf, ask.err_msr) {
            (u32::MAX, u32::MAX) => e,
            (u32::MAX, msr) => e.because(format!("MSR {msr:#x}")),
            (leaf, _) => e.because(format!("CPUID leaf {leaf:#x}, sub-leaf {:#x}", ask.err_subleaf)),
        })
    }

    /// Lets a domain that has shut down go on.
    pub fn resume(&self, domain: DomId) -> Result<()> {
        let doing = || format!("resuming domain {domain}");
        self.domctl(doing, XEN_DOMCTL_RESUMEDOMAIN, domain, &mut [0u8; 0])
    }
}
