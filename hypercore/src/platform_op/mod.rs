//! `platform_op`: what dom0 does to the machine it runs on, and asks about it.
//!
//! The hypervisor leaves processors' frequencies and sleep alone and keeps no firmware tables of its own, so
//! much of this is absent and says so; Linux then goes on without. Processors are in [`cpus`], the MSRs that tools may
//! name in [`resource`].

pub(crate) mod cpus;
mod resource;
#[cfg(test)]
mod tests;

use crate::guest;
use crate::machine::Machine;
use crate::time;
use crate::xen::{Cx, HcResult};
use abi::Errno;
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

pub(crate) struct Call {
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

    pub(crate) fn get<T: FromBytes + IntoBytes>(&self) -> T {
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
    if call.cmd == XENPF_RESOURCE_OP {
        return Ok(resource::op(cx, &call)?);
    }
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
        XENPF_FIRMWARE_INFO => firmware_info(cx, call),
        XENPF_PLATFORM_QUIRK => quirk(cx, call),
        XENPF_GET_CPUINFO => cpus::info(cx, call),
        XENPF_GET_CPU_VERSION => cpus::version(cx, call),
        XENPF_SET_PROCESSOR_PMINFO => crate::power::set_pminfo(cx, call),
        XENPF_CPU_ONLINE => cpus::switch(cx, call, true),
        XENPF_CPU_OFFLINE => cpus::switch(cx, call, false),
        XENPF_CPU_HOTADD => cpus::hotadd(cx, call),
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
        XENPF_ADD_MEMTYPE => match call.get::<XenpfAddMemtype>().type_ {
            MTRR_UC | MTRR_WC | MTRR_WT | MTRR_WP | MTRR_WB => Err(Errno::ENXIO),
            _ => Err(Errno::EINVAL),
        },
        XENPF_DEL_MEMTYPE | XENPF_READ_MEMTYPE => Err(Errno::EINVAL),
        // Processors keep the microcode that firmware gave them: no update is the right one.
        XENPF_MICROCODE_UPDATE => Err(Errno::ENOENT),
        // The machine's memory is what firmware told of at the start: no range is one that came since.
        XENPF_MEM_HOTADD => Err(Errno::EINVAL),
        // Frequencies stay with the firmware; no EFI.
        _ => Err(Errno::ENOSYS),
    }
}

// Types of memory, as memory type range registers have them (Intel SDM vol. 3, 11.11.1).
const MTRR_UC: u32 = 0;
const MTRR_WC: u32 = 1;
const MTRR_WT: u32 = 4;
const MTRR_WP: u32 = 5;
const MTRR_WB: u32 = 6;

/// What the BIOS knows. ESRCH: it has no such thing, or was not asked before the processor left its mode.
fn firmware_info<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut f: XenpfFirmwareInfo = call.get();
    match f.type_ {
        XEN_FW_KBD_SHIFT_FLAGS => {
            let flags = cx.xen.host.kbd_shift_flags.filter(|_| f.index == 0).ok_or(Errno::ESRCH)?;
            f.u[0] = f.u[0] & !0xff | u64::from(flags);
            call.put(&cx.xen.m, &f)
        }
        XEN_FW_DISK_INFO | XEN_FW_DISK_MBR_SIGNATURE | XEN_FW_VBEDDC_INFO => Err(Errno::ESRCH),
        XEN_FW_EFI_INFO => Err(Errno::ENOSYS),
        _ => Err(Errno::EINVAL),
    }
}

/// Dom0 knows this chipset. EINVAL: no such quirk.
fn quirk<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    match call.get::<XenpfPlatformQuirk>().quirk_id {
        QUIRK_NOIRQBALANCING => cx.xen.irqs.fix(),
        // Every access to a register of an IOAPIC selects it anew: it does not matter whether it would be kept.
        QUIRK_IOAPIC_BAD_REGSEL | QUIRK_IOAPIC_GOOD_REGSEL => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
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

/// Symbol `symnum` and the number of the next one; past the last, no name and the same number. ERANGE: further on.
fn symbol<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> OpResult {
    let mut s: XenpfSymdata = call.get();
    let mut name = [0; MAX_NAME];
    match cx.xen.m.symbol(s.symnum, &mut name[..MAX_NAME - 1]) {
        None => {
            let before = s.symnum.checked_sub(1);
            if before.is_some_and(|n| cx.xen.m.symbol(n, &mut []).is_none()) {
                return Err(Errno::ERANGE);
            }
            (s.address, s.type_, s.namelen) = (0, 0, 0);
        }
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
