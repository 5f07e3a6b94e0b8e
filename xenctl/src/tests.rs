//! The calls, made to the hypervisor's own logic on the host.

use abi::Errno;
use abi::domctl::{XEN_DOMCTL_SENDTRIGGER_NMI, XEN_DOMINF_PAUSED, XEN_SCHEDULER_CREDIT2};
use abi::sched::SHUTDOWN_CRASH;

use crate::scheduler::Share;
use crate::testing::Bed;
use crate::{Cpus, DomId};

const GUEST: DomId = DomId(7);
const NONE: DomId = DomId(77);

fn bed() -> Bed {
    let bed = Bed::new(4096, 4);
    bed.guest(GUEST, 2);
    bed
}

#[test]
fn who_the_hypervisor_is() {
    let xen = bed().xen();
    assert_eq!(xen.version().unwrap(), (4, 17));
    assert!(xen.extraversion().unwrap().contains("xenolith"));
    assert!(xen.capabilities().unwrap().starts_with("xen-3.0-x86_64"));
    assert_eq!(xen.page_size().unwrap(), 4096);
    assert_eq!(xen.virt_start().unwrap(), 0xffff_8000_0000_0000);
    assert_eq!(xen.build_id().unwrap(), [0x5a; 20]);
    assert_eq!(xen.compile_info().unwrap().compiler, "rustc");
    xen.changeset().unwrap();
    xen.command_line().unwrap();
}

#[test]
fn the_machine() {
    let xen = bed().xen();
    let info = xen.physinfo().unwrap();
    assert_eq!((info.nr_cpus, info.max_cpu_id), (4, 3));
    assert_eq!(xen.cpu_topology().unwrap().len(), 4);
    let nodes = xen.numa().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].1, [10]);
    assert_eq!(xen.default_scheduler().unwrap(), XEN_SCHEDULER_CREDIT2);
    assert_eq!(xen.sharing_freed_pages().unwrap(), 0);
    assert_eq!(xen.pci_topology(&[]).unwrap_err().errno, Errno::ENOENT);
}

#[test]
fn domains_are_found() {
    let bed = bed();
    let xen = bed.xen();
    let ids = |first| xen.domains(DomId(first)).unwrap().iter().map(|d| d.domain).collect::<Vec<_>>();
    assert_eq!(ids(0), [0, 7]);
    assert_eq!(ids(1), [7]);
    assert_eq!(ids(8), []);
    assert_eq!(xen.domain(GUEST).unwrap().unwrap().max_vcpu_id, 1);
    assert!(xen.domain(DomId(3)).unwrap().is_none(), "the next one is not it");
    assert!(xen.domain(NONE).unwrap().is_none());
}

#[test]
fn more_domains_than_one_answer_has() {
    let bed = Bed::new(8192, 2);
    for id in 1..=300 {
        bed.guest(DomId(id), 1);
    }
    let ids: Vec<u16> = bed.xen().domains(DomId(0)).unwrap().iter().map(|d| d.domain).collect();
    assert_eq!(ids, (0..=300).collect::<Vec<u16>>());
}

#[test]
fn a_refusal_says_what_and_why() {
    let xen = bed().xen();
    let e = xen.pause(NONE).unwrap_err();
    assert_eq!((e.doing.as_str(), e.errno), ("pausing domain 77", Errno::ESRCH));
    assert_eq!(e.why.as_deref(), Some("there is no domain 77"));
    let e = xen.set_affinity(GUEST, 0, Some(&Cpus::none(4)), None, false).unwrap_err();
    assert_eq!(e.errno, Errno::EINVAL);
    assert!(e.why.is_some(), "{e}");
    assert!(e.to_string().starts_with("pinning vCPU 0 of domain 7"), "{e}");
}

#[test]
fn an_older_refusal_is_not_the_reason() {
    let xen = bed().xen();
    xen.pause(NONE).unwrap_err();
    // Not an error that is kept: the list of pools just ends.
    assert_eq!(xen.pool_from(9).unwrap(), None);
    let e = xen.shutdown(NONE, SHUTDOWN_CRASH).unwrap_err();
    assert_eq!((e.errno, e.why), (Errno::ESRCH, None));
}

#[test]
fn pausing() {
    let xen = bed().xen();
    let paused = || xen.domain(GUEST).unwrap().unwrap().flags & XEN_DOMINF_PAUSED != 0;
    assert!(paused(), "as created");
    xen.unpause(GUEST).unwrap();
    assert!(!paused());
    xen.pause(GUEST).unwrap();
    assert!(paused());
    xen.trigger(GUEST, XEN_DOMCTL_SENDTRIGGER_NMI, 0).unwrap();
    assert!(xen.trigger(GUEST, XEN_DOMCTL_SENDTRIGGER_NMI, 9).is_err());
}

#[test]
fn a_destroyed_domain_is_gone() {
    let bed = bed();
    let xen = bed.xen();
    xen.destroy(GUEST).unwrap();
    assert_eq!(xen.destroy(NONE).unwrap_err().errno, Errno::ESRCH);
    xen.domains(DomId(0)).unwrap();
    assert!(xen.domain(GUEST).unwrap().is_none());
}

#[test]
fn affinities() {
    let xen = bed().xen();
    assert!(xen.affinity(GUEST, 1, 4).unwrap().hard.covers(&Cpus::first(4)));
    let two: Cpus = [1, 3].into_iter().collect();
    let [hard, soft] = xen.set_affinity(GUEST, 1, Some(&two), None, false).unwrap();
    assert_eq!((hard, soft), (Some(two.clone()), None));
    let now = xen.affinity(GUEST, 1, 4).unwrap();
    assert_eq!(now.hard, two);
    assert!(now.soft.covers(&Cpus::first(4)), "{now:?}");
    xen.set_affinity(GUEST, 1, None, Some(&Cpus::first(2)), false).unwrap();
    let now = xen.affinity(GUEST, 1, 4).unwrap();
    assert_eq!((now.hard, now.soft), (two, Cpus::first(2)));
    assert_eq!(xen.vcpu(GUEST, 1).unwrap().vcpu, 1);
    assert!(xen.vcpu(GUEST, 2).is_err());
    assert!(xen.node_affinity(GUEST, 64).unwrap().contains(0));
}

#[test]
fn shares_and_memory() {
    let xen = bed().xen();
    let share = Share { weight: 512, cap: 50 };
    xen.set_share(GUEST, share).unwrap();
    assert_eq!(xen.share(GUEST).unwrap(), share);
    xen.set_rate_limit(0, 2000).unwrap();
    assert_eq!(xen.rate_limit(0).unwrap(), 2000);
    assert!(xen.rate_limit(5).is_err());
    xen.set_max_memory(GUEST, 4096).unwrap();
    assert_eq!(xen.domain(GUEST).unwrap().unwrap().max_pages, 1024);
}

#[test]
fn pools() {
    let xen = bed().xen();
    let pool = xen.create_pool(XEN_SCHEDULER_CREDIT2).unwrap();
    xen.remove_cpu_from_pool(0, 3).unwrap();
    assert_eq!(xen.free_cpus().unwrap().to_string(), "3");
    xen.add_cpu_to_pool(pool, 3).unwrap();
    let pools = xen.pools().unwrap();
    assert_eq!(pools.iter().map(|p| p.id).collect::<Vec<_>>(), [0, pool]);
    assert_eq!(pools[1].cpus.to_string(), "3");
    assert_eq!(pools[0].cpus.to_string(), "0-2");
    xen.move_to_pool(pool, GUEST).unwrap();
    assert_eq!(xen.destroy_pool(pool).unwrap_err().errno, Errno::EBUSY);
    xen.move_to_pool(0, GUEST).unwrap();
    xen.remove_cpu_from_pool(pool, 3).unwrap();
    xen.destroy_pool(pool).unwrap();
}

#[test]
fn the_console_and_its_keys() {
    let xen = bed().xen();
    xen.debug_keys("m").unwrap();
    let said = xen.console(true).unwrap();
    assert!(!xen.console(false).unwrap().starts_with(&said) || said.is_empty());
}

#[test]
fn refusals_are_kept_the_latest_first() {
    let xen = bed().xen();
    assert_eq!(xen.refusals(0).unwrap(), []);
    xen.pause(NONE).unwrap_err();
    xen.unpause(NONE).unwrap_err();
    let kept = xen.refusals(0).unwrap();
    assert_eq!(kept.iter().map(|r| r.number).collect::<Vec<_>>(), [2, 1]);
    assert!(kept[0].text.starts_with("XEN_DOMCTL_unpausedomain: ESRCH: "), "{kept:?}");
    assert!(xen.refusals(9).is_err());
}

/// A guest with a page, as its frame's number.
fn with_a_page(bed: &Bed) -> (hypercore::testing::Kernel, u64) {
    let kernel = bed.guest(DomId(8), 1).boot(3);
    let mfn = kernel.pages[1].0;
    (kernel, mfn)
}

#[test]
fn frames_of_a_domain_are_here_while_they_are_mapped() {
    let bed = bed();
    let xen = bed.xen();
    let (kernel, mfn) = with_a_page(&bed);
    assert!(kernel.write(0, kernel.va(1), b"from the guest"));
    let table = kernel.tables[0].0;
    let pages = xen.frames(DomId(8), &[kernel.pages[0].0, mfn], true).unwrap();
    let mut text = [0; 14];
    pages.read(4096, &mut text);
    assert_eq!(&text, b"from the guest");
    pages.write(4096, b"12345678");
    assert_eq!(kernel.read(0, kernel.va(1)), Some(u64::from_le_bytes(*b"12345678")));
    drop(pages);
    let refused = |frames: &[u64], writable| xen.frames(DomId(8), frames, writable).err().unwrap();
    let e = refused(&[mfn, bed.dom0.frame().0], false);
    assert!(e.why.is_some(), "{e}");
    refused(&[mfn, table], true);
    xen.frames(DomId(8), &[mfn, table], false).unwrap();
    bed.world.check("after mapping");
}

#[test]
fn frames_are_tables_or_not() {
    use abi::domctl::*;
    let bed = bed();
    let (kernel, mfn) = with_a_page(&bed);
    let mut frames = vec![mfn; 1025];
    frames.extend(kernel.tables.map(|t| t.0));
    frames.push(1 << 40);
    let types = bed.xen().frame_types(DomId(8), &frames).unwrap();
    assert!(types[..1025].iter().all(|kind| *kind == XEN_DOMCTL_PFINFO_NOTAB));
    let l = |level: u32| level << XEN_DOMCTL_PFINFO_LTAB_SHIFT;
    let expected = [l(1), l(2), l(3), l(4) | XEN_DOMCTL_PFINFO_LPINTAB, XEN_DOMCTL_PFINFO_XTAB];
    assert_eq!(types[1025..], expected);
}

#[test]
fn the_state_of_a_vcpu_goes_out_and_in() {
    let bed = bed();
    let xen = bed.xen();
    with_a_page(&bed);
    let id = DomId(8);
    let mut context = xen.vcpu_context(id, 0).unwrap();
    context.user_regs.rip = 0x1234;
    context.fs_base = 0x5678;
    xen.set_context(id, 0, &context).unwrap();
    assert_eq!(xen.vcpu_context(id, 0).unwrap().user_regs.rip, 0x1234);
    let mut extension = xen.vcpu_extension(id, 0).unwrap();
    extension.sysenter_callback_eip = 0x9abc;
    xen.set_vcpu_extension(id, &extension).unwrap();
    assert_eq!(xen.vcpu_extension(id, 0).unwrap().sysenter_callback_eip, 0x9abc);
    // What a domain has by itself depends on who made it; one of the tools' has XSAVE.
    let what = abi::domctl::DomctlCreatedomain {
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 2,
        ..Default::default()
    };
    let made = xen.create(None, &what).unwrap();
    xen.create_vcpus(made, 1).unwrap();
    let state = xen.vcpu_xsave(made, 0).unwrap();
    assert_eq!((state.len(), state[0]), (16 + 576, 3));
    xen.set_vcpu_xsave(made, 0, &state).unwrap();
    assert_eq!(xen.set_vcpu_xsave(id, 0, &state[..8]).unwrap_err().errno, Errno::EINVAL);
    assert!(xen.vcpu_msrs(id, 0).unwrap().is_empty());
    let msr = abi::domctl::DomctlVcpuMsr { index: 0xc000_0103, reserved: 0, value: 5 };
    xen.set_vcpu_msrs(id, 0, &[msr]).unwrap();
    assert_eq!(xen.vcpu_msrs(id, 0).unwrap()[0].value, 5);
    xen.vcpu_context(NONE, 0).unwrap_err();
}

#[test]
fn the_policy_and_the_clock_go_out_and_in() {
    let bed = bed();
    let xen = bed.xen();
    let policy = xen.policy(GUEST).unwrap();
    assert!(!policy.leaves.is_empty());
    xen.set_policy(GUEST, &policy).unwrap();
    let clock = xen.tsc_info(GUEST).unwrap();
    xen.set_tsc_info(GUEST, &clock).unwrap();
    assert_eq!(xen.tsc_info(GUEST).unwrap().tsc_mode, clock.tsc_mode);
}

#[test]
fn a_domain_that_shut_down_goes_on() {
    use abi::domctl::XEN_DOMINF_SHUTDOWN;
    let bed = bed();
    let xen = bed.xen();
    let down = || xen.domain(GUEST).unwrap().unwrap().flags & XEN_DOMINF_SHUTDOWN != 0;
    xen.shutdown(GUEST, abi::sched::SHUTDOWN_SUSPEND).unwrap();
    assert!(down());
    xen.resume(GUEST).unwrap();
    assert!(!down());
}
