//! A console's log: a file that does not grow without limit.
//!
//! `NAME.log` is written to; when it is full it becomes `NAME.log.1`, which becomes `NAME.log.2`, and so on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const ESCAPE: u8 = 0x1b;

/// What is kept of a console.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes after which a file is full; 0: never.
    pub size: u64,
    /// Full files that are kept.
    pub old: u32,
}

/// An open log.
pub struct Log {
    path: PathBuf,
    limits: Limits,
    stamped: bool,
    dotted: bool,
    file: File,
    len: u64,
    /// The next byte begins a line.
    fresh: bool,
}

impl Log {
    /// Opens it, to go on at its end. `stamped`: each line begins with the time.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: PathBuf, limits: Limits, stamped: bool) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, limits, stamped, dotted: false, file, len, fresh: true })
    }

    /// Whether escape characters become dots.
    pub fn dotted(self, dotted: bool) -> Self {
        Self { dotted, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it anew: somebody else has moved the file away.
    ///
    /// # Errors
    /// As open(2); it then goes on with the old file.
    pub fn reopen(&mut self) -> io::Result<()> {
        let (fresh, dotted) = (self.fresh, self.dotted);
        *self = Self::open(self.path.clone(), self.limits, self.stamped)?;
        (self.fresh, self.dotted) = (fresh, dotted);
        Ok(())
    }

    /// Bytes in the file: what a later life compares with to see whether its earlier one had written.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Makes room for more before it is written, so that the file that it goes to is known.
    ///
    /// # Errors
    /// As rename(2) and open(2).
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.limits.size == 0 || self.len < self.limits.size {
            return Ok(());
        }
        if self.limits.old == 0 {
            fs::remove_file(&self.path)?;
        }
        for number in (1..=self.limits.old).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.reopen()
    }

    /// Appends in one write, with `now` before each line where it is stamped.
    ///
    /// # Errors
    /// As write(2).
    pub fn write(&mut self, bytes: &[u8], now: &dyn Fn() -> String) -> io::Result<()> {
        let mut text = Vec::with_capacity(bytes.len());
        if self.stamped {
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                if self.fresh {
                    text.extend_from_slice(now().as_bytes());
                }
                text.extend_from_slice(line);
                self.fresh = line.ends_with(b"\n");
            }
        } else {
            text.extend_from_slice(bytes);
        }
        if self.dotted {
            text.iter_mut().filter(|byte| **byte == ESCAPE).for_each(|byte| *byte = b'.');
        }
        self.file.write_all(&text)?;
        self.len += text.len() as u64;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("consoled-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_oldest_goes_and_the_newest_stays() {
        let folder = folder("rotated");
        let path = folder.join("guest-a.log");
        let mut log = Log::open(path.clone(), Limits { size: 10, old: 2 }, false).unwrap();
        for n in 0..8 {
            log.prepare().unwrap();
            log.write(format!("line {n}\n").as_bytes(), &String::new).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("guest-a.log"), "line 6\nline 7\n");
        assert_eq!(read("guest-a.log.1"), "line 4\nline 5\n");
        assert_eq!(read("guest-a.log.2"), "line 2\nline 3\n");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        drop(log);
        // A full one that is opened again is moved before anything is written.
        let mut log = Log::open(path, Limits { size: 10, old: 0 }, false).unwrap();
        log.prepare().unwrap();
        assert_eq!(log.len().unwrap(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_has_one_stamp_however_it_comes() {
        let folder = folder("stamped");
        let path = folder.join("x.log");
        let mut log = Log::open(path.clone(), Limits { size: 0, old: 0 }, true).unwrap();
        for part in ["one\ntw", "o", "\n", "\nfour"] {
            log.write(part.as_bytes(), &|| "[now] ".into()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "[now] one\n[now] two\n[now] \n[now] four");
        fs::rename(&path, folder.join("moved")).unwrap();
        let mut log = log.dotted(true);
        log.reopen().unwrap();
        log.write(b"!\x1b\n", &|| "[now] ".into()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "!.\n", "the line had its stamp in the other file");
        fs::remove_dir_all(folder).unwrap();
    }
}
