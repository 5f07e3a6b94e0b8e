//! Watches: who is told what, and who is not.

use super::*;

#[test]
fn the_first_event_comes_behind_the_answer() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.send(dom0, xs::XS_WATCH, 0, b"/none/at/all\0tok\0");
    let types: Vec<u32> = world.take(dom0).into_iter().map(|(type_, _)| type_).collect();
    assert_eq!(types, [xs::XS_WATCH, xs::XS_WATCH_EVENT]);
}

#[test]
fn an_event_for_every_kind_of_change_at_or_below() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let watcher = world.store.connect(Peer::Socket);
    world.ok(watcher, xs::XS_WATCH, 0, &["/w", "t"]);
    world.write(dom0, 0, "/w", "").unwrap();
    assert_eq!(world.events(watcher), ["/w t"]);
    world.write(dom0, 0, "/w/a/b", "").unwrap();
    assert_eq!(world.events(watcher), ["/w/a/b t"]);
    world.perms("/w/a", &["n0"]);
    assert_eq!(world.events(watcher), ["/w/a t"]);
    world.ok(dom0, xs::XS_MKDIR, 0, &["/w/a"]);
    world.write(dom0, 0, "/ww", "").unwrap();
    assert!(world.events(watcher).is_empty());
    world.ok(dom0, xs::XS_RM, 0, &["/w/a"]);
    assert_eq!(world.events(watcher), ["/w/a t"]);
}

#[test]
fn a_removal_from_above_is_told_by_the_watchs_own_path() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let watcher = world.store.connect(Peer::Socket);
    world.write(dom0, 0, "/a/b/c", "").unwrap();
    for (path, token) in [("/a/b/c", "deep"), ("/a/b/none", "absent"), ("/a", "above")] {
        world.ok(watcher, xs::XS_WATCH, 0, &[path, token]);
    }
    world.ok(dom0, xs::XS_RM, 0, &["/a/b"]);
    assert_eq!(world.events(watcher), ["/a/b above", "/a/b/c deep"]);
}

#[test]
fn a_relative_watch_is_told_relative_paths() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["control", "t"]);
    world.write(dom0, 0, "/local/domain/1/control/shutdown", "poweroff").unwrap();
    assert_eq!(world.events(one), ["control/shutdown t"]);
    world.ok(one, xs::XS_WATCH, 0, &["/local/domain/1/control", "t2"]);
}

#[test]
fn a_watch_is_known_by_path_and_token() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["a", "t"]);
    assert_eq!(world.ask(one, xs::XS_WATCH, 0, &["a", "t"]), refused("EEXIST"));
    // The same node by another name is the same watch.
    assert_eq!(world.ask(one, xs::XS_WATCH, 0, &["/local/domain/1/a", "t"]), refused("EEXIST"));
    world.ok(one, xs::XS_WATCH, 0, &["a", "t2"]);
    assert_eq!(world.ask(one, xs::XS_UNWATCH, 0, &["a", "t3"]), refused("ENOENT"));
    assert_eq!(world.ask(one, xs::XS_UNWATCH, 0, &["a/", "t"]), refused("ENOENT"));
    world.ok(one, xs::XS_UNWATCH, 0, &["a", "t"]);
    world.write(dom0, 0, "/local/domain/1/a", "").unwrap();
    assert_eq!(world.events(one), ["a t2"]);
    world.check();
}

#[test]
fn nothing_is_told_of_what_may_not_be_read() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.write(dom0, 0, "/secret", "").unwrap();
    world.write(dom0, 0, "/open", "").unwrap();
    world.perms("/open", &["r0"]);
    world.ok(one, xs::XS_WATCH, 0, &["/", "t"]);
    world.write(dom0, 0, "/secret", "1").unwrap();
    world.write(dom0, 0, "/open", "1").unwrap();
    assert_eq!(world.events(one), ["/open t"]);
    // That it cannot be read any more may be told, and its removal too where it could.
    world.perms("/open", &["n0"]);
    assert_eq!(world.events(one), ["/open t"]);
    world.ok(dom0, xs::XS_RM, 0, &["/open"]);
    assert!(world.events(one).is_empty());
}

#[test]
fn a_readable_node_below_an_unreadable_one_is_told_of_when_both_go() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.write(dom0, 0, "/top/mine", "").unwrap();
    world.perms("/top/mine", &["n0", "r1"]);
    world.ok(one, xs::XS_WATCH, 0, &["/top/mine", "t"]);
    world.ok(dom0, xs::XS_RM, 0, &["/top"]);
    assert_eq!(world.events(one), ["/top/mine t"]);
}

#[test]
fn special_events_are_for_who_may_read_them() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    for conn in [one, dom0] {
        world.ok(conn, xs::XS_WATCH, 0, &[crate::INTRODUCE_DOMAIN, "in"]);
        world.ok(conn, xs::XS_WATCH, 0, &[crate::RELEASE_DOMAIN, "out"]);
        world.take(conn);
    }
    world.perms(crate::RELEASE_DOMAIN, &["n0", "r1"]);
    world.send(dom0, xs::XS_INTRODUCE, 0, b"2\x001\x001\0");
    let asked = world.introductions()[0];
    world.store.introduced(&asked, Ok(()));
    assert_eq!(world.events(dom0), ["@introduceDomain in"]);
    world.store.domain_gone(2);
    assert_eq!(world.events(dom0), ["@releaseDomain out"]);
    assert_eq!(world.events(one), ["@releaseDomain out"]);
}

#[test]
fn depth_keeps_events_from_further_down_away() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.ok(dom0, xs::XS_WATCH, 0, &["/w", "t", "1"]);
    let watcher = world.store.connect(Peer::Socket);
    world.write(watcher, 0, "/w/a/b", "").unwrap();
    assert!(world.events(dom0).is_empty());
    world.write(watcher, 0, "/w/a", "").unwrap();
    assert_eq!(world.events(dom0), ["/w/a t"]);
}

#[test]
fn an_event_that_waits_waits_once() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["a", "t"]);
    for _ in 0..100 {
        world.write(dom0, 0, "/local/domain/1/a", "").unwrap();
    }
    assert_eq!(world.events(one), ["a t"]);
}

#[test]
fn an_event_that_would_not_fit_names_the_watch() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let token = "t".repeat(xs::XENSTORE_PAYLOAD_MAX - "/w\0\0".len());
    world.ok(dom0, xs::XS_WATCH, 0, &["/w", &token]);
    world.send(dom0, xs::XS_WRITE, 0, b"/w/below\0");
    assert_eq!(world.events(dom0), [format!("/w {token}")]);
}

#[test]
fn watches_end_with_their_connection() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let other = world.store.connect(Peer::Socket);
    world.ok(other, xs::XS_WATCH, 0, &["/", "t"]);
    world.store.disconnect(other);
    world.write(dom0, 0, "/a", "").unwrap();
    world.ok(dom0, xs::XS_WATCH, 0, &["/", "t"]);
    world.ok(dom0, xs::XS_RESET_WATCHES, 0, &[""]);
    world.send(dom0, xs::XS_WRITE, 0, b"/a\0");
    assert!(world.events(dom0).is_empty());
    world.check();
}
