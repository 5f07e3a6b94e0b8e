//! Kernel and initrd in one module, for loaders that can pass only one (QEMU by the PVH note): a cpio archive
//! in the "newc" form, whose first file is the kernel and whose second, if any, is the initrd.

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const FILE_TYPE: usize = 0o170_000;
const REGULAR: usize = 0o100_000;

/// The two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    pub kernel: &'a [u8],
    pub initrd: Option<&'a [u8]>,
}

/// Whether `module` is such an archive rather than a kernel.
pub fn is_bundle(module: &[u8]) -> bool {
    module.starts_with(MAGIC)
}

/// The files of `module`; `None` if the archive is damaged or has none.
pub fn open(module: &[u8]) -> Option<Bundle<'_>> {
    let mut files = [None, None];
    let (mut found, mut at) = (0, 0usize);
    while found < files.len() {
        let head = module.get(at..at.checked_add(HEADER)?)?;
        if !head.starts_with(MAGIC) {
            return None;
        }
        let (mode, size, name_len) = (field(head, 1)?, field(head, 6)?, field(head, 11)?);
        let name = module.get(at + HEADER..at + HEADER + name_len)?;
        if name.starts_with(b"TRAILER!!!\0") {
            break;
        }
        let start = (at + HEADER + name_len).next_multiple_of(4);
        let content = module.get(start..start + size)?;
        if mode & FILE_TYPE == REGULAR {
            files[found] = Some(content);
            found += 1;
        }
        at = (start + size).next_multiple_of(4);
    }
    Some(Bundle { kernel: files[0]?, initrd: files[1] })
}

/// Field `i` of a header: eight hexadecimal digits.
fn field(head: &[u8], i: usize) -> Option<usize> {
    let digits = core::str::from_utf8(&head[6 + 8 * i..14 + 8 * i]).ok()?;
    u32::from_str_radix(digits, 16).ok().map(|n| n as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;
    use std::vec::Vec;

    fn add(to: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
        let (size, name_len) = (content.len(), name.len() + 1);
        to.extend_from_slice(MAGIC);
        for f in [1, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name_len, 0] {
            to.extend_from_slice(format!("{f:08x}").as_bytes());
        }
        to.extend_from_slice(name.as_bytes());
        to.push(0);
        to.resize(to.len().next_multiple_of(4), 0);
        to.extend_from_slice(content);
        to.resize(to.len().next_multiple_of(4), 0);
    }

    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut a = Vec::new();
        files.iter().for_each(|f| add(&mut a, f.0, f.1, f.2));
        add(&mut a, "TRAILER!!!", 0, &[]);
        a
    }

    #[test]
    fn the_first_two_files_count() {
        let a =
            archive(&[("boot", 0o040_755, b""), ("boot/k", 0o100_644, b"HdrS."), ("i", 0o100_600, b"rd")]);
        assert!(is_bundle(&a) && !is_bundle(b"MZ"));
        assert_eq!(open(&a), Some(Bundle { kernel: b"HdrS.", initrd: Some(b"rd") }));
        let a = archive(&[("k", 0o100_644, b"k")]);
        assert_eq!(open(&a), Some(Bundle { kernel: b"k", initrd: None }));
    }

    #[test]
    fn damage_is_refused() {
        let good = archive(&[("k", 0o100_644, b"kernel"), ("i", 0o100_600, b"rd")]);
        assert_eq!(open(&archive(&[])), None);
        assert_eq!(open(&good[..120]), None);
        for at in 0..good.len() {
            for byte in [b'f', 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = open(&bad);
            }
        }
    }
}
