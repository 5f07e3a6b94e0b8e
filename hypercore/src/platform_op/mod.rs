//! `platform_op`: what dom0 does to the machine it runs on, and asks about it.
//!
//! The hypervisor leaves processors' frequencies and sleep alone and keeps no firmware tables of its own, so
//! much of this is absent and says so; Linux then goes on without.

#[cfg(test)]
mod tests;

use crate::guest;
use crate::ids::CpuId;
use crate::machine::Machine;
use crate::time;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::cpu_policy::XEN_CPUID_NO_SUBLEAF;
use abi::platform::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Longest name of a symbol, with its terminating zero.
const MAX_NAME: usize = 128;

/// A symbol of the hypervisor, for `/proc/xen/xensyms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol {
    pub address: u64,
    /// As `nm` prints it.
    pub kind: u8,
    /// Bytes of its name.
    pub name_len: usize,
}

struct Call {
    at: u64,
    cmd: u32,
    payload: [u8; PLATFORM_OP_PAYLOAD_SIZE],
}

impl Call {
    fn read<M: Machine>(m: &M, at: u64) -> Result<Self, Errno> {
        let mut bytes = [0; PLATFORM_OP_SIZE];
        guest::read_bytes(m, at, &mut bytes).map_err(|_| Errno::EFAULT)?;
        let (header, _) = PlatformOpHeader::read_from_prefix(&bytes).map_err(|_| Errno::EFAULT)?;
        if header.interface_version != XENPF_INTERFACE_VERSION {
            return Err(Errno::EACCES);
        }
        let mut payload = [0; PLATFORM_OP_PAYLOAD_SIZE];
        payload.copy_from_slice(&bytes[PLATFORM_OP_PAYLOAD_OFFSET..]);
        Ok(Self { at, cmd: header.cmd, payload })
    }

    fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= PLATFORM_OP_PAYLOAD_SIZE) };
        let mut t = T::new_zeroed();
        t.as_mut_bytes().copy_from_slice(&self.payload[..size_of::<T>()]);
        t
    }

    fn put<M: Machine, T: IntoBytes + Immutable>(&self, m: &M, t: &T) -> Result<(), Errno> {
        guest::write(m, self.at + PLATFORM_OP_PAYLOAD_OFFSET as u64, t).map_err(|_| Errno::EFAULT)
    }
}

type OpResult = Result<(), Errno>;

/// `platform_op` (public/platform.h); EPERM for all but the privileged, EACCES for another interface version.
pub fn platform_op<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    cx.must_be_privileged()?;
    let call = Call::read(&cx.xen.m, arg)?;
    run(cx, &call)?;
    Ok(0)
}

fn run<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let xen = cx.xen;
    match call.cmd {
        XENPF_SETTIME32 => {
            let t: XenpfSettime32 = call.get();
            set_time(cx, t.secs.into(), t.nsecs, t.system_time)
        }
        XENPF_SETTIME64 => {
            let t: XenpfSettime64 = call.get();
            if t.mbz != 0 {
                return Err(Errno::EINVAL);
            }
            set_time(cx, t.secs, t.nsecs, t.system_time)
        }
        XENPF_ENTER_ACPI_SLEEP => enter_acpi_sleep(cx, call),
        XENPF_FIRMWARE_INFO => match call.get::<XenpfFirmwareInfo>().type_ {
            // The boot loader hands over no BIOS data.
            XEN_FW_DISK_INFO | XEN_FW_DISK_MBR_SIGNATURE | XEN_FW_VBEDDC_INFO | XEN_FW_KBD_SHIFT_FLAGS => {
                Err(Errno::ESRCH)
            }
            XEN_FW_EFI_INFO => Err(Errno::ENOSYS),
            _ => Err(Errno::EINVAL),
        },
        XENPF_GET_CPUINFO => cpu_info(cx, call),
        XENPF_GET_CPU_VERSION => cpu_version(cx, call),
        XENPF_GET_SYMBOL => symbol(cx, call),
        XENPF_CORE_PARKING => {
            let mut p: XenpfCoreParking = call.get();
            match p.type_ {
                XEN_CORE_PARKING_GET => {
                    p.idle_nums = 0;
                    call.put(&xen.m, &p)
                }
                XEN_CORE_PARKING_SET => Err(Errno::EOPNOTSUPP),
                _ => Err(Errno::EINVAL),
            }
        }
        // No memory type range registers are managed: there is none to add to or to read.
        XENPF_ADD_MEMTYPE => Err(Errno::ENXIO),
        XENPF_DEL_MEMTYPE | XENPF_READ_MEMTYPE => Err(Errno::EINVAL),
        XENPF_MICROCODE_UPDATE => Err(Errno::EINVAL),
        XENPF_CPU_ONLINE | XENPF_CPU_OFFLINE | XENPF_CPU_HOTADD | XENPF_RESOURCE_OP => Err(Errno::EOPNOTSUPP),
        // Frequencies and idle states stay with the firmware; no memory is added; no EFI.
        _ => Err(Errno::ENOSYS),
    }
}

/// Wall-clock time was so and so at that system time.
fn set_time<M: Machine>(cx: &Cx<'_, M>, secs: u64, nsecs: u32, system_ns: u64) -> OpResult {
    if nsecs >= 1_000_000_000 {
        return Err(Errno::EINVAL);
    }
    time::set_wallclock(cx.xen, secs, nsecs, system_ns);
    Ok(())
}

/// Power-off comes this way. EINVAL: no such state. EOPNOTSUPP: sleep from which one wakes.
fn enter_acpi_sleep<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let s: XenpfEnterAcpiSleep = call.get();
    if !(1..=5).contains(&s.sleep_state) || s.flags & !XENPF_ACPI_SLEEP_EXTENDED != 0 {
        return Err(Errno::EINVAL);
    }
    if s.sleep_state != 5 {
        return Err(Errno::EOPNOTSUPP);
    }
    cx.xen.m.power_off(s.val_a, s.val_b, s.flags & XENPF_ACPI_SLEEP_EXTENDED != 0)
}

fn cpu_info<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut info: XenpfPcpuinfo = call.get();
    let host = &cx.xen.host;
    info.max_present = host.nr_cpus.saturating_sub(1);
    match host.topology.get(info.xen_cpuid as usize) {
        None => (info.flags, info.apic_id, info.acpi_id) = (XEN_PCPU_FLAGS_INVALID, 0, 0),
        Some(&(apic_id, ..)) => {
            let cpu = CpuId(info.xen_cpuid);
            info.flags = if host.online.contains(cpu) { XEN_PCPU_FLAGS_ONLINE } else { 0 };
            info.apic_id = apic_id;
            info.acpi_id = cx.xen.m.acpi_id(cpu).unwrap_or(u32::MAX);
        }
    }
    call.put(&cx.xen.m, &info)
}

/// Vendor, family, model and stepping; the same for every CPU there is.
fn cpu_version<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut v: XenpfPcpuVersion = call.get();
    let host = &cx.xen.host;
    v.max_present = host.nr_cpus.saturating_sub(1);
    v.vendor_id = [0; 12];
    (v.family, v.model, v.stepping) = (0, 0, 0);
    if host.online.contains(CpuId(v.xen_cpuid)) {
        let [_, b, c, d] = host.policies.raw.stored(0, XEN_CPUID_NO_SUBLEAF);
        for (to, word) in v.vendor_id.chunks_exact_mut(4).zip([b, d, c]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let [a, ..] = host.policies.raw.stored(1, XEN_CPUID_NO_SUBLEAF);
        v.family = a >> 8 & 0xf;
        v.model = a >> 4 & 0xf;
        v.stepping = a & 0xf;
        // Intel SDM vol. 2, CPUID leaf 1: the extended fields.
        if v.family >= 6 {
            v.model |= (a >> 16 & 0xf) << 4;
        }
        if v.family == 0xf {
            v.family += a >> 20 & 0xff;
        }
    }
    call.put(&cx.xen.m, &v)
}

/// Symbol `symnum` and the number of the next one; past the last, no name and the same number.
fn symbol<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut s: XenpfSymdata = call.get();
    let mut name = [0; MAX_NAME];
    match cx.xen.m.symbol(s.symnum, &mut name[..MAX_NAME - 1]) {
        None => (s.address, s.type_, s.namelen) = (0, 0, 0),
        Some(found) => {
            let len = found.name_len.min(MAX_NAME - 1);
            let room = s.namelen as usize;
            // With its zero, as much as there is room for.
            let shown = (len + 1).min(room);
            if shown > 0 {
                name[shown - 1] = 0;
                guest::write_bytes(&cx.xen.m, s.name.addr(), &name[..shown]).map_err(|_| Errno::EFAULT)?;
            }
            s.namelen = len as u32 + 1;
            s.symnum = s.symnum.wrapping_add(1);
            (s.address, s.type_) = (found.address, found.kind);
        }
    }
    call.put(&cx.xen.m, &s)
}
