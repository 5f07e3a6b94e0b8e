//! Filled in by the next commits.

#[derive(Default)]
pub struct DomainMm {}

impl DomainMm {
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
pub struct VcpuMm {}

impl VcpuMm {
    pub fn new() -> Self {
        Self::default()
    }
}

impl VcpuMm {
    /// Root to load for guest-kernel or guest-user mode.
    pub fn cr3_to_load(&self, _kernel: bool) -> crate::ids::Mfn {
        crate::ids::Mfn(0)
    }
    /// Root of the user mode, if it has its own.
    pub fn user_cr3(&self) -> Option<crate::ids::Mfn> {
        None
    }
}

pub mod types {
    //! Filled in by the next commits.

    /// An existence reference becomes a writable one.
    pub fn get_writable<M: crate::machine::Machine>(
        _xen: &'static crate::xen::Xen<M>,
        _frame: crate::frame::FrameRef,
    ) -> Result<crate::frame::WritableRef, abi::Errno> {
        Err(abi::Errno::EINVAL)
    }
}
