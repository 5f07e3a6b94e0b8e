//! Clients that do what they should not: only their own connection feels it.

use proptest::prelude::*;

use super::*;

#[test]
fn a_payload_too_long_ends_the_connection_and_answers_what_came_before() {
    let mut world = World::new();
    let one = world.guest(1);
    world.ok(one, xs::XS_WATCH, 0, &["a", "t"]);
    let mut bytes = wire::encode(xs::XS_READ, 1, 0, &[b"none\0"]);
    bytes.extend(wire::encode(xs::XS_READ, 1, 0, &[]));
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(&5000u32.to_le_bytes());
    world.store.input(one, &bytes);
    world.store.input(one, &wire::encode(xs::XS_READ, 1, 0, &[b"none\0"]));
    assert_eq!(world.answer(one), refused("ENOENT"));
    assert_eq!(world.store.take_effects(), [Effect::End { conn: one }]);
    world.write(world.dom0, 0, "/local/domain/1/a", "").unwrap();
    assert!(world.take(one).is_empty());
    world.check();
}

#[test]
fn who_does_not_read_is_not_answered_without_end() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let one = world.guest(1);
    world.write(one, 0, "big", &"v".repeat(2000)).unwrap();
    let request = wire::encode(xs::XS_READ, 1, 0, &[b"big\0"]);
    let mut asked = 0;
    while world.store.connection(one).unwrap().may_ask() {
        world.store.input(one, &request);
        asked += 1;
    }
    assert!(asked < 40, "{asked}");
    // Its next request waits; dom0's do not.
    world.store.input(one, &request);
    assert!(world.read(dom0, 0, "/tool").is_ok());
    assert_eq!(world.take(one).len(), asked);
    assert_eq!(world.take(one).len(), 1, "it went on when there was room");
}

#[test]
fn requests_may_come_in_any_pieces() {
    let mut world = World::new();
    let dom0 = world.dom0;
    let mut bytes = wire::encode(xs::XS_WRITE, 1, 0, &[b"/a\0value"]);
    bytes.extend(wire::encode(xs::XS_READ, 2, 0, &[b"/a\0"]));
    for step in 1..bytes.len() {
        bytes.chunks(step).for_each(|piece| world.store.input(dom0, piece));
        let answers = world.take(dom0);
        assert_eq!(answers[1], (xs::XS_READ, b"value".to_vec()), "{step}");
    }
}

/// Bytes that are mostly messages, mostly of sensible strings.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "/",
        "a",
        "a/b",
        "/local/domain/1",
        "/local/domain/2/x",
        "@releaseDomain",
        "@introduceDomain",
        "T",
        "F",
        "n1",
        "b2",
        "r0",
        "0",
        "1",
        "2",
        "9999999999",
        "-1",
        "help",
        "quota",
        "set",
        "nodes",
        "check",
        "//",
        "",
        "\u{e4}",
    ]);
    let payload = prop_oneof![
        8 => prop::collection::vec(names, 0..4).prop_map(|names| (names.join("\0") + "\0").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ];
    let whole =
        (0u32..25, 0u32..4, payload).prop_map(|(type_, tx, payload)| wire::encode(type_, 9, tx, &[&payload]));
    prop_oneof![40 => whole, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever two guests and dom0 send, the store stays sound, whole messages come out, and who
    /// sends sense is answered.
    #[test]
    fn no_bytes_harm_the_store(input in prop::collection::vec((0usize..3, message(), any::<bool>()), 0..120)) {
        let mut world = World::with(Quotas { nodes: 8, watches: 4, events: 4, ..Quotas::default() });
        let conns = [world.guest(1), world.guest(2), world.store.connect(Peer::Socket)];
        for (who, bytes, reads) in input {
            world.store.input(conns[who], &bytes);
            for asked in world.introductions() {
                world.store.introduced(&asked, Ok(()));
            }
            if reads && world.store.connection(conns[who]).is_some() {
                world.take(conns[who]);
            }
        }
        world.check();
        assert!(world.read(world.dom0, 0, "/tool").is_ok());
        for conn in conns {
            world.store.disconnect(conn);
        }
    }
}
