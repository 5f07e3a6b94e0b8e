//! A dom0 on the host's machine, looked at through its own page tables.

use super::*;
use crate::dom0::elf::synthetic::{elf, note};
use crate::frame::record::{B, FrameType};
use crate::ids::Mfn;
use crate::machine::{Frames, GuestVa};
use crate::testing::World;
use abi::elfnote::*;
use std::vec;
use std::vec::Vec;
use x86::pte::PAGE_SIZE;
use zerocopy::{FromBytes, FromZeros};

const BASE: u64 = 0xffff_ffff_8000_0000;
const P2M: u64 = 0x80_0000_0000;
const PAGE: u64 = PAGE_SIZE as u64;

fn kernel() -> Vec<u8> {
    let notes: Vec<u8> = [
        note(XEN_ELFNOTE_XEN_VERSION, b"xen-3.0\0"),
        note(XEN_ELFNOTE_VIRT_BASE, &BASE.to_le_bytes()),
        note(XEN_ELFNOTE_ENTRY, &(BASE + 0x10_0010).to_le_bytes()),
        note(XEN_ELFNOTE_HYPERCALL_PAGE, &(BASE + 0x10_1000).to_le_bytes()),
        note(XEN_ELFNOTE_INIT_P2M, &P2M.to_le_bytes()),
        note(XEN_ELFNOTE_MOD_START_PFN, &1u32.to_le_bytes()),
        note(XEN_ELFNOTE_FEATURES, b"!writable_page_tables"),
        note(XEN_ELFNOTE_SUPPORTED_FEATURES, &0x8801u32.to_le_bytes()),
    ]
    .concat();
    let data: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
    elf(0, &[(0x10_0000, BASE + 0x10_0000, 0x3000, &data), (0x20_0000, 0, 0x1000, b"percpu")], &notes)
}

struct Built {
    world: World,
    dom: Arc<Domain>,
    si: StartInfo,
    regs: GuestRegs,
}

fn built(initrd: Option<&[u8]>) -> Built {
    let world = World::new(8192, 2);
    let spec = Dom0 {
        elf: &kernel(),
        initrd,
        cmdline: "root=/dev/sda1 quiet",
        mem: Dom0Mem { size: Some(crate::boot::cmdline::Amount::Bytes(16 << 20)), ..Dom0Mem::default() },
        vcpus: 2,
        vga: None,
    };
    let dom = build(world.xen, &spec).unwrap();
    let vcpu = dom.vcpu(VcpuId(0)).unwrap();
    world.xen.m.load_root(vcpu.mm.kernel_cr3().unwrap());
    let regs = vcpu.with_private(|vp| vp.regs).unwrap();
    let mut bytes = [0; size_of::<StartInfo>()];
    world.xen.m.copy_from_guest(&mut bytes, regs.rsi).unwrap();
    Built { world, dom, si: StartInfo::read_from_bytes(&bytes).unwrap(), regs }
}

impl Built {
    fn read(&self, va: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.world.xen.m.copy_from_guest(&mut out, va).unwrap();
        out
    }
    fn word(&self, va: u64) -> u64 {
        u64::from_le_bytes(self.read(va, 8).try_into().unwrap())
    }
}

#[test]
fn the_guest_finds_what_it_expects() {
    let initrd: Vec<u8> = (0..10_000u32).map(|i| (i / 7) as u8).collect();
    let b = built(Some(&initrd));
    assert_eq!((b.regs.rip, b.regs.cs, b.regs.ss, b.regs.rflags), (BASE + 0x10_0010, 0xe033, 0xe02b, 0x202));
    assert_eq!(&b.si.magic[..15], b"xen-3.0-x86_64\0");
    assert_eq!((b.si.nr_pages, b.si.flags), (4096, 0x10b));
    assert_eq!(b.si.shared_info, b.dom.shared_info.frame().mfn().0 << 12);
    assert_eq!(&b.si.cmd_line[..21], b"root=/dev/sda1 quiet\0");
    assert_eq!(b.dom.memory.max_pages(), u32::MAX);
    assert_eq!(b.world.xen.frames.owned(DomId::DOM0), 4096);

    // Kernel, its zeroed rest, hypercall page, the segment without an address.
    assert_eq!(
        b.read(BASE + 0x10_0000, 4096)[..300],
        (0..300u32).map(|i| (i % 251) as u8).collect::<Vec<_>>()
    );
    assert_eq!(b.read(BASE + 0x10_1000, 3), [0x51, 0x41, 0x53]);
    assert_eq!(b.read(BASE + 0x10_2000, 4096), vec![0; 4096]);
    assert_eq!(b.read(BASE + 0x20_0000, 7), b"percpu\0");

    // Every frame is in the list, and the machine-to-physical table agrees.
    assert_eq!(b.si.mfn_list, P2M);
    for pfn in 0..4096 {
        let mfn = Mfn(b.word(P2M + pfn * 8));
        assert_eq!(b.world.xen.m.get_m2p(mfn), pfn);
        if pfn * PAGE < (4 << 20) {
            // The region shows it at its place.
            let frame = b.world.xen.frames.get(mfn, DomId::DOM0).unwrap();
            assert_eq!(b.world.xen.m.load(&frame, 8), b.word(BASE + pfn * PAGE + 8), "pfn {pfn:#x}");
        }
    }
    let initrd_mfn = |page: u64| Mfn(b.word(P2M + (b.si.mod_start + page) * 8));
    assert_eq!(b.si.mod_len, 10_000);
    let mut page = [0; 4096];
    b.world.xen.m.read(&b.world.xen.frames.get(initrd_mfn(2), DomId::DOM0).unwrap(), 0, &mut page);
    assert_eq!(page[..1808], initrd[8192..]);
    assert!(page[1808..].iter().all(|b| *b == 0));
}

#[test]
fn the_tables_went_through_validation() {
    let b = built(None);
    let root = b.dom.vcpu(VcpuId(0)).unwrap().mm.kernel_cr3().unwrap();
    let (_, record) = b.world.xen.frames.peek(root).unwrap();
    assert_eq!((record.kind(), record.has(B::PINNED), record.has(B::VALIDATED)), (FrameType::L4, true, true));
    // Page tables, as far as they are mapped, are tables to the type accounting and read-only to the guest.
    let first = (b.si.pt_base - BASE) / PAGE;
    for i in 0..b.si.nr_pt_frames {
        let mfn = Mfn(b.word(P2M + (first + i) * 8));
        let (_, record) = b.world.xen.frames.peek(mfn).unwrap();
        assert!(record.kind().level().is_some() && record.has(B::VALIDATED), "table {i}");
        assert!(b.world.xen.m.copy_to_guest(b.si.pt_base + i * PAGE, &[0]).is_err(), "table {i}");
    }
    assert!(b.si.nr_p2m_frames == 8 + 3 && b.si.first_p2m_pfn > first);
    for i in 8..11 {
        let (_, record) = b.world.xen.frames.peek(Mfn(b.word(P2M + (b.si.first_p2m_pfn + i) * 8))).unwrap();
        assert!(record.kind().level().is_some(), "table {i} of the list");
    }
    // Everything else can be written: stack, start_info, kernel.
    for va in [b.regs.rsp - 8, b.regs.rsi, BASE, BASE + 0x10_0000, P2M] {
        assert_eq!(b.world.xen.m.copy_to_guest(va, &[0; 8]), Ok(()));
    }
    assert!(b.world.xen.m.copy_from_guest(&mut [0], BASE - 1).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let elf = kernel();
    let spec = Dom0 { elf: &elf, initrd: None, cmdline: "", mem: Dom0Mem::default(), vcpus: 1, vga: None };
    let fails = |spec: &Dom0<'_>, frames| build(World::new(frames, 1).xen, spec).unwrap_err();
    let long = "x".repeat(1024);
    assert_eq!(
        std::format!("{}", fails(&Dom0 { cmdline: &long, ..spec }, 8192)),
        "dom0's command line has 1024 bytes, at most 1023 are possible"
    );
    assert!(matches!(fails(&Dom0 { elf: &elf[..200], ..spec }, 8192), BuildError::Image(_)));
    assert!(matches!(
        fails(&spec, 2048),
        BuildError::Image(ImageError::NoRoom { have: 960, .. })
            | BuildError::Image(ImageError::NoRoom { .. })
    ));
}

#[test]
fn the_display_is_described_behind_start_info() {
    let world = World::new(8192, 1);
    let mut vga = Dom0VgaConsoleInfo::new_zeroed();
    vga.video_type = abi::xen::XEN_VGATYPE_TEXT_MODE_3;
    let spec =
        Dom0 { elf: &kernel(), initrd: None, cmdline: "", mem: Dom0Mem::default(), vcpus: 1, vga: Some(vga) };
    let dom = build(world.xen, &spec).unwrap();
    let vcpu = dom.vcpu(VcpuId(0)).unwrap();
    world.xen.m.load_root(vcpu.mm.kernel_cr3().unwrap());
    let si = vcpu.with_private(|vp| vp.regs.rsi).unwrap();
    let mut bytes = [0; size_of::<StartInfo>() + 1];
    world.xen.m.copy_from_guest(&mut bytes, si).unwrap();
    // console.dom0.info_off and info_size, where console.domU.mfn is.
    assert_eq!(u32::from_le_bytes(bytes[72..76].try_into().unwrap()), size_of::<StartInfo>() as u32);
    assert_eq!(u32::from_le_bytes(bytes[76..80].try_into().unwrap()), 40);
    assert_eq!(bytes[size_of::<StartInfo>()], 3);
}

#[test]
fn a_dom0_that_is_too_small_is_told_how_to_grow() {
    let error = BuildError::from(ImageError::NoRoom { what: "all", need: 9, have: 4 });
    assert!(error.to_string().ends_with("9 pages of memory needed, there are 4 (raise dom0_mem)"), "{error}");
}
