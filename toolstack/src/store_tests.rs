//! The client against a scripted other end of a socket.

use super::*;
use std::thread::{self, JoinHandle};
use zerocopy::{FromZeros, IntoBytes};

/// What is expected: type, transaction, payload; and what is answered: type, payload.
type Step = ((u32, u32, &'static [u8]), (u32, Vec<u8>));

/// A client, and the thread that answers it.
fn scripted(steps: Vec<Step>) -> (Client, JoinHandle<()>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let answering = thread::spawn(move || {
        for ((kind, transaction, payload), (answer, bytes)) in steps {
            let mut head = XsdSockmsg::new_zeroed();
            theirs.read_exact(head.as_mut_bytes()).unwrap();
            let mut got = vec![0; head.len as usize];
            theirs.read_exact(&mut got).unwrap();
            let got = (head.type_, head.tx_id, String::from_utf8_lossy(&got).into_owned());
            assert_eq!(got, (kind, transaction, String::from_utf8_lossy(payload).into_owned()));
            let event = XsdSockmsg { type_: XS_WATCH_EVENT, len: 4, ..Default::default() };
            let event = [event.as_bytes(), b"a\0b\0"].concat();
            let head = XsdSockmsg { type_: answer, len: bytes.len() as u32, ..head };
            let answer = [&event, head.as_bytes(), &bytes, &event].concat();
            // Who has what it wanted may be gone.
            let _ = theirs.write_all(&answer);
        }
    });
    (Client::over(ours), answering)
}

#[test]
fn nodes_are_read_written_and_removed() {
    let (mut client, answering) = scripted(vec![
        ((XS_READ, 0, b"/a\0"), (XS_READ, b"value".into())),
        ((XS_READ, 0, b"/b\0"), (XS_ERROR, b"ENOENT\0".into())),
        ((XS_READ, 0, b"/c\0"), (XS_ERROR, b"EACCES\0".into())),
        ((XS_WRITE, 0, b"/a\0new"), (XS_WRITE, b"OK\0".into())),
        ((XS_RM, 0, b"/a\0"), (XS_RM, b"OK\0".into())),
        ((XS_RM, 0, b"/a\0"), (XS_ERROR, b"ENOENT\0".into())),
    ]);
    assert_eq!(client.text("/a").unwrap().as_deref(), Some("value"));
    assert_eq!(client.read("/b").unwrap(), None);
    let e = client.read("/c").unwrap_err();
    assert_eq!(e.to_string(), "reading /c of the store: Permission denied");
    client.write("/a", b"new").unwrap();
    assert!(client.remove("/a").unwrap());
    assert!(!client.remove("/a").unwrap());
    answering.join().unwrap();
    assert_eq!(client.write("/a", &[0; 5000]).unwrap_err().errno, Errno::E2BIG);
}

#[test]
fn long_lists_come_in_parts_from_the_beginning_if_they_change() {
    let part = |bytes: &[u8]| (XS_DIRECTORY_PART, bytes.to_vec());
    let (mut client, answering) = scripted(vec![
        ((XS_DIRECTORY, 0, b"/s\0"), (XS_DIRECTORY, b"one\0two\0".into())),
        ((XS_DIRECTORY, 0, b"/a\0"), (XS_ERROR, b"E2BIG\0".into())),
        ((XS_DIRECTORY_PART, 0, b"/a\x000\0"), part(b"7\0x\0y")),
        ((XS_DIRECTORY_PART, 0, b"/a\x003\0"), part(b"8\0y\0\0")),
        ((XS_DIRECTORY_PART, 0, b"/a\x000\0"), part(b"8\0z\0y")),
        ((XS_DIRECTORY_PART, 0, b"/a\x003\0"), part(b"8\0y\0\0")),
        ((XS_DIRECTORY, 0, b"/n\0"), (XS_ERROR, b"ENOENT\0".into())),
    ]);
    assert_eq!(client.list("/s").unwrap().unwrap(), ["one", "two"]);
    assert_eq!(client.list("/a").unwrap().unwrap(), ["z", "yy"]);
    assert_eq!(client.list("/n").unwrap(), None);
    answering.join().unwrap();
}

#[test]
fn a_transaction_is_tried_again_after_a_conflict() {
    let start =
        |id: &'static [u8]| ((XS_TRANSACTION_START, 0, &b"\0"[..]), (XS_TRANSACTION_START, id.into()));
    let (mut client, answering) = scripted(vec![
        start(b"5\0"),
        ((XS_READ, 5, b"/a\0"), (XS_READ, b"1".into())),
        ((XS_TRANSACTION_END, 5, b"T\0"), (XS_ERROR, b"EAGAIN\0".into())),
        start(b"6\0"),
        ((XS_READ, 6, b"/a\0"), (XS_READ, b"2".into())),
        ((XS_TRANSACTION_END, 6, b"T\0"), (XS_TRANSACTION_END, b"OK\0".into())),
        start(b"7\0"),
        ((XS_READ, 7, b"/a\0"), (XS_ERROR, b"EACCES\0".into())),
        ((XS_TRANSACTION_END, 7, b"F\0"), (XS_TRANSACTION_END, b"OK\0".into())),
        ((XS_READ, 0, b"/a\0"), (XS_READ, b"3".into())),
    ]);
    assert_eq!(client.transaction(|t| t.text("/a")).unwrap().as_deref(), Some("2"));
    assert_eq!(client.transaction(|t| t.text("/a")).unwrap_err().errno, Errno::EACCES);
    assert_eq!(client.text("/a").unwrap().as_deref(), Some("3"));
    answering.join().unwrap();
}

#[test]
fn waiting_ends_with_the_change() {
    let (mut client, answering) = scripted(vec![
        ((XS_READ, 0, b"/a\0"), (XS_READ, b"1".into())),
        ((XS_WATCH, 0, b"/a\0wait\0"), (XS_WATCH, b"OK\0".into())),
        ((XS_READ, 0, b"/a\0"), (XS_READ, b"1".into())),
        // An event follows it.
        ((XS_READ, 0, b"/a\0"), (XS_READ, b"2".into())),
        ((XS_UNWATCH, 0, b"/a\0wait\0"), (XS_UNWATCH, b"OK\0".into())),
    ]);
    let long = Duration::from_secs(100);
    let mut asked = 0;
    let waited = client.wait("/a", long, |value| {
        asked += 1;
        value == Some(b"2")
    });
    assert!(waited.unwrap());
    assert_eq!(asked, 3);
    answering.join().unwrap();
}
