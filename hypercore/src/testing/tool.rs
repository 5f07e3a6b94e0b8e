//! [`ToolBed`]: the calls of management tools (sysctl, platform_op), whose arguments all look alike: command, version,
//! and a payload in a union of fixed size.

use super::{Guest, HostMachine, Scratch, World};
use crate::xen::{Cx, HcResult, Stop};
use abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How a call's argument looks, and who serves it.
#[derive(Clone, Copy)]
pub struct ToolCall {
    /// Bytes of the whole argument, and of what is before the payload.
    pub size: usize,
    pub payload: usize,
    /// The interface version served.
    pub version: u32,
    pub serve: fn(&mut Cx<'_, HostMachine>, u64) -> HcResult,
}

/// Dom0, which may make the call, a domain that may not, and an argument in guest memory.
pub struct ToolBed {
    pub dom0: Guest,
    pub domu: Guest,
    pub s: Scratch,
    at: u64,
    what: ToolCall,
}

impl ToolBed {
    /// On two CPUs with `frames` frames.
    pub fn new(frames: u64, what: ToolCall) -> Self {
        Self::on(&World::new(frames, 2), what)
    }

    /// In a world that a test made.
    pub fn on(w: &World, what: ToolCall) -> Self {
        let (dom0, domu) = (w.domain(0, 1), w.domain(6, 1));
        let mut s = Scratch::new(w.xen);
        let at = s.room(what.size);
        Self { dom0, domu, s, at, what }
    }

    /// The call as `who` makes it.
    pub fn by<T: IntoBytes + Immutable>(&self, who: &Guest, version: u32, cmd: u32, payload: &T) -> HcResult {
        for at in (0..self.what.size as u64).step_by(4) {
            self.s.set(self.at + at, &0u32);
        }
        self.s.set(self.at, &[cmd, version]);
        self.s.set(self.at + self.what.payload as u64, payload);
        who.call(0, |cx| (self.what.serve)(cx, self.at))
    }

    /// The call as dom0 makes it, in the version served.
    pub fn call<T: IntoBytes + Immutable>(&self, cmd: u32, payload: &T) -> HcResult {
        self.by(&self.dom0, self.what.version, cmd, payload)
    }

    /// The payload after the call.
    pub fn answer<T: FromBytes + IntoBytes>(&self) -> T {
        self.s.get(self.at + self.what.payload as u64)
    }
}

/// The error a call must have ended with.
pub fn errno(r: HcResult) -> Errno {
    match r {
        Err(Stop::Errno(e)) => e,
        other => panic!("{other:?}"),
    }
}
