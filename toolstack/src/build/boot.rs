//! [`Boot`]: kernel, initrd and command line of a guest, and where they will lie in its memory.

use std::fs;

use abi::Errno;
use abi::xen::MAX_GUEST_CMDLINE;
use hypercore::dom0::contents::OFFERED;
use hypercore::dom0::layout::{Plan, Request};
use xenctl::{Error, Result};

use super::memory::target_pages;
use crate::config::model::BuildInfo;
use crate::image::cache::Cache;
use crate::image::{Image, NoKernel};

/// What a guest starts from.
pub struct Boot {
    pub(super) image: Image,
    pub(super) initrd: Vec<u8>,
    pub(super) cmdline: String,
    pub(super) plan: Plan,
}

impl Boot {
    /// Reads the files that `info` names, unpacks the kernel or finds it in `cache`, and lays all of it out.
    ///
    /// # Errors
    /// A file that cannot be read or is no kernel of a PV guest; a guest that is too small for them.
    pub fn read(info: &BuildInfo, cache: &Cache) -> Result<Self> {
        let refused = |doing: &str, why: &str| Error::new(doing, Errno::EINVAL).because(why);
        let Some(kernel) = &info.kernel else {
            return Err(refused("looking for a kernel", "the configuration names none"));
        };
        let cmdline = info.cmdline.clone().unwrap_or_default();
        if cmdline.len() >= MAX_GUEST_CMDLINE {
            let why = format!("it has {} bytes, {} fit", cmdline.len(), MAX_GUEST_CMDLINE - 1);
            return Err(refused("reading the kernel's command line", &why));
        }
        // The two files are large, and one of them wants unpacking.
        let (image, initrd) = std::thread::scope(|scope| {
            let initrd = scope
                .spawn(|| info.ramdisk.as_deref().map_or(Ok(Vec::new()), |path| file("the ramdisk", path)));
            let image = file("the kernel", kernel).and_then(|bytes| unpacked(kernel, &bytes, cache));
            (image, initrd.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (image, initrd) = (image?, initrd?);
        let request = Request {
            nr_pages: target_pages(info),
            initrd_len: (!initrd.is_empty()).then_some(initrd.len() as u64),
            rings: true,
        };
        let plan = image
            .parse(OFFERED)
            .and_then(|(elf, notes)| Ok(Plan::new(&elf, &notes, request)?))
            .map_err(|e| no_kernel(kernel, &e))?;
        Ok(Self { image, initrd, cmdline, plan })
    }
}

fn file(what: &str, path: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::os(format!("reading {what} {path}"), &e))
}

fn unpacked(path: &str, bytes: &[u8], cache: &Cache) -> Result<Image> {
    Ok(cache.image(bytes).map_err(|e| no_kernel(path, &e))?.0)
}

fn no_kernel(path: &str, error: &NoKernel) -> Error {
    Error::new(format!("preparing the kernel {path}"), Errno::ENOEXEC).because(error.to_string())
}
