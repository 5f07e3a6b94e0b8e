//! `console_io` (public header xen.h): the hypervisor's console, for the first domain.

use crate::guest;
use crate::machine::Machine;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE, HYPERVISOR_CONSOLE_IO};

/// Characters copied at a time.
const CHUNK: usize = 128;
/// Chunks between two looks for interrupts: the serial line is slow.
const BATCH: u32 = 4;

/// `console_io(cmd, count, buffer)`. Write: 0. Read: the number of characters, which may be 0. EPERM: not the
/// first domain.
pub fn console_io<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, count: u32, buffer: u64) -> HcResult {
    cx.must_be_privileged()?;
    match cmd {
        CONSOLEIO_WRITE => write(cx, count, buffer),
        CONSOLEIO_READ => read(cx, count, buffer),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn write<M: Machine>(cx: &mut Cx<'_, M>, count: u32, buffer: u64) -> HcResult {
    let mut chunk = [0u8; CHUNK];
    let (mut at, mut left) = (buffer, count);
    for i in 1.. {
        let text = &mut chunk[..CHUNK.min(left as usize)];
        guest::read_bytes(&cx.xen.m, at, text)?;
        cx.xen.m.console_write(cx.dom.id, text);
        left -= text.len() as u32;
        at += text.len() as u64;
        if left == 0 {
            break;
        }
        if i % BATCH == 0 && cx.xen.m.preempt_point() {
            let args = [CONSOLEIO_WRITE.into(), left.into(), at];
            return cx.restart(HYPERVISOR_CONSOLE_IO, args);
        }
    }
    Ok(0)
}

fn read<M: Machine>(cx: &mut Cx<'_, M>, count: u32, buffer: u64) -> HcResult {
    // Before characters are taken out of the queue: can they be delivered?
    if !guest::range_ok(buffer, count as usize) {
        return Err(Errno::EFAULT.into());
    }
    let mut chunk = [0u8; CHUNK];
    let mut done = 0u32;
    while done < count {
        let room = CHUNK.min((count - done) as usize);
        let n = cx.xen.m.console_read(&mut chunk[..room]).min(room);
        guest::write_bytes(&cx.xen.m, buffer + u64::from(done), &chunk[..n])?;
        done += n as u32;
        if n < room {
            break;
        }
    }
    Ok(done.into())
}
