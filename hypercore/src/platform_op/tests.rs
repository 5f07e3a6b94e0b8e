//! `platform_op` as dom0 calls it.

use super::*;
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
    let b = bed();
    assert_eq!(
        b.call(XENPF_GET_SYMBOL, &XenpfSymdata { symnum: 3, namelen: 9, ..Default::default() }),
        Ok(0)
    );
    let s: XenpfSymdata = b.answer();
    assert_eq!((s.symnum, s.namelen), (3, 0));
}
