//! A dump, read as the format's document says.

use super::*;
use crate::save::tests::Bench;

fn word(file: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(*file[at as usize..].first_chunk().unwrap())
}

/// Offset and bytes of a section.
fn section<'f>(file: &'f [u8], name: &str) -> &'f [u8] {
    let half = |at: u64| word(file, at) as u16;
    let (table, count, strings) = (word(file, 40), half(60), half(62));
    let of = |n: u16| {
        let at = table + u64::from(n) * 64;
        let (offset, size) = (word(file, at + 24) as usize, word(file, at + 32) as usize);
        (word(file, at) as u32 as usize, &file[offset..offset + size])
    };
    let strings = of(strings).1;
    let called = |at: usize| strings[at..].split(|byte| *byte == 0).next().unwrap() == name.as_bytes();
    (0..count).map(of).find(|(at, _)| called(*at)).unwrap().1
}

#[test]
fn a_dump_is_as_documented() {
    let bench = Bench::new("dump");
    let mut file = Vec::new();
    core(&bench.xen, bench.guest, &mut file, &mut |_, _| ()).unwrap();
    assert_eq!(file[..20], *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0");
    let pages = section(&file, ".xen_pages");
    assert_eq!(pages.len(), 2048 * 4096);
    assert_eq!((pages.as_ptr() as usize - file.as_ptr() as usize) % 4096, 0);
    let context = bench.xen.vcpu_context(bench.guest, 0).unwrap();
    assert_eq!(section(&file, ".xen_prstatus"), context.as_bytes());
    assert_eq!(section(&file, ".xen_shared_info").len(), 4096);
    // Each page is where the list has it, with the guest's frame: the root of its tables is among them.
    let list = section(&file, ".xen_p2m");
    let frames: Vec<u64> = (0..2048).map(|n| word(list, n * 16 + 8)).collect();
    let root = frames.iter().position(|frame| *frame == context.ctrlreg[3] >> 12).unwrap();
    let table = view::contents(&bench.xen, bench.guest, &frames[root..=root]).unwrap();
    assert_eq!(&pages[root * 4096..][..4096], table);
    assert_eq!(word(list, root as u64 * 16), root as u64);

    let notes = section(&file, ".note.Xen");
    let (mut at, mut seen) = (0, Vec::new());
    while at < notes.len() {
        let half = |at: usize| u32::from_le_bytes(*notes[at..].first_chunk().unwrap());
        let (size, kind) = (half(at + 4), half(at + 8));
        assert_eq!((half(at), &notes[at + 12..at + 16]), (4, &b"Xen\0"[..]));
        seen.push((kind & 0xff, size));
        if kind == XEN_ELFNOTE_DUMPCORE_HEADER {
            let body = [0xf00f_ebed, 1, 2048, 4096];
            assert_eq!(body.map(u64::to_le_bytes).concat(), notes[at + 16..][..32]);
        }
        if kind == XEN_ELFNOTE_DUMPCORE_XEN_VERSION {
            assert_eq!((word(notes, at as u64 + 16), word(notes, at as u64 + 24)), (4, 17));
        }
        at += 16 + size as usize;
    }
    assert_eq!(seen, [(0, 0), (1, 32), (2, 1280), (3, 8)]);
}
