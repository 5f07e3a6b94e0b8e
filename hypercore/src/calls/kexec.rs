//! `kexec_op` (public header kexec.h), as where no memory was set aside for a crash kernel: no image is ever loaded, so
//! there is none to start or to unload. Images for a restart that is no crash are not taken either.

use crate::guest;
use crate::machine::Machine;
use crate::refuse;
use crate::xen::{Cx, HcResult};
use abi::Errno;
use abi::kexec::*;

/// An image has fewer segments than this.
const SEGMENTS: u32 = 16;
/// ELF's numbers of the processors that an image may be for.
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;

/// `kexec_op(cmd, arg)`; EPERM for all but the privileged, EFAULT where the argument cannot be read, ENOSYS for an
/// operation that there is not.
pub fn kexec_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    cx.must_be_privileged()?;
    let m = &cx.xen.m;
    match cmd {
        KEXEC_CMD_KEXEC => {
            let exec: KexecExec = guest::read(m, arg)?;
            known(cx, exec.type_)?;
            Err(refuse!(cx.xen, Errno::ENOENT, "no image of kind {} is loaded", exec.type_).into())
        }
        KEXEC_CMD_KEXEC_GET_RANGE => {
            let mut range: KexecRange = guest::read(m, arg)?;
            (range.start, range.size) = place(cx, &range)?;
            guest::write(m, arg, &range)?;
            Ok(0)
        }
        KEXEC_CMD_KEXEC_LOAD => load(cx, &guest::read(m, arg)?),
        // The image as a list of pages.
        KEXEC_CMD_KEXEC_LOAD_V1 => {
            let _: u64 = guest::read(m, arg)?;
            Err(refuse!(cx.xen, Errno::EINVAL, "images come by segments").into())
        }
        KEXEC_CMD_KEXEC_UNLOAD_V1 => {
            let kind: i32 = guest::read(m, arg)?;
            known(cx, kind)
        }
        KEXEC_CMD_KEXEC_UNLOAD => {
            let unload: KexecUnload = guest::read(m, arg)?;
            known(cx, unload.type_.into())
        }
        // 1 would say that an image is loaded.
        KEXEC_CMD_KEXEC_STATUS => {
            let status: KexecStatus = guest::read(m, arg)?;
            known(cx, status.type_.into())
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// EINVAL: no kind of image.
fn known<M: Machine>(cx: &Cx<'_, M>, kind: i32) -> HcResult {
    if kind == KEXEC_TYPE_DEFAULT.into() || kind == KEXEC_TYPE_CRASH.into() {
        return Ok(0);
    }
    Err(refuse!(cx.xen, Errno::EINVAL, "there is no kind {} of images", kind).into())
}

/// Machine address and bytes of what `range` names. ERANGE: no such processor. EINVAL: it is not there.
fn place<M: Machine>(cx: &Cx<'_, M>, range: &KexecRange) -> Result<(u64, u64), Errno> {
    let host = &cx.xen.host;
    match range.range {
        KEXEC_RANGE_MA_CRASH => Ok((0, 0)),
        KEXEC_RANGE_MA_XEN => Ok((host.image.0, host.image.1)),
        KEXEC_RANGE_MA_CPU if !(0..i64::from(host.nr_cpus)).contains(&range.nr.into()) => {
            Err(refuse!(cx.xen, Errno::ERANGE, "there is no CPU {}", range.nr))
        }
        n => Err(refuse!(cx.xen, Errno::EINVAL, "there is no range {}", n)),
    }
}

/// EINVAL: not an image that this machine could start. EADDRNOTAVAIL: it is to be where there is no room for it.
/// ENOSYS: restarting without a crash is not served.
fn load<M: Machine>(cx: &Cx<'_, M>, load: &KexecLoad) -> HcResult {
    known(cx, load.type_.into())?;
    if load.nr_segments >= SEGMENTS {
        return Err(refuse!(cx.xen, Errno::EINVAL, "{} segments", load.nr_segments).into());
    }
    let crash = load.type_ == KEXEC_TYPE_CRASH;
    for i in 0..load.nr_segments {
        let s: KexecSegment = guest::read_at(&cx.xen.m, load.segments.addr(), i.into())?;
        if crash || !s.dest_maddr.is_multiple_of(4096) || !s.dest_size.is_multiple_of(4096) {
            return Err(refuse!(cx.xen, Errno::EADDRNOTAVAIL, "no room at {:x}", s.dest_maddr).into());
        }
        if s.buf_size > s.dest_size {
            return Err(
                refuse!(cx.xen, Errno::EINVAL, "a segment larger than its place: {}", s.buf_size).into()
            );
        }
    }
    if crash {
        return Err(refuse!(cx.xen, Errno::EADDRNOTAVAIL, "no memory is set aside for a crash kernel").into());
    }
    match load.arch {
        EM_386 | EM_X86_64 => {
            Err(refuse!(cx.xen, Errno::ENOSYS, "no image is started but by the firmware").into())
        }
        arch => Err(refuse!(cx.xen, Errno::EINVAL, "an image for machine {}", arch).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tool::errno;
    use crate::testing::{Scratch, World};
    use abi::GuestHandle;

    #[test]
    fn nothing_is_loaded_and_says_so() {
        let w = World::new(512, 2);
        let (g, other) = (w.domain(0, 1), w.domain(5, 1));
        let mut s = Scratch::new(w.xen);
        let at = s.room(64);
        let op = |cmd| g.call(0, |cx| kexec_op(cx, cmd, at));
        s.set(at, &[0u64; 8]);
        assert_eq!(errno(other.call(0, |cx| kexec_op(cx, KEXEC_CMD_KEXEC_STATUS, at))), Errno::EPERM);
        assert_eq!(errno(op(7)), Errno::ENOSYS);
        for (kind, loaded, start) in [
            (KEXEC_TYPE_DEFAULT, Ok(0), Errno::ENOENT),
            (KEXEC_TYPE_CRASH, Ok(0), Errno::ENOENT),
            (2, Err(Errno::EINVAL.into()), Errno::EINVAL),
        ] {
            s.set(at, &u32::from(kind));
            for cmd in [KEXEC_CMD_KEXEC_STATUS, KEXEC_CMD_KEXEC_UNLOAD, KEXEC_CMD_KEXEC_UNLOAD_V1] {
                assert_eq!(op(cmd), loaded, "{cmd} of {kind}");
            }
            assert_eq!(errno(op(KEXEC_CMD_KEXEC)), start);
            assert_eq!(errno(op(KEXEC_CMD_KEXEC_LOAD_V1)), Errno::EINVAL);
        }
    }

    #[test]
    fn ranges_are_the_image_and_no_room() {
        let w = World::new(512, 2);
        let g = w.domain(0, 1);
        let mut s = Scratch::new(w.xen);
        let at = s.room(24);
        let get = |range, nr| {
            s.set(at, &KexecRange { range, nr, size: 7, start: 7 });
            let r = g.call(0, |cx| kexec_op(cx, KEXEC_CMD_KEXEC_GET_RANGE, at));
            let got: KexecRange = s.get(at);
            r.map(|_| (got.start, got.size))
        };
        assert_eq!(get(KEXEC_RANGE_MA_CRASH, 0), Ok((0, 0)));
        assert_eq!(get(KEXEC_RANGE_MA_XEN, 0), Ok(w.xen.host.image));
        for (nr, e) in [(0, Errno::EINVAL), (1, Errno::EINVAL), (2, Errno::ERANGE), (-1, Errno::ERANGE)] {
            assert_eq!(get(KEXEC_RANGE_MA_CPU, nr), Err(e.into()));
        }
        for range in [-1, 3, 4, 5, 6, 7] {
            assert_eq!(get(range, 0), Err(Errno::EINVAL.into()));
        }
    }

    #[test]
    fn no_image_is_taken() {
        let w = World::new(512, 1);
        let g = w.domain(0, 1);
        let mut s = Scratch::new(w.xen);
        let (at, list) = (s.room(24), s.room(32));
        let nowhere = 0x1000_0000_0000;
        let load = |type_, arch, nr_segments, segments, dest_maddr, buf_size| {
            s.set(list, &KexecSegment { buf: GuestHandle::new(list), buf_size, dest_maddr, dest_size: 4096 });
            let segments = GuestHandle::new(segments);
            s.set(at, &KexecLoad { type_, _pad: 0, arch, nr_segments, segments, entry_maddr: 0 });
            errno(g.call(0, |cx| kexec_op(cx, KEXEC_CMD_KEXEC_LOAD, at)))
        };
        let crash = |n, list, dest, size| load(KEXEC_TYPE_CRASH, EM_X86_64, n, list, dest, size);
        assert_eq!(crash(0, list, 0, 0), Errno::EADDRNOTAVAIL);
        assert_eq!(crash(1, list, 4096, 64), Errno::EADDRNOTAVAIL);
        assert_eq!(crash(1, nowhere, 0, 0), Errno::EFAULT);
        assert_eq!(crash(16, nowhere, 0, 0), Errno::EINVAL);
        let restart = |arch, dest, size| load(KEXEC_TYPE_DEFAULT, arch, 1, list, dest, size);
        assert_eq!(restart(EM_X86_64, 4097, 64), Errno::EADDRNOTAVAIL);
        assert_eq!(restart(EM_X86_64, 4096, 4097), Errno::EINVAL);
        assert_eq!(restart(183, 4096, 64), Errno::EINVAL);
        assert_eq!(restart(EM_386, 4096, 64), Errno::ENOSYS);
        assert_eq!(load(9, EM_X86_64, 0, list, 0, 0), Errno::EINVAL);
    }
}
