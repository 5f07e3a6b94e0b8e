//! Marking lines: the hypervisor's begin with `(XEN) `, a guest's with `(d<N>) `.

use core::fmt;

/// Writes text through `sink` with a prefix at the start of each line.
pub struct Prefixer<'a> {
    /// Whether the next byte starts a line. Kept by the caller between messages.
    pub at_start: &'a mut bool,
    pub prefix: &'a str,
    pub sink: &'a mut dyn FnMut(&[u8]),
}

impl fmt::Write for Prefixer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            if *self.at_start {
                (self.sink)(self.prefix.as_bytes());
            }
            (self.sink)(line.as_bytes());
            *self.at_start = line.ends_with('\n');
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits without separators.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Collects a guest's console output into lines, so that those of several guests do not mix. Bytes that would
/// disturb the terminal are left out: only printable ASCII and tabs pass.
#[derive(Clone, Debug)]
pub struct LineBuffer {
    bytes: [u8; 256],
    len: usize,
}

impl LineBuffer {
    /// An empty line.
    pub const fn new() -> Self {
        LineBuffer { bytes: [0; 256], len: 0 }
    }

    /// Takes `text`; `emit` gets each complete line (or as much of an over-long one as fits), without its end.
    pub fn push(&mut self, text: &[u8], emit: &mut dyn FnMut(&str)) {
        for &b in text {
            if b == b'\n' || self.len == self.bytes.len() {
                emit(core::str::from_utf8(&self.bytes[..self.len]).unwrap_or(""));
                self.len = 0;
            }
            if matches!(b, b'\t' | b' '..=b'~') {
                self.bytes[self.len] = b;
                self.len += 1;
            }
        }
    }
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use core::fmt::Write;
    use std::string::{String, ToString};
    use std::vec::Vec;

    #[test]
    fn each_line_gets_the_prefix_once() {
        let mut out = Vec::new();
        let mut at_start = true;
        let mut sink = |b: &[u8]| out.extend_from_slice(b);
        for part in ["one", " more\ntwo\n", "three"] {
            let mut p = Prefixer { at_start: &mut at_start, prefix: "(XEN) ", sink: &mut sink };
            p.write_str(part).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "(XEN) one more\n(XEN) two\n(XEN) three");
    }

    #[test]
    fn guests_lines_are_whole_and_harmless() {
        let mut lines = Vec::new();
        let mut b = LineBuffer::new();
        b.push(b"hel", &mut |l| lines.push(l.to_string()));
        b.push(b"lo\x1b[2J\r\nnext", &mut |l| lines.push(l.to_string()));
        assert_eq!(lines, ["hello[2J"]);
        b.push(&[b'x'; 300], &mut |l| lines.push(l.to_string()));
        assert_eq!(lines[1].len(), 256);
    }
}
