//! `calls`: hypercalls that are absent or asked wrongly, batches, the tools' versioned calls.

use abi::domctl::*;
use abi::physdev::*;
use abi::sched::*;
use abi::sysctl::*;
use abi::vcpu::*;
use abi::version::*;
use abi::xen::*;

use crate::hypercall::{addr, call, op, raw};
use crate::mm::{DATA, Page, READ};
use crate::print::ok;
use crate::say;

/// An address nobody maps.
const NOWHERE: u64 = 0x1000_0000_0000;

pub fn run() {
    numbers();
    absent();
    batches();
    domctl();
    sysctl();
    refusals();
}

fn numbers() {
    for number in [11, 43, 44, 45, 46, 47, 49, 50, 51, 52, 53, 54, 55, 56, 63, 64, 127, 128, 1000] {
        say!(format_args!("calls.number-{number}"), "{}", raw(number, [0; 6]));
    }
    say!("calls.number-huge", "{}", raw(0xffff_ffff, [0; 6]));
}

fn absent() {
    let page = Page::new();
    let zeros = page.va();
    say!("calls.xsm", "{}", call(HYPERVISOR_XSM_OP, [zeros, 0, 0, 0]));
    say!("calls.tmem", "{}", call(HYPERVISOR_TMEM_OP, [zeros, 0, 0, 0]));
    say!("calls.argo", "{}", call(HYPERVISOR_ARGO_OP, [0, zeros, zeros, 0]));
    say!("calls.xenoprof", "{}", call(HYPERVISOR_XENOPROF_OP, [0, zeros, 0, 0]));
    say!("calls.hvm-unknown", "{}", call(HYPERVISOR_HVM_OP, [99, zeros, 0, 0]));
    say!("calls.hvm-get-param", "{}", call(HYPERVISOR_HVM_OP, [1, zeros, 0, 0]));
    say!("calls.dm-op", "{}", call(HYPERVISOR_DM_OP, [0, 0, 0, 0]));
    say!("calls.dm-op-self", "{}", call(HYPERVISOR_DM_OP, [DOMID_SELF.into(), 0, 0, 0]));
    say!("calls.kexec-unknown", "{}", call(HYPERVISOR_KEXEC_OP, [99, zeros, 0, 0]));
    say!("calls.mca", "{}", call(HYPERVISOR_MCA, [zeros, 0, 0, 0]));
    say!("calls.hypfs-unknown", "{}", call(HYPERVISOR_HYPFS_OP, [99, zeros, 0, 0]));
    say!("calls.hypfs-version", "{}", call(HYPERVISOR_HYPFS_OP, [0, 0, 0, 0]));
    say!("calls.pmu-unknown", "{}", call(HYPERVISOR_XENPMU_OP, [99, zeros, 0, 0]));
    say!("calls.pmu-init", "{}", call(HYPERVISOR_XENPMU_OP, [4, zeros, 0, 0]));
    say!("calls.nmi-unknown", "{}", call(HYPERVISOR_NMI_OP, [99, zeros, 0, 0]));
    say!("calls.platform-version", "{}", call(HYPERVISOR_PLATFORM_OP, [zeros, 0, 0, 0]));
    page.set(0, 999 | 0x0300_0000 << 32);
    say!("calls.platform-unknown", "{}", call(HYPERVISOR_PLATFORM_OP, [zeros, 0, 0, 0]));
}

fn entry(op: u32, a0: u64, a1: u64) -> MulticallEntry {
    MulticallEntry { op: op.into(), result: 0x5555, args: [a0, a1, 0, 0, 0, 0] }
}

fn batches() {
    let mut features = FeatureInfo::default();
    let mut list = [
        entry(HYPERVISOR_XEN_VERSION, XENVER_VERSION.into(), 0),
        entry(127, 0, 0),
        entry(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES.into(), addr(&mut features)),
        entry(HYPERVISOR_XEN_VERSION, 99, 0),
        entry(HYPERVISOR_SCHED_OP, SCHEDOP_YIELD.into(), 0),
    ];
    let answer = call(HYPERVISOR_MULTICALL, [list.as_mut_ptr() as u64, list.len() as u64, 0, 0]);
    say!(
        "calls.multicall",
        "{answer} {:?} features={}",
        list.each_ref().map(|e| e.result as i64),
        ok(features.submap != 0)
    );
    let mut inner = [entry(HYPERVISOR_XEN_VERSION, 0, 0)];
    let mut outer = [entry(HYPERVISOR_MULTICALL, inner.as_mut_ptr() as u64, 1)];
    let answer = call(HYPERVISOR_MULTICALL, [outer.as_mut_ptr() as u64, 1, 0, 0]);
    say!("calls.multicall-nested", "{answer} {} {:#x}", outer[0].result as i64, inner[0].result);
    say!("calls.multicall-none", "{}", call(HYPERVISOR_MULTICALL, [0, 0, 0, 0]));
    say!("calls.multicall-nowhere", "{}", call(HYPERVISOR_MULTICALL, [NOWHERE, 1, 0, 0]));
    say!("calls.multicall-hypervisor", "{}", call(HYPERVISOR_MULTICALL, [0xffff_8300_0000_0000, 1, 0, 0]));
    let mut memory = [entry(HYPERVISOR_MEMORY_OP, abi::memory::XENMEM_MAXIMUM_RAM_PAGE.into(), 0)];
    let answer = call(HYPERVISOR_MULTICALL, [memory.as_mut_ptr() as u64, 1, 0, 0]);
    say!("calls.multicall-memory", "{answer} {}", ok(memory[0].result > 1000 && memory[0].result < 1 << 40));
}

/// A domctl's argument: header, then the command's words.
#[repr(C)]
struct Domctl {
    header: DomctlHeader,
    payload: [u64; DOMCTL_PAYLOAD_SIZE / 8],
}

fn run_domctl(cmd: u32, version: u32, domain: u16) -> (i64, Domctl) {
    let header = DomctlHeader { cmd, interface_version: version, domain, _pad: [0; 3] };
    let mut arg = Domctl { header, payload: [0; DOMCTL_PAYLOAD_SIZE / 8] };
    let answer = call(HYPERVISOR_DOMCTL, [addr(&mut arg), 0, 0, 0]);
    (answer, arg)
}

fn domctl() {
    const V: u32 = XEN_DOMCTL_INTERFACE_VERSION;
    for version in [0, 0x14, 0x16, 0x18, !0] {
        let (answer, _) = run_domctl(XEN_DOMCTL_GETDOMAININFO, version, 0);
        say!(format_args!("calls.domctl-version-{version:#x}"), "{answer}");
    }
    say!("calls.domctl-unknown", "{}", run_domctl(999, V, 0).0);
    say!("calls.domctl-nowhere", "{}", call(HYPERVISOR_DOMCTL, [NOWHERE, 0, 0, 0]));
    let (answer, arg) = run_domctl(XEN_DOMCTL_GETDOMAININFO, V, 0);
    // Words of `DomctlGetdomaininfo`.
    let [w0, tot, max, outstanding, shr, paged, frame, cpu_time, vcpus, ssid_handle, ..] = arg.payload;
    say!(
        "calls.info",
        "{answer} domain={} flags={:#x} online={} max-vcpu={} ssidref={}",
        w0 as u16,
        w0 >> 32,
        vcpus as u32,
        vcpus >> 32,
        ssid_handle as u32
    );
    let pages = crate::boot::start_info().nr_pages;
    say!("calls.info-pages", "{} max={} {outstanding} {shr} {paged}", ok(tot == pages), ok(max >= tot));
    say!("calls.info-time", "{} shared={}", ok(cpu_time != 0), ok(frame != 0));
    say!("calls.info-next", "{}", run_domctl(XEN_DOMCTL_GETDOMAININFO, V, 1).0);
    say!("calls.info-self", "{}", run_domctl(XEN_DOMCTL_GETDOMAININFO, V, DOMID_SELF).0);
    for (name, cmd) in [
        ("pause", XEN_DOMCTL_PAUSEDOMAIN),
        ("unpause", XEN_DOMCTL_UNPAUSEDOMAIN),
        ("destroy", XEN_DOMCTL_DESTROYDOMAIN),
        ("getvcpuinfo", XEN_DOMCTL_GETVCPUINFO),
        ("max-mem", XEN_DOMCTL_MAX_MEM),
        ("max-vcpus", XEN_DOMCTL_MAX_VCPUS),
        ("getvcpucontext", XEN_DOMCTL_GETVCPUCONTEXT),
        ("address-size", XEN_DOMCTL_GET_ADDRESS_SIZE),
        ("settscinfo", abi::domctl::XEN_DOMCTL_SETTSCINFO),
    ] {
        say!(format_args!("calls.{name}-absent"), "{}", run_domctl(cmd, V, 500).0);
    }
    for (name, cmd) in [
        ("pause", XEN_DOMCTL_PAUSEDOMAIN),
        ("unpause", XEN_DOMCTL_UNPAUSEDOMAIN),
        ("destroy", XEN_DOMCTL_DESTROYDOMAIN),
        ("max-vcpus", XEN_DOMCTL_MAX_VCPUS),
        ("getvcpucontext", XEN_DOMCTL_GETVCPUCONTEXT),
        ("setvcpucontext", XEN_DOMCTL_SETVCPUCONTEXT),
    ] {
        say!(format_args!("calls.{name}-own"), "{}", run_domctl(cmd, V, 0).0);
    }
    let (answer, arg) = run_domctl(XEN_DOMCTL_GET_ADDRESS_SIZE, V, 0);
    say!("calls.address-size", "{answer} {}", arg.payload[0] as u32);
    create_unwritable();
}

/// A new domain's number cannot be written back: is the domain there all the same?
fn create_unwritable() {
    let page = Page::new();
    let header = DomctlHeader {
        cmd: XEN_DOMCTL_CREATEDOMAIN,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: 0,
        _pad: [0; 3],
    };
    let create = DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 127,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
        grant_opts: 1,
        ..Default::default()
    };
    let at = page.va();
    // SAFETY: the page is this check's, and both fit.
    unsafe {
        (at as *mut DomctlHeader).write_volatile(header);
        ((at + DOMCTL_PAYLOAD_OFFSET as u64) as *mut DomctlCreatedomain).write_volatile(create);
    }
    page.map(READ);
    let answer = call(HYPERVISOR_DOMCTL, [at, 0, 0, 0]);
    page.map(DATA);
    // Of the first domain from this number on.
    let (found, info) = run_domctl(XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION, 1);
    say!("calls.create-unwritable", "{answer} left={}", found == 0);
    if found == 0 {
        run_domctl(XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_INTERFACE_VERSION, info.header.domain);
    }
}

#[repr(C)]
struct Sysctl {
    header: SysctlHeader,
    payload: [u64; SYSCTL_PAYLOAD_SIZE / 8],
}

fn run_sysctl(cmd: u32, version: u32) -> (i64, Sysctl) {
    let mut arg = Sysctl { header: SysctlHeader { cmd, interface_version: version }, payload: [0; _] };
    let answer = call(HYPERVISOR_SYSCTL, [addr(&mut arg), 0, 0, 0]);
    (answer, arg)
}

fn sysctl() {
    const V: u32 = XEN_SYSCTL_INTERFACE_VERSION;
    for version in [0, 0x14, 0x16] {
        say!(
            format_args!("calls.sysctl-version-{version:#x}"),
            "{}",
            run_sysctl(XEN_SYSCTL_PHYSINFO, version).0
        );
    }
    say!("calls.sysctl-unknown", "{}", run_sysctl(999, V).0);
    let (answer, arg) = run_sysctl(XEN_SYSCTL_PHYSINFO, V);
    let p = &arg.payload;
    say!(
        "calls.physinfo",
        "{answer} threads={} cores={} cpus={} max-cpu={} nodes={} max-node={} capabilities={:#x} arch={:#x}",
        p[0] as u32,
        p[0] >> 32,
        p[1] as u32,
        p[1] >> 32,
        p[2] as u32,
        p[2] >> 32,
        p[3] >> 32,
        p[4] as u32
    );
    say!("calls.physinfo-khz", "{}", ok(p[3] as u32 > 100_000));
    say!(
        "calls.physinfo-pages",
        "{} scrub={} outstanding={}",
        ok(p[5] > p[6] && p[9] >= p[5] - 4096),
        p[7],
        p[8]
    );
    let (answer, arg) = run_sysctl(XEN_SYSCTL_SCHED_ID, V);
    say!("calls.sched-id", "{answer} {}", arg.payload[0] as u32);
    for (name, cmd) in [
        ("perfc", XEN_SYSCTL_PERFC_OP),
        ("lockprof", XEN_SYSCTL_LOCKPROF_OP),
        ("coverage", XEN_SYSCTL_COVERAGE_OP),
        ("psr-cmt", XEN_SYSCTL_PSR_CMT_OP),
        ("psr-alloc", XEN_SYSCTL_PSR_ALLOC),
        ("get-pmstat", XEN_SYSCTL_GET_PMSTAT),
        ("page-offline", XEN_SYSCTL_PAGE_OFFLINE_OP),
    ] {
        say!(format_args!("calls.{name}"), "{}", run_sysctl(cmd, V).0);
    }
}

fn refusals() {
    let page = Page::new();
    let zeros = page.va();
    say!("calls.sched-unknown", "{}", call(HYPERVISOR_SCHED_OP, [99, zeros, 0, 0]));
    say!("calls.sched-yield", "{}", call(HYPERVISOR_SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0]));
    say!("calls.sched-compat-yield", "{}", call(HYPERVISOR_SCHED_OP_COMPAT, [SCHEDOP_YIELD.into(), 0, 0, 0]));
    say!("calls.sched-compat-unknown", "{}", call(HYPERVISOR_SCHED_OP_COMPAT, [99, 0, 0, 0]));
    say!("calls.shutdown-nowhere", "{}", call(HYPERVISOR_SCHED_OP, [SCHEDOP_SHUTDOWN.into(), NOWHERE, 0, 0]));
    let mut remote = SchedRemoteShutdown { domain_id: 500, _pad0: 0, reason: 0 };
    say!("calls.remote-shutdown-absent", "{}", op(HYPERVISOR_SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, &mut remote));
    for (name, id, timeout) in [("unknown", 9, 10), ("make", 0, 60), ("stop", 1, 0), ("stop-again", 1, 0)] {
        let answer = op(HYPERVISOR_SCHED_OP, SCHEDOP_WATCHDOG, &mut SchedWatchdog { id, timeout });
        say!(format_args!("calls.watchdog-{name}"), "{answer}");
    }
    let mut pin = SchedPinOverride { pcpu: 4000 };
    say!("calls.pin-override-absent", "{}", op(HYPERVISOR_SCHED_OP, SCHEDOP_PIN_OVERRIDE, &mut pin));
    let mut pin = SchedPinOverride { pcpu: -1 };
    say!("calls.pin-override-end", "{}", op(HYPERVISOR_SCHED_OP, SCHEDOP_PIN_OVERRIDE, &mut pin));
    let vcpu_op = |cmd: u32, vcpu: u64, arg| call(HYPERVISOR_VCPU_OP, [cmd.into(), vcpu, arg, 0]);
    say!("calls.vcpu-is-up", "{}", vcpu_op(VCPUOP_IS_UP, 0, 0));
    say!("calls.vcpu-absent", "{}", vcpu_op(VCPUOP_IS_UP, 5000, 0));
    say!("calls.vcpu-up", "{}", vcpu_op(VCPUOP_UP, 0, 0));
    say!("calls.vcpu-initialise", "{}", vcpu_op(VCPUOP_INITIALISE, 0, zeros));
    say!("calls.vcpu-unknown", "{}", vcpu_op(99, 0, zeros));
    say!(
        "calls.vcpu-info-mfn",
        "{}",
        vcpu_op(
            VCPUOP_REGISTER_VCPU_INFO,
            0,
            addr(&mut VcpuRegisterVcpuInfo { mfn: 1 << 40, offset: 0, rsvd: 0 })
        )
    );
    let mut straddling = VcpuRegisterVcpuInfo { mfn: page.mfn(), offset: 4096 - 32, rsvd: 0 };
    say!("calls.vcpu-info-straddling", "{}", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 0, addr(&mut straddling)));
    let mut crooked = VcpuRegisterVcpuInfo { mfn: page.mfn(), offset: 4, rsvd: 0 };
    say!("calls.vcpu-info-misaligned", "{}", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 0, addr(&mut crooked)));
    let mut area = VcpuRegisterRunstateMemoryArea { addr: abi::GuestHandle::new(0xffff_8300_0000_0000) };
    say!(
        "calls.runstate-hypervisor",
        "{}",
        vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, addr(&mut area))
    );
    let mut area = VcpuRegisterTimeMemoryArea { addr: abi::GuestHandle::new(0xffff_8300_0000_0000) };
    say!(
        "calls.time-area-hypervisor",
        "{}",
        vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, addr(&mut area))
    );
    let mut physid = VcpuGetPhysid::default();
    say!("calls.vcpu-physid", "{}", vcpu_op(VCPUOP_GET_PHYSID, 0, addr(&mut physid)));
    let assist = |cmd: u32, kind: u32| call(HYPERVISOR_VM_ASSIST, [cmd.into(), kind.into(), 0, 0]);
    for kind in [0, 1, 2, 3, 4, 5, 6, 31, 32, 33] {
        let (on, off) = (assist(VMASST_CMD_ENABLE, kind), assist(VMASST_CMD_DISABLE, kind));
        say!(format_args!("calls.vm-assist-{kind}"), "{on} {off}");
    }
    say!("calls.vm-assist-unknown", "{}", assist(99, 2));
    say!("calls.console-unknown", "{}", call(HYPERVISOR_CONSOLE_IO, [99, 1, zeros, 0]));
    say!("calls.console-nowhere", "{}", call(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), 4, NOWHERE, 0]));
    say!("calls.console-empty", "{}", call(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), 0, zeros, 0]));
    say!("calls.console-read", "{}", call(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_READ.into(), 16, zeros, 0]));
    for kind in [0u16, 1, 2, 3, 4, 5, 6, 7, 8] {
        let address = 0x8000_0000_0000;
        let mut register = abi::callback::CallbackRegister { type_: kind, flags: 0, _pad0: 0, address };
        let bad = op(HYPERVISOR_CALLBACK_OP, abi::callback::CALLBACKOP_REGISTER, &mut register);
        let mut unregister = abi::callback::CallbackUnregister { type_: kind, _unused: 0 };
        let off = op(HYPERVISOR_CALLBACK_OP, abi::callback::CALLBACKOP_UNREGISTER, &mut unregister);
        say!(format_args!("calls.callback-{kind}"), "noncanonical={bad} unregister={off}");
    }
    say!("calls.callback-unknown", "{}", call(HYPERVISOR_CALLBACK_OP, [99, zeros, 0, 0]));
    let physdev = |cmd: u32, arg| call(HYPERVISOR_PHYSDEV_OP, [cmd.into(), arg, 0, 0]);
    say!("calls.physdev-unknown", "{}", physdev(99, zeros));
    say!("calls.iopl-4", "{}", physdev(PHYSDEVOP_SET_IOPL, addr(&mut PhysdevSetIopl { iopl: 4 })));
    let mut bitmap = PhysdevSetIobitmap { nr_ports: 65537, ..Default::default() };
    say!("calls.iobitmap-big", "{}", physdev(PHYSDEVOP_SET_IOBITMAP, addr(&mut bitmap)));
    let mut query = PhysdevIrqStatusQuery { irq: 100_000, flags: 0 };
    say!("calls.irq-status-absent", "{}", physdev(PHYSDEVOP_IRQ_STATUS_QUERY, addr(&mut query)));
    let mut query = PhysdevIrqStatusQuery { irq: 4, flags: 0 };
    let answer = physdev(PHYSDEVOP_IRQ_STATUS_QUERY, addr(&mut query));
    say!("calls.irq-status", "{answer} {:#x}", query.flags);
    say!("calls.eoi-absent", "{}", physdev(PHYSDEVOP_EOI, addr(&mut PhysdevEoi { irq: 100_000 })));
    say!("calls.memory-unknown", "{}", call(HYPERVISOR_MEMORY_OP, [63, zeros, 0, 0]));
    say!("calls.mmuext-nowhere", "{}", call(HYPERVISOR_MMUEXT_OP, [NOWHERE, 1, 0, DOMID_SELF.into()]));
    say!("calls.mmu-update-nowhere", "{}", call(HYPERVISOR_MMU_UPDATE, [NOWHERE, 1, 0, DOMID_SELF.into()]));
    say!("calls.grant-unknown", "{}", call(HYPERVISOR_GRANT_TABLE_OP, [99, zeros, 1, 0]));
    say!("calls.event-unknown", "{}", call(HYPERVISOR_EVENT_CHANNEL_OP, [99, zeros, 0, 0]));
    page.set(0, 99);
    say!("calls.event-compat-unknown", "{}", call(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, [zeros, 0, 0, 0]));
    say!("calls.physdev-compat-unknown", "{}", call(HYPERVISOR_PHYSDEV_OP_COMPAT, [zeros, 0, 0, 0]));
    say!("calls.segment-base-unknown", "{}", call(HYPERVISOR_SET_SEGMENT_BASE, [99, 0, 0, 0]));
    say!(
        "calls.segment-base-noncanonical",
        "{}",
        call(HYPERVISOR_SET_SEGMENT_BASE, [0, 0x8000_0000_0000, 0, 0])
    );
}
