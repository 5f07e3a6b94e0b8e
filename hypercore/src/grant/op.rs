//! `grant_table_op`: decodes, runs batches, and the commands that only look or set up.
//!
//! Batches commit a prefix: every element has its own status, and a fault or a continuation names the first
//! one not done.

use super::copy::Copier;
use super::map::map;
use super::table::grow;
use super::unmap::{BATCH, Ending, Request};
use super::{Status, small, version};
use crate::domain::Domain;
use crate::frame::{CanRead, HvFrame};
use crate::guest;
use crate::machine::{GuestFault, Machine};
use crate::mm::grants::Near;
use crate::refusal;
use crate::refuse;
use crate::xen::{Cx, HcResult, Stop};
use abi::grant_table::*;
use abi::xen::HYPERVISOR_GRANT_TABLE_OP;
use abi::{Errno, GuestHandle};
use alloc::sync::Arc;
use core::mem::offset_of;

/// Elements between two looks at whether others want the CPU.
pub const STRIDE: u32 = BATCH as u32;

/// Hypercall 20. `uop`: address of `count` structures of the command.
pub fn grant_table_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u64, uop: u64, count: u64) -> HcResult {
    let (cmd, count) = (cmd as u32, count as u32);
    let result = serve(cx, cmd, uop, count);
    if let Err(Stop::Errno(e)) = result {
        // Nothing else here is a fault.
        if e == Errno::EFAULT {
            refuse!(cx.xen, (), "the elements from {:x} on, {}, cannot all be accessed", uop, count);
        }
        refusal::of(cx.xen, cmd, ());
    }
    result
}

fn serve<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, uop: u64, count: u32) -> HcResult {
    if (count as i32) < 0 {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} are more elements than can be", count).into());
    }
    let done = match cmd {
        GNTTABOP_MAP_GRANT_REF => map_batch(cx, uop, count)?,
        GNTTABOP_UNMAP_GRANT_REF => unmap_batch::<M, GnttabUnmapGrantRef>(cx, uop, count)?,
        GNTTABOP_UNMAP_AND_REPLACE => unmap_batch::<M, GnttabUnmapAndReplace>(cx, uop, count)?,
        GNTTABOP_TRANSFER if !cx.xen.host.grants.transfer => {
            return Err(refuse!(cx.xen, Errno::EOPNOTSUPP, "gnttab= allows no transfers").into());
        }
        GNTTABOP_TRANSFER => super::transfer::batch(cx, uop, count)?,
        GNTTABOP_COPY => copy_batch(cx, uop, count)?,
        GNTTABOP_SWAP_GRANT_REF => small::swap(cx, uop, count)?,
        GNTTABOP_CACHE_FLUSH => small::cache_flush(cx, uop, count)?,
        GNTTABOP_SETUP_TABLE => return setup_table(cx, uop, count),
        GNTTABOP_QUERY_SIZE => return query_size(cx, uop, count),
        GNTTABOP_SET_VERSION => return version::set_version(cx, uop),
        GNTTABOP_GET_VERSION => return version::get_version(cx, uop),
        GNTTABOP_GET_STATUS_FRAMES => return version::get_status_frames(cx, uop, count),
        _ => return Err(refuse!(cx.xen, Errno::ENOSYS, "operation {} is not served", cmd).into()),
    };
    if done.count == count {
        return Ok(0);
    }
    let rest = [u64::from(cmd), done.next, u64::from(count - done.count)];
    cx.restart(HYPERVISOR_GRANT_TABLE_OP, rest)
}

/// How far a batch came.
pub struct Done {
    pub count: u32,
    /// Address of the first element not done.
    pub next: u64,
}

impl Done {
    pub fn all(count: u32) -> Self {
        Self { count, next: 0 }
    }
}

/// Runs `f` on the address of each element; after every `stride` of them others may want the CPU.
pub fn each<'a, T, M: Machine>(
    cx: &mut Cx<'a, M>,
    uop: u64,
    count: u32,
    stride: u32,
    mut f: impl FnMut(&mut Cx<'a, M>, u64) -> Result<(), GuestFault>,
) -> Result<Done, GuestFault> {
    for i in 0..count {
        let at = guest::element::<T>(uop, u64::from(i))?;
        if i != 0 && i.is_multiple_of(stride) && cx.xen.m.preempt_point() {
            return Ok(Done { count: i, next: at });
        }
        f(cx, at)?;
    }
    Ok(Done::all(count))
}

fn map_batch<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, GuestFault> {
    let mut near = Near::default();
    each::<GnttabMapGrantRef, M>(cx, uop, count, STRIDE, |cx, at| {
        let mut op = guest::read(&cx.xen.m, at)?;
        map(cx, &mut near, &mut op);
        explain(cx, GNTTABOP_MAP_GRANT_REF, at, op.status);
        guest::write(&cx.xen.m, at, &op)
    })
}

/// The two kinds of unmap.
trait Unmap: zerocopy::FromBytes + zerocopy::IntoBytes {
    const STATUS: usize;
    const COMMAND: u32;
    fn request(&self) -> Request;
}

impl Unmap for GnttabUnmapGrantRef {
    const STATUS: usize = offset_of!(Self, status);
    const COMMAND: u32 = GNTTABOP_UNMAP_GRANT_REF;
    fn request(&self) -> Request {
        Request {
            handle: self.handle,
            host_addr: self.host_addr,
            dev_bus_addr: self.dev_bus_addr,
            replace: None,
        }
    }
}

impl Unmap for GnttabUnmapAndReplace {
    const STATUS: usize = offset_of!(Self, status);
    const COMMAND: u32 = GNTTABOP_UNMAP_AND_REPLACE;
    fn request(&self) -> Request {
        Request {
            handle: self.handle,
            host_addr: self.host_addr,
            dev_bus_addr: 0,
            replace: Some(self.new_addr),
        }
    }
}

fn unmap_batch<M: Machine, T: Unmap>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, GuestFault> {
    let mut ending = Ending::default();
    let done = each::<T, M>(cx, uop, count, STRIDE, |cx, at| {
        let op: T = guest::read(&cx.xen.m, at)?;
        if ending.is_full() {
            ending.finish(cx.xen, cx.dom);
        }
        let status = ending.unmap(cx, &op.request());
        explain(cx, T::COMMAND, at, status);
        write_status(cx, at + T::STATUS as u64, status)
    });
    ending.finish(cx.xen, cx.dom);
    done
}

fn copy_batch<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> Result<Done, GuestFault> {
    let mut copier = Copier::default();
    let done = each::<GnttabCopy, M>(cx, uop, count, STRIDE, |cx, at| {
        let op: GnttabCopy = guest::read(&cx.xen.m, at)?;
        let status = copier.copy(cx, &op);
        explain(cx, GNTTABOP_COPY, at, status);
        write_status(cx, at + offset_of!(GnttabCopy, status) as u64, status)
    });
    copier.close(cx.xen);
    done
}

/// Keeps why the element at `at` was refused, if it was.
#[inline]
pub fn explain<M: Machine>(cx: &Cx<'_, M>, command: u32, at: u64, status: Status) {
    if status != GNTST_OKAY {
        refusal::keep_status(cx, command, at, status);
    }
}

pub fn write_status<M: Machine>(cx: &Cx<'_, M>, at: u64, status: Status) -> Result<(), GuestFault> {
    guest::write(&cx.xen.m, at, &status)
}

/// The domain an element names, for its own or a controlling caller.
pub fn subject<M: Machine>(cx: &Cx<'_, M>, id: u16) -> Result<Arc<Domain>, Status> {
    let dom = cx.domain(id).map_err(|_| GNTST_BAD_DOMAIN)?;
    if dom.id == cx.dom.id || cx.dom.privileged {
        return Ok(dom);
    }
    Err(refuse!(cx.xen, GNTST_PERMISSION_DENIED, "only a privileged domain may do this to domain {}", id))
}

/// EINVAL unless there is one element.
pub fn only_one<M: Machine>(cx: &Cx<'_, M>, count: u32) -> Result<(), Errno> {
    if count == 1 {
        return Ok(());
    }
    Err(refuse!(cx.xen, Errno::EINVAL, "{} elements, this takes one", count))
}

fn setup_table<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    only_one(cx, count)?;
    let mut op: GnttabSetupTable = guest::read(&cx.xen.m, uop)?;
    op.status = match list_frames(cx, &op) {
        Ok(()) => GNTST_OKAY,
        Err(status) => status,
    };
    explain(cx, GNTTABOP_SETUP_TABLE, uop, op.status);
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}

fn list_frames<M: Machine>(cx: &Cx<'_, M>, op: &GnttabSetupTable) -> Result<(), Status> {
    let dom = subject(cx, op.dom)?;
    grow(cx.xen, &dom, op.nr_frames).map_err(|_| GNTST_GENERAL_ERROR)?;
    write_list(cx, op.frame_list, op.nr_frames, |i| dom.grants.table.frame(i))
}

/// Writes the numbers of the first `n` frames to the caller's list.
pub fn write_list<'a, M: Machine>(
    cx: &Cx<'_, M>,
    list: GuestHandle,
    n: u32,
    frame: impl Fn(u32) -> Option<&'a HvFrame>,
) -> Result<(), Status> {
    for i in 0..n {
        let none = || refuse!(cx.xen, GNTST_GENERAL_ERROR, "the table has no frame {}", i);
        let mfn = frame(i).ok_or_else(none)?.mfn().0;
        let fault = |_| {
            let at = list.addr();
            refuse!(cx.xen, GNTST_BAD_VIRT_ADDR, "entry {} of the list at {:x} cannot be written", i, at)
        };
        guest::write_at(&cx.xen.m, list.addr(), u64::from(i), &mfn).map_err(fault)?;
    }
    Ok(())
}

fn query_size<M: Machine>(cx: &mut Cx<'_, M>, uop: u64, count: u32) -> HcResult {
    only_one(cx, count)?;
    let mut op: GnttabQuerySize = guest::read(&cx.xen.m, uop)?;
    match subject(cx, op.dom) {
        Ok(dom) => {
            // A table has a frame from the start; short of memory it says what there is.
            let _ = grow(cx.xen, &dom, 1);
            (op.nr_frames, op.max_nr_frames) = dom.grants.sizes();
            op.status = GNTST_OKAY;
        }
        Err(status) => op.status = status,
    }
    explain(cx, GNTTABOP_QUERY_SIZE, uop, op.status);
    guest::write(&cx.xen.m, uop, &op)?;
    Ok(0)
}
