//! Each format unpacks what the usual command made, and notices damage.

use super::*;
use std::io::Write;
use std::process::{Command, Stdio};
use std::vec::Vec;
use std::{eprintln, vec};

/// Text, machine-code-like calls, runs and noise: what exercises matches, literals and filters.
fn sample() -> Vec<u8> {
    let mut data = Vec::new();
    let mut seed = 0x1234_5678u32;
    for i in 0..60_000u32 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match seed >> 28 {
            0..6 => data.extend_from_slice(b"the frame record has one owner; "),
            6..9 => {
                data.push(0xe8);
                data.extend_from_slice(&(0x1000u32.wrapping_sub(data.len() as u32)).to_le_bytes());
            }
            9 => data.resize(data.len() + (seed >> 20 & 0xff) as usize, i as u8),
            _ => data.extend_from_slice(&seed.to_be_bytes()[..3]),
        }
    }
    data
}

/// `data` through a compressor; none where the command is not installed.
fn pack(command: &[&str], data: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("{} is not installed: not checked", command[0]);
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let data = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let packed = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(packed.status.success(), "{command:?}");
    Some(packed.stdout)
}

fn round_trip(command: &[&str]) {
    for data in [sample(), vec![7], vec![0; 300_000], (0..=255).collect()] {
        let Some(packed) = pack(command, &data) else { return };
        let mut out = vec![0xaa; data.len()];
        assert_eq!(decompress(&packed, &mut out), Ok(data.len()), "{command:?}");
        assert!(out == data, "{command:?} unpacks to something else");
        let mut small = vec![0; data.len() - 1];
        assert!(decompress(&packed, &mut small).is_err(), "{command:?} overran its output");
        assert!(decompress(&packed[..packed.len() / 2], &mut out).is_err(), "{command:?}");
    }
}

#[test]
fn gzip_round_trip() {
    round_trip(&["gzip", "-n", "-9"]);
}

#[test]
fn bzip2_round_trip() {
    round_trip(&["bzip2", "-9"]);
    round_trip(&["bzip2", "-1"]);
}

#[test]
fn xz_round_trip() {
    round_trip(&["xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"]);
    round_trip(&["xz", "--check=crc64", "-0"]);
}

#[test]
fn lzma_round_trip() {
    round_trip(&["xz", "--format=lzma", "-9"]);
}

#[test]
fn zstd_round_trip() {
    round_trip(&["zstd", "-22", "--ultra"]);
    round_trip(&["zstd", "-1"]);
    round_trip(&["zstd", "--fast=5", "--no-check"]);
}

#[test]
fn lz4_round_trip() {
    round_trip(&["lz4", "-l", "-9"]);
}

/// Damage in any byte is refused or, where the format has no check, at least contained.
#[test]
fn damage_is_noticed() {
    let data = &sample()[..20_000];
    for command in [
        &["gzip", "-n"][..],
        &["bzip2"],
        &["xz", "--check=crc32", "--x86", "--lzma2"],
        &["zstd", "-19"],
        &["lz4", "-l"],
        &["xz", "--format=lzma"],
    ] {
        let Some(packed) = pack(command, data) else { continue };
        let checked = !matches!(command, ["lz4", ..] | ["xz", "--format=lzma"]);
        for at in (0..packed.len()).step_by(7) {
            let mut bad = packed.clone();
            bad[at] ^= 1 << (at % 8);
            let mut out = vec![0; data.len()];
            if let Ok(len) = decompress(&bad, &mut out) {
                assert!(!checked || out[..len] == *data, "{command:?}: byte {at} may be anything");
            }
        }
    }
}

#[test]
fn an_unknown_format_is_named() {
    assert_eq!(
        decompress(b"\x88LZO\0\r\n\x1a", &mut []),
        Err(ImageError::Unsupported { what: "compression of the kernel with magic", found: 0x884c_5a4f })
    );
    let lzo = decompress(b"\x89LZO\0\r\n\x1a", &mut []).unwrap_err();
    assert_eq!(
        std::format!("{lzo}"),
        "the kernel's compression is \"LZO\", expected gzip, bzip2, xz, lzma, zstd or lz4"
    );
}
