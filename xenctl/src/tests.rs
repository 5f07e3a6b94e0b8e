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
