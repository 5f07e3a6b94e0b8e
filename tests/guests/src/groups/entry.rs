//! `entry`: what the builder left: registers, start_info, page tables, p2m, shared_info, versions.

use abi::arch_x86::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use abi::version::*;
use abi::xen::HYPERVISOR_XEN_VERSION;

use crate::boot::{c_str, entry_regs, hypercall_page, image_end, start_info};
use crate::hypercall::{call, op, raw};
use crate::mm::{self, A, ADDR, D, P, RW, VIRT_BASE, mfn_to_va, p2m, read};
use crate::print::ok;
use crate::{say, shared, vcpu};

pub fn run() {
    registers();
    info();
    p2m_list();
    tables();
    shared_info();
    versions();
    stubs();
}

fn registers() {
    let r = entry_regs();
    say!("entry.general", "{:x?}", [r.rax, r.rbx, r.rcx, r.rdx, r.rdi, r.rbp]);
    say!("entry.r8-r15", "{:x?}", r.r);
    say!("entry.rflags", "{:#x}", r.rflags);
    say!(
        "entry.selectors",
        "cs={:#x} ss={:#x} ds={:#x} es={:#x} fs={:#x} gs={:#x}",
        r.cs,
        r.ss,
        r.ds,
        r.es,
        r.fs,
        r.gs
    );
    let info = start_info();
    say!("entry.rsp-after-tables", "{:#x}", r.rsp.wrapping_sub(info.pt_base + (info.nr_pt_frames << 12)));
}

fn info() {
    let info = start_info();
    say!("entry.magic", "{}", c_str(&info.magic));
    say!("entry.flags", "{:#x}", info.flags);
    say!("entry.cmdline", "{}", c_str(&info.cmd_line));
    say!("entry.store", "mfn={:#x} evtchn={}", info.store_mfn, info.store_evtchn);
    let (offset, size) = info.console_dom0();
    say!("entry.vga", "offset={offset:#x} size={size}");
    say!("entry.module", "start={:#x} len={:#x}", info.mod_start, info.mod_len);
    say!("entry.p2m-outside", "pfn={:#x} frames={}", info.first_p2m_pfn, info.nr_p2m_frames);
    let this = core::ptr::from_ref(info) as u64;
    let p2m_end = info.mfn_list + 8 * info.nr_pages;
    say!("entry.order", "{}", ok(image_end() <= info.mfn_list && p2m_end <= this && this < info.pt_base));
    say!("entry.p2m-place", "{}", ok(info.mfn_list == image_end().next_multiple_of(4096)));
    say!("entry.start-info-place", "{:#x}", this - p2m_end.next_multiple_of(4096));
    say!("entry.tables-place", "{:#x}", info.pt_base - this);
    say!("entry.aligned", "{}", ok((this | info.pt_base | info.mfn_list | info.shared_info) & 0xfff == 0));
}

/// Every frame of the list is the domain's, once: the M2P leads back.
fn p2m_list() {
    let pages = start_info().nr_pages;
    let wrong = (0..pages).filter(|&pfn| mm::m2p(p2m(pfn)) != pfn).count();
    say!("entry.p2m-m2p", "{}", ok(pages > 1024 && wrong == 0));
}

/// Counts the tables, and looks how each is mapped and where the initial mapping ends.
fn tables() {
    let info = start_info();
    let (mut tables, mut writable, mut outside) = (0, 0, 0);
    let mut see = |mfn: u64| {
        tables += 1;
        let va = mfn_to_va(mfn);
        writable += u64::from(mm::entry(va, 1) & RW != 0);
        outside += u64::from(!(info.pt_base..info.pt_base + (info.nr_pt_frames << 12)).contains(&va));
    };
    see(mm::l4_mfn());
    let guest_slots = |i: u64| !(256..272).contains(&i);
    for l4e in (0..512).filter(|&i| guest_slots(i)).map(|i| read(info.pt_base + 8 * i)).filter(|e| e & P != 0)
    {
        see((l4e & ADDR) >> 12);
        for l3e in (0..512).map(|i| read(mfn_to_va((l4e & ADDR) >> 12) + 8 * i)).filter(|e| e & P != 0) {
            see((l3e & ADDR) >> 12);
            for l2e in (0..512).map(|i| read(mfn_to_va((l3e & ADDR) >> 12) + 8 * i)).filter(|e| e & P != 0) {
                see((l2e & ADDR) >> 12);
            }
        }
    }
    say!("entry.tables", "{} writable={writable} outside={outside}", ok(tables == info.nr_pt_frames));
    let mut end = VIRT_BASE;
    while end != 0 && mm::entry(end, 1) & P != 0 {
        end = end.wrapping_add(4096);
    }
    let room = end.wrapping_sub(entry_regs().rsp);
    say!("entry.mapping-end", "aligned={} room={}", ok(end & 0x3f_ffff == 0), ok(room >= 0x8_0000));
    // Without accessed, dirty, and what the hypervisor may keep for itself.
    const HIDDEN: u64 = ADDR | A | D | 1 << 52 | 1 << 8;
    let flags = |va| mm::entry(va, 1) & !HIDDEN;
    say!("entry.flags-image", "{:#x}", flags(VIRT_BASE + 0x10_0000));
    say!("entry.flags-stack", "{:#x}", flags(entry_regs().rsp - 8));
    say!("entry.flags-table", "{:#x}", flags(info.pt_base));
    say!("entry.flags-l2", "{:#x}", mm::entry(VIRT_BASE, 2) & !HIDDEN);
    say!("entry.flags-l3", "{:#x}", mm::entry(VIRT_BASE, 3) & !HIDDEN);
    say!("entry.flags-l4", "{:#x}", mm::entry(VIRT_BASE, 4) & !HIDDEN);
    let cr3: u64;
    // SAFETY: reads a register; the hypervisor emulates it.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) cr3) };
    say!("entry.cr3", "{}", ok(cr3 == mm::l4_mfn() << 12));
}

fn shared_info() {
    say!("entry.upcall-mask", "{}", mm::read8(vcpu!(evtchn_upcall_mask)));
    say!(
        "entry.upcall-pending",
        "{} sel={:#x}",
        mm::read8(vcpu!(evtchn_upcall_pending)),
        read(vcpu!(evtchn_pending_sel))
    );
    say!("entry.evtchn-mask", "{:#x}", read(shared!(evtchn_mask)));
    say!("entry.evtchn-pending", "{:#x}", read(shared!(evtchn_pending)));
    say!("entry.upcall-mask-vcpu1", "{}", mm::read8(vcpu!(evtchn_upcall_mask) + 64));
    say!("entry.max-pfn", "{:#x}", read(shared!(arch.max_pfn)));
    say!("entry.nmi-reason", "{:#x}", read(shared!(arch.nmi_reason)));
    let wall = read(shared!(wc_version));
    say!("entry.wall-clock", "{}", ok(wall as u32 & 1 == 0 && wall >> 32 > 1_000_000_000));
    let mul_shift = read(vcpu!(time.tsc_to_system_mul));
    say!("entry.clock", "{} flags={:#x}", ok(mul_shift as u32 != 0), mul_shift >> 40 & 0xff);
}

fn version<T>(sub: u32, arg: &mut T) -> i64 {
    op(HYPERVISOR_XEN_VERSION, sub, arg)
}

fn versions() {
    say!("entry.version", "{:#x}", call(HYPERVISOR_XEN_VERSION, [0; 4]));
    let mut text = [0u8; 1024];
    say!("entry.extraversion", "{} {}", version(XENVER_EXTRAVERSION, &mut text), c_str(&text));
    let mut text = [0u8; 1024];
    say!("entry.capabilities", "{} {}", version(XENVER_CAPABILITIES, &mut text), c_str(&text).trim_end());
    let mut params = PlatformParameters::default();
    say!("entry.platform", "{} {:#x}", version(XENVER_PLATFORM_PARAMETERS, &mut params), params.virt_start);
    for submap in 0..2 {
        let mut features = FeatureInfo { submap_idx: submap, submap: 0 };
        say!(
            format_args!("entry.features{submap}"),
            "{} {:#x}",
            version(XENVER_GET_FEATURES, &mut features),
            features.submap
        );
    }
    say!("entry.pagesize", "{}", call(HYPERVISOR_XEN_VERSION, [XENVER_PAGESIZE.into(), 0, 0, 0]));
    let mut uuid = [0xffu8; 16];
    say!("entry.uuid", "{} {uuid:?}", version(XENVER_GUEST_HANDLE, &mut uuid));
    let mut text = [0xffu8; 1024];
    let answer = version(XENVER_COMMANDLINE, &mut text);
    say!("entry.commandline", "{answer} {}", ok(text.contains(&0)));
    let mut text = [0xffu8; 64];
    let answer = version(XENVER_CHANGESET, &mut text);
    say!("entry.changeset", "{answer} {}", ok(text.contains(&0)));
    let mut info = CompileInfo::default();
    let answer = version(XENVER_COMPILE_INFO, &mut info);
    say!("entry.compile-info", "{answer} {}", ok(info.compiler[0] != 0 && info.compile_date[0] != 0));
    let size = call(HYPERVISOR_XEN_VERSION, [XENVER_BUILD_ID.into(), 0, 0, 0]);
    say!("entry.build-id-size", "{}", ok(size > 0 && size <= 64));
    let mut short = BuildId { len: 1 };
    say!("entry.build-id-short", "{}", version(XENVER_BUILD_ID, &mut short));
    let mut zero = BuildId { len: 0 };
    say!("entry.build-id-zero", "{}", version(XENVER_BUILD_ID, &mut zero));
    say!("entry.version-11", "{}", call(HYPERVISOR_XEN_VERSION, [11, 0, 0, 0]));
    say!("entry.version-99", "{}", call(HYPERVISOR_XEN_VERSION, [99, 0, 0, 0]));
    say!("entry.version-null", "{}", call(HYPERVISOR_XEN_VERSION, [XENVER_EXTRAVERSION.into(), 0, 0, 0]));
    let inside = HYPERVISOR_VIRT_START + 0x30_0000_0000;
    say!(
        "entry.version-hypervisor-va",
        "{}",
        call(HYPERVISOR_XEN_VERSION, [XENVER_EXTRAVERSION.into(), inside, 0, 0])
    );
    let last = HYPERVISOR_VIRT_END - 8;
    say!(
        "entry.version-straddling-va",
        "{}",
        call(HYPERVISOR_XEN_VERSION, [XENVER_EXTRAVERSION.into(), last, 0, 0])
    );
    say!(
        "entry.version-noncanonical",
        "{}",
        call(HYPERVISOR_XEN_VERSION, [XENVER_EXTRAVERSION.into(), 0x8000_0000_0000, 0, 0])
    );
}

/// The hypercall page's stubs work, and preserve what a stub may not touch.
fn stubs() {
    let answer: i64;
    let stub = hypercall_page() + 32 * u64::from(HYPERVISOR_XEN_VERSION);
    // SAFETY: the stub is a function that clobbers what is declared.
    unsafe {
        core::arch::asm!(
            "call {stub}",
            stub = in(reg) stub,
            inlateout("rdi") 0u64 => _,
            inlateout("rsi") 0u64 => _,
            lateout("rax") answer,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    say!("entry.stub", "{answer:#x}");
    let (version, high) = (u64::from(HYPERVISOR_XEN_VERSION), 1 << 32);
    say!("entry.number-high-bits", "{:#x}", raw(version | high, [0; 6]));
}
