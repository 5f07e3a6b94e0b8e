//! [`guest`]: a PV guest that stands still, as a stream.

use std::io::Write;

use abi::Errno;
use xenctl::{DomId, Error, Result, Xen};

use super::image::{self, BATCH, PAGE, Record};
use super::view::{Page, View};
use super::{tables, vcpu, view};

/// Machine frames of a guest, with the page that each is.
struct Frames {
    /// In the order of the frames.
    pages: Vec<(u64, u64)>,
}

impl Frames {
    fn page_of(&self, frame: u64) -> Option<u64> {
        let at = self.pages.binary_search_by_key(&frame, |(frame, _)| *frame).ok()?;
        Some(self.pages[at].1)
    }
}

fn failed(domain: DomId, why: impl Into<String>) -> Error {
    Error::new(format!("saving domain {domain}"), Errno::EINVAL).because(why)
}

/// Writes the guest, which must not run meanwhile. `progress` is told how many of its pages have been written, of how
/// many.
///
/// # Errors
/// A guest that cannot be saved, and what writing answers. The guest is as it was.
pub fn guest(xen: &Xen, domain: DomId, to: &mut dyn Write, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let info =
        xen.domain(domain)?.ok_or_else(|| Error::new(format!("saving domain {domain}"), Errno::ESRCH))?;
    image::begin(to, xen.version()?)?;
    Record::PvInfo.write(to)?;
    let policy = xen.policy(domain)?;
    Record::Leaves(policy.leaves).write(to)?;
    Record::Msrs(policy.msrs).write(to)?;
    Record::StaticDataEnd.write(to)?;

    let View { shared, list, pages: kinds } = View::of(xen, domain)?;
    let frames = by_frame(domain, &kinds)?;
    let page_of = |frame| frames.page_of(frame);

    let pages = list.leaves.iter().map(|frame| page_of(*frame)).collect::<Option<Vec<u64>>>();
    let pages = pages.ok_or_else(|| failed(domain, "the list of its frames is not in its own memory"))?;
    Record::P2mFrames { start: 0, end: (list.end - 1) as u32, pages }.write(to)?;
    let (mut done, all) = (0, kinds.len() as u64);
    for batch in kinds.chunks(BATCH) {
        progress(done, all);
        contents(xen, domain, batch, page_of)?.write(to)?;
        done += batch.len() as u64;
    }
    progress(done, all);
    Record::Clock(xen.tsc_info(domain)?).write(to)?;
    Record::SharedInfo(shared).write(to)?;
    for vcpu in 0..info.max_vcpu_id.wrapping_add(1) {
        if xen.vcpu(domain, vcpu)?.online != 0 {
            for record in vcpu::records(xen, domain, vcpu, page_of)? {
                record.write(to)?;
            }
        }
    }
    Record::End.write(to)
}

fn by_frame(domain: DomId, pages: &[Page]) -> Result<Frames> {
    let mut pages: Vec<(u64, u64)> = pages.iter().map(|(page, frame, _)| (*frame, *page)).collect();
    pages.sort_unstable();
    match pages.windows(2).find(|two| two[0].0 == two[1].0) {
        None => Ok(Frames { pages }),
        Some(two) => {
            let why = format!("its pages {:#x} and {:#x} are one frame", two[0].1, two[1].1);
            Err(failed(domain, why))
        }
    }
}

/// A record with the contents of these pages, tables renumbered.
fn contents(
    xen: &Xen,
    domain: DomId,
    batch: &[Page],
    page_of: impl Fn(u64) -> Option<u64>,
) -> Result<Record> {
    let full: Vec<&Page> = batch.iter().filter(|(_, _, kind)| kind.has_contents()).collect();
    let frames: Vec<u64> = full.iter().map(|(_, frame, _)| *frame).collect();
    let mut bytes = view::contents(xen, domain, &frames)?;
    for ((page, _, kind), contents) in full.iter().zip(bytes.chunks_mut(PAGE)) {
        if let Some(level) = kind.level() {
            let renumbered = tables::renumber(contents, level, &page_of);
            renumbered.map_err(|e| failed(domain, format!("its table {page:#x} of level {level}: {e}")))?;
        }
    }
    Ok(Record::Pages(batch.iter().map(|(page, _, kind)| (*page, *kind)).collect(), bytes))
}
