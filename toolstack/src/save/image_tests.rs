//! Records that come back as they went, and those that cannot be.

use proptest::prelude::*;

use super::*;

fn kinds() -> impl Strategy<Value = Kind> {
    (0u8..16).prop_map(Kind).prop_filter("known", |kind| kind.known())
}

fn records() -> impl Strategy<Value = Record> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let part = (0usize..4).prop_map(|n| Part::ALL[n].0);
    prop_oneof![
        Just(Record::PvInfo),
        Just(Record::StaticDataEnd),
        Just(Record::Verify),
        Just(Record::End),
        (part, 0..VCPU_LIMIT, bytes(99)).prop_map(|(part, vcpu, state)| Record::Vcpu(part, vcpu, state)),
        any::<[u32; 6]>().prop_map(|[a, b, c, d, e, f]| Record::Leaves(vec![CpuidLeaf {
            leaf: a,
            subleaf: b,
            a: c,
            b: d,
            c: e,
            d: f
        }])),
        any::<(u32, u64)>().prop_map(|(idx, val)| Record::Msrs(vec![MsrEntry { idx, flags: 0, val }])),
        (any::<[u32; 3]>(), any::<u64>()).prop_map(|([a, b, c], elapsed_nsec)| {
            Record::Clock(DomctlTscInfo { tsc_mode: a, gtsc_khz: b, incarnation: c, pad: 0, elapsed_nsec })
        }),
        any::<u8>().prop_map(|byte| Record::SharedInfo(vec![byte; PAGE])),
        prop::collection::vec((0..PFN_LIMIT, kinds()), 1..20).prop_map(|pages| {
            let full = pages.iter().filter(|(_, kind)| kind.has_contents()).count();
            Record::Pages(pages, vec![7; full * PAGE])
        }),
        (0u32..5000, 0u32..5000).prop_map(|(start, more)| {
            let end = start + more;
            Record::P2mFrames { start, end, pages: (0..u64::from(end / 512 + 1 - start / 512)).collect() }
        }),
    ]
}

proptest! {
    #[test]
    fn records_come_back(records in prop::collection::vec(records(), 0..8)) {
        let mut file = Vec::new();
        begin(&mut file, (4, 17)).unwrap();
        records.iter().for_each(|record| record.write(&mut file).unwrap());
        let from = &mut &file[..];
        prop_assert_eq!(open(from).unwrap(), 3);
        for record in records {
            prop_assert_eq!(Record::read(from).unwrap(), record);
        }
        prop_assert!(from.is_empty());
    }

    #[test]
    fn no_bytes_do_harm(kind in 0u32..0x14, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(kind, body);
    }
}

/// The headers as Xen's documentation draws them.
#[test]
fn the_headers_are_the_documented_ones() {
    let mut file = Vec::new();
    begin(&mut file, (4, 17)).unwrap();
    let mut expected = vec![0xff; 8];
    expected.extend(*b"XENF\0\0\0\x03\0\0\0\0\0\0\0\0");
    expected.extend([1, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 17, 0, 0, 0]);
    assert_eq!(file, expected);
    for (at, byte, words) in [
        (0, 0, "does not begin"),
        (8, b'x', "does not begin"),
        (15, 4, "version 4"),
        (15, 1, "version 1"),
        (17, 1, "another byte order"),
        (24, 2, "kind 2"),
        (28, 13, "2^13 bytes"),
    ] {
        let mut file = file.clone();
        file[at] = byte;
        let e = open(&mut &file[..]).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
    file[15] = 2;
    assert_eq!(open(&mut &file[..]).unwrap(), 2);
}

#[test]
fn a_record_that_cannot_be_says_why() {
    let words = |words: &[u64]| words.as_bytes().to_vec();
    let xtab = 0xf << 60;
    for (kind, body, said) in [
        (PAGE_DATA, vec![], "0 pages in a record of 0"),
        (PAGE_DATA, words(&[0, 0]), "0 pages"),
        (PAGE_DATA, words(&[u32::MAX.into(), 0]), "4294967295 pages"),
        (PAGE_DATA, words(&[2, xtab]), "2 pages"),
        (PAGE_DATA, words(&[1, 5 << 60]), "kind 0x5"),
        (PAGE_DATA, words(&[1, 8 << 60]), "kind 0x8"),
        (PAGE_DATA, words(&[1, xtab | 1 << 27]), "page 0x8000000"),
        (PAGE_DATA, words(&[1, 0]), "1 pages in 0 bytes"),
        (PAGE_DATA, words(&[1, xtab, 0]), "0 pages in 8 bytes"),
        (X86_PV_INFO, vec![4, 3, 0, 0, 0, 0, 0, 0], "no 64-bit guest"),
        (X86_PV_INFO, vec![], "no 64-bit guest"),
        (X86_PV_P2M_FRAMES, vec![], "0x0 to 0x0 has 0 bytes"),
        (X86_PV_P2M_FRAMES, words(&[9 | 3 << 32, 0]), "0x9 to 0x3"),
        (X86_PV_P2M_FRAMES, words(&[512 << 32, 0]), "0x0 to 0x200 has 16"),
        (X86_PV_P2M_FRAMES, words(&[1 << 60, 0]), "page 0x10000000"),
        (X86_PV_P2M_FRAMES, words(&[0, u64::MAX]), "page 0xffffffffffffffff"),
        (SHARED_INFO, vec![0; 4095], "4095 bytes"),
        (X86_TSC_INFO, vec![0; 23], "23 bytes"),
        (X86_CPUID_POLICY, vec![], "0 bytes"),
        (X86_CPUID_POLICY, vec![0; 25], "25 bytes"),
        (X86_MSR_POLICY, vec![0; 8], "8 bytes"),
        (X86_PV_VCPU_BASIC, vec![0; 7], "7 bytes"),
        (X86_PV_VCPU_MSRS, words(&[8192]), "vCPU 8192"),
        (END, vec![0], "1 bytes"),
        (STATIC_DATA_END, vec![0], "1 bytes"),
        (CHECKPOINT, vec![], "mirrored"),
        (0x0a, vec![], "record 0xa"),
    ] {
        let e = parse(kind, body).unwrap_err().to_string();
        assert!(e.contains(said), "{kind:#x}: {e}");
    }
}

#[test]
fn kinds_of_pages() {
    use abi::domctl::*;
    assert_eq!(Kind::of(XEN_DOMCTL_PFINFO_L4TAB | XEN_DOMCTL_PFINFO_LPINTAB), Kind(0xc));
    assert_eq!((Kind(0xc).level(), Kind(0xc).is_pinned()), (Some(4), true));
    assert_eq!((Kind(1).level(), Kind(1).is_pinned()), (Some(1), false));
    for kind in [0xd, 0xe, 0xf].map(Kind) {
        assert_eq!((kind.level(), kind.is_pinned(), kind.has_contents()), (None, false, false));
    }
    assert!(Kind(0xe).is_there() && !Kind(0xf).is_there() && Kind::NORMAL.is_there());
}
