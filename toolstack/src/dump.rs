//! [`core`]: a guest's memory and registers as a file for debuggers, in the format of `dump-core-format.txt` of Xen's
//! documentation: an ELF core of sections, which `crash` and others read.

use std::io::Write;

use abi::Errno;
use abi::arch_x86::VcpuGuestContext;
use abi::elfnote::*;
use abi::version::*;
use xenctl::{DomId, Error, Result, Xen};
use zerocopy::IntoBytes;

use crate::save::image::{BATCH, PAGE};
use crate::save::view::{self, View};

const HEADER: usize = 64;
const SECTION: usize = 64;
/// Sections: the empty one, and the names' one, at the ends.
const NAMES: [&str; 7] =
    ["", ".note.Xen", ".xen_prstatus", ".xen_shared_info", ".xen_p2m", ".xen_pages", ".shstrtab"];

const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
/// Of a PV guest.
const MAGIC: u64 = 0xf00f_ebed;
/// Major and minor.
const FORMAT: u64 = 1;

/// A section: its kind, the size of an element, its bytes.
#[derive(Clone, Copy)]
struct Section {
    kind: u32,
    element: u64,
    bytes: u64,
}

/// Writes the guest's memory and registers. It must not run meanwhile: who calls this has paused it. `progress` is told
/// how many pages have been written, of how many.
///
/// # Errors
/// A guest that does not say where its pages are, and what writing answers.
pub fn core(xen: &Xen, domain: DomId, to: &mut dyn Write, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let doing = || format!("dumping domain {domain}");
    let failed = |e: std::io::Error| Error::os(doing(), &e);
    let info = xen.domain(domain)?.ok_or_else(|| Error::new(doing(), Errno::ESRCH))?;
    let mut vcpus = Vec::new();
    for vcpu in 0..info.max_vcpu_id.wrapping_add(1) {
        if xen.vcpu(domain, vcpu)?.online != 0 {
            vcpus.push(xen.vcpu_context(domain, vcpu)?);
        }
    }
    let mut view = View::of(xen, domain)?;
    view.pages.retain(|(_, _, kind)| kind.has_contents());
    let count = view.pages.len() as u64;
    let notes = notes(xen, vcpus.len() as u64, count)?;
    let names = names();
    let sections = [
        Section { kind: 0, element: 0, bytes: 0 },
        Section { kind: SHT_NOTE, element: 0, bytes: notes.len() as u64 },
        Section {
            kind: SHT_PROGBITS,
            element: size_of::<VcpuGuestContext>() as u64,
            bytes: vcpus.as_bytes().len() as u64,
        },
        Section { kind: SHT_PROGBITS, element: PAGE as u64, bytes: PAGE as u64 },
        Section { kind: SHT_PROGBITS, element: 16, bytes: count * 16 },
        Section { kind: SHT_PROGBITS, element: PAGE as u64, bytes: count * PAGE as u64 },
        Section { kind: SHT_STRTAB, element: 0, bytes: names.len() as u64 },
    ];
    let mut file = Counted { to, at: 0 };
    let offsets = file.head(&sections).map_err(failed)?;
    let mut put = |at: u64, bytes: &[u8]| file.put(at, bytes).map_err(failed);
    put(offsets[1], &notes)?;
    put(offsets[2], vcpus.as_bytes())?;
    put(offsets[3], &view.shared)?;
    let pairs: Vec<[u64; 2]> = view.pages.iter().map(|(page, frame, _)| [*page, *frame]).collect();
    put(offsets[4], pairs.as_bytes())?;
    let mut done = 0;
    for batch in view.pages.chunks(BATCH) {
        progress(done, count);
        let frames: Vec<u64> = batch.iter().map(|(_, frame, _)| *frame).collect();
        put(offsets[5] + done * PAGE as u64, &view::contents(xen, domain, &frames)?)?;
        done += batch.len() as u64;
    }
    progress(done, count);
    put(offsets[6], names.as_bytes())
}

/// Where the file is, which is only written forwards.
struct Counted<'w> {
    to: &'w mut dyn Write,
    at: u64,
}

impl Counted<'_> {
    /// Writes bytes at `at`, with zeroes before them.
    fn put(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        let gap = vec![0; at.saturating_sub(self.at) as usize];
        self.to.write_all(&gap)?;
        self.to.write_all(bytes)?;
        self.at = at + bytes.len() as u64;
        Ok(())
    }

    /// Writes the ELF header and the sections'; where each section is to be.
    fn head(&mut self, sections: &[Section; 7]) -> std::io::Result<[u64; 7]> {
        let mut at = (HEADER + SECTION * sections.len()) as u64;
        let offsets = sections.map(|section| {
            // The pages lie as in memory.
            let start = at.next_multiple_of(if section.element == PAGE as u64 { PAGE as u64 } else { 8 });
            at = start + section.bytes;
            if section.kind == 0 { 0 } else { start }
        });
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        [ET_CORE, EM_X86_64].iter().for_each(|half| head.extend(half.to_le_bytes()));
        head.extend(1u32.to_le_bytes());
        // No entry, no segments; the sections follow.
        [0, 0, HEADER as u64].iter().for_each(|word| head.extend(word.to_le_bytes()));
        head.extend(0u32.to_le_bytes());
        let last = sections.len() as u16;
        [HEADER as u16, 0, 0, SECTION as u16, last, last - 1]
            .iter()
            .for_each(|half| head.extend(half.to_le_bytes()));
        let mut name = 0u32;
        for ((section, offset), text) in sections.iter().zip(offsets).zip(NAMES) {
            [name, section.kind].iter().for_each(|half| head.extend(half.to_le_bytes()));
            [0, 0, offset, section.bytes].iter().for_each(|word| head.extend(word.to_le_bytes()));
            head.extend([0; 8]);
            [if section.kind == 0 { 0 } else { 8 }, section.element]
                .iter()
                .for_each(|word: &u64| head.extend(word.to_le_bytes()));
            name += text.len() as u32 + 1;
        }
        self.put(0, &head)?;
        Ok(offsets)
    }
}

fn names() -> String {
    NAMES.map(|name| format!("{name}\0")).concat()
}

/// What the file is, and which hypervisor the guest ran on.
fn notes(xen: &Xen, vcpus: u64, pages: u64) -> Result<Vec<u8>> {
    let mut notes = Vec::new();
    let mut note = |kind: u32, body: &[u8]| {
        [4, body.len() as u32, kind].iter().for_each(|half| notes.extend(half.to_le_bytes()));
        notes.extend(b"Xen\0");
        notes.extend(body);
    };
    note(XEN_ELFNOTE_DUMPCORE_NONE, &[]);
    note(XEN_ELFNOTE_DUMPCORE_HEADER, [MAGIC, vcpus, pages, PAGE as u64].as_bytes());
    note(XEN_ELFNOTE_DUMPCORE_XEN_VERSION, &version(xen)?);
    note(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, FORMAT.as_bytes());
    Ok(notes)
}

/// `struct xen_dumpcore_elfnote_xen_version_desc`.
fn version(xen: &Xen) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let (major, minor) = xen.version()?;
    body.extend([u64::from(major), u64::from(minor)].as_bytes());
    let compile = xen.compile_info()?;
    for (text, room) in [
        (xen.extraversion()?, XEN_EXTRAVERSION_LEN),
        (compile.compiler, 64),
        (compile.by, 16),
        (compile.domain, 32),
        (compile.date, 32),
        (xen.capabilities()?, XEN_CAPABILITIES_INFO_LEN),
        (xen.changeset()?, XEN_CHANGESET_INFO_LEN),
    ] {
        let mut bytes = text.into_bytes();
        bytes.resize(room, 0);
        body.extend(bytes);
    }
    body.extend([xen.virt_start()?, xen.page_size()?].as_bytes());
    Ok(body)
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
