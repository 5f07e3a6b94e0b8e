//! A guest built by hypercalls to the hypervisor's own logic, looked at through its own page tables.

use abi::xen::{SharedInfo, StartInfo};
use hypercore::frame::FrameType;
use hypercore::ids::{DomId as Number, Mfn, VcpuId};
use hypercore::machine::{Frames, GuestVa};
use hypercore::testing::Guest;
use xenctl::testing::Bed;
use xenctl::{DomId, Xen};
use zerocopy::FromBytes;

use super::*;
use crate::config::model::{DomainConfig, Uuid};
use crate::image::cache::Cache;
use crate::testing::kernel::{BASE, Files, P2M};

const MIB: u64 = 1 << 20;

/// 8 MiB, two vCPUs.
fn config(files: &Files) -> DomainConfig {
    let mut config = DomainConfig::default();
    config.c_info.uuid = Uuid([7; 16]);
    let info = &mut config.b_info;
    info.max_vcpus = 2;
    info.target_memkb = Some(8 << 10);
    info.max_memkb = Some(16 << 10);
    info.kernel = Some(files.kernel());
    info.ramdisk = Some(files.initrd());
    info.cmdline = Some("root=/dev/xvda quiet".into());
    config
}

fn built(xen: &Xen, config: &DomainConfig, boot: &Boot) -> xenctl::Result<(DomId, Ports)> {
    let domain = domain::create(xen, config, 0)?;
    let made = domain::prepare(xen, domain, &config.b_info)
        .and_then(|()| Pages::give(xen, domain, memory::target_pages(&config.b_info), true))
        .and_then(|pages| start(xen, domain, &pages, boot));
    match made {
        Ok(ports) => Ok((domain, ports)),
        Err(e) => {
            xen.destroy(domain)?;
            Err(e)
        }
    }
}

struct View {
    bed: Bed,
    guest: Guest,
}

impl View {
    fn read<const N: usize>(&self, va: u64) -> [u8; N] {
        let mut out = [0; N];
        let vcpu = self.guest.dom.vcpu(VcpuId(0)).unwrap();
        let m = &self.bed.world.xen.m;
        m.load_root(vcpu.mm.kernel_cr3().unwrap());
        m.copy_from_guest(&mut out, va).unwrap();
        out
    }

    fn word(&self, va: u64) -> u64 {
        u64::from_le_bytes(self.read(va))
    }
}

#[test]
fn a_kernel_finds_what_it_expects() {
    let files = Files::new("build", 5000);
    let (bed, config) = (Bed::new(8192, 2), config(&files));
    let xen = bed.xen();
    let boot = Boot::read(&config.b_info, &Cache::new(files.folder.join("cache"))).unwrap();
    let (domain, ports) = built(&xen, &config, &boot).unwrap();

    let info = xen.domain(domain).unwrap().unwrap();
    assert_eq!((info.tot_pages, info.max_pages), (2048, 2048 + 256));
    assert_eq!((info.handle, info.max_vcpu_id, info.nr_online_vcpus), ([7; 16], 1, 1));
    assert_eq!(info.outstanding_pages, 0, "what was claimed was used");
    let dom = bed.world.xen.domains.get(Number(domain.0)).unwrap();
    let view = View { guest: Guest { xen: bed.world.xen, dom }, bed };
    let regs = view.guest.dom.vcpu(VcpuId(0)).unwrap().with_private(|vp| vp.regs).unwrap();
    assert_eq!((regs.rip, regs.cs, regs.ss, regs.rflags), (BASE + 0x10_0010, 0xe033, 0xe02b, 0x202));

    let si = StartInfo::read_from_bytes(&view.read::<{ size_of::<StartInfo>() }>(regs.rsi)).unwrap();
    assert_eq!(&si.magic[..15], b"xen-3.0-x86_64\0");
    assert_eq!(&si.cmd_line[..21], b"root=/dev/xvda quiet\0");
    assert_eq!((si.nr_pages, si.flags, si.mfn_list), (2048, 8, P2M));
    assert_eq!(si.shared_info, info.shared_info_frame << 12);
    let mut shared = [0; size_of::<SharedInfo>()];
    xen.frames(domain, &[info.shared_info_frame], false).unwrap().read(0, &mut shared);
    let shared = SharedInfo::read_from_bytes(&shared).unwrap();
    assert!(shared.vcpu_info.iter().all(|vcpu| vcpu.evtchn_upcall_mask == 1), "it has no handler yet");
    assert_eq!((si.store_mfn, si.store_evtchn), (ports.store.frame, ports.store.port));
    assert_eq!((si.console_mfn, si.console_evtchn), (ports.console.frame, ports.console.port));
    assert_ne!(ports.store, ports.console);

    // The kernel, its zeroed rest, its hypercall page as the hypervisor writes it.
    assert_eq!(view.read(BASE + 0x10_0000), std::array::from_fn::<u8, 251, _>(|i| i as u8));
    assert_eq!(view.read(BASE + 0x10_2000), [0; 4096]);
    assert_eq!(view.read(BASE + 0x10_1000), [0x51, 0x41, 0x53]);
    // Every frame is in the list, and the machine-to-physical table agrees; the rings are where start_info says.
    let xen_ = view.bed.world.xen;
    for pfn in 0..2048 {
        assert_eq!(xen_.m.get_m2p(Mfn(view.word(P2M + pfn * 8))), pfn);
    }
    let pages = |frame| xen_.m.get_m2p(Mfn(frame)) * 4096 + BASE;
    assert_eq!((pages(si.store_mfn), pages(si.console_mfn)), (regs.rsi + 4096, regs.rsi + 8192));
    let initrd = Mfn(view.word(P2M + (si.mod_start + 1) * 8));
    assert_eq!(si.mod_len, 5000);
    let mut page = [0; 4096];
    xen_.m.read(&xen_.frames.get(initrd, Number(domain.0)).unwrap(), 0, &mut page);
    assert_eq!(page[..904], files.initrd_bytes()[4096..]);
    assert!(page[904..].iter().all(|b| *b == 0));
    // Tables are tables.
    let (_, record) = xen_.frames.peek(Mfn(view.word(P2M + (si.pt_base - BASE) / 4096 * 8))).unwrap();
    assert_eq!(record.kind(), FrameType::L4);
    // The grants that back-ends look for.
    let table = xen.grant_table(domain, 0).unwrap();
    let mut entries = [0; 16];
    table.read(0, &mut entries);
    assert_eq!((&entries[..4], &entries[8..12]), (&[1, 0, 0, 0][..], &[1, 0, 0, 0][..]));
    assert_eq!(entries[4..8], (si.console_mfn as u32).to_le_bytes());
    assert_eq!(entries[12..], (si.store_mfn as u32).to_le_bytes());
    drop(table);
    view.bed.world.check("built");
}

#[test]
fn limits_are_the_configuration_s() {
    let files = Files::new("limits", 0);
    let (bed, mut config) = (Bed::new(8192, 2), config(&files));
    let xen = bed.xen();
    let info = &mut config.b_info;
    info.ramdisk = None;
    info.vcpu_hard_affinity = vec![[1].into_iter().collect()];
    info.vcpu_soft_affinity = vec![[0, 1].into_iter().collect(), [0].into_iter().collect()];
    info.sched_params.weight = Some(512);
    info.sched_params.cap = Some(50);
    info.max_grant_frames = Some(3);
    config.c_info.domid = Some(42);
    let boot = Boot::read(&config.b_info, &Cache::new(files.folder.join("cache"))).unwrap();
    let (domain, _) = built(&xen, &config, &boot).unwrap();
    assert_eq!(domain, DomId(42));
    let of = |vcpu| xen.affinity(domain, vcpu, 2).map(|a| (a.hard.to_string(), a.soft.to_string())).unwrap();
    assert_eq!(of(0), ("1".into(), "0-1".into()));
    assert_eq!(of(1), ("0-7".into(), "0".into()), "no more than was asked for");
    let share = xen.share(domain).unwrap();
    assert_eq!((share.weight, share.cap), (512, 50));
    assert_eq!(bed.world.xen.domains.get(Number(42)).unwrap().grants.sizes().1, 3);
}

#[test]
fn what_is_too_small_is_told_before_anything_is_made() {
    let files = Files::new("small", 0);
    let mut info = config(&files).b_info;
    let cache = Cache::new(files.folder.join("cache"));
    let refused = |info: &_| Boot::read(info, &cache).err().unwrap().to_string();
    info.target_memkb = Some(4 << 10);
    assert!(refused(&info).contains("pages of memory needed, there are 1024"), "{}", refused(&info));
    info.cmdline = Some("x".repeat(1024));
    assert!(refused(&info).contains("it has 1024 bytes, 1023 fit"));
    info.cmdline = None;
    info.kernel = Some(files.initrd());
    assert!(refused(&info).contains("bzImage"), "{}", refused(&info));
    info.kernel = Some("/nonexistent".into());
    assert!(refused(&info).contains("reading the kernel /nonexistent"));
    info.kernel = None;
    assert!(refused(&info).contains("names none"));
}

#[test]
fn memory_that_is_not_there_is_told() {
    let bed = Bed::new(8192, 1);
    let xen = bed.xen();
    let mut config = DomainConfig::default();
    config.b_info.target_memkb = Some((64 * MIB) >> 10);
    for claim in [true, false] {
        let domain = domain::create(&xen, &config, 0).unwrap();
        domain::prepare(&xen, domain, &config.b_info).unwrap();
        let e = Pages::give(&xen, domain, 16384, claim).unwrap_err();
        assert!(e.to_string().starts_with(&format!("giving domain {domain} 64 MiB of memory")), "{e}");
        xen.destroy(domain).unwrap();
    }
}
