//! `xen_version` (public header version.h): who we are and what a guest may use.

use crate::guest;
use crate::ids::DomId;
use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::arch_x86::HYPERVISOR_VIRT_START;
use abi::features::*;
use abi::version::*;
use abi::xen::VMASST_TYPE_PAE_EXTENDED_CR3;
use core::sync::atomic::Ordering::Relaxed;

/// The version of the interfaces, which tools choose their libraries by.
pub(super) const MAJOR: u32 = 4;
pub(super) const MINOR: u32 = 17;
/// Who is behind them.
pub const EXTRA_VERSION: &str = ".0-xenolith";
/// Kinds of guests, separated by blanks.
const CAPABILITIES: &str = "xen-3.0-x86_64 ";
pub(super) const CHANGESET: &str = concat!("xenolith ", env!("CARGO_PKG_VERSION"));
pub(super) const COMPILE_BY: &str = "xenolith";
pub(super) const COMPILER: &str = "rustc";
/// A build is the same whenever it is made: instead of a date, its version.
pub(super) const COMPILE_DATE: &str = concat!("version ", env!("CARGO_PKG_VERSION"));
/// For what an unprivileged domain may not read.
const DENIED: &str = "<denied>";

/// Features every PV guest finds.
const PV_FEATURES: u32 = 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
    | 1 << XENFEAT_HIGHMEM_ASSIST
    | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
    | 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
    | 1 << XENFEAT_DIRECT_MAPPED;

/// `text` in a field of N bytes, cut to leave a zero at its end.
fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut f = [0; N];
    let n = text.len().min(N - 1);
    f[..n].copy_from_slice(&text.as_bytes()[..n]);
    f
}

/// `xen_version(cmd, arg)`.
pub fn xen_version<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    let m = &cx.xen.m;
    match cmd {
        XENVER_VERSION => return Ok(u64::from(MAJOR << 16 | MINOR)),
        XENVER_EXTRAVERSION => guest::write(m, arg, &field::<XEN_EXTRAVERSION_LEN>(EXTRA_VERSION))?,
        XENVER_COMPILE_INFO => {
            let info = CompileInfo {
                compiler: field(COMPILER),
                compile_by: field(COMPILE_BY),
                compile_domain: field(COMPILE_BY),
                compile_date: field(COMPILE_DATE),
            };
            guest::write(m, arg, &info)?;
        }
        XENVER_CAPABILITIES => guest::write(m, arg, &field::<XEN_CAPABILITIES_INFO_LEN>(CAPABILITIES))?,
        XENVER_CHANGESET => guest::write(m, arg, &field::<XEN_CHANGESET_INFO_LEN>(CHANGESET))?,
        XENVER_PLATFORM_PARAMETERS => {
            guest::write(m, arg, &PlatformParameters { virt_start: HYPERVISOR_VIRT_START })?;
        }
        XENVER_GET_FEATURES => {
            let mut f: FeatureInfo = guest::read(m, arg)?;
            if f.submap_idx >= XENFEAT_NR_SUBMAPS {
                return Err(Errno::EINVAL.into());
            }
            let dom0 = if cx.dom.id == DomId::DOM0 { 1 << XENFEAT_DOM0 } else { 0 };
            // Meaningless to 64-bit guests, but told to those that asked for it.
            let pae = cx.dom.vm_assist.load(Relaxed) as u32 >> VMASST_TYPE_PAE_EXTENDED_CR3 & 1;
            f.submap = PV_FEATURES | dom0 | pae << XENFEAT_PAE_PGDIR_ABOVE_4GB;
            guest::write(m, arg, &f)?;
        }
        XENVER_PAGESIZE if arg == 0 => return Ok(4096),
        XENVER_PAGESIZE => return Err(Errno::EINVAL.into()),
        XENVER_GUEST_HANDLE => {
            let handle = *cx.dom.handle.lock();
            guest::write(m, arg, &handle)?;
        }
        XENVER_COMMANDLINE => {
            let line = if cx.dom.privileged { cx.xen.host.cmdline.as_str() } else { DENIED };
            guest::write(m, arg, &field::<XEN_COMMANDLINE_LEN>(line))?;
        }
        XENVER_BUILD_ID if cx.dom.privileged => return build_id(cx, arg),
        XENVER_BUILD_ID => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// The image's identification: its length, after copying it behind a `BuildId` unless `arg` is null. ENODATA: the
/// image has none. EINVAL: no room at all; ENOBUFS: too little.
fn build_id<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let id = cx.xen.host.build_id;
    if id.is_empty() {
        return Err(Errno::ENODATA.into());
    }
    if arg != 0 {
        let room: BuildId = guest::read(&cx.xen.m, arg)?;
        match room.len as usize {
            0 => return Err(Errno::EINVAL.into()),
            len if len < id.len() => return Err(Errno::ENOBUFS.into()),
            _ => guest::write_bytes(&cx.xen.m, guest::element::<BuildId>(arg, 1)?, id)?,
        }
    }
    Ok(id.len() as u64)
}
