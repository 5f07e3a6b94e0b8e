//! What a kernel says about itself to a Xen: ELF notes, or in old kernels the `__xen_guest` string.
//!
//! `xen/elfnote.h` describes each note, `xen/features.h` the features.

use abi::elfnote::*;
use abi::features::*;
use arrayvec::ArrayVec;

use super::elf::Elf;
use super::error::{Excerpt, ImageError, bytes_at, u32_at, u64_at};

/// Names of the features a FEATURES note may list.
const FEATURE_NAMES: [(&[u8], u32); 10] = [
    (b"writable_page_tables", XENFEAT_WRITABLE_PAGE_TABLES),
    (b"writable_descriptor_tables", XENFEAT_WRITABLE_DESCRIPTOR_TABLES),
    (b"auto_translated_physmap", XENFEAT_AUTO_TRANSLATED_PHYSMAP),
    (b"supervisor_mode_kernel", XENFEAT_SUPERVISOR_MODE_KERNEL),
    (b"pae_pgdir_above_4gb", XENFEAT_PAE_PGDIR_ABOVE_4GB),
    (b"mmu_pt_update_preserve_ad", XENFEAT_MMU_PT_UPDATE_PRESERVE_AD),
    (b"highmem_assist", XENFEAT_HIGHMEM_ASSIST),
    (b"gnttab_map_avail_bits", XENFEAT_GNTTAB_MAP_AVAIL_BITS),
    (b"dom0", XENFEAT_DOM0),
    (b"linux_rsdp_unrestricted", XENFEAT_LINUX_RSDP_UNRESTRICTED),
];

/// A kernel's notes, with the defaults the header states for those that are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Whether the kernel has anything to say to a Xen at all.
    pub present: bool,
    pub entry: Option<u64>,
    /// Virtual address of the page to be filled with hypercall stubs.
    pub hypercall_page: Option<u64>,
    pub virt_base: u64,
    pub paddr_offset: u64,
    /// Virtual address where the p2m list is wanted.
    pub init_p2m: Option<u64>,
    /// The initrd need not be mapped.
    pub mod_start_pfn: bool,
    pub hv_start_low: Option<u64>,
    pub suspend_cancel: bool,
    /// Mask and value of L1 entries that carry a machine frame.
    pub l1_mfn_valid: ArrayVec<(u64, u64), 4>,
    /// Entry point of a PVH start.
    pub phys32_entry: Option<u64>,
    /// Features the kernel can work with, as bits.
    pub supported: u32,
    /// Features it cannot work without.
    pub required: u32,
    /// Whether there was a SUPPORTED_FEATURES note: then `dom0` must be in it.
    pub lists_supported: bool,
    pub guest_os: Option<Excerpt>,
    pub guest_version: Option<Excerpt>,
    pub xen_version: Option<Excerpt>,
    pub loader: Option<Excerpt>,
}

impl Notes {
    /// Collects a kernel's notes.
    pub fn read(elf: &Elf<'_>) -> Result<Notes, ImageError> {
        let mut notes = Notes::default();
        for data in elf.note_segments() {
            notes.add_all(data)?;
        }
        if !notes.present {
            for data in elf.note_sections() {
                notes.add_all(data)?;
            }
        }
        if !notes.present
            && let Some(text) = elf.section("__xen_guest")
        {
            notes.legacy(text)?;
        }
        Ok(notes)
    }

    /// Refuses a kernel that cannot run as PV dom0 with the `offered` features.
    pub fn check_pv_dom0(&self, offered: u32) -> Result<(), ImageError> {
        if !self.present {
            return Err(ImageError::Missing {
                what: "ELF note of owner \"Xen\"",
                hint: "the kernel is not built for Xen PV (CONFIG_XEN_PV)",
            });
        }
        if let Some(found) = self.xen_version
            && found != Excerpt::of(b"xen-3.0")
        {
            return Err(ImageError::Text { what: "ELF note XEN_VERSION", found, expected: "\"xen-3.0\"" });
        }
        if let Some(found) = self.loader
            && found != Excerpt::of(b"generic")
        {
            return Err(ImageError::Text { what: "ELF note LOADER", found, expected: "\"generic\"" });
        }
        let lacking = self.required & !offered;
        if lacking != 0 {
            return Err(ImageError::Field {
                what: "ELF note FEATURES: required features that are not offered (XENFEAT bits)",
                found: u64::from(lacking),
                expected: "none",
            });
        }
        if self.lists_supported && self.supported & (1 << XENFEAT_DOM0) == 0 {
            return Err(ImageError::Field {
                what: "ELF note SUPPORTED_FEATURES",
                found: u64::from(self.supported),
                expected: "XENFEAT_dom0 (bit 11) set: the kernel is built for unprivileged guests only",
            });
        }
        Ok(())
    }

    fn add_all(&mut self, data: &[u8]) -> Result<(), ImageError> {
        let mut at = 0u64;
        while at < data.len() as u64 {
            let name_len = u64::from(u32_at(data, at, "ELF note header")?);
            let desc_len = u64::from(u32_at(data, at + 4, "ELF note header")?);
            let kind = u32_at(data, at + 8, "ELF note header")?;
            let name = bytes_at(data, at + 12, name_len, "ELF note name")?;
            at += 12 + name_len.next_multiple_of(4);
            let desc = bytes_at(data, at, desc_len, "ELF note")?;
            at += desc_len.next_multiple_of(4);
            if name == XEN_ELFNOTE_NAME {
                self.present = true;
                self.add(kind, desc)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: u32, desc: &[u8]) -> Result<(), ImageError> {
        match kind {
            XEN_ELFNOTE_ENTRY => self.entry = Some(number(desc, "ELF note ENTRY")?),
            XEN_ELFNOTE_HYPERCALL_PAGE => {
                self.hypercall_page = Some(number(desc, "ELF note HYPERCALL_PAGE")?);
            }
            XEN_ELFNOTE_VIRT_BASE => self.virt_base = number(desc, "ELF note VIRT_BASE")?,
            XEN_ELFNOTE_PADDR_OFFSET => self.paddr_offset = number(desc, "ELF note PADDR_OFFSET")?,
            XEN_ELFNOTE_XEN_VERSION => self.xen_version = Some(Excerpt::of(desc)),
            XEN_ELFNOTE_GUEST_OS => self.guest_os = Some(Excerpt::of(desc)),
            XEN_ELFNOTE_GUEST_VERSION => self.guest_version = Some(Excerpt::of(desc)),
            XEN_ELFNOTE_LOADER => self.loader = Some(Excerpt::of(desc)),
            XEN_ELFNOTE_FEATURES => self.features(desc)?,
            XEN_ELFNOTE_SUPPORTED_FEATURES => {
                self.supported |= number(desc, "ELF note SUPPORTED_FEATURES")? as u32;
                self.lists_supported = true;
            }
            XEN_ELFNOTE_HV_START_LOW => self.hv_start_low = Some(number(desc, "ELF note HV_START_LOW")?),
            XEN_ELFNOTE_SUSPEND_CANCEL => {
                self.suspend_cancel = number(desc, "ELF note SUSPEND_CANCEL")? != 0;
            }
            XEN_ELFNOTE_INIT_P2M => self.init_p2m = Some(number(desc, "ELF note INIT_P2M")?),
            XEN_ELFNOTE_MOD_START_PFN => {
                self.mod_start_pfn = number(desc, "ELF note MOD_START_PFN")? != 0;
            }
            XEN_ELFNOTE_PHYS32_ENTRY => {
                self.phys32_entry = Some(number(desc, "ELF note PHYS32_ENTRY")?);
            }
            XEN_ELFNOTE_L1_MFN_VALID => {
                let (pairs, rest) = desc.as_chunks::<16>();
                if !rest.is_empty() {
                    return Err(ImageError::Field {
                        what: "length of ELF note L1_MFN_VALID",
                        found: desc.len() as u64,
                        expected: "a multiple of 16",
                    });
                }
                for pair in pairs {
                    let pair = (u64_at(pair, 0, "mask")?, u64_at(pair, 8, "value")?);
                    // More pairs than fit would only matter to tools that walk page tables.
                    let _ = self.l1_mfn_valid.try_push(pair);
                }
            }
            // PAE_MODE concerns 32-bit kernels, BSD_SYMTAB symbol tables nobody asked us to load,
            // and what is unknown is for a newer Xen.
            _ => {}
        }
        Ok(())
    }

    /// Adds the features of a `|`-separated list; `!` before a name requires it.
    fn features(&mut self, text: &[u8]) -> Result<(), ImageError> {
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        for item in text[..end].split(|b| *b == b'|').filter(|item| !item.is_empty()) {
            let (required, name) = match item {
                [b'!', name @ ..] => (true, name),
                name => (false, name),
            };
            match FEATURE_NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, bit)) => {
                    self.supported |= 1 << bit;
                    self.required |= u32::from(required) << bit;
                }
                None if required => {
                    return Err(ImageError::Text {
                        what: "ELF note FEATURES: required feature",
                        found: Excerpt::of(name),
                        expected: "a feature that is known",
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Reads the comma-separated `NAME=VALUE` string of kernels older than the notes.
    fn legacy(&mut self, text: &[u8]) -> Result<(), ImageError> {
        self.present = true;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let mut paddr_offset = None;
        let mut hypercall_pfn = None;
        for item in text[..end].split(|b| *b == b',') {
            let at = item.iter().position(|b| *b == b'=').unwrap_or(item.len());
            let (name, value) = (&item[..at], item.get(at + 1..).unwrap_or(&[]));
            match name {
                b"VIRT_ENTRY" => self.entry = Some(hex(value, "__xen_guest VIRT_ENTRY")?),
                b"HYPERCALL_PAGE" => hypercall_pfn = Some(hex(value, "__xen_guest HYPERCALL_PAGE")?),
                b"VIRT_BASE" => self.virt_base = hex(value, "__xen_guest VIRT_BASE")?,
                b"ELF_PADDR_OFFSET" => paddr_offset = Some(hex(value, "__xen_guest ELF_PADDR_OFFSET")?),
                b"XEN_VER" => self.xen_version = Some(Excerpt::of(value)),
                b"GUEST_OS" => self.guest_os = Some(Excerpt::of(value)),
                b"GUEST_VER" => self.guest_version = Some(Excerpt::of(value)),
                b"LOADER" => self.loader = Some(Excerpt::of(value)),
                b"FEATURES" => self.features(value)?,
                _ => {}
            }
        }
        self.paddr_offset = paddr_offset.unwrap_or(self.virt_base);
        // Here, unlike in the note, a page number relative to VIRT_BASE.
        self.hypercall_page = hypercall_pfn.map(|pfn| self.virt_base.wrapping_add(pfn << 12));
        Ok(())
    }
}

/// A number of 1, 2, 4 or 8 bytes.
fn number(desc: &[u8], what: &'static str) -> Result<u64, ImageError> {
    if ![1, 2, 4, 8].contains(&desc.len()) {
        return Err(ImageError::Field {
            what,
            found: desc.len() as u64,
            expected: "a number of 1, 2, 4 or 8 bytes (its length was found)",
        });
    }
    let mut bytes = [0; 8];
    bytes[..desc.len()].copy_from_slice(desc);
    Ok(u64::from_le_bytes(bytes))
}

/// A number in text: hexadecimal after `0x`, else decimal.
fn hex(text: &[u8], what: &'static str) -> Result<u64, ImageError> {
    let wrong = ImageError::Text { what, found: Excerpt::of(text), expected: "a number" };
    let text = core::str::from_utf8(text).map_err(|_| wrong)?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::super::elf::synthetic::{elf, note};
    use super::*;
    use std::vec::Vec;

    fn read(notes: &[(u32, &[u8])]) -> Result<Notes, ImageError> {
        let bytes: Vec<u8> = notes.iter().flat_map(|(kind, desc)| note(*kind, desc)).collect();
        Notes::read(&Elf::parse(&elf(0, &[(0, 0, 1, b"x")], &bytes)).unwrap())
    }

    const LINUX: &[(u32, &[u8])] = &[
        (XEN_ELFNOTE_GUEST_OS, b"linux\0"),
        (XEN_ELFNOTE_XEN_VERSION, b"xen-3.0\0"),
        (XEN_ELFNOTE_VIRT_BASE, &0xffff_ffff_8000_0000u64.to_le_bytes()),
        (XEN_ELFNOTE_INIT_P2M, &0x80_0000_0000u64.to_le_bytes()),
        (XEN_ELFNOTE_ENTRY, &0xffff_ffff_8307_71c0u64.to_le_bytes()),
        (XEN_ELFNOTE_FEATURES, b"!writable_page_tables|pae_pgdir_above_4gb|of_tomorrow"),
        (XEN_ELFNOTE_SUPPORTED_FEATURES, &0x8801u32.to_le_bytes()),
        (XEN_ELFNOTE_LOADER, b"generic\0"),
        (XEN_ELFNOTE_MOD_START_PFN, &1u32.to_le_bytes()),
        (XEN_ELFNOTE_L1_MFN_VALID, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ];

    #[test]
    fn linux_notes_are_understood() {
        let notes = read(LINUX).unwrap();
        assert_eq!(notes.entry, Some(0xffff_ffff_8307_71c0));
        assert_eq!(notes.virt_base, 0xffff_ffff_8000_0000);
        assert_eq!(notes.init_p2m, Some(0x80_0000_0000));
        assert_eq!(notes.hypercall_page, None);
        assert!(notes.mod_start_pfn && !notes.suspend_cancel);
        assert_eq!(notes.required, 1);
        assert_eq!(notes.supported, 0x8811);
        assert_eq!(notes.l1_mfn_valid[..], [(1, 1)]);
        assert_eq!(notes.check_pv_dom0(1), Ok(()));
    }

    #[test]
    fn refusals_name_the_note() {
        let check = |extra: (u32, &[u8])| {
            let mut all = LINUX.to_vec();
            all.retain(|(kind, _)| *kind != extra.0);
            all.push(extra);
            read(&all).and_then(|notes| notes.check_pv_dom0(1)).unwrap_err()
        };
        assert!(matches!(
            check((XEN_ELFNOTE_LOADER, b"special\0")),
            ImageError::Text { what: "ELF note LOADER", .. }
        ));
        assert!(matches!(
            check((XEN_ELFNOTE_XEN_VERSION, b"xen-2.0\0")),
            ImageError::Text { what: "ELF note XEN_VERSION", .. }
        ));
        assert!(matches!(
            check((XEN_ELFNOTE_SUPPORTED_FEATURES, &[1, 0, 0, 0])),
            ImageError::Field { what: "ELF note SUPPORTED_FEATURES", found: 1 | 0x11, .. }
        ));
        assert!(matches!(
            check((XEN_ELFNOTE_FEATURES, b"!auto_translated_physmap")),
            ImageError::Field { found: 4, .. }
        ));
        assert!(matches!(check((XEN_ELFNOTE_FEATURES, b"!of_tomorrow")), ImageError::Text { .. }));
        assert!(matches!(
            check((XEN_ELFNOTE_VIRT_BASE, &[1, 2, 3])),
            ImageError::Field { what: "ELF note VIRT_BASE", found: 3, .. }
        ));
        assert!(matches!(
            read(&[]).unwrap().check_pv_dom0(1),
            Err(ImageError::Missing { what: "ELF note of owner \"Xen\"", .. })
        ));
    }

    #[test]
    fn the_old_string_is_understood() {
        let mut notes = Notes::default();
        notes
            .legacy(
                b"GUEST_OS=linux,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,VIRT_ENTRY=0xffffffff80200000,\
                HYPERCALL_PAGE=0x203,FEATURES=writable_page_tables|!pae_pgdir_above_4gb,LOADER=generic\0junk",
            )
            .unwrap();
        assert_eq!(notes.paddr_offset, 0xffff_ffff_8000_0000, "defaults to VIRT_BASE");
        assert_eq!(notes.hypercall_page, Some(0xffff_ffff_8020_3000));
        assert_eq!((notes.supported, notes.required), (0x11, 0x10));
        assert_eq!(notes.check_pv_dom0(0x10), Ok(()));
    }
}
