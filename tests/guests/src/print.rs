//! Lines for the log: formatted into a buffer, written at once.

use core::fmt::{self, Write};

use crate::console;

struct Line {
    bytes: [u8; 2048],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let n = s.len().min(room.len());
        room[..n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// Writes exactly this.
pub fn say_raw(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 2048], len: 0 };
    let _ = line.write_fmt(text);
    console::write(&line.bytes[..line.len]);
}

/// `say!("group.check", "format", …)`: the answer to a check.
#[macro_export]
macro_rules! say {
    ($check:expr, $($answer:tt)*) => {
        $crate::print::say_raw(format_args!("TG {}: {}\n", $check, format_args!($($answer)*)))
    };
}

/// A relation that must hold, for what is not the same on every machine.
pub fn ok(holds: bool) -> &'static str {
    if holds { "ok" } else { "BAD" }
}
