//! What is done to a guest, against the hypervisor's own logic and our own store, both on the host.

use abi::Errno;
use xenctl::{Cpus, DomId};

use crate::testing::{GUEST, Machine, UUID};
use crate::{destroy, devices, memory, names, pools};

#[test]
fn domains_are_found_by_number_and_name() {
    let mut m = Machine::new();
    let mut find = |called| names::domain(&m.xen, &mut m.store, called).unwrap();
    assert_eq!(find("guest"), Some(GUEST));
    assert_eq!(find("Domain-0"), Some(DomId(0)));
    assert_eq!(find("77"), Some(DomId(77)), "whether it exists is another question");
    assert_eq!(find("other"), None);
    assert_eq!(names::pool(&m.xen, &mut m.store, "Pool-0").unwrap(), Some(0));
    assert_eq!(names::pool(&m.xen, &mut m.store, "9").unwrap(), None);
}

#[test]
fn the_limit_follows_the_target() {
    let mut m = Machine::new();
    memory::set_target(&m.xen, &mut m.store, GUEST, 6144).unwrap();
    assert_eq!(m.text("/local/domain/7/memory/target").as_deref(), Some("6144"));
    assert_eq!(m.text(&format!("/vm/{UUID}/memory")).as_deref(), Some("6"));
    assert_eq!(m.limit_kib(), 8192 + memory::SLACK_KIB + 2048);
    memory::set_most(&m.xen, &mut m.store, GUEST, 16384).unwrap();
    assert_eq!(m.text("/local/domain/7/memory/static-max").as_deref(), Some("16384"));
    assert_eq!(m.limit_kib(), 16384 + memory::SLACK_KIB);
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut m = Machine::new();
    let before = m.limit_kib();
    let e = memory::set_target(&m.xen, &mut m.store, GUEST, 8193).unwrap_err();
    assert_eq!(e.errno, Errno::EINVAL);
    assert!(e.to_string().contains("8192 KiB at most"), "{e}");
    memory::set_most(&m.xen, &mut m.store, GUEST, 4095).unwrap_err();
    memory::set_target(&m.xen, &mut m.store, DomId(0), 1024).unwrap_err();
    memory::set_target(&m.xen, &mut m.store, DomId(77), 4096).unwrap_err();
    assert_eq!(m.text("/local/domain/7/memory/target").as_deref(), Some("4096"));
    assert_eq!(m.text("/local/domain/7/memory/static-max").as_deref(), Some("8192"));
    assert_eq!(m.limit_kib(), before);
}

#[test]
fn a_destroyed_domain_leaves_nothing() {
    let mut m = Machine::new();
    m.device("vbd", "51712", "4");
    m.device("vif", "0", "6");
    m.device("console", "0", "4");
    assert_eq!(devices::devices(&mut m.store, GUEST).unwrap().len(), 3);
    let told = &mut |e: &xenctl::Error| panic!("{e}");
    destroy::destroy(&m.xen, &mut m.store, GUEST, UUID, told).unwrap();
    let vbd = "/local/domain/0/backend/vbd/7/51712".to_owned();
    assert_eq!(*m.closed.lock().unwrap(), [(vbd, false)], "the frontend goes first");
    assert!(m.xen.domain(GUEST).unwrap().is_none());
    let mut list = |path| m.store.list(path).unwrap();
    assert_eq!(list("/local/domain").unwrap(), ["0"]);
    assert_eq!(list("/local/domain/0").unwrap(), ["name"]);
    assert_eq!(list("/libxl").unwrap(), ["8"]);
    assert_eq!(list("/vm").unwrap(), ["other"]);
    let e = destroy::destroy(&m.xen, &mut m.store, GUEST, UUID, &mut |_| {}).unwrap_err();
    assert_eq!(e.errno, Errno::ESRCH);
}

#[test]
fn a_pool_is_made_wholly_or_not_at_all() {
    let mut m = Machine::new();
    let scheduler = m.xen.default_scheduler().unwrap();
    let both = Cpus::first(2);
    let one: Cpus = [1].into_iter().collect();
    m.xen.remove_cpu_from_pool(0, 1).unwrap();
    pools::create(&m.xen, &mut m.store, "p", scheduler, &both).unwrap_err();
    pools::create(&m.xen, &mut m.store, "p", 99, &one).unwrap_err();
    assert_eq!(m.xen.pools().unwrap().len(), 1);
    assert_eq!(m.store.list("/local/pool").unwrap().unwrap_or_default(), [""; 0]);
    assert_eq!(m.xen.free_cpus().unwrap().to_string(), "1");
    let id = pools::create(&m.xen, &mut m.store, "p", scheduler, &one).unwrap();
    assert_eq!(names::pool(&m.xen, &mut m.store, "p").unwrap(), Some(id));
    assert!(m.xen.free_cpus().unwrap().is_empty());
    m.xen.move_to_pool(id, GUEST).unwrap();
    pools::destroy(&m.xen, &mut m.store, id).unwrap_err();
    assert_eq!(m.xen.pools().unwrap()[1].cpus.to_string(), "1", "as it was");
    m.xen.move_to_pool(0, GUEST).unwrap();
    pools::destroy(&m.xen, &mut m.store, id).unwrap();
    assert_eq!(m.xen.free_cpus().unwrap().to_string(), "1");
    assert_eq!(names::pool(&m.xen, &mut m.store, "p").unwrap(), None);
}

#[test]
fn cpus_are_divided_by_nodes_or_stay_as_they_were() {
    let mut m = Machine::new();
    let cpu = |n: usize| Cpus::from_iter([n]);
    let nodes = |all: &[(u32, Cpus)]| all.iter().cloned().collect();
    let shape = |m: &mut Machine| {
        let pools = m.xen.pools().unwrap();
        let mut name = |id| m.store.text(&format!("/local/pool/{id}/name")).unwrap().unwrap_or_default();
        pools.into_iter().map(|pool| (name(pool.id), pool.cpus.to_string())).collect::<Vec<_>>()
    };
    m.store.write("/local/pool/0/name", b"Pool-0").unwrap();
    let before = shape(&mut m);
    // A CPU that is not there cannot be of a node.
    let mut beyond: std::collections::BTreeMap<u32, Cpus> = nodes(&[(0, cpu(0)), (1, cpu(1))]);
    beyond.insert(2, cpu(0));
    pools::split(&m.xen, &mut m.store, &beyond).unwrap_err();
    assert_eq!(shape(&mut m), before);

    pools::split(&m.xen, &mut m.store, &nodes(&[(3, cpu(0)), (5, cpu(1))])).unwrap();
    let pool = |name: &str, cpus: &str| (name.to_owned(), cpus.to_owned());
    assert_eq!(shape(&mut m), [pool("Pool-node3", "0"), pool("Pool-node5", "1")]);
    let twice = pools::split(&m.xen, &mut m.store, &nodes(&[(3, cpu(0)), (5, cpu(1))]));
    assert_eq!(twice.unwrap_err().errno, abi::Errno::EBUSY);
}
