//! `xl save`, `dump-core`: guests as files.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

use abi::domctl::DomctlGetdomaininfo;
use toolstack::save::suspend::{self, PATIENCE};
use toolstack::save::{file, write};
use toolstack::store::Client;
use toolstack::watch::Watcher;
use toolstack::{destroy, dump};
use xenctl::{DomId, Error, Result, Xen};

use crate::config;
use crate::list::uuid;
use crate::progress::Bar;
use crate::tools::{Done, Failure, Tools, complain, words};

/// Bytes that are written together.
const TOGETHER: usize = 1 << 20;

#[derive(clap::Args)]
pub struct SaveArgs {
    /// Lets the guest go on afterwards
    #[arg(short = 'c')]
    checkpoint: bool,
    /// Leaves the guest paused afterwards
    #[arg(short = 'p')]
    paused: bool,
    /// A domain, by name or number
    domain: String,
    /// The file that is written
    file: String,
}

pub fn save(tools: &mut Tools, args: &SaveArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    let Some(info) = tools.xen()?.domain(id)? else {
        return words(format!("Error: Domain '{}' does not exist.", args.domain));
    };
    let config = config::now(tools, &info)?.to_string();
    let out = NewFile::create(&args.file)?;
    eprintln!("Saving to {} new xl format (info 0x3/0x0/{})", args.file, config.len() + 5);
    let (xen, store) = tools.both()?;
    let mut watcher = Watcher::open()?;
    // Before it stands still nothing has happened to it.
    suspend::suspend(xen, store, &mut watcher, id, PATIENCE)?;
    let written = out.fill(|out| {
        file::begin(out, &config)?;
        let mut bar = Bar::new("saving");
        write::guest(xen, id, out, &mut |done, all| bar.pages(done, all))?;
        file::end(out)
    });
    if let Err(e) = written {
        complain(&e);
        eprintln!("Failed to save domain, resuming domain");
        suspend::resume(xen, store, id)?;
        return Err(Failure::Said(1));
    }
    after(xen, store, &info, args)
}

/// What becomes of a guest that has been saved.
fn after(xen: &Xen, store: &mut Client, info: &DomctlGetdomaininfo, args: &SaveArgs) -> Done {
    let id = DomId(info.domain);
    if !args.checkpoint && !args.paused {
        return Ok(destroy::destroy(xen, store, id, &uuid(&info.handle), &mut |e| complain(e))?);
    }
    if args.paused {
        xen.pause(id)?;
    }
    Ok(suspend::resume(xen, store, id)?)
}

/// A file that is there once it is whole: until then it has another name, and goes if it never is.
struct NewFile<'n> {
    file: File,
    name: &'n str,
    /// None: what is written to is no file of its own, and cannot come in the place of another.
    new: Option<String>,
}

impl<'n> NewFile<'n> {
    fn create(name: &'n str) -> Result<Self> {
        let special = fs::metadata(name).is_ok_and(|about| !about.is_file());
        let new = (!special).then(|| format!("{name}.new-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(!special).truncate(!special).mode(0o600);
        let opened = options.open(new.as_deref().unwrap_or(name));
        let file = opened.map_err(|e| Error::os(format!("creating {name}"), &e))?;
        Ok(Self { file, name, new })
    }

    /// Writes it, and gives it its name.
    fn fill(mut self, what: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let failed = |e: &std::io::Error| Error::os(format!("writing {}", self.name), e);
        let mut out = BufWriter::with_capacity(TOGETHER, &self.file);
        what(&mut out)?;
        out.flush().map_err(|e| failed(&e))?;
        drop(out);
        if let Some(new) = &self.new {
            fs::rename(new, self.name).map_err(|e| failed(&e))?;
        }
        self.new = None;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(new) = &self.new {
            let _ = fs::remove_file(new);
        }
    }
}

#[derive(clap::Args)]
pub struct DumpArgs {
    /// A domain, by name or number
    domain: String,
    /// The file that is written
    file: String,
}

/// The guest stands still meanwhile.
pub fn dump_core(tools: &mut Tools, args: &DumpArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    let xen = tools.xen()?;
    let failed = |e: Error| {
        complain(&e);
        Failure::Words("core dump failed (rc=-3)".into())
    };
    let out = NewFile::create(&args.file).map_err(failed)?;
    let paused = xen.pause(id);
    let written = out.fill(|out| {
        paused?;
        let mut bar = Bar::new("dumping");
        let written = dump::core(xen, id, out, &mut |done, all| bar.pages(done, all));
        // It was paused once more than before.
        written.and(xen.unpause(id))
    });
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_once_it_is_whole() {
        let name = format!("{}/xl-save-{}", std::env::temp_dir().display(), std::process::id());
        let write = |text: &'static [u8], well: bool| {
            NewFile::create(&name).unwrap().fill(|out| {
                out.write_all(text).unwrap();
                if well { Ok(()) } else { Err(Error::new("writing", abi::Errno::ENOSPC)) }
            })
        };
        write(b"first", true).unwrap();
        write(b"second", false).unwrap_err();
        assert_eq!(fs::read(&name).unwrap(), b"first");
        drop(NewFile::create(&name).unwrap());
        let here = fs::read_dir(std::env::temp_dir()).unwrap();
        let ours = here.filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().starts_with(&name));
        assert_eq!(ours.count(), 1);
        fs::remove_file(&name).unwrap();
        let put = |out: &mut dyn Write| out.write_all(b"x").map_err(|e| Error::os("writing", &e));
        NewFile::create("/dev/full").unwrap().fill(put).unwrap_err();
    }
}
