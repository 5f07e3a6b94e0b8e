//! Transactions: isolation, and conflicts where there is one and nowhere else.

use super::*;

#[test]
fn changes_are_seen_inside_at_once_and_outside_at_the_commit() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.write(dom0, 0, "/a", "old").unwrap();
    let tx = world.start(dom0);
    world.write(dom0, tx, "/a", "new").unwrap();
    assert_eq!(world.read(dom0, tx, "/a"), Ok("new".into()));
    assert_eq!(world.read(dom0, 0, "/a"), Ok("old".into()));
    assert_eq!(world.commit(dom0, tx), Ok("OK".into()));
    assert_eq!(world.read(dom0, 0, "/a"), Ok("new".into()));
    assert_eq!(world.commit(dom0, tx), refused("ENOENT"));
}

#[test]
fn what_is_discarded_never_was() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    let tx = world.start(one);
    world.write(one, tx, "x", "v").unwrap();
    world.ok(one, xs::XS_TRANSACTION_END, tx, &["F"]);
    assert_eq!(world.read(dom0, 0, "/local/domain/1/x"), refused("ENOENT"));
    world.check();
}

#[test]
fn it_reads_the_store_as_it_was() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.write(dom0, 0, "/a", "old").unwrap();
    let tx = world.start(dom0);
    world.write(dom0, 0, "/a", "new").unwrap();
    world.write(dom0, 0, "/b", "").unwrap();
    assert_eq!(world.read(dom0, tx, "/a"), Ok("old".into()));
    assert_eq!(world.read(dom0, tx, "/b"), refused("ENOENT"));
}

/// Does `ours` in a transaction and `theirs` outside before its end. Whether it could be committed.
fn commits(ours: &[(u32, &[&str])], theirs: &[(u32, &[&str])]) -> bool {
    let mut world = World::new();
    let dom0 = world.dom0;
    for (path, value) in [("/a", "a"), ("/b/c", "c"), ("/b/d", "d")] {
        world.write(dom0, 0, path, value).unwrap();
    }
    let tx = world.start(dom0);
    for (type_, strings) in ours {
        let _ = world.ask(dom0, *type_, tx, strings);
    }
    for (type_, strings) in theirs {
        let _ = world.ask(dom0, *type_, 0, strings);
    }
    let ended = world.commit(dom0, tx);
    world.check();
    assert!(ended == Ok("OK".into()) || ended == refused("EAGAIN"), "{ended:?}");
    ended.is_ok()
}

#[test]
fn a_conflict_is_a_changed_answer_and_nothing_else() {
    use abi::io::xs_wire::*;
    let other_writes: &[(u32, &[&str])] = &[(XS_WRITE, &["/b/c", "new"])];
    // Read, and it changed.
    assert!(!commits(&[(XS_READ, &["/b/c"])], other_writes));
    assert!(!commits(&[(XS_DIRECTORY, &["/b"])], &[(XS_MKDIR, &["/b/e"])]));
    assert!(!commits(&[(XS_DIRECTORY, &["/b"])], &[(XS_RM, &["/b/d"])]));
    assert!(!commits(&[(XS_GET_PERMS, &["/a"])], &[(XS_SET_PERMS, &["/a", "r0"])]));
    assert!(!commits(&[(XS_READ, &["/none"])], &[(XS_WRITE, &["/none", "now"])]));
    assert!(!commits(&[(XS_READ, &["/b/c"])], &[(XS_RM, &["/b"])]));
    // Read something else of it, or beside it.
    assert!(commits(&[(XS_READ, &["/a"])], other_writes));
    assert!(commits(&[(XS_DIRECTORY, &["/b"])], other_writes));
    assert!(commits(&[(XS_READ, &["/b"])], &[(XS_MKDIR, &["/b/e"])]));
    assert!(commits(&[(XS_READ, &["/a"])], &[(XS_SET_PERMS, &["/a", "r0"])]));
    // Written only: the last one wins, and two may make the same folder.
    assert!(commits(&[(XS_WRITE, &["/b/c", "mine"])], other_writes));
    assert!(commits(&[(XS_WRITE, &["/new/x", ""])], &[(XS_WRITE, &["/new/y", ""])]));
    assert!(commits(&[(XS_MKDIR, &["/new"])], &[(XS_MKDIR, &["/new"])]));
    assert!(commits(&[(XS_RM, &["/b"])], &[(XS_MKDIR, &["/b/e"])]));
    // What was made here is read here, but it would have been there already.
    assert!(commits(&[(XS_WRITE, &["/new", "v"]), (XS_READ, &["/new"])], &[(XS_WRITE, &["/new", "w"])]));
    let made_and_read: &[(u32, &[&str])] = &[(XS_MKDIR, &["/new"]), (XS_READ, &["/new"])];
    assert!(!commits(made_and_read, &[(XS_WRITE, &["/new", "w"])]));
    // A request that was refused, and would not be now, or the other way round.
    assert!(!commits(&[(XS_RM, &["/none/x"])], &[(XS_MKDIR, &["/none"])]));
    assert!(!commits(&[(XS_SET_PERMS, &["/a", "n0"])], &[(XS_RM, &["/a"])]));
}

#[test]
fn what_was_changed_and_changed_back_is_no_conflict() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.write(dom0, 0, "/a", "v").unwrap();
    let tx = world.start(dom0);
    world.read(dom0, tx, "/a").unwrap();
    world.write(dom0, 0, "/a", "x").unwrap();
    world.write(dom0, 0, "/a", "v").unwrap();
    assert_eq!(world.commit(dom0, tx), Ok("OK".into()));
}

#[test]
fn a_commit_that_merges_keeps_both() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let tx = world.start(dom0);
    world.write(dom0, tx, "/mine", "1").unwrap();
    world.write(dom0, 0, "/theirs", "2").unwrap();
    world.commit(dom0, tx).unwrap();
    assert_eq!(world.read(dom0, 0, "/mine"), Ok("1".into()));
    assert_eq!(world.read(dom0, 0, "/theirs"), Ok("2".into()));
}

#[test]
fn events_come_at_the_commit_and_only_then() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.ok(dom0, xs::XS_WATCH, 0, &["/w", "t"]);
    for merges in [false, true] {
        let tx = world.start(dom0);
        world.send(dom0, xs::XS_WRITE, tx, b"/w/x\0v");
        assert!(world.events(dom0).is_empty());
        if merges {
            world.write(dom0, 0, "/else", "").unwrap();
        }
        world.send(dom0, xs::XS_TRANSACTION_END, tx, b"T\0");
        assert_eq!(world.events(dom0), ["/w/x t"]);
    }
    let tx = world.start(dom0);
    world.write(dom0, tx, "/w/y", "").unwrap();
    world.send(dom0, xs::XS_TRANSACTION_END, tx, b"F\0");
    assert!(world.events(dom0).is_empty());
}

#[test]
fn ids_are_the_connections_own() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let other = world.store.connect(Peer::Socket);
    let tx = world.start(dom0);
    assert_eq!(world.read(other, tx, "/tool"), refused("ENOENT"));
    assert_eq!(world.commit(other, tx), refused("ENOENT"));
    assert_eq!(world.ask(dom0, xs::XS_TRANSACTION_START, tx, &[""]), refused("EBUSY"));
    assert_eq!(world.ask(dom0, xs::XS_TRANSACTION_END, 0, &["T"]), refused("ENOENT"));
    world.ok(dom0, xs::XS_RESET_WATCHES, 0, &[""]);
    assert_eq!(world.commit(dom0, tx), refused("ENOENT"));
}
