//! `tree`: hypfs_op, what the hypervisor is and runs with as a tree of entries.

use abi::hypfs::*;
use abi::xen::HYPERVISOR_HYPFS_OP;

use crate::hypercall::raw;
use crate::say;

pub fn run() {
    let mut buffer = [0u8; 2048];
    for (name, path) in [
        ("root", "/\0"),
        ("buildinfo", "/buildinfo\0"),
        ("version", "/buildinfo/version\0"),
        ("compileinfo", "/buildinfo/compileinfo\0"),
        ("params", "/params\0"),
        ("cpupool", "/cpupool\0"),
        ("slash-end", "/buildinfo/version/\0"),
    ] {
        let (answer, [kind, encoding, ..], length) = read(path, &mut buffer, 2048);
        say!(format_args!("tree.{name}"), "{answer} type={kind} encoding={encoding} length={length}");
        let mut at = size_of::<HypfsDirentry>();
        // What else there is to tell differs.
        while answer == 0 && !["root", "buildinfo", "params", "cpupool"].contains(&name) {
            let next = usize::from(u16::from_le_bytes([buffer[at + 12], buffer[at + 13]]));
            let text = buffer[at + 14..].split(|b| *b == 0).next().unwrap_or_default();
            let text = str::from_utf8(text).unwrap_or("?");
            say!(format_args!("tree.{name}-{text}"), "type={} next={next}", buffer[at]);
            if next == 0 {
                break;
            }
            at += next;
        }
    }
    for (name, path) in [
        ("major", "/buildinfo/version/major\0"),
        ("minor", "/buildinfo/version/minor\0"),
        ("extra", "/buildinfo/version/extra\0"),
        ("frames", "/params/gnttab_max_frames\0"),
        ("maptrack", "/params/gnttab_max_maptrack_frames\0"),
    ] {
        let (answer, head, length) = read(path, &mut buffer, 64);
        say!(format_args!("tree.{name}"), "{answer} type={} length={length} {:x?}", head[0], &buffer[12..18]);
    }
    for (name, path, room) in [
        ("no-room", "/buildinfo/version\0", 0),
        ("half-a-head", "/buildinfo/version\0", 11),
        ("head-alone", "/buildinfo/version\0", 12),
        ("short", "/buildinfo/version/extra\0", 14),
        ("double-slash", "//buildinfo\0", 64),
        ("slash-slash", "/buildinfo//version\0", 64),
        ("through-a-value", "/buildinfo/version/major/x\0", 64),
        ("beginning", "/build\0", 64),
        ("longer", "/buildinfos\0", 64),
        ("empty", "\0", 64),
        ("no-zero", "/", 64),
        ("two-zeros", "/\0/\0", 64),
        ("unterminated", "/x", 64),
        ("relative", "buildinfo\0", 64),
        ("absent", "/nothing\0", 64),
    ] {
        let (answer, head, length) = read(path, &mut buffer, room);
        let length = if room == 14 { 0 } else { length };
        say!(format_args!("tree.read-{name}"), "{answer} {:#x} {length:#x} {:#x}", head[0], buffer[12]);
    }
    let at = buffer.as_mut_ptr() as u64;
    let major = "/buildinfo/version/major\0";
    let (path, length) = (major.as_ptr() as u64, major.len() as u64);
    for (name, args) in [
        ("get-version", [0; 5]),
        ("get-version-args", [0, 1, 0, 0, 0]),
        ("get-version-last", [0, 0, 0, 0, 1]),
        ("path-none", [1, path, 0, at, 64]),
        ("path-long", [1, path, 1025, at, 64]),
        ("path-nowhere", [1, 0x1000_0000_0000, 9, at, 64]),
        ("buffer-nowhere", [1, path, length, 0x1000_0000_0000, 64]),
        ("write", [2, path, length, at, 4]),
        ("write-nothing", [2, path, length, at, 0]),
        ("write-directory", [2, "/buildinfo\0".as_ptr() as u64, 11, at, 4]),
        ("write-absent", [2, "/nothing\0".as_ptr() as u64, 9, at, 4]),
        ("unknown", [3, path, length, at, 4]),
    ] {
        let [a, b, c, d, e] = args;
        say!(format_args!("tree.{name}"), "{}", raw(HYPERVISOR_HYPFS_OP.into(), [a, b, c, d, e, 0]));
    }
}

/// The answer, the entry's first four bytes, and how long it is said to be.
fn read(path: &str, buffer: &mut [u8], room: usize) -> (i64, [u8; 4], u32) {
    buffer[..64].fill(0x55);
    let args = [1, path.as_ptr() as u64, path.len() as u64, buffer.as_mut_ptr() as u64, room as u64, 0];
    let answer = raw(HYPERVISOR_HYPFS_OP.into(), args);
    let word = |at: usize| [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]];
    (answer, word(0), u32::from_le_bytes(word(4)))
}
