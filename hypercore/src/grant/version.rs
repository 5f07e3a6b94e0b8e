//! `GNTTABOP_set_version`, `get_version` and `get_status_frames`.
//!
//! A change empties the table but for the entries that tools fill before the guest runs, which may be in use and go
//! along, marks and all. Back in version 1 there is no place for what only version 2 can say: then it is refused.

use super::Status;
use super::marks::Word;
use super::op::{explain, only_one, subject, write_list};
use super::table::{GrantTable, Version};
use crate::domain::Domain;
use crate::frame::{CanRead, HvFrame};
use crate::guest;
use crate::machine::{Frames, Machine};
use crate::refuse;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::grant_table::*;

/// Reserved entries.
const KEPT: usize = GNTTAB_NR_RESERVED_ENTRIES as usize;
/// What a guest sees of uses.
const MARKS: u16 = GTF_READING | GTF_WRITING;

/// EINVAL: no such version. ENOSYS: not for this domain. EBUSY: an entry that is not reserved is in use, or a frame of
/// status words is mapped. ERANGE: version 1 cannot say what a reserved entry does. ENOMEM. The structure tells the
/// version in force in every case. As on Xen, one structure is looked at whatever the count.
pub fn set_version<M: Machine>(cx: &mut Cx<'_, M>, uop: u64) -> HcResult {
    let op: GnttabSetVersion = guest::read(&cx.xen.m, uop)?;
    let table = &cx.dom.grants.table;
    let changed = match op.version {
        1 => change(cx.xen, cx.dom, Version::One),
        2 if table.max_version() >= 2 => change(cx.xen, cx.dom, Version::Two),
        2 => Err(refuse!(cx.xen, Errno::ENOSYS, "the domain may have version {} only", table.max_version())),
        n => Err(refuse!(cx.xen, Errno::EINVAL, "there is no version {}", n)),
    };
    guest::write(&cx.xen.m, uop, &GnttabSetVersion { version: table.version() as u32 })?;
    changed?;
    Ok(0)
}

/// Looks at one structure whatever the count, as Xen does.
pub fn get_version<M: Machine>(cx: &mut Cx<'_, M>, uop: u64) -> HcResult {
    let mut op: GnttabGetVersion = guest::read(&cx.xen.m, uop)?;
    let dom = cx.domain_for_control(op.dom)?;
    op.version = dom.grants.table.version() as u32;
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}

pub fn get_status_frames<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    only_one(cx, count)?;
    let mut op: GnttabGetStatusFrames = guest::read(&cx.xen.m, uop)?;
    op.status = match list_status_frames(cx, &op) {
        Ok(()) => GNTST_OKAY,
        Err(status) => status,
    };
    explain(cx, GNTTABOP_GET_STATUS_FRAMES, uop, op.status);
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}

fn list_status_frames<M: Machine>(cx: &Cx<'_, M>, op: &GnttabGetStatusFrames) -> Result<(), Status> {
    let dom = subject(cx, op.dom)?;
    let table = &dom.grants.table;
    let (asked, there) = (op.nr_frames, table.status_frames());
    if asked > there {
        return Err(refuse!(cx.xen, GNTST_GENERAL_ERROR, "{} status frames of {}", asked, there));
    }
    write_list(cx, op.frame_list, op.nr_frames, |i| table.status_frame(i))
}

fn change<M: Machine>(xen: &'static Xen<M>, dom: &Domain, to: Version) -> Result<(), Errno> {
    let table = &dom.grants.table;
    table.change_version(xen, dom, to, KEPT as u32, |from| match from {
        Version::One => to_two(&xen.m, table),
        Version::Two => to_one(xen, table),
    })
}

fn frames(table: &GrantTable) -> impl Iterator<Item = &HvFrame> {
    (0..table.frames()).filter_map(|i| table.frame(i))
}

fn status_frames(table: &GrantTable) -> impl Iterator<Item = &HvFrame> {
    (0..table.max_status_frames()).filter_map(|i| table.status_frame(i))
}

fn to_two<M: Frames>(m: &M, table: &GrantTable) -> Result<(), Errno> {
    let Some(first) = table.frame(0) else { return Ok(()) };
    let kept: [u64; KEPT] = core::array::from_fn(|i| m.load(first, i * size_of::<GrantEntryV1>()));
    frames(table).chain(status_frames(table)).for_each(|f| m.zero(f));
    for (i, word) in kept.into_iter().enumerate() {
        let at = i * size_of::<GrantEntryV2>();
        m.store(first, at + 8, word >> 32);
        m.store(first, at, word & u64::from(u32::MAX) & !u64::from(MARKS));
    }
    let Some(status) = table.status_frame(0) else { return Ok(()) };
    for (i, words) in kept.chunks(4).enumerate() {
        let marks = words.iter().rev().fold(0, |all, w| all << 16 | w & u64::from(MARKS));
        m.store(status, i * 8, marks);
    }
    Ok(())
}

fn to_one<M: Machine>(xen: &Xen<M>, table: &GrantTable) -> Result<(), Errno> {
    let Some(first) = table.frame(0) else { return Ok(()) };
    let m = &xen.m;
    let mut kept = [0; KEPT];
    for (i, kept) in kept.iter_mut().enumerate() {
        let at = i * size_of::<GrantEntryV2>();
        let (word, frame) = (Word(m.load(first, at)), m.load(first, at + 8));
        let marks = table.status_frame(0).map_or(0, |f| m.load(f, i / 4 * 8) >> (i % 4 * 16));
        *kept = match word.kind() {
            GTF_PERMIT_ACCESS if frame <= u32::MAX.into() => {
                word.0 & u64::from(u32::MAX) | marks & u64::from(MARKS) | frame << 32
            }
            GTF_PERMIT_ACCESS | GTF_TRANSITIVE => {
                return Err(refuse!(xen, Errno::ERANGE, "version 1 cannot say what entry {} does", i));
            }
            _ => 0,
        };
    }
    // Theirs is the reference that the table itself has.
    let mapped = |f: &HvFrame| xen.frames.peek(f.mfn()).is_some_and(|(a, _)| a.count() > 1);
    if status_frames(table).any(mapped) {
        return Err(refuse!(xen, Errno::EBUSY, "a frame of status words is mapped"));
    }
    frames(table).for_each(|f| m.zero(f));
    for (i, word) in kept.into_iter().enumerate() {
        m.store(first, i * size_of::<GrantEntryV1>(), word);
    }
    Ok(())
}
