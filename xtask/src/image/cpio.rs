//! Writes the "newc" archives Linux unpacks as its initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

const FILE: u32 = 0o100_000;
const DIR: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const CHAR: u32 = 0o020_000;

/// An archive in memory; folders are added before what stands in them.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
    dirs: std::collections::BTreeSet<String>,
}

impl Cpio {
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, FILE | mode, (0, 0), content);
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.entry(path, LINK | 0o777, (0, 0), to.as_bytes());
    }

    pub fn char_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHAR | 0o600, (major, minor), &[]);
    }

    pub fn dir(&mut self, path: &str) {
        if path.is_empty() || !self.dirs.insert(path.to_owned()) {
            return;
        }
        self.parents(path);
        self.entry(path, DIR | 0o755, (0, 0), &[]);
    }

    /// The archive, closed by its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.inode += 1;
        let links = if mode & DIR == DIR { 2 } else { 1 };
        let size = u32::try_from(content.len()).expect("initramfs files are below 4 GiB");
        let name_size = path.len() as u32 + 1;
        // magic, then: inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), name size, check
        self.bytes.extend_from_slice(b"070701");
        for field in [self.inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;

    #[test]
    fn entries_are_aligned_and_parents_come_first() {
        let mut cpio = Cpio::default();
        cpio.file("a/b/c", 0o755, b"hello");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 4, 0);
        let at = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
        assert!(at(b"a\0") < at(b"a/b\0") && at(b"a/b\0") < at(b"a/b/c\0"));
        assert_eq!(at(b"hello") % 4, 0);
        assert_eq!(&bytes[14..22], b"000041ed", "the first entry is a folder, mode 755");
    }
}
