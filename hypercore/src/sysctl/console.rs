//! `xl dmesg` and `xl debug-keys`.

use super::{Call, OpResult};
use crate::guest;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::Cx;
use abi::Errno;
use abi::sysctl::*;

/// Bytes carried at a time.
const CHUNK: usize = 512;
/// Most keys in one call.
const MAX_KEYS: u32 = 64;

/// Copies the message ring from where the reader is. `index` and `count` say how far it got.
pub(super) fn read<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let mut r: SysctlReadconsole = call.get();
    let m = &cx.xen.m;
    let (mut done, mut index, mut incremental) = (0u32, r.index, r.incremental != 0);
    let mut chunk = [0; CHUNK];
    while done < r.count {
        let room = (r.count - done).min(CHUNK as u32) as usize;
        let (at, n) = m.messages_read(incremental, index, &mut chunk[..room]);
        // From here on the reader continues where the last piece ended.
        (index, incremental) = (at.wrapping_add(n as u32), true);
        if n == 0 {
            break;
        }
        let to = r.buffer.addr().wrapping_add(done.into());
        guest::write_bytes(m, to, &chunk[..n]).map_err(|_| Errno::EFAULT)?;
        done += n as u32;
    }
    if r.clear != 0 {
        m.messages_clear(index);
    }
    (r.count, r.index) = (done, index);
    call.put(m, &r)
}

pub(super) fn debug_keys<M: Machine>(cx: &mut Cx<'_, M>, call: &Call) -> OpResult {
    let d: SysctlDebugKeys = call.get();
    if d.nr_keys > MAX_KEYS {
        return Err(refuse!(cx.xen, Errno::E2BIG, "{} keys, at most {} at once", d.nr_keys, MAX_KEYS));
    }
    for i in 0..d.nr_keys {
        let key: u8 = guest::read_at(&cx.xen.m, d.keys.addr(), i.into()).map_err(|_| Errno::EFAULT)?;
        cx.xen.m.debug_key(key);
    }
    Ok(())
}
