//! `hypfs_op` (public header hypfs.h): what the hypervisor is and runs with, as a tree of entries (`xenhypfs`).
//!
//! Names are those of the Xen document *Xenhypfs - a hypervisor filesystem*. Nothing in it is for writing.

use super::version;
use crate::guest;
use crate::host::HostInfo;
use crate::machine::{GuestFault, Machine};
use crate::refuse;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::hypfs::*;
use arrayvec::ArrayVec;

/// What an entry is.
enum Node {
    Dir(&'static [Entry]),
    Text(&'static str),
    Uint(u32),
    /// A number of this machine's, shown as text.
    Number(fn(&HostInfo) -> u32),
}

struct Entry {
    name: &'static str,
    node: Node,
}

const fn entry(name: &'static str, node: Node) -> Entry {
    Entry { name, node }
}

/// In the order of their names, as lists of them are.
static ROOT: Node = Node::Dir(&[
    entry(
        "buildinfo",
        Node::Dir(&[
            entry("changeset", Node::Text(version::CHANGESET)),
            entry(
                "compileinfo",
                Node::Dir(&[
                    entry("compile_by", Node::Text(version::COMPILE_BY)),
                    entry("compile_date", Node::Text(version::COMPILE_DATE)),
                    entry("compile_domain", Node::Text(version::COMPILE_BY)),
                    entry("compiler", Node::Text(version::COMPILER)),
                ]),
            ),
            entry(
                "version",
                Node::Dir(&[
                    entry("extra", Node::Text(version::EXTRA_VERSION)),
                    entry("major", Node::Uint(version::MAJOR)),
                    entry("minor", Node::Uint(version::MINOR)),
                ]),
            ),
        ]),
    ),
    entry(
        "params",
        Node::Dir(&[
            entry("gnttab_max_frames", Node::Number(|host| host.grants.frames)),
            entry("gnttab_max_maptrack_frames", Node::Number(|host| host.grants.maptrack_frames)),
        ]),
    ),
]);

/// Bytes before a name in a list: its entry, and how far it is to the next one.
const NAME_OFFSET: usize = size_of::<HypfsDirentry>() + 2;
/// Bytes of a name in a list, its zero included; names here are shorter.
const NAME_ROOM: usize = 40;

/// Bytes of a name with its zero, rounded up to what lists give it.
fn name_room(name: &str) -> usize {
    (name.len() + 1).next_multiple_of(4)
}

/// A number's decimal digits.
fn digits(mut n: u32) -> ArrayVec<u8, 10> {
    let mut all = ArrayVec::new();
    loop {
        all.insert(0, b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            return all;
        }
    }
}

impl Node {
    /// The entry's head.
    fn head(&self, host: &HostInfo) -> HypfsDirentry {
        let (type_, len) = match self {
            Node::Dir(list) => {
                (XEN_HYPFS_TYPE_DIR, list.iter().map(|e| NAME_OFFSET + name_room(e.name)).sum())
            }
            Node::Text(text) => (XEN_HYPFS_TYPE_STRING, text.len() + 1),
            Node::Number(of) => (XEN_HYPFS_TYPE_STRING, digits(of(host)).len() + 1),
            Node::Uint(_) => (XEN_HYPFS_TYPE_UINT, size_of::<u32>()),
        };
        HypfsDirentry {
            type_,
            encoding: XEN_HYPFS_ENC_PLAIN,
            pad: 0,
            content_len: len as u32,
            max_write_len: 0,
        }
    }

    /// Writes the contents to `at`.
    fn write<M: Machine>(&self, m: &M, host: &HostInfo, at: u64) -> Result<(), GuestFault> {
        match self {
            Node::Dir(list) => {
                let mut at = at;
                for (i, e) in list.iter().enumerate() {
                    let step = NAME_OFFSET + name_room(e.name);
                    let next = if i + 1 == list.len() { 0 } else { step as u16 };
                    let mut name = [0; NAME_ROOM];
                    name[..e.name.len()].copy_from_slice(e.name.as_bytes());
                    guest::write(m, at, &e.node.head(host))?;
                    guest::write(m, at + size_of::<HypfsDirentry>() as u64, &next)?;
                    guest::write_bytes(m, at + NAME_OFFSET as u64, &name[..name_room(e.name)])?;
                    at += step as u64;
                }
            }
            Node::Text(text) => {
                guest::write_bytes(m, at, text.as_bytes())?;
                guest::write(m, at + text.len() as u64, &0u8)?;
            }
            Node::Number(of) => {
                let mut text: ArrayVec<u8, 11> = digits(of(host)).into_iter().collect();
                text.push(0);
                guest::write_bytes(m, at, &text)?;
            }
            Node::Uint(n) => guest::write(m, at, n)?,
        }
        Ok(())
    }
}

/// The entry of a path without its zero. ENOENT.
fn find(path: &str) -> Result<&'static Node, Errno> {
    let mut node = &ROOT;
    let mut rest = path.strip_prefix('/').ok_or(Errno::EINVAL)?;
    while !rest.is_empty() {
        let Node::Dir(list) = node else { return Err(Errno::ENOENT) };
        let (name, behind) = rest.split_once('/').unwrap_or((rest, ""));
        node = list.iter().find(|e| e.name == name).map(|e| &e.node).ok_or(Errno::ENOENT)?;
        rest = behind;
    }
    Ok(node)
}

/// `hypfs_op(cmd, path, path's bytes with its zero, buffer, buffer's bytes)`.
///
/// EINVAL: no path, or no room for an entry's head; ENOENT: no such entry; ENOBUFS: no room for what is in it (the head
/// tells how much); EACCES: it is not for writing; EOPNOTSUPP: no such command.
pub fn hypfs_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, args: [u64; 4]) -> HcResult {
    cx.must_be_privileged()?;
    let (xen, [path, path_len, buffer, size]) = (cx.xen, args);
    let m = &xen.m;
    if cmd == XEN_HYPFS_OP_GET_VERSION {
        return if args == [0; 4] { Ok(XEN_HYPFS_VERSION.into()) } else { Err(Errno::EINVAL.into()) };
    }
    let mut bytes = [0; XEN_HYPFS_MAX_PATHLEN];
    let bytes = usize::try_from(path_len).ok().and_then(|n| bytes.get_mut(..n)).ok_or(Errno::EINVAL)?;
    guest::read_bytes(m, path, bytes)?;
    let [text @ .., 0] = &*bytes else { return Err(Errno::EINVAL.into()) };
    if text.contains(&0) {
        return Err(Errno::EINVAL.into());
    }
    let text = str::from_utf8(text).map_err(|_| Errno::ENOENT)?;
    let node = find(text)?;
    match cmd {
        XEN_HYPFS_OP_READ => {
            let head = node.head(&xen.host);
            if size < size_of::<HypfsDirentry>() as u64 {
                return Err(Errno::EINVAL.into());
            }
            guest::write(m, buffer, &head)?;
            let need = size_of::<HypfsDirentry>() as u64 + u64::from(head.content_len);
            if size < need {
                return Err(refuse!(xen, Errno::ENOBUFS, "{} bytes are needed", need).into());
            }
            node.write(m, &xen.host, guest::element::<HypfsDirentry>(buffer, 1)?)?;
            Ok(0)
        }
        XEN_HYPFS_OP_WRITE_CONTENTS => Err(refuse!(xen, Errno::EACCES, "it is not for writing").into()),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

#[cfg(test)]
#[path = "hypfs_tests.rs"]
mod tests;
