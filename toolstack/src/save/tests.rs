//! A guest saved and restored by hypercalls to the hypervisor's own logic.

use abi::arch_x86::ArchSharedInfo;
use abi::xen::{SharedInfo, StartInfo};
use hypercore::ids::Mfn;
use hypercore::machine::Frames;
use xenctl::testing::Bed;
use xenctl::{DomId, Result, Xen};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::image::{Kind, Part, Record};
use super::{image, read, write};
use crate::build::{Boot, Pages, Ports, domain, memory, start};
use crate::config::model::{DomainConfig, Uuid};
use crate::image::cache::Cache;
use crate::testing::kernel::{Files, P2M};
use crate::testing::stopped::stop;

/// A guest of 8 MiB with two vCPUs, the second of them offline, as its kernel leaves it when it is suspended.
pub struct Bench {
    bed: Bed,
    pub xen: Xen,
    config: DomainConfig,
    pub guest: DomId,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let files = Files::new(name, 5000);
        let mut config = DomainConfig::default();
        config.c_info.uuid = Uuid([7; 16]);
        let info = &mut config.b_info;
        (info.max_vcpus, info.target_memkb, info.max_memkb) = (2, Some(8 << 10), Some(16 << 10));
        (info.kernel, info.ramdisk) = (Some(files.kernel()), Some(files.initrd()));
        let (bed, boot) =
            (Bed::new(8192, 2), Boot::read(info, &Cache::new(files.folder.join("cache"))).unwrap());
        let xen = bed.xen();
        let guest = empty(&xen, &config);
        let pages = Pages::give(&xen, guest, memory::target_pages(&config.b_info), true).unwrap();
        start(&xen, guest, &pages, &boot).unwrap();
        stop(&bed, &xen, guest);
        Self { bed, xen, config, guest }
    }

    fn saved(&self, guest: DomId) -> Vec<u8> {
        let mut file = Vec::new();
        write::guest(&self.xen, guest, &mut file, &mut |_, _| ()).unwrap();
        file
    }

    fn restore(&self, file: &[u8]) -> Result<(DomId, Ports)> {
        let guest = empty(&self.xen, &self.config);
        let from = &mut &file[..];
        match read::guest(&self.xen, guest, from, &mut |_| ()) {
            Ok(ports) => Ok((guest, ports)),
            Err(e) => {
                self.xen.destroy(guest)?;
                self.bed.world.check("after a refusal");
                Err(e)
            }
        }
    }

    fn free(&self) -> u64 {
        self.xen.physinfo().unwrap().free_pages
    }
}

fn empty(xen: &Xen, config: &DomainConfig) -> DomId {
    let guest = domain::create(xen, config, 0).unwrap();
    domain::prepare(xen, guest, &config.b_info).unwrap();
    guest
}

fn records(file: &[u8]) -> Vec<Record> {
    let from = &mut &file[..];
    image::open(from).unwrap();
    let mut all = Vec::new();
    while all.last() != Some(&Record::End) {
        all.push(Record::read(from).unwrap());
    }
    all
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut file = Vec::new();
    image::begin(&mut file, (4, 17)).unwrap();
    records.iter().for_each(|record| record.write(&mut file).unwrap());
    file
}

#[test]
fn a_guest_comes_back_on_other_frames() {
    let bench = Bench::new("save");
    let (xen, guest) = (&bench.xen, bench.guest);
    let file = bench.saved(guest);
    assert_eq!(bench.saved(guest), file, "saving changes nothing");
    let (restored, ports) = bench.restore(&file).unwrap();
    bench.bed.world.check("restored");

    let of = |guest| xen.domain(guest).unwrap().unwrap();
    let (old, new) = (of(guest), of(restored));
    assert_eq!((new.tot_pages, new.nr_online_vcpus, new.max_vcpu_id), (2048, 1, 1));
    assert_ne!(old.shared_info_frame, new.shared_info_frame);
    let context = xen.vcpu_context(restored, 0).unwrap();
    assert_eq!(context.user_regs.rip, 0x1234_5678);
    let read = |frame: u64| {
        let mut page = vec![0; 4096];
        xen.frames(restored, &[frame], false).unwrap().read(0, &mut page);
        page
    };
    let (info, _) = StartInfo::read_from_prefix(&read(context.user_regs.rdx)).unwrap();
    assert_eq!(info.shared_info, new.shared_info_frame << 12);
    assert_eq!((info.store_mfn, info.store_evtchn), (ports.store.frame, ports.store.port));
    assert_eq!((info.console_mfn, info.console_evtchn), (ports.console.frame, ports.console.port));
    let (shared, _) = SharedInfo::read_from_prefix(&read(new.shared_info_frame)).unwrap();
    assert_eq!((shared.evtchn_pending[0], shared.evtchn_mask), (0, [u64::MAX; 64]));
    assert_eq!((shared.arch.max_pfn, shared.arch.p2m_vaddr, shared.arch.p2m_cr3), (2048, P2M, 0));
    let mut grants = [0; 8];
    xen.grant_table(restored, 0).unwrap().read(8, &mut grants);
    assert_eq!(grants[4..], (ports.store.frame as u32).to_le_bytes());

    // Its own list has the frames it got, and the hypervisor's table agrees.
    let arch = ArchSharedInfo { p2m_cr3: context.ctrlreg[3], ..shared.arch };
    let list = super::p2m::read(xen, restored, &arch, 2048).unwrap();
    assert_eq!(list.pages.len(), 2048);
    for (page, frame) in list.pages {
        assert_eq!(bench.bed.world.xen.m.get_m2p(Mfn(frame)), page);
    }
}

#[test]
fn what_was_restored_is_what_was_saved() {
    let bench = Bench::new("again");
    let first = bench.saved(bench.guest);
    let (restored, _) = bench.restore(&first).unwrap();
    stop(&bench.bed, &bench.xen, restored);
    let second = bench.saved(restored);

    let context = bench.xen.vcpu_context(restored, 0).unwrap();
    let start_info = bench.bed.world.xen.m.get_m2p(Mfn(context.user_regs.rdx));
    let list: Vec<u64> = (records(&first).into_iter())
        .find_map(|record| match record {
            Record::P2mFrames { pages, .. } => Some(pages),
            _ => None,
        })
        .unwrap();
    let same = |records: Vec<Record>| -> Vec<Record> {
        let keep = |record| match record {
            // The list of frames and where start_info says things are: those are other ones.
            Record::Pages(pages, mut contents) => {
                let full = pages.iter().filter(|(_, kind)| kind.has_contents());
                for ((page, _), bytes) in full.zip(contents.chunks_mut(4096)) {
                    if *page == start_info || list.contains(page) {
                        bytes.fill(0);
                    }
                }
                Some(Record::Pages(pages, contents))
            }
            Record::Clock(_) | Record::SharedInfo(_) => None,
            other => Some(other),
        };
        records.into_iter().filter_map(keep).collect()
    };
    let (first, second) = (same(records(&first)), same(records(&second)));
    assert_eq!(first.len(), second.len());
    for (a, b) in first.iter().zip(&second) {
        assert!(a == b, "{a:.200?}\n{b:.200?}");
    }
}

/// Each with what must be said of it, and nothing left behind.
#[test]
fn a_file_with_something_wrong_leaves_nothing() {
    let bench = Bench::new("wrong");
    let file = bench.saved(bench.guest);
    let before = bench.free();
    let refused = |change: &dyn Fn(&mut Vec<Record>), said: &str| {
        let mut all = records(&file);
        change(&mut all);
        let e = bench.restore(&written(&all)).err().unwrap_or_else(|| panic!("{said}: restored")).to_string();
        assert!(e.contains(said), "{said}: {e}");
        assert_eq!(bench.free(), before, "{said}");
    };
    let without =
        |which: fn(&Record) -> bool| move |all: &mut Vec<Record>| all.retain(|record| !which(record));
    let is_vcpu = |record: &Record, which| matches!(record, Record::Vcpu(part, ..) if *part == which);
    refused(&without(|r| matches!(r, Record::PvInfo)), "what kind of guest");
    refused(&without(|r| matches!(r, Record::StaticDataEnd)), "where what changes begins");
    refused(&without(|r| matches!(r, Record::P2mFrames { .. })), "before the list");
    refused(&without(|r| matches!(r, Record::SharedInfo(_))), "no shared_info");
    refused(&without(|r| matches!(r, Record::Vcpu(..))), "no registers of vCPU 0");
    refused(&without(|r| matches!(r, Record::Pages(..))), "the list of its frames is in page");
    refused(&without(|r| matches!(r, Record::End)), "ends before its end");
    refused(&|all| all.swap(1, 3), "out of its place");
    refused(
        &|all| {
            all.iter_mut().for_each(|r| {
                if let Record::P2mFrames { end, pages, .. } = r {
                    *end = 511;
                    pages.truncate(1);
                }
            })
        },
        "not on the list",
    );
    let set_basic = |change: fn(&mut abi::arch_x86::VcpuGuestContext)| {
        move |all: &mut Vec<Record>| {
            for record in all {
                if let Record::Vcpu(Part::Basic, _, state) = record {
                    let mut context = abi::arch_x86::VcpuGuestContext::new_zeroed();
                    context.as_mut_bytes().copy_from_slice(state);
                    change(&mut context);
                    state.copy_from_slice(context.as_bytes());
                }
            }
        }
    };
    refused(&set_basic(|c| c.user_regs.rdx = 1 << 30), "start_info is in page 0x40000000");
    refused(&set_basic(|c| c.ctrlreg[3] = 1 << 50), "vCPU 0 uses page 0x4000000000");
    refused(&set_basic(|c| c.ctrlreg[1] = 1 << 50), "vCPU 0 uses page 0x4000000000");
    refused(&set_basic(|c| (c.gdt_ents, c.gdt_frames[0]) = (1, 1 << 40)), "vCPU 0 uses page 0x10000000000");
    refused(&set_basic(|c| c.user_regs.rip = 1 << 63), "setting the registers of vCPU 0");
    refused(
        &|all| {
            all.iter_mut().for_each(|r| {
                if let Record::Vcpu(_, vcpu, _) = r {
                    *vcpu = 2
                }
            })
        },
        "no registers of vCPU 0",
    );
    let two = |all: &mut Vec<Record>| {
        let more: Vec<Record> = all.iter().filter(|r| is_vcpu(r, Part::Basic)).cloned().collect();
        more.into_iter().for_each(|r| {
            if let Record::Vcpu(part, _, state) = r {
                all.insert(all.len() - 1, Record::Vcpu(part, 2, state))
            }
        });
    };
    refused(&two, "there is a vCPU 2, its configuration gives it 2");
    // A table whose entry names a page that is not on the list, and one that is no table at all.
    let table = |change: fn(&mut [u8]), level: u8| {
        move |all: &mut Vec<Record>| {
            for record in all {
                let Record::Pages(pages, contents) = record else { continue };
                let full: Vec<_> = pages.iter().filter(|(_, kind)| kind.has_contents()).collect();
                let of_level =
                    |(n, page): (usize, &&(u64, Kind))| (page.1.level() == Some(level)).then_some(n);
                if let Some(n) = full.iter().enumerate().find_map(of_level) {
                    return change(&mut contents[n * 4096..][..4096]);
                }
            }
        }
    };
    refused(
        &table(|t| t[..8].copy_from_slice(&(0x8000_0000_0001u64 << 3 | 1).to_le_bytes()), 1),
        "is not on the list",
    );
    refused(&table(|t| t.fill(0x81), 2), "not on the list");
    let mut many = bench.config.clone();
    many.b_info.target_memkb = Some(4 << 10);
    let small = Bench { config: many, ..bench };
    let e = small.restore(&file).unwrap_err().to_string();
    assert!(e.contains("giving domain"), "{e}");
}

#[test]
fn a_guest_that_cannot_be_saved_stays_as_it_is() {
    let bench = Bench::new("cannot");
    let (xen, guest) = (&bench.xen, bench.guest);
    let mut context = xen.vcpu_context(guest, 0).unwrap();
    let mut said = |change: &dyn Fn(&mut abi::arch_x86::VcpuGuestContext)| {
        let good = context;
        change(&mut context);
        xen.set_context(guest, 0, &context).unwrap();
        let e = write::guest(xen, guest, &mut Vec::new(), &mut |_, _| ()).unwrap_err().to_string();
        context = good;
        xen.set_context(guest, 0, &context).unwrap();
        e
    };
    let e = said(&|c| c.user_regs.rdx = 1 << 40);
    assert!(e.contains("vCPU 0 uses frame 0x10000000000"), "{e}");
    write::guest(xen, guest, &mut Vec::new(), &mut |_, _| ()).unwrap();
    let e = write::guest(xen, DomId(99), &mut Vec::new(), &mut |_, _| ()).unwrap_err();
    assert_eq!(e.errno, abi::Errno::ESRCH);
}
