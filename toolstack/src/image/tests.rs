//! Kernels made by hand: the smallest bzImage, and ELF files of which one note is wrong.

use super::*;
use hypercore::dom0::elf::synthetic::note;

/// A bzImage around five bytes, compressed as one block of lz4's legacy frame.
pub fn bzimage(content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 15, "one token of literals");
    let mut payload = b"\x02\x21\x4c\x18".to_vec();
    payload.extend_from_slice(&(content.len() as u32 + 1).to_le_bytes());
    payload.push((content.len() as u8) << 4);
    payload.extend_from_slice(content);
    payload.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let mut image = vec![0; 2 * 512 + 16];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    image[0x211] = 1;
    image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend_from_slice(&payload);
    image
}

/// An ELF file with one segment to load and these notes.
fn elf(notes: &[u8]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x1000u64, 64, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    for half in [64u16, 56, 2, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    for (kind, offset, len) in [(1u32, 176u64, 4u64), (4, 180, notes.len() as u64)] {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&7u32.to_le_bytes());
        for word in [offset, 0x1000, 0x1000, len, len, 4096] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out.extend_from_slice(b"code");
    out.extend_from_slice(notes);
    out
}

fn refusal(notes: &[Vec<u8>], offered: u32) -> String {
    let image = Image::unpack(&elf(&notes.concat())).unwrap();
    let refused = image.parse(offered).err();
    refused.map(|error| error.to_string()).unwrap_or_default()
}

const VERSION: u32 = 5;
const LOADER: u32 = 8;
const FEATURES: u32 = 10;
const SUPPORTED: u32 = 17;

#[test]
fn a_kernel_for_guests_only_is_a_guest() {
    let notes =
        [note(VERSION, b"xen-3.0\0"), note(LOADER, b"generic\0"), note(SUPPORTED, &1u32.to_le_bytes())];
    assert_eq!(refusal(&notes, 1), "");
}

#[test]
fn refusals_name_the_note() {
    assert!(refusal(&[], 1).contains("ELF note of owner \"Xen\""));
    assert!(
        refusal(&[note(VERSION, b"xen-2.0\0")], 1)
            .contains("XEN_VERSION is \"xen-2.0\", expected \"xen-3.0\"")
    );
    assert!(refusal(&[note(LOADER, b"special\0")], 1).contains("LOADER is \"special\""));
    assert!(
        refusal(&[note(FEATURES, b"!auto_translated_physmap")], 1).contains("FEATURES: required features")
    );
    assert!(refusal(&[note(FEATURES, b"!dom0")], u32::MAX).contains("required feature is \"dom0\""));
}

#[test]
fn what_is_no_kernel_is_told_by_its_field() {
    let wrong = |file: &[u8]| Image::unpack(file).unwrap_err().to_string();
    assert!(wrong(b"#!/bin/sh\n").contains("bzImage setup header"));
    assert!(wrong(&[0; 1024]).contains("bzImage header magic"));
    let mut zimage = bzimage(b"hello");
    zimage[0x211] = 0;
    assert!(wrong(&zimage).contains("this is a zImage"));
    let mut short = bzimage(b"hello");
    short.pop();
    assert!(wrong(&short).contains("bzImage payload"));
    let mut large = bzimage(b"hello");
    let end = large.len();
    large[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(wrong(&large).contains("at most 1 GiB"));
    assert_eq!(Image::unpack(&bzimage(b"hello")).unwrap().bytes(), b"hello");
}
