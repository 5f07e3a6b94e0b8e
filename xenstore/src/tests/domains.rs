//! Domains: introduced, targeted, shut down, gone.

use super::*;

#[test]
fn only_dom0_manages_domains() {
    let mut world = World::new();
    let one = world.guest(1);
    for (type_, strings) in [
        (xs::XS_INTRODUCE, &["2", "1", "1"][..]),
        (xs::XS_RELEASE, &["1"]),
        (xs::XS_RESUME, &["1"]),
        (xs::XS_SET_TARGET, &["1", "2"]),
    ] {
        assert_eq!(world.ask(one, type_, 0, strings), refused("EACCES"), "{type_}");
    }
    assert!(world.introductions().is_empty());
}

#[test]
fn an_introduction_waits_for_its_ring() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.send(dom0, xs::XS_INTRODUCE, 0, b"5\x001234\x009\0");
    world.send(dom0, xs::XS_READ, 0, b"/tool\0");
    assert!(world.take(dom0).is_empty(), "answers keep their order");
    let asked = world.introductions()[0];
    assert_eq!((asked.domid, asked.gfn, asked.port), (5, 1234, 9));
    assert_eq!(world.store.introduced(&asked, Err(crate::Error::EINVAL)), None);
    let types: Vec<u32> = world.take(dom0).into_iter().map(|(type_, _)| type_).collect();
    assert_eq!(types, [xs::XS_ERROR, xs::XS_READ]);
    assert_eq!(world.ask(dom0, xs::XS_IS_DOMAIN_INTRODUCED, 0, &["5"]), Ok("F".into()));
}

#[test]
fn who_is_known_and_where() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    assert_eq!(world.ask(one, xs::XS_GET_DOMAIN_PATH, 0, &["007"]), Ok("/local/domain/7".into()));
    for (domid, answer) in [("1", "T"), ("2", "F"), ("0", "T"), ("32752", "T")] {
        assert_eq!(world.ask(one, xs::XS_IS_DOMAIN_INTRODUCED, 0, &[domid]), Ok(answer.into()), "{domid}");
    }
    world.ok(dom0, xs::XS_RELEASE, 0, &["1"]);
    assert_eq!(world.ask(dom0, xs::XS_IS_DOMAIN_INTRODUCED, 0, &["1"]), Ok("F".into()));
    assert_eq!(world.store.take_effects(), [Effect::Release { conn: one, domid: 1 }]);
    for type_ in [xs::XS_RELEASE, xs::XS_RESUME] {
        assert_eq!(world.ask(dom0, type_, 0, &["1"]), refused("ENOENT"));
    }
}

#[test]
fn introduced_again_it_begins_anew() {
    let mut world = World::new();
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["a", "t"]);
    world.start(one);
    assert_eq!(world.introduce(1), one);
    world.write(world.dom0, 0, "/local/domain/1/a", "").unwrap();
    assert!(world.take(one).is_empty());
    assert!(world.store.connection(one).unwrap().transactions.is_empty());
    world.check();
}

#[test]
fn a_target_is_acted_for() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let (one, two) = (world.guest(1), world.guest(2));
    world.write(one, 0, "x", "v").unwrap();
    assert_eq!(world.read(two, 0, "/local/domain/1/x"), refused("EACCES"));
    assert_eq!(world.ask(dom0, xs::XS_SET_TARGET, 0, &["2", "9"]), refused("ENOENT"));
    world.ok(dom0, xs::XS_SET_TARGET, 0, &["2", "1"]);
    assert_eq!(world.read(two, 0, "/local/domain/1/x"), Ok("v".into()));
    world.write(two, 0, "/local/domain/1/y", "").unwrap();
    world.store.domain_gone(1);
    assert_eq!(world.store.domain(2).unwrap().target, None);
}

#[test]
fn a_shut_down_is_told_once_until_resumed() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.guest(1);
    world.ok(dom0, xs::XS_WATCH, 0, &[crate::RELEASE_DOMAIN, "t"]);
    world.store.domain_shut_down(1);
    assert_eq!(world.events(dom0), ["@releaseDomain t"]);
    world.store.domain_shut_down(1);
    assert!(world.events(dom0).is_empty());
    world.ok(dom0, xs::XS_RESUME, 0, &["1"]);
    world.store.domain_shut_down(1);
    assert_eq!(world.events(dom0), ["@releaseDomain t"]);
}

#[test]
fn a_dead_domain_leaves_nothing_that_its_successor_could_use() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.write(one, 0, "data/x", "").unwrap();
    world.write(dom0, 0, "/shared/node", "v").unwrap();
    world.perms("/shared/node", &["n0", "r1", "r2"]);
    world.write(dom0, 0, "/local/domain/1/device", "").unwrap();
    world.store.domain_gone(1);
    assert_eq!(world.read(dom0, 0, "/local/domain/1"), refused("ENOENT"));
    assert_eq!(world.ask(dom0, xs::XS_GET_PERMS, 0, &["/shared/node"]), Ok("n0\0r2".into()));
    world.check();
}
