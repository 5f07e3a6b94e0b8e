//! What `memory_op` tells about memory: the machine's map, a domain's map, the machine-to-physical table.

use crate::domain::Domain;
use crate::guest;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::arch_x86::{ArchSharedInfo, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};
use abi::memory::*;
use abi::xen::SharedInfo;
use core::mem::offset_of;

/// Frames whose entries are in 2 MiB of the machine-to-physical table.
const FRAMES_PER_PIECE: u64 = (2 << 20) / 8;

/// Most entries a domain's memory map may have.
const MAX_MAP: u32 = 1024;

/// Highest guest frame number in use, as the guest itself says in its shared_info.
pub(super) fn maximum_gpfn<M: Machine>(xen: &Xen<M>, dom: &Domain) -> u64 {
    const AT: usize = offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, max_pfn);
    xen.m.load(&dom.shared_info, AT).saturating_sub(1)
}

/// `XENMEM_memory_map`: the map a tool set for the caller. ENOSYS: none.
pub(super) fn memory_map<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let mut map: MemoryMap = guest::read(&cx.xen.m, arg)?;
    let entries = cx.dom.memory.map.lock();
    let none = || refuse!(cx.xen, Errno::ENOSYS, "no map was set for the domain");
    let entries = entries.as_deref().ok_or_else(none)?;
    let shown = &entries[..entries.len().min(map.nr_entries as usize)];
    guest::write_bytes(&cx.xen.m, map.buffer.addr(), zerocopy::IntoBytes::as_bytes(shown))?;
    map.nr_entries = shown.len() as u32;
    guest::write(&cx.xen.m, arg, &map)?;
    Ok(0)
}

/// `XENMEM_set_memory_map`: what [`memory_map`] answers from now on.
pub(super) fn set_memory_map<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let f: ForeignMemoryMap = guest::read(&cx.xen.m, arg)?;
    if f.map.nr_entries > MAX_MAP {
        let n = f.map.nr_entries;
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} entries, a map has at most {}", n, MAX_MAP).into());
    }
    let dom = cx.domain_for_control(f.domid)?;
    let n = f.map.nr_entries as usize;
    let mut entries = crate::fallible::filled(n, E820Entry::default)?;
    guest::read_bytes(&cx.xen.m, f.map.buffer.addr(), zerocopy::IntoBytes::as_mut_bytes(&mut entries[..]))?;
    let old = dom.memory.map.lock().replace(entries);
    drop(old);
    Ok(0)
}

/// `XENMEM_machine_memory_map`: the firmware's map, for the first domain. EINVAL: the buffer is too short.
pub(super) fn machine_memory_map<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    cx.must_be_privileged()?;
    let mut map: MemoryMap = guest::read(&cx.xen.m, arg)?;
    let e820 = &cx.xen.host.e820;
    if (map.nr_entries as usize) < e820.len() {
        let (n, all) = (map.nr_entries, e820.len());
        return Err(refuse!(cx.xen, Errno::EINVAL, "room for {} entries, there are {}", n, all).into());
    }
    for (i, &(addr, size, type_)) in (0..).zip(e820) {
        guest::write_at(&cx.xen.m, map.buffer.addr(), i, &E820Entry { addr, size, type_ })?;
    }
    map.nr_entries = e820.len() as u32;
    guest::write(&cx.xen.m, arg, &map)?;
    Ok(0)
}

/// `XENMEM_machphys_mapping`: where guests see the machine-to-physical table, and the last frame that it tells of.
pub(super) fn machphys_mapping<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let map = MachphysMapping {
        v_start: MACH2PHYS_VIRT_START,
        v_end: MACH2PHYS_VIRT_END,
        max_mfn: cx.xen.frames.max_mfn().0 - 1,
    };
    guest::write(&cx.xen.m, arg, &map)?;
    Ok(0)
}

/// `XENMEM_machphys_mfn_list`: the frames of the machine-to-physical table, one number for each 2 MiB of it, for
/// tools that map it as `DOMID_XEN`'s. A piece without entries repeats the one before.
pub(super) fn machphys_mfn_list<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    cx.must_be_privileged()?;
    let mut list: MachphysMfnList = guest::read(&cx.xen.m, arg)?;
    let pieces = cx.xen.frames.max_mfn().0.div_ceil(FRAMES_PER_PIECE);
    list.nr_extents = 0;
    let mut last = 0;
    for i in 0..pieces.min(list.max_extents.into()) {
        last = cx.xen.m.m2p_piece(i).map_or(last, |m| m.0);
        guest::write_at(&cx.xen.m, list.extent_start.addr(), i, &last)?;
        list.nr_extents += 1;
    }
    guest::write(&cx.xen.m, arg, &list)?;
    Ok(0)
}

/// `XENMEM_add_to_physmap`, `_batch`, `remove_from_physmap`: a PV guest's physmap is its own. EACCES for one that
/// exists.
pub(super) fn physmap<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    // Each of the three structures begins with the domain.
    let d: MemoryDomain = guest::read(&cx.xen.m, arg)?;
    cx.domain_for_control(d.domid)?;
    Err(refuse!(cx.xen, Errno::EACCES, "a PV domain's physmap is its own").into())
}

/// `XENMEM_reserved_device_memory_map`: regions that devices behind an IOMMU must see unmapped; without one there
/// are none.
pub(super) fn reserved_device_memory<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let mut map: ReservedDeviceMemoryMap = guest::read(&cx.xen.m, arg)?;
    if map.flags & !XENMEM_RDM_ALL != 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "flags {:x} are not known", map.flags).into());
    }
    map.nr_entries = 0;
    guest::write(&cx.xen.m, arg, &map)?;
    Ok(0)
}
