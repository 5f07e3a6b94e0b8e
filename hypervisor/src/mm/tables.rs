//! The two tables that cover all frames: the frame table (16 bytes each, owned by `hypercore`) and the
//! machine-to-physical table (8 bytes each, read by guests).
//!
//! Both take memory only where there is RAM: the frame table page by page (holes show zeros), the
//! machine-to-physical table in 2 MiB pieces (one for each GiB; none for holes), because
//! `XENMEM_machphys_mfn_list` counts in these.

use core::sync::atomic::{AtomicU64, Ordering};

use hypercore::boot::ranges::RangeSet;
use hypercore::frame::FrameRecord;

use crate::layout::{FRAME_RECORD, FRAME_TABLE, M2P_GUEST, M2P_RW, MAX_CPUS, PAGE};
use crate::mm::{need_pages, paging, phys_to_virt, ram};

/// A piece of the machine-to-physical table, in bytes.
pub const CHUNK: u64 = 2 << 20;
/// Frames that one piece of the machine-to-physical table covers.
const CHUNK_FRAMES: u64 = CHUNK / 8;
/// Pieces: 5 TiB of physical addresses.
const MAX_CHUNKS: usize = 5 << 10;

/// What the machine-to-physical table says of a frame without a pseudo-physical place.
pub const INVALID_M2P: u64 = u64::MAX;

/// Physical address of each piece of the machine-to-physical table; 0: none.
static M2P_CHUNKS: [AtomicU64; MAX_CHUNKS] = [const { AtomicU64::new(0) }; MAX_CHUNKS];

/// Allocates and maps both.
pub fn init() {
    const { assert!(MAX_CPUS as u64 * crate::layout::PERCPU_STRIDE <= 1 << 30) };
    let mut records = RangeSet::<256>::new();
    for r in ram().iter() {
        let at = |phys: u64| phys / PAGE * FRAME_RECORD;
        records.add(at(r.start) & !(PAGE - 1), at(r.end).next_multiple_of(PAGE));
        for chunk in r.start / PAGE / CHUNK_FRAMES..(r.end / PAGE).div_ceil(CHUNK_FRAMES) {
            add_m2p_chunk(chunk);
        }
    }
    for r in records.iter() {
        let mut at = r.start;
        while at < r.end {
            let size = if at % CHUNK == 0 && r.end - at >= CHUNK { CHUNK } else { PAGE };
            let pages = size / PAGE;
            paging::map(FRAME_TABLE + at, need_pages(pages, pages), size, paging::DATA).expect("boot");
            at += size;
        }
    }
    let zeros = need_pages(1, 1);
    let (mut shared_table, mut covered) = (None, 0);
    for r in records.iter() {
        fill_hole(covered, r.start, zeros, &mut shared_table);
        covered = r.end;
    }
}

fn add_m2p_chunk(chunk: u64) {
    let place = &M2P_CHUNKS[chunk as usize];
    if place.load(Ordering::Relaxed) != 0 {
        return;
    }
    let phys = need_pages(CHUNK / PAGE, CHUNK / PAGE);
    // SAFETY: the pages were just taken; 0xff everywhere makes every entry INVALID_M2P.
    unsafe { core::ptr::write_bytes(phys_to_virt(phys) as *mut u8, 0xff, CHUNK as usize) };
    paging::map(M2P_GUEST + chunk * CHUNK, phys, CHUNK, paging::GUEST_READ).expect("boot");
    paging::map(M2P_RW + chunk * CHUNK, phys, CHUNK, paging::DATA).expect("boot");
    place.store(phys, Ordering::Relaxed);
}

/// Physical addresses of the 2 MiB pieces of the machine-to-physical table, by index; 0 where there is none.
pub fn m2p_chunks() -> impl Iterator<Item = u64> {
    let count = crate::mm::max_mfn().div_ceil(CHUNK_FRAMES) as usize;
    M2P_CHUNKS[..count].iter().map(|c| c.load(Ordering::Relaxed))
}

fn m2p_entry(mfn: u64) -> Option<&'static AtomicU64> {
    let chunk = M2P_CHUNKS.get((mfn / CHUNK_FRAMES) as usize)?;
    // SAFETY: a piece that exists is mapped there for ever, and all access is by whole words.
    (chunk.load(Ordering::Relaxed) != 0).then(|| unsafe { &*((M2P_RW + mfn * 8) as *const AtomicU64) })
}

/// The pseudo-physical frame number recorded for machine frame `mfn`.
pub fn m2p(mfn: u64) -> u64 {
    m2p_entry(mfn).map_or(INVALID_M2P, |e| e.load(Ordering::Relaxed))
}

/// Records `pfn` for machine frame `mfn` (no effect where there is no RAM).
pub fn set_m2p(mfn: u64, pfn: u64) {
    if let Some(entry) = m2p_entry(mfn) {
        entry.store(pfn, Ordering::Relaxed);
    }
}

/// The records of all frames below [`max_mfn`](crate::mm::max_mfn). Those of holes between RAM read as zero (reserved)
/// and cannot be written.
pub fn frame_records() -> &'static [FrameRecord] {
    const { assert!(size_of::<FrameRecord>() as u64 == FRAME_RECORD) };
    // SAFETY: `init` has mapped all of it, for ever; the records are atomics, and zero is a valid one.
    unsafe { core::slice::from_raw_parts(FRAME_TABLE as *const FrameRecord, crate::mm::max_mfn() as usize) }
}

/// Maps the part of the frame table between `start` and `end` (its own offsets) to one page of zeros, read-only;
/// whole pieces of 2 MiB share a level-1 table as well.
fn fill_hole(start: u64, end: u64, zeros: u64, shared_table: &mut Option<u64>) {
    let mut at = start;
    while at < end {
        if at.is_multiple_of(CHUNK) && end - at >= CHUNK {
            let table = *shared_table.get_or_insert_with(|| {
                let table = need_pages(1, 1);
                // SAFETY: the page was just taken; 512 entries fill it.
                unsafe {
                    let entries = phys_to_virt(table) as *mut u64;
                    (0..512).for_each(|i| entries.add(i).write(zeros | paging::READ_ONLY));
                }
                table
            });
            paging::share_table(FRAME_TABLE + at, table).expect("boot");
            at += CHUNK;
        } else {
            paging::map(FRAME_TABLE + at, zeros, PAGE, paging::READ_ONLY).expect("boot");
            at += PAGE;
        }
    }
}
