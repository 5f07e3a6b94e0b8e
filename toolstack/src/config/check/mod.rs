//! The whole configuration against itself and against the host, before anything is touched.
//!
//! All errors come at once; each says what is wrong, why it matters and what to do. What the host has
//! is behind [`Files`] and in [`Host`], so that the checks run anywhere.

mod disks;
mod general;
mod nics;
mod others;

pub use disks::absolute;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;

use super::diagnostic::{Diagnostic, Span};
use super::model::{Mac, Uuid};
use super::read::Loaded;

/// What is found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    File,
    Block,
    Directory,
    Other,
    Missing,
    /// It cannot be looked at.
    Denied,
}

/// A look at the host's files.
pub trait Files {
    fn find(&self, path: &str) -> Found;
}

/// The host's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn find(&self, path: &str) -> Found {
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() => Found::File,
            Ok(meta) if meta.is_dir() => Found::Directory,
            Ok(meta) if meta.file_type().is_block_device() => Found::Block,
            Ok(_) => Found::Other,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Found::Denied,
            Err(_) => Found::Missing,
        }
    }
}

/// Another guest that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    pub domid: u32,
    pub name: String,
    pub uuid: Uuid,
    pub macs: Vec<Mac>,
    /// Files and devices of the host that it may write.
    pub writes: Vec<String>,
}

/// The host a guest is to be created on. `None` is what nobody has looked at.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    pub files: &'a dyn Files,
    pub neighbours: &'a [Neighbour],
    pub bridges: Option<&'a [String]>,
    pub pools: Option<&'a [String]>,
    pub cpus: u32,
    /// Memory that is free or that dom0 may give up.
    pub free_kib: Option<u64>,
    /// Folders where boot loaders and hook scripts are.
    pub bootloaders: &'a [&'a str],
    pub scripts: &'a str,
}

/// A configuration being checked.
struct Check<'a> {
    loaded: &'a Loaded,
    host: Host<'a>,
    said: Vec<Diagnostic>,
}

/// Everything wrong with what a file describes; what [`super::load`] has said of it is not repeated.
pub fn check(loaded: &Loaded, host: Host<'_>) -> Vec<Diagnostic> {
    let mut check = Check { loaded, host, said: Vec::new() };
    general::identity(&mut check);
    general::memory(&mut check);
    general::cpus(&mut check);
    general::boot(&mut check);
    general::ends(&mut check);
    disks::disks(&mut check);
    nics::nics(&mut check);
    others::pci(&mut check);
    others::usb(&mut check);
    others::displays(&mut check);
    others::channels(&mut check);
    others::backends(&mut check);
    others::grants(&mut check);
    check.said.sort_by_key(|one| (one.at.is_none(), one.at));
    check.said
}

impl Check<'_> {
    fn error(&mut self, at: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.said.push(Diagnostic::error(at, message).help(help));
    }

    fn warning(&mut self, at: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.said.push(Diagnostic::warning(at, message).help(help));
    }

    /// Where the value of an option stands.
    fn at(&self, key: &str) -> Option<Span> {
        self.loaded.settings.get(key).map(|setting| setting.value.at)
    }

    /// Where element `index` of a list stands.
    fn element(&self, key: &str, index: usize) -> Option<Span> {
        let value = &self.loaded.settings.get(key)?.value;
        Some(value.list().and_then(|items| items.get(index)).map_or(value.at, |item| item.at))
    }

    /// Whether every element of a list could be read, so that devices have the numbers of elements.
    fn whole(&self, key: &str, count: usize) -> bool {
        let items = self.loaded.settings.get(key).and_then(|setting| setting.value.list());
        items.map_or(0, <[_]>::len) == count
    }

    /// A file that must be there, or the complaint; `what` as "the kernel".
    fn file(&mut self, at: Option<Span>, what: &str, path: &str) {
        let (message, help) = match self.host.files.find(path) {
            Found::File | Found::Block | Found::Other => return,
            Found::Missing => {
                (format!("{what} is not there: {path}"), "check the path; it is one of this host (dom0)")
            }
            Found::Directory => (format!("{what} is a folder: {path}"), "name the file in it"),
            Found::Denied => (
                format!("{what} cannot be looked at: {path}"),
                "check the permissions of the folders above it",
            ),
        };
        self.error(at, message, help);
    }
}
