//! The last refusals of this domain's calls, which Xenolith keeps with each vCPU.

use abi::Errno;
use abi::xenolith::*;

use crate::call::{Command, Xen};
use crate::error::Result;
use crate::version::text;

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many the vCPU had with this one.
    pub number: u64,
    /// The call, its error and the reasons, outermost first.
    pub text: String,
}

impl Xen {
    /// Those of a vCPU of ours that are still kept, the latest first. ENOSYS of a Xen.
    pub fn refusals(&self, vcpu: u32) -> Result<Vec<Refusal>> {
        let mut all = Vec::new();
        loop {
            let mut why = XenolithWhy { vcpu, index: all.len() as u32, ..Default::default() };
            let doing = || format!("asking why calls of vCPU {vcpu} were refused");
            match self.call(doing, HYPERVISOR_XENOLITH_OP, Command::Register(XENOLITH_WHY), &mut why) {
                Ok(_) => all.push(Refusal { number: why.number, text: text(&why.text) }),
                Err(e) if e.errno == Errno::ENOENT => return Ok(all),
                Err(e) => return Err(e),
            }
        }
    }
}
