//! `hypfs_op` as `xenhypfs` calls it.

use super::*;
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use std::string::String;
use std::vec::Vec;

struct Bed {
    g: Guest,
    s: Scratch,
    path: u64,
    buffer: u64,
}

impl Bed {
    fn new() -> Self {
        let w = World::new(512, 1);
        let g = w.domain(0, 1);
        let mut s = Scratch::new(w.xen);
        let (path, buffer) = (s.room(1024), s.room(512));
        Self { g, s, path, buffer }
    }
    fn raw(&self, cmd: u32, args: [u64; 4]) -> Result<u64, Errno> {
        self.g.call(0, |cx| hypfs_op(cx, cmd, args)).map_err(|stop| match stop {
            Stop::Errno(e) => e,
            Stop::Continue => panic!("goes on"),
        })
    }
    /// With a path that brings its own zero.
    fn call(&self, cmd: u32, path: &str, size: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 64];
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        self.s.set(self.path, &bytes);
        self.s.set(self.buffer, &[0x55u8; 512]);
        self.raw(cmd, [self.path, path.len() as u64, self.buffer, size])
    }
    fn read(&self, path: &str) -> (HypfsDirentry, Vec<u8>) {
        assert_eq!(self.call(XEN_HYPFS_OP_READ, &std::format!("{path}\0"), 512), Ok(0), "{path}");
        let head: HypfsDirentry = self.s.get(self.buffer);
        let all: [u8; 512] = self.s.get(self.buffer);
        let (content, behind) = all[12..].split_at(head.content_len as usize);
        assert!(behind.iter().all(|b| *b == 0x55), "{path}: no further than it says");
        (head, content.to_vec())
    }
    /// Names in a directory, with the types they are said to be of.
    fn list(&self, path: &str) -> Vec<(String, u8)> {
        let (head, bytes) = self.read(path);
        assert_eq!(head.type_, XEN_HYPFS_TYPE_DIR);
        let (mut names, mut at) = (Vec::new(), 0);
        loop {
            let name = bytes[at + 14..].split(|b| *b == 0).next().unwrap();
            names.push((String::from_utf8(name.to_vec()).unwrap(), bytes[at]));
            match u16::from_le_bytes([bytes[at + 12], bytes[at + 13]]) {
                0 => return names,
                next => at += usize::from(next),
            }
        }
    }
}

/// Every entry below `path` is what its directory says.
fn walk(b: &Bed, path: &str) -> usize {
    let names = b.list(path);
    assert!(names.is_sorted());
    let mut found = 0;
    for (name, kind) in names {
        let path = std::format!("{}/{name}", path.trim_end_matches('/'));
        let (head, content) = b.read(&path);
        assert_eq!(head.type_, kind, "{path}");
        found += 1;
        match kind {
            XEN_HYPFS_TYPE_DIR => found += walk(b, &path),
            XEN_HYPFS_TYPE_STRING => assert_eq!(content.last(), Some(&0), "{path}"),
            _ => assert_eq!(content.len(), 4),
        }
    }
    found
}

#[test]
fn the_whole_tree_can_be_walked() {
    let b = Bed::new();
    assert_eq!(walk(&b, "/"), 14);
    assert_eq!(b.read("/buildinfo/version/major").1, [4, 0, 0, 0]);
    assert_eq!(b.read("/buildinfo/version/extra").1, b".0-xenolith\0");
    assert_eq!(b.read("/params/gnttab_max_frames").1, b"64\0");
    assert_eq!(b.read("/buildinfo/version").0.content_len, 66, "as Xen lays it out");
}

#[test]
fn numbers_are_decimal() {
    for n in [0, 7, 10, 1024, u32::MAX] {
        assert_eq!(&digits(n)[..], std::format!("{n}").as_bytes());
    }
}

#[test]
fn paths_that_lead_nowhere() {
    let b = Bed::new();
    for (path, why) in [
        ("", Errno::EINVAL),
        ("\0", Errno::EINVAL),
        ("/", Errno::EINVAL),
        ("/\0/\0", Errno::EINVAL),
        ("buildinfo\0", Errno::EINVAL),
        ("/nothing\0", Errno::ENOENT),
        ("/build\0", Errno::ENOENT),
        ("//buildinfo\0", Errno::ENOENT),
        ("/buildinfo//version\0", Errno::ENOENT),
        ("/buildinfo/changeset/x\0", Errno::ENOENT),
    ] {
        assert_eq!(b.call(XEN_HYPFS_OP_READ, path, 512), Err(why), "{path:?}");
    }
    assert_eq!(b.call(XEN_HYPFS_OP_READ, "/buildinfo/\0", 512), Ok(0));
    assert_eq!(b.raw(XEN_HYPFS_OP_READ, [b.path, 1025, b.buffer, 512]), Err(Errno::EINVAL));
    assert_eq!(b.raw(XEN_HYPFS_OP_READ, [0, 9, b.buffer, 512]), Err(Errno::EFAULT));
}

#[test]
fn room_and_rights() {
    let b = Bed::new();
    assert_eq!(b.raw(XEN_HYPFS_OP_GET_VERSION, [0; 4]), Ok(1));
    assert_eq!(b.raw(XEN_HYPFS_OP_GET_VERSION, [0, 0, 0, 1]), Err(Errno::EINVAL));
    let minor = "/buildinfo/version/minor\0";
    assert_eq!(b.call(XEN_HYPFS_OP_READ, minor, 11), Err(Errno::EINVAL));
    assert_eq!(b.s.get::<u8>(b.buffer), 0x55);
    assert_eq!(b.call(XEN_HYPFS_OP_READ, minor, 15), Err(Errno::ENOBUFS));
    assert_eq!(b.s.get::<HypfsDirentry>(b.buffer).content_len, 4);
    assert_eq!(b.s.get::<u8>(b.buffer + 12), 0x55);
    assert_eq!(b.call(XEN_HYPFS_OP_READ, minor, 16), Ok(0));
    assert_eq!(b.call(XEN_HYPFS_OP_WRITE_CONTENTS, minor, 4), Err(Errno::EACCES));
    assert_eq!(b.call(XEN_HYPFS_OP_WRITE_CONTENTS, "/nothing\0", 4), Err(Errno::ENOENT));
    assert_eq!(b.call(3, minor, 4), Err(Errno::EOPNOTSUPP));
    let w = World::new(512, 1);
    let other = w.domain(3, 1);
    let asked = other.call(0, |cx| hypfs_op(cx, XEN_HYPFS_OP_GET_VERSION, [0; 4]));
    assert_eq!(asked, Err(Stop::Errno(Errno::EPERM)));
}
