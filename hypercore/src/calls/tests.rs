//! The small calls: version, console, assists, registers, traps, vCPUs.

use crate::hypercall::dispatch;
use crate::machine::{Cpus, HostShutdown};
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use abi::Errno;
use abi::arch_x86::*;
use abi::callback::*;
use abi::features::*;
use abi::vcpu::*;
use abi::version::*;
use abi::xen::*;
use core::sync::atomic::Ordering::*;
use std::vec::Vec;

type Answer = Result<u64, Errno>;

fn call(g: &Guest, nr: u32, args: &[u64]) -> Answer {
    let mut a = [0; 6];
    a[..args.len()].copy_from_slice(args);
    g.call(0, |cx| dispatch(cx, nr, &a)).map_err(|s| match s {
        Stop::Errno(e) => e,
        Stop::Continue => panic!("goes on later"),
    })
}

fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|b| *b == 0).expect("a zero at the end");
    core::str::from_utf8(&bytes[..end]).unwrap()
}

fn pair() -> (Guest, Guest) {
    let w = World::new(1024, 2);
    (w.domain(0, 2), w.domain(1, 2))
}

#[test]
fn the_version_is_4_17_and_says_who_we_are() {
    let (g, domu) = pair();
    let mut s = Scratch::new(g.xen);
    let at = s.room(1024);
    let ask = |g: &Guest, cmd: u32| call(g, HYPERVISOR_XEN_VERSION, &[cmd.into(), at]);
    assert_eq!(ask(&g, XENVER_VERSION), Ok(0x0004_0011));
    assert_eq!(ask(&g, XENVER_EXTRAVERSION), Ok(0));
    assert!(text(&s.get::<[u8; 16]>(at)).ends_with("xenolith"));
    assert_eq!(ask(&g, XENVER_CAPABILITIES), Ok(0));
    assert_eq!(text(&s.get::<[u8; 1024]>(at)).trim(), "xen-3.0-x86_64");
    assert_eq!(ask(&g, XENVER_PLATFORM_PARAMETERS), Ok(0));
    assert_eq!(s.get::<u64>(at), 0xffff_8000_0000_0000);
    assert_eq!(call(&g, HYPERVISOR_XEN_VERSION, &[XENVER_PAGESIZE.into(), 0]), Ok(4096));
    assert_eq!(ask(&g, XENVER_PAGESIZE), Err(Errno::EINVAL));
    assert_eq!(ask(&domu, XENVER_GUEST_HANDLE), Ok(0));
    assert_eq!(s.get::<[u8; 16]>(at), [1; 16]);
    assert_eq!(call(&g, HYPERVISOR_XEN_VERSION, &[XENVER_BUILD_ID.into(), 0]), Ok(20), "asked for its size");
    for (room, answer) in [(0u32, Err(Errno::EINVAL)), (19, Err(Errno::ENOBUFS)), (20, Ok(20))] {
        s.set(at, &[room, 0]);
        assert_eq!(ask(&g, XENVER_BUILD_ID), answer, "room for {room}");
        assert_eq!(s.get::<[u8; 5]>(at)[4], if room == 20 { 0x5a } else { 0 });
    }
    assert_eq!(ask(&domu, XENVER_BUILD_ID), Err(Errno::EPERM));
    assert_eq!(ask(&domu, XENVER_COMMANDLINE), Ok(0));
    assert_eq!(text(&s.get::<[u8; 1024]>(at)), "<denied>");
    for (g, dom0) in [(&g, true), (&domu, false)] {
        s.set(at, &FeatureInfo::default());
        assert_eq!(ask(g, XENVER_GET_FEATURES), Ok(0));
        let f = s.get::<FeatureInfo>(at).submap;
        assert_eq!(f & 1 << XENFEAT_DOM0 != 0, dom0);
        assert_eq!(f & 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD, 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD);
        assert_eq!(f & 1 << XENFEAT_AUTO_TRANSLATED_PHYSMAP, 0);
    }
    s.set(at, &FeatureInfo { submap_idx: 1, submap: 0 });
    assert_eq!(ask(&g, XENVER_GET_FEATURES), Err(Errno::EINVAL));
}

#[test]
fn the_console_is_the_first_domains() {
    let (g, domu) = pair();
    let mut s = Scratch::new(g.xen);
    let long: Vec<u8> = (0..1000).map(|i| b'a' + (i % 26) as u8).collect();
    let at = s.put(&long[..]);
    assert_eq!(call(&g, HYPERVISOR_CONSOLE_IO, &[CONSOLEIO_WRITE.into(), 1000, at]), Ok(0));
    let written: Vec<u8> = g.xen.m.devices.written.lock().unwrap().iter().flat_map(|w| w.1.clone()).collect();
    assert_eq!(written, long);
    assert_eq!(call(&domu, HYPERVISOR_CONSOLE_IO, &[0, 4, at]), Err(Errno::EPERM));
    g.xen.m.devices.typed.lock().unwrap().extend(b"ls\n");
    assert_eq!(call(&g, HYPERVISOR_CONSOLE_IO, &[CONSOLEIO_READ.into(), 200, at]), Ok(3));
    assert_eq!(&s.get::<[u8; 3]>(at), b"ls\n");
    assert_eq!(call(&g, HYPERVISOR_CONSOLE_IO, &[CONSOLEIO_READ.into(), 200, at]), Ok(0));
    let hypervisor = 0xffff_8300_0000_0000;
    g.xen.m.devices.typed.lock().unwrap().extend(b"x");
    for cmd in [CONSOLEIO_WRITE, CONSOLEIO_READ] {
        let r = call(&g, HYPERVISOR_CONSOLE_IO, &[cmd.into(), 8, hypervisor]);
        assert_eq!(r, Err(Errno::EFAULT));
    }
    assert_eq!(g.xen.m.devices.typed.lock().unwrap().len(), 1, "nothing typed is lost");
}

#[test]
fn assists_are_switched_one_by_one() {
    let (g, _) = pair();
    let set = |cmd: u32, kind: u32| call(&g, HYPERVISOR_VM_ASSIST, &[cmd.into(), kind.into()]);
    assert_eq!(set(VMASST_CMD_ENABLE, VMASST_TYPE_RUNSTATE_UPDATE_FLAG), Ok(0));
    assert_eq!(g.dom.vm_assist.load(SeqCst), 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG);
    assert_eq!(set(VMASST_CMD_DISABLE, VMASST_TYPE_RUNSTATE_UPDATE_FLAG), Ok(0));
    assert_eq!(g.dom.vm_assist.load(SeqCst), 0);
    assert_eq!(set(VMASST_CMD_ENABLE, VMASST_TYPE_M2P_STRICT), Ok(0));
    assert_eq!(g.dom.vm_assist.load(SeqCst), 1 << VMASST_TYPE_M2P_STRICT);
    for bad in [6, 31, 33, 63, 64, u32::MAX] {
        assert_eq!(set(VMASST_CMD_ENABLE, bad), Err(Errno::EINVAL));
    }
    assert_eq!(set(2, VMASST_TYPE_WRITABLE_PAGETABLES), Err(Errno::ENOSYS));
}

#[test]
fn debug_registers_take_only_what_is_harmless() {
    let (g, _) = pair();
    let set = |r: u64, v: u64| call(&g, HYPERVISOR_SET_DEBUGREG, &[r, v]);
    let get = |r: u64| call(&g, HYPERVISOR_GET_DEBUGREG, &[r]);
    assert_eq!(set(0, 0x1234), Ok(0));
    assert_eq!(get(0), Ok(0x1234));
    for bad in [0xffff_8300_0000_0000, 0x0000_8000_0000_0000, HYPERVISOR_VIRT_END - 8] {
        assert_eq!(set(1, bad), Err(Errno::EPERM), "{bad:#x}");
    }
    assert_eq!(set(7, 0x0001_0001), Ok(0));
    assert_eq!(get(7), Ok(0x0001_0401));
    assert_eq!(get(5), Ok(0x0001_0401));
    assert_eq!(set(7, 0x0002_0001), Err(Errno::EPERM), "an I/O breakpoint");
    assert_eq!(set(7, 1 << 13), Err(Errno::EPERM), "general detect");
    assert_eq!(set(6, u64::MAX), Err(Errno::EINVAL), "the high half");
    assert_eq!(set(6, 0xffff_ffff), Ok(0));
    assert_eq!(get(6), Ok(0xffff_efff));
    for r in [8, 15, u64::from(u32::MAX)] {
        assert_eq!((set(r, 0), get(r)), (Err(Errno::ENODEV), Err(Errno::ENODEV)));
    }
}

#[test]
fn segment_bases_are_canonical() {
    let (g, _) = pair();
    let set = |which: u32, v: u64| call(&g, HYPERVISOR_SET_SEGMENT_BASE, &[which.into(), v]);
    assert_eq!(set(SEGBASE_FS, 0x7fff_0000), Ok(0));
    assert_eq!(set(SEGBASE_GS_KERNEL, 0xffff_ffff_8000_0000), Ok(0));
    g.call(0, |cx| assert_eq!((cx.vp.fs_base, cx.vp.gs_base_kernel), (0x7fff_0000, 0xffff_ffff_8000_0000)));
    for which in [SEGBASE_FS, SEGBASE_GS_USER, SEGBASE_GS_KERNEL] {
        assert_eq!(set(which, 0x0000_8000_0000_0000), Err(Errno::EINVAL));
    }
    assert_eq!(set(4, 0), Err(Errno::EINVAL));
}

#[test]
fn traps_and_callbacks_are_checked_and_forced_to_ring_3() {
    let (g, _) = pair();
    let mut s = Scratch::new(g.xen);
    let trap = |vector, cs, flags, address| TrapInfo { vector, cs, flags, address, ..Default::default() };
    let at = s.put(&[trap(3, 0xe030, 3 | TI_IF, 0x5000), trap(14, 0x10, 0, 0x6000), trap(0, 0, 0, 0)]);
    assert_eq!(call(&g, HYPERVISOR_SET_TRAP_TABLE, &[at]), Ok(0));
    g.call(0, |cx| {
        let t = cx.vp.traps.table[3];
        assert_eq!((t.cs, t.dpl, t.mask_events, t.address), (0xe033, 3, true, 0x5000));
        assert_eq!(cx.vp.traps.table[14].cs, 0x13);
    });
    let bad = s.put(&[trap(1, 0, 0, 0x0000_8000_0000_0000), trap(0, 0, 0, 0)]);
    assert_eq!(call(&g, HYPERVISOR_SET_TRAP_TABLE, &[bad]), Err(Errno::EINVAL));
    assert_eq!(call(&g, HYPERVISOR_SET_TRAP_TABLE, &[0]), Ok(0));
    g.call(0, |cx| assert_eq!(cx.vp.traps.table[3].address, 0));

    assert_eq!(call(&g, HYPERVISOR_SET_CALLBACKS, &[0x10, 0x20, 0x30]), Ok(0));
    assert_eq!(call(&g, HYPERVISOR_SET_CALLBACKS, &[0x10, 0x20, 1 << 47]), Ok(0));
    g.call(0, |cx| assert_eq!(cx.vp.traps.syscall.address, 0x30));
    let register = |s: &mut Scratch, type_, address| {
        let c = CallbackRegister { type_, flags: CALLBACKF_MASK_EVENTS, address, ..Default::default() };
        let at = s.put(&c);
        call(&g, HYPERVISOR_CALLBACK_OP, &[CALLBACKOP_REGISTER.into(), at])
    };
    assert_eq!(register(&mut s, CALLBACKTYPE_SYSCALL, 0x40), Ok(0));
    assert_eq!(register(&mut s, CALLBACKTYPE_NMI, 0x50), Ok(0));
    assert_eq!(register(&mut s, CALLBACKTYPE_SYSCALL, 1 << 47), Err(Errno::EINVAL));
    assert_eq!(register(&mut s, 6, 0), Err(Errno::ENOSYS));
    g.call(0, |cx| {
        let t = &cx.vp.traps;
        assert_eq!((t.event.address, t.failsafe.address, t.syscall.address), (0x10, 0x20, 0x40));
        assert!(t.syscall.mask_events && t.table[2].address == 0x50 && t.table[2].mask_events);
    });
    let un = |s: &mut Scratch, type_| {
        let at = s.put(&CallbackUnregister { type_, _unused: 0 });
        call(&g, HYPERVISOR_CALLBACK_OP, &[CALLBACKOP_UNREGISTER.into(), at])
    };
    assert_eq!(un(&mut s, CALLBACKTYPE_NMI), Ok(0));
    assert_eq!(un(&mut s, CALLBACKTYPE_EVENT), Err(Errno::EINVAL));
    assert_eq!(un(&mut s, 6), Err(Errno::ENOSYS));
    assert_eq!(call(&g, HYPERVISOR_STACK_SWITCH, &[0xe028, 0x9000]), Ok(0));
    g.call(0, |cx| assert_eq!((cx.vp.traps.kernel_ss, cx.vp.traps.kernel_sp), (0xe02b, 0x9000)));
}

/// RCX and R11 are the frame's unless it says that a system call is returned from; IOPL is the frame's where the guest
/// asked for that.
#[test]
fn frames_out_and_back() {
    use crate::traps::bounce::{Bounce, deliver};
    use crate::traps::iret::iret;
    use abi::xen::{VMASST_TYPE_ARCHITECTURAL_IOPL, VMASST_TYPE_M2P_STRICT};
    use x86::regs::ENTRY_SYSCALL;
    let w = World::new(1024, 1);
    let k = w.domain(0, 1).boot(8);
    let g = &k.guest;
    let b = Bounce::callback(crate::traps::Callback { address: 0xffff_ffff_8100_0000, mask_events: true });
    let top = k.va(2) + 0x1000;
    let bounced = |b: &Bounce| {
        g.call(0, |cx| {
            cx.vp.iopl = 1;
            (cx.regs.rip, cx.regs.rcx, cx.regs.r11) = (0x1234, 0xc, 0xb);
            (cx.regs.rsp, cx.regs.rflags, cx.regs.entry_vector) = (top, 0x24_07d7, 13);
            deliver(cx, b).unwrap();
            assert_eq!((cx.regs.rip, cx.regs.rsp), (b.address, top - 56));
            assert_eq!(cx.regs.entry_vector, ENTRY_SYSCALL, "RCX and R11 are the frame's");
            cx.regs.rflags
        })
    };
    assert_eq!(bounced(&b), 0x20_06d7);
    let callback = crate::traps::Callback { address: b.address, mask_events: true };
    assert_eq!(bounced(&Bounce::syscall(callback)), 0x6c0);
    let flags = || k.read(0, top - 24).unwrap();
    assert_eq!([0, 8, 16].map(|i| k.read(0, top - 56 + i).unwrap()), [0xc, 0xb, 0x1234]);
    assert_eq!(flags() >> 12 & 3, 0);
    g.dom.vm_assist.store(1 << VMASST_TYPE_ARCHITECTURAL_IOPL, SeqCst);
    bounced(&b);
    assert_eq!(flags() >> 12 & 3, 1);
    for (assists, iopl) in [(1 << VMASST_TYPE_ARCHITECTURAL_IOPL, 2), (1 << VMASST_TYPE_M2P_STRICT, 1)] {
        g.dom.vm_assist.store(assists, SeqCst);
        for (in_syscall, rcx, entry) in [(0, 0x77, 0), (1 << 8, 0x99, ENTRY_SYSCALL)] {
            let frame = [1u64, 2, 0x77, in_syscall, 0x5678, 0xe030, 0x2202, 0x9000, 0xe02b];
            assert!(k.write(0, k.va(3), zerocopy::IntoBytes::as_bytes(&frame)));
            g.call(0, |cx| {
                cx.vp.iopl = 1;
                (cx.regs.rsp, cx.regs.rcx, cx.regs.entry_vector) = (k.va(3), 0x99, ENTRY_SYSCALL);
                iret(cx).unwrap();
                assert_eq!((cx.regs.rcx, cx.regs.entry_vector), (rcx, entry));
                assert_eq!((cx.regs.rip, cx.regs.rflags, cx.vp.iopl), (0x5678, 0x202, iopl));
            });
        }
    }
}

fn context(root: u64) -> VcpuGuestContext {
    let mut c = VcpuGuestContext {
        flags: VGCF_IN_KERNEL | VGCF_I387_VALID | VGCF_SYSCALL_DISABLES_EVENTS,
        kernel_ss: 0xe028,
        kernel_sp: 0x8000,
        event_callback_eip: 0x100,
        failsafe_callback_eip: 0x200,
        syscall_callback_eip: 0x300,
        gs_base_kernel: 0x7000,
        ..Default::default()
    };
    c.user_regs = CpuUserRegs {
        rip: 0xffff_ffff_8100_0000,
        rsp: 0xffff_ffff_8200_0000,
        cs: 0xe030,
        ss: 0xe028,
        rflags: 0x3000 | 1 << 17 | 1 << 14,
        rdi: 77,
        ..Default::default()
    };
    c.ctrlreg[3] = xen_pfn_to_cr3(root);
    c.fpu_ctxt[24..28].copy_from_slice(&[0xff; 4]);
    c.trap_ctxt[13] = TrapInfo { vector: 13, cs: 0x10, flags: TI_IF, address: 0x400, ..Default::default() };
    c
}

#[test]
fn a_second_vcpu_is_initialised_brought_up_and_taken_down() {
    let w = World::new(1024, 2);
    let k = w.domain(0, 2).boot(8);
    let g = &k.guest;
    let v1 = g.dom.vcpu(crate::ids::VcpuId(1)).unwrap();
    v1.initialised.store(false, SeqCst);
    v1.running.store(false, SeqCst);
    crate::sched::add_vcpu(g.xen, &g.dom.vcpu(crate::ids::VcpuId(0)).unwrap()).unwrap();
    g.dom.vcpu(crate::ids::VcpuId(0)).unwrap().pause_flags.store(0, SeqCst);

    let op = |cmd: u32, arg: u64| call(g, HYPERVISOR_VCPU_OP, &[cmd.into(), 1, arg]);
    let put = |c: &VcpuGuestContext| {
        use zerocopy::IntoBytes;
        for (i, part) in c.as_bytes().chunks(4096).enumerate() {
            assert!(k.write(0, k.va(1 + i), part));
        }
        k.va(1)
    };
    assert_eq!(op(VCPUOP_UP, 0), Err(Errno::EINVAL), "not before it is initialised");
    assert_eq!(op(VCPUOP_IS_UP, 0), Ok(0));
    let mut bad = context(k.tables[3].0);
    bad.user_regs.rip = 1 << 47;
    assert_eq!(op(VCPUOP_INITIALISE, put(&bad)), Err(Errno::EINVAL));
    // A frame that cannot become an L4, because it is mapped writable.
    assert!(op(VCPUOP_INITIALISE, put(&context(k.pages[5].0))).is_err());
    assert!(!v1.initialised.load(SeqCst));
    w.check("after refusals");

    assert_eq!(op(VCPUOP_INITIALISE, put(&context(k.tables[3].0))), Ok(0));
    assert_eq!(op(VCPUOP_INITIALISE, k.va(1)), Err(Errno::EEXIST));
    v1.with_private(|p| {
        assert_eq!((p.regs.cs, p.regs.ss, p.regs.rdi), (0xe033, 0xe02b, 77));
        assert_eq!(p.regs.rflags, 0x202, "no I/O privilege, interrupts on");
        assert_eq!((p.iopl, p.kernel_mode, p.traps.kernel_ss), (3, true, 0xe02b));
        assert_eq!(p.fpu.0[24..28], [0xff, 0xff, 0, 0], "reserved MXCSR bits are off");
        assert!(p.traps.syscall.mask_events && !p.traps.failsafe.mask_events);
        assert_eq!(p.traps.table[13].cs, 0x13);
    });
    let read = crate::traps::context::get(g.xen, &g.dom, &v1).unwrap();
    assert_eq!(read.user_regs.rip, 0xffff_ffff_8100_0000);
    assert_eq!(read.ctrlreg[3], k.tables[3].0 << 12);
    assert_eq!(read.user_regs.rflags, 0x3202);
    assert_eq!(read.flags & (VGCF_IN_KERNEL | VGCF_ONLINE), VGCF_IN_KERNEL);
    assert_eq!(read.trap_ctxt[13].address, 0x400);
    w.check("after initialise");

    assert_eq!(op(VCPUOP_UP, 0), Ok(0));
    assert_eq!(op(VCPUOP_IS_UP, 0), Ok(1));
    assert_eq!(op(VCPUOP_DOWN, 0), Ok(0));
    assert_eq!(op(VCPUOP_IS_UP, 0), Ok(0));
    assert!(!g.dom.shut_down.load(SeqCst));
    // The last one takes the domain along, and the first domain the machine.
    assert_eq!(call(g, HYPERVISOR_VCPU_OP, &[VCPUOP_DOWN.into(), 0, 0]), Ok(0));
    assert!(g.dom.shut_down.load(SeqCst));
    assert_eq!(*g.xen.m.devices.shutdowns.lock().unwrap(), [HostShutdown::Halt]);
    assert_eq!(call(g, HYPERVISOR_VCPU_OP, &[VCPUOP_UP.into(), 2, 0]), Err(Errno::ENOENT));
}

#[test]
fn timers_and_areas_of_vcpus() {
    let (g, _) = pair();
    let mut s = Scratch::new(g.xen);
    let op = |cmd: u32, v: u64, arg: u64| call(&g, HYPERVISOR_VCPU_OP, &[cmd.into(), v, arg]);
    let now = g.xen.m.clock_ns.load(SeqCst);
    let timer = |s: &mut Scratch, at, flags| {
        s.put(&VcpuSetSingleshotTimer { timeout_abs_ns: at, flags, ..Default::default() })
    };
    let past = timer(&mut s, now - 1, VCPU_SSHOTTMR_FUTURE);
    assert_eq!(op(VCPUOP_SET_SINGLESHOT_TIMER, 0, past), Ok(0));
    assert_eq!(g.xen.m.this_cpu().timer, now - 1);
    let soon = timer(&mut s, now + 500, VCPU_SSHOTTMR_FUTURE);
    assert_eq!(op(VCPUOP_SET_SINGLESHOT_TIMER, 1, soon), Err(Errno::EINVAL), "only its own");
    assert_eq!(op(VCPUOP_SET_SINGLESHOT_TIMER, 0, soon), Ok(0));
    assert_eq!(g.xen.m.this_cpu().timer, now + 500);
    assert_eq!(op(VCPUOP_STOP_SINGLESHOT_TIMER, 0, 0), Ok(0));
    assert_eq!(g.xen.timers.first(g.xen.m.cpu()), u64::MAX);
    let period = s.put(&VcpuSetPeriodicTimer { period_ns: 999_999 });
    assert_eq!(op(VCPUOP_SET_PERIODIC_TIMER, 0, period), Err(Errno::EINVAL));

    crate::sched::add_vcpu(g.xen, &g.dom.vcpu(crate::ids::VcpuId(0)).unwrap()).unwrap();
    g.xen.m.clock_ns.store(now + 1000, SeqCst);
    let info = s.room(48);
    assert_eq!(op(VCPUOP_GET_RUNSTATE_INFO, 0, info), Ok(0));
    assert_eq!(s.get::<VcpuRunstateInfo>(info).time[3], 1000);
    let area = s.put(&info);
    s.set(info, &VcpuRunstateInfo::default());
    assert_eq!(op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, area), Ok(0));
    assert_eq!(s.get::<VcpuRunstateInfo>(info).state, RUNSTATE_OFFLINE);
    let bad = s.put(&0xffff_8300_0000_0000u64);
    for cmd in [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA] {
        assert_eq!(op(cmd, 0, bad), Err(Errno::EFAULT));
    }
    assert_eq!(op(VCPUOP_SEND_NMI, 1, 1), Err(Errno::EINVAL));
    assert_eq!(op(VCPUOP_SEND_NMI, 1, 0), Ok(0));
    assert!(g.dom.vcpu(crate::ids::VcpuId(1)).unwrap().sched.nmi_pending.load(SeqCst));
}
