//! Reading, writing, permissions: what each request answers, and what each refusal is.

use super::*;

#[test]
fn values_are_bytes_and_parents_appear() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.send(dom0, xs::XS_WRITE, 0, b"/a/b/c\0one\0two");
    assert_eq!(world.answer(dom0), Ok("OK".into()));
    assert_eq!(world.read(dom0, 0, "/a/b/c"), Ok("one\0two".into()));
    assert_eq!(world.read(dom0, 0, "/a/b"), Ok("".into()));
    assert_eq!(world.ask(dom0, xs::XS_DIRECTORY, 0, &["/a"]), Ok("b".into()));
    assert_eq!(world.read(dom0, 0, "/a/x"), refused("ENOENT"));
}

#[test]
fn an_answer_carries_the_requests_numbers() {
    let mut world = World::new();
    let dom0 = world.dom0;
    for (payload, type_) in [(&b"/tool\0"[..], xs::XS_READ), (b"/none\0", xs::XS_ERROR)] {
        world.store.input(dom0, &wire::encode(xs::XS_READ, 0xdead_beef, 0, &[payload]));
        let bytes: Vec<u8> = world.store.connection(dom0).unwrap().output().flatten().copied().collect();
        let head = Message::first(&bytes).unwrap().unwrap().head;
        assert_eq!((head.type_, head.req_id, head.tx_id), (type_, 0xdead_beef, 0));
        world.store.sent(dom0, bytes.len());
    }
}

#[test]
fn mkdir_leaves_what_exists_alone() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.write(dom0, 0, "/a", "kept").unwrap();
    world.ok(dom0, xs::XS_MKDIR, 0, &["/a"]);
    world.ok(dom0, xs::XS_MKDIR, 0, &["/a/b/c"]);
    assert_eq!(world.read(dom0, 0, "/a"), Ok("kept".into()));
    assert_eq!(world.read(dom0, 0, "/a/b/c"), Ok("".into()));
}

#[test]
fn rm_takes_all_below_and_wants_only_the_parent_to_exist() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.write(dom0, 0, "/a/b/c", "x").unwrap();
    world.ok(dom0, xs::XS_RM, 0, &["/a/b"]);
    assert_eq!(world.read(dom0, 0, "/a/b/c"), refused("ENOENT"));
    assert_eq!(world.ask(dom0, xs::XS_RM, 0, &["/a/b"]), Ok("OK".into()));
    assert_eq!(world.ask(dom0, xs::XS_RM, 0, &["/a/b/c"]), refused("ENOENT"));
    assert_eq!(world.ask(dom0, xs::XS_RM, 0, &["/"]), refused("EINVAL"));
}

#[test]
fn what_is_malformed_is_invalid() {
    let mut world = World::new();
    let dom0 = world.dom0;
    for (type_, payload) in [
        (xs::XS_READ, &b""[..]),
        (xs::XS_READ, b"/a"),
        (xs::XS_READ, b"/a\0b\0"),
        (xs::XS_READ, b"\0"),
        (xs::XS_READ, b"/a//b\0"),
        (xs::XS_READ, b"@releaseDomain\0"),
        (xs::XS_WRITE, b"/a"),
        (xs::XS_MKDIR, b"/a/\0"),
        (xs::XS_RM, b"/a b\0"),
        (xs::XS_SET_PERMS, b"/tool\0"),
        (xs::XS_SET_PERMS, b"/tool\0q1\0"),
        (xs::XS_GET_PERMS, b"/tool\0/tool\0"),
        (xs::XS_DIRECTORY_PART, b"/tool\0"),
        (xs::XS_DIRECTORY_PART, b"/tool\0x\0"),
        (xs::XS_WATCH, b"/a\0"),
        (xs::XS_WATCH, b"/a\0token\0x\0"),
        (xs::XS_UNWATCH, b"/a\0"),
        (xs::XS_TRANSACTION_END, b"X\0"),
        (xs::XS_TRANSACTION_END, b"T"),
        (xs::XS_GET_DOMAIN_PATH, b"x\0"),
        (xs::XS_IS_DOMAIN_INTRODUCED, b"\0"),
        (xs::XS_INTRODUCE, b"1\0"),
        (xs::XS_INTRODUCE, b"0\x001\x001\0"),
        (xs::XS_INTRODUCE, b"32752\x001\x001\0"),
        (xs::XS_INTRODUCE, b"1\0-1\x001\0"),
        (xs::XS_RELEASE, b"0\0"),
        (xs::XS_CONTROL, b""),
        (xs::XS_CONTROL, b"nonsense\0"),
        (xs::XS_CONTROL, b"quota\0set\0nodes\0"),
    ] {
        world.send(dom0, type_, 0, payload);
        assert_eq!(world.answer(dom0), refused("EINVAL"), "{type_} {}", payload.escape_ascii());
    }
    for type_ in [xs::XS_WATCH_EVENT, xs::XS_ERROR, 20, xs::XS_TYPE_COUNT, xs::XS_INVALID, u32::MAX] {
        assert_eq!(world.ask(dom0, type_, 0, &["/"]), refused("ENOSYS"), "{type_}");
    }
}

#[test]
fn guests_see_and_change_what_permissions_allow() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let (one, two) = (world.guest(1), world.guest(2));
    world.write(one, 0, "data/x", "v").unwrap();
    assert_eq!(world.read(dom0, 0, "/local/domain/1/data/x"), Ok("v".into()));
    assert_eq!(world.ask(dom0, xs::XS_GET_PERMS, 0, &["/local/domain/1/data/x"]), Ok("n1".into()));

    // Nothing is told of what may not be read, not even whether it exists.
    assert_eq!(world.read(two, 0, "/local/domain/1/data/x"), refused("EACCES"));
    assert_eq!(world.read(two, 0, "/local/domain/1/data/none"), refused("EACCES"));
    assert_eq!(world.write(two, 0, "/local/domain/1/data/x", "w"), refused("EACCES"));
    assert_eq!(world.ask(two, xs::XS_RM, 0, &["/local/domain/1/data"]), refused("EACCES"));
    assert_eq!(world.ask(two, xs::XS_MKDIR, 0, &["/elsewhere"]), refused("EACCES"));

    world.ok(one, xs::XS_SET_PERMS, 0, &["data/x", "n1", "r2"]);
    assert_eq!(world.read(two, 0, "/local/domain/1/data/x"), Ok("v".into()));
    assert_eq!(world.read(two, 0, "/local/domain/1/data/x/none"), refused("ENOENT"));
    assert_eq!(world.ask(two, xs::XS_MKDIR, 0, &["/local/domain/1/data/x"]), refused("EACCES"));
    let perms = ["/local/domain/1/data/x", "b2"];
    assert_eq!(world.ask(two, xs::XS_SET_PERMS, 0, &perms), refused("EACCES"));
    // Its own, but not away to another.
    assert_eq!(world.ask(one, xs::XS_SET_PERMS, 0, &["data/x", "b2"]), refused("EPERM"));
    assert_eq!(world.ask(one, xs::XS_SET_PERMS, 0, &["data/none", "n1"]), refused("ENOENT"));

    // What a guest makes in another's folder is its own, with the folder's list.
    world.perms("/local/domain/1/data", &["n1", "b2"]);
    world.write(two, 0, "/local/domain/1/data/y", "w").unwrap();
    assert_eq!(world.ask(dom0, xs::XS_GET_PERMS, 0, &["/local/domain/1/data/y"]), Ok("n2\0b2".into()));
    // What dom0 makes there is of the folder's owner.
    world.write(dom0, 0, "/local/domain/1/z", "").unwrap();
    assert_eq!(world.ask(dom0, xs::XS_GET_PERMS, 0, &["/local/domain/1/z"]), Ok("n1".into()));
    world.check();
}

#[test]
fn special_paths_have_permissions_to_be_set() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    assert_eq!(world.ask(one, xs::XS_SET_PERMS, 0, &[crate::RELEASE_DOMAIN, "b1"]), refused("EACCES"));
    world.perms(crate::RELEASE_DOMAIN, &["n1"]);
    world.ok(one, xs::XS_SET_PERMS, 0, &[crate::RELEASE_DOMAIN, "n1", "r2"]);
    assert_eq!(world.ask(dom0, xs::XS_GET_PERMS, 0, &[crate::RELEASE_DOMAIN]), refused("EINVAL"));
    assert_eq!(world.ask(dom0, xs::XS_SET_PERMS, 0, &["@none", "n0"]), refused("EINVAL"));
}

#[test]
fn a_long_list_comes_in_parts() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let names: Vec<String> = (0..700).map(|number| format!("name-{number:04}")).collect();
    names.iter().for_each(|name| drop(world.write(dom0, 0, &format!("/list/{name}"), "").unwrap()));
    assert_eq!(world.ask(dom0, xs::XS_DIRECTORY, 0, &["/list"]), refused("E2BIG"));

    let (mut list, mut generations) = (Vec::new(), Vec::new());
    loop {
        let payload = format!("/list\0{}\0", list.len());
        world.send(dom0, xs::XS_DIRECTORY_PART, 0, payload.as_bytes());
        let [(xs::XS_DIRECTORY_PART, part)] = &world.take(dom0)[..] else { panic!("one part") };
        assert!(part.len() <= xs::XENSTORE_PAYLOAD_MAX);
        let end = part.iter().position(|&byte| byte == 0).unwrap();
        generations.push(part[..end].to_vec());
        list.extend_from_slice(&part[end + 1..]);
        if list.ends_with(b"\0\0") {
            break;
        }
    }
    let text = String::from_utf8(list).unwrap();
    assert_eq!(text.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), names);
    assert!(generations.len() > 1 && generations.iter().all(|one| *one == generations[0]));

    world.write(dom0, 0, "/list/another", "").unwrap();
    let part = world.ask(dom0, xs::XS_DIRECTORY_PART, 0, &["/list", "0"]).unwrap();
    assert_ne!(part.split('\0').next().unwrap().as_bytes(), generations[0]);
    // An empty list, and an offset beyond it.
    assert_eq!(
        world.ask(dom0, xs::XS_DIRECTORY_PART, 0, &["/list/another", "9"]).unwrap().matches('\0').count(),
        1
    );
}

#[test]
fn an_answer_too_long_is_refused() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let path = format!("/{}", "a".repeat(60));
    let value = "v".repeat(xs::XENSTORE_PAYLOAD_MAX - path.len() - 1);
    world.write(dom0, 0, &path, &value).unwrap();
    assert_eq!(world.read(dom0, 0, &path), Ok(value));
    let perms: Vec<String> = (0..1000).map(|domid| format!("r{}", domid % 9)).collect();
    let perms: Vec<&str> = perms.iter().map(String::as_str).collect();
    world.perms("/tool", &perms);
    assert!(world.ask(dom0, xs::XS_GET_PERMS, 0, &["/tool"]).is_ok());
}

#[test]
fn control_is_for_the_privileged() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    assert_eq!(world.ask(one, xs::XS_CONTROL, 0, &["help"]), refused("EACCES"));
    assert!(world.ok(dom0, xs::XS_CONTROL, 0, &["help"]).contains("quota"));
    world.ok(dom0, xs::XS_CONTROL, 0, &["check"]);
    world.ok(dom0, xs::XS_CONTROL, 0, &["quota", "set", "nodes", "17"]);
    assert!(world.ok(dom0, xs::XS_CONTROL, 0, &["quota"]).contains("nodes            :       17 "));
    assert!(world.ok(dom0, xs::XS_CONTROL, 0, &["quota", "1"]).contains("nodes            :        1\n"));
    assert_eq!(world.ask(dom0, xs::XS_CONTROL, 0, &["quota", "9"]), refused("ENOENT"));
    world.ok(dom0, xs::XS_CONTROL, 0, &["log", "on"]);
    world.ok(dom0, xs::XS_CONTROL, 0, &["print", "hello"]);
    let asked = [Effect::Log { on: true }, Effect::Print { text: "hello".into() }];
    assert_eq!(world.store.take_effects(), asked);
}

#[test]
fn messages_are_traced_while_that_is_wanted() {
    let mut world = World::new();
    let dom0 = world.dom0;
    world.store.trace(true);
    world.read(dom0, 0, "/none").unwrap_err();
    let type_ = xs::XS_ERROR;
    let lines = [format!("IN {dom0} 2 0 (/none\\x00)"), format!("OUT {dom0} {type_} 0 (ENOENT\\x00)")];
    assert_eq!(world.store.take_trace(), lines);
    world.store.trace(false);
    world.read(dom0, 0, "/none").unwrap_err();
    assert!(world.store.take_trace().is_empty());
}
