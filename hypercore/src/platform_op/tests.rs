//! `platform_op` as dom0 calls it.

use super::*;
use crate::machine::Cpus;
use crate::testing::tool::{ToolBed, ToolCall, errno};

fn bed() -> ToolBed {
    let what = ToolCall {
        size: PLATFORM_OP_SIZE,
        payload: PLATFORM_OP_PAYLOAD_OFFSET,
        version: XENPF_INTERFACE_VERSION,
        serve: platform_op,
    };
    ToolBed::new(512, what)
}

#[test]
fn versions_and_rights_come_first() {
    let b = bed();
    assert_eq!(errno(b.by(&b.dom0, 1, XENPF_GET_CPUINFO, &0u64)), Errno::EACCES);
    assert_eq!(errno(b.by(&b.domu, XENPF_INTERFACE_VERSION, XENPF_GET_CPUINFO, &0u64)), Errno::EPERM);
    assert_eq!(errno(b.call(999, &0u64)), Errno::ENOSYS);
}

#[test]
fn the_wall_clock_is_set_for_a_system_time() {
    let b = bed();
    let t = XenpfSettime64 { secs: 1_700_000_010, nsecs: 5, mbz: 0, system_time: 4_000_000_000 };
    assert_eq!(b.call(XENPF_SETTIME64, &t), Ok(0));
    assert_eq!(*b.dom0.xen.host.boot_wallclock.lock(), (1_700_000_006, 5));
    assert_eq!(errno(b.call(XENPF_SETTIME64, &XenpfSettime64 { mbz: 1, ..t })), Errno::EINVAL);
    assert_eq!(errno(b.call(XENPF_SETTIME64, &XenpfSettime64 { nsecs: 1_000_000_000, ..t })), Errno::EINVAL);
}

#[test]
fn processors_are_listed_up_to_the_last() {
    let b = bed();
    let ask = |xen_cpuid| {
        assert_eq!(b.call(XENPF_GET_CPUINFO, &XenpfPcpuinfo { xen_cpuid, ..Default::default() }), Ok(0));
        b.answer::<XenpfPcpuinfo>()
    };
    let one = ask(1);
    assert_eq!((one.flags, one.apic_id, one.max_present), (XEN_PCPU_FLAGS_ONLINE, 1, 1));
    assert_eq!(ask(2).flags, XEN_PCPU_FLAGS_INVALID);
}

#[test]
fn sleep_states_are_checked_and_only_off_is_there() {
    let b = bed();
    let s = |sleep_state, flags| XenpfEnterAcpiSleep { sleep_state, flags, ..Default::default() };
    assert_eq!(errno(b.call(XENPF_ENTER_ACPI_SLEEP, &s(6, 0))), Errno::EINVAL);
    assert_eq!(errno(b.call(XENPF_ENTER_ACPI_SLEEP, &s(5, 2))), Errno::EINVAL);
    assert_eq!(errno(b.call(XENPF_ENTER_ACPI_SLEEP, &s(3, 0))), Errno::EOPNOTSUPP);
    // The host machine has no such register.
    assert_eq!(errno(b.call(XENPF_ENTER_ACPI_SLEEP, &s(5, 0))), Errno::ENODEV);
}

#[test]
fn past_the_last_symbol_the_number_stays() {
    // The host machine has none.
    let b = bed();
    let ask = |symnum| b.call(XENPF_GET_SYMBOL, &XenpfSymdata { symnum, namelen: 9, ..Default::default() });
    assert_eq!(ask(0), Ok(0));
    let s: XenpfSymdata = b.answer();
    assert_eq!((s.symnum, s.namelen), (0, 0));
    assert_eq!(errno(ask(1)), Errno::ERANGE);
}

#[test]
fn processors_are_as_they_are() {
    let b = bed();
    let switch = |cmd, cpuid| b.call(cmd, &XenpfCpuOl { cpuid });
    assert_eq!(switch(XENPF_CPU_ONLINE, 1), Ok(0));
    assert_eq!(errno(switch(XENPF_CPU_ONLINE, 2)), Errno::EINVAL);
    assert_eq!(errno(switch(XENPF_CPU_OFFLINE, 2)), Errno::EINVAL);
    assert_eq!(errno(switch(XENPF_CPU_OFFLINE, 0)), Errno::EOPNOTSUPP);
    let add = |apic_id, acpi_id, pxm| b.call(XENPF_CPU_HOTADD, &XenpfCpuHotadd { apic_id, acpi_id, pxm });
    assert_eq!(errno(add(u32::MAX, 3, 0)), Errno::EINVAL);
    assert_eq!(errno(add(1, 3, 0)), Errno::EEXIST);
    assert_eq!(errno(add(2, 3, 0)), Errno::EOPNOTSUPP);
}

#[test]
fn what_the_bios_knows_of_the_keyboard() {
    let b = bed();
    let ask =
        |type_, index| b.call(XENPF_FIRMWARE_INFO, &XenpfFirmwareInfo { type_, index, u: [u64::MAX; 4] });
    assert_eq!(ask(XEN_FW_KBD_SHIFT_FLAGS, 0), Ok(0));
    assert_eq!(b.answer::<XenpfFirmwareInfo>().u[0], !0xff | 0x20, "one byte");
    assert_eq!(errno(ask(XEN_FW_KBD_SHIFT_FLAGS, 1)), Errno::ESRCH);
    assert_eq!(errno(ask(XEN_FW_VBEDDC_INFO, 0)), Errno::ESRCH);
    assert_eq!(errno(ask(XEN_FW_EFI_INFO, 0)), Errno::ENOSYS);
    assert_eq!(errno(ask(99, 0)), Errno::EINVAL);
}

#[test]
fn there_are_no_memory_type_registers() {
    let b = bed();
    let add = |type_| b.call(XENPF_ADD_MEMTYPE, &XenpfAddMemtype { type_, nr_mfns: 1, ..Default::default() });
    assert_eq!(errno(add(1)), Errno::ENXIO);
    assert_eq!(errno(add(2)), Errno::EINVAL);
}

#[test]
fn of_the_registers_there_is_system_time() {
    let mut b = bed();
    let entry = |u, rsvd, idx| XenpfResourceEntry { u, rsvd, idx, val: 7 };
    let list = [entry(0, 0, 0x10), entry(0, 0, 0x10), entry(1, 0, 0x10)];
    let at = b.s.put(&list);
    let call = |nr_entries, cpu, at| {
        b.call(XENPF_RESOURCE_OP, &XenpfResourceOp { nr_entries, cpu, entries: abi::GuestHandle::new(at) })
    };
    assert_eq!(call(0, 99, 0), Ok(0));
    assert_eq!(errno(call(1, 99, 0)), Errno::EFAULT);
    assert_eq!(errno(call(1, 99, at)), Errno::ENODEV);
    assert_eq!(errno(call(4, 0, at)), Errno::E2BIG);
    assert_eq!(call(3, 1, at), Ok(2), "nobody sets it");
    let [first, _, last] = b.s.get::<[XenpfResourceEntry; 3]>(at);
    assert_eq!((first.u, first.val), (0, b.dom0.xen.m.now()));
    assert_eq!((last.u as i32, last.val), (Errno::EPERM.to_ret() as i32, 7));
    for (wrong, why) in [
        (entry(0, 1, 0x10), Errno::EINVAL),
        (entry(0, 0, 0xc8d), Errno::EACCES),
        (entry(9, 0, 0x10), Errno::EOPNOTSUPP),
    ] {
        b.s.set(at, &wrong);
        assert_eq!(call(1, 1, at), Ok(0));
        assert_eq!(b.s.get::<XenpfResourceEntry>(at).u as i32, why.to_ret() as i32);
    }
}
