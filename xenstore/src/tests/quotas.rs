//! Quotas: what a guest may use, and that dom0 may use more.

use super::*;

fn small() -> World {
    World::with(Quotas {
        nodes: 4,
        watches: 2,
        transactions: 2,
        transaction_nodes: 3,
        node_size: 10,
        node_permissions: 2,
        path_max: 20,
        events: 3,
    })
}

#[test]
fn each_limit_has_its_answer() {
    let mut world = small();
    let one = world.guest(1);
    // One is its home.
    world.write(one, 0, "a/b/c", "").unwrap();
    assert_eq!(world.write(one, 0, "d", ""), refused("ENOSPC"));
    assert_eq!(world.write(one, 0, "a", "0123456789a"), refused("ENOSPC"));
    world.write(one, 0, "a", "0123456789").unwrap();
    assert_eq!(world.ask(one, xs::XS_SET_PERMS, 0, &["a", "n1", "r2", "r3"]), refused("ENOSPC"));
    assert_eq!(world.read(one, 0, &"a".repeat(21)), refused("EINVAL"));
    assert_eq!(world.read(one, 0, &"a".repeat(20)), refused("ENOENT"));
    for token in ["1", "2"] {
        world.ok(one, xs::XS_WATCH, 0, &["a", token]);
    }
    assert_eq!(world.ask(one, xs::XS_WATCH, 0, &["a", "3"]), refused("E2BIG"));
    world.start(one);
    world.start(one);
    assert_eq!(world.ask(one, xs::XS_TRANSACTION_START, 0, &[""]), refused("ENOSPC"));
    // What is given back can be used again.
    world.ok(one, xs::XS_RM, 0, &["a/b"]);
    world.write(one, 0, "a/x/y", "").unwrap();
    world.check();
}

#[test]
fn dom0_is_under_none() {
    let mut world = small();
    let dom0 = world.dom0;
    world.guest(1);
    for number in 0..10 {
        world.write(dom0, 0, &format!("/local/domain/1/{number}"), "longer than ten").unwrap();
        world.ok(dom0, xs::XS_WATCH, 0, &["/a", &number.to_string()]);
        world.start(dom0);
    }
    let perms: Vec<String> = (0..9).map(|domid| format!("r{domid}")).collect();
    let perms: Vec<&str> = perms.iter().map(String::as_str).collect();
    world.perms("/tool", &perms);
    world.check();
}

#[test]
fn a_transaction_is_charged_what_it_keeps() {
    let mut world = small();
    let one = world.guest(1);
    let tx = world.start(one);
    for _ in 0..10 {
        world.read(one, tx, "").unwrap_err();
        world.read(one, tx, "a").unwrap_err();
    }
    world.write(one, tx, "a", "").unwrap();
    world.read(one, tx, "a").unwrap();
    assert_eq!(world.read(one, tx, "b"), refused("ENOSPC"));
    assert_eq!(world.write(one, tx, "b", ""), refused("ENOSPC"));
    assert_eq!(world.read(one, tx, "a"), Ok("".into()));
    assert_eq!(world.commit(one, tx), Ok("OK".into()));
}

#[test]
fn nodes_of_open_transactions_count_in_them() {
    let mut world = small();
    let one = world.guest(1);
    let tx = world.start(one);
    world.write(one, tx, "a/b/c", "").unwrap();
    assert_eq!(world.write(one, tx, "d", ""), refused("ENOSPC"));
    // Outside there is room; who commits second finds none.
    world.write(one, 0, "e", "").unwrap();
    assert_eq!(world.commit(one, tx), refused("EAGAIN"));
    world.check();
}

#[test]
fn a_guest_that_does_not_read_its_events_gets_fewer() {
    let mut world = small();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["a", "t"]);
    for number in 0..100 {
        world.write(dom0, 0, &format!("/local/domain/1/a/{number}"), "").unwrap();
    }
    assert_eq!(world.events(one), ["a/0 t", "a/1 t", "a/2 t", "a t"]);
}
