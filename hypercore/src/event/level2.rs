//! The 2-level layout: a pending and a mask bit per port in shared_info, a selector word per vCPU.

use super::words::update64;
use crate::domain::Domain;
use crate::ids::Port;
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use abi::event_channel::EVTCHN_2L_NR_CHANNELS;
use abi::xen::{SharedInfo, VcpuInfo};
use core::mem::offset_of;

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel);

/// What a change to the shared bits calls for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Effect {
    /// The port was not pending before: wake who polls it.
    pub fresh: bool,
    /// The vCPU's upcall is to be raised.
    pub upcall: bool,
}

/// Byte offset and bit of `port` in a bitmap at `base`.
fn bit(base: usize, port: Port) -> (usize, u64) {
    (base + (port.0 / 64) as usize * 8, 1 << (port.0 % 64))
}

/// Strict order: pending, then (unless masked) selector; the caller raises the upcall last.
pub fn set_pending<M: Machine>(m: &M, dom: &Domain, vcpu: &Vcpu, port: Port) -> Effect {
    if port.0 >= EVTCHN_2L_NR_CHANNELS {
        return Effect::default();
    }
    let (at, bits) = bit(PENDING, port);
    match update64(m, &dom.shared_info, at, |w| w | bits) {
        Some(old) if old & bits == 0 => {}
        _ => return Effect::default(),
    }
    let (at, bits) = bit(MASK, port);
    let masked = m.load(&dom.shared_info, at) & bits != 0;
    Effect { fresh: true, upcall: !masked && select(m, vcpu, port) }
}

/// Sets the port's bit of the selector; true if it was clear.
fn select<M: Machine>(m: &M, vcpu: &Vcpu, port: Port) -> bool {
    let bits = 1u64 << (port.0 / 64);
    vcpu.events
        .info
        .with(|info| info.update(m, SELECTOR, |w| w | bits).is_some_and(|old| old & bits == 0))
        .unwrap_or(false)
}

/// Clears the mask bit, and makes a port that is pending known.
pub fn unmask<M: Machine>(m: &M, dom: &Domain, vcpu: &Vcpu, port: Port) -> Effect {
    if port.0 >= EVTCHN_2L_NR_CHANNELS {
        return Effect::default();
    }
    let (at, bits) = bit(MASK, port);
    let was_masked = update64(m, &dom.shared_info, at, |w| w & !bits).is_some_and(|old| old & bits != 0);
    let upcall = was_masked && is_pending(m, dom, port) && select(m, vcpu, port);
    Effect { fresh: false, upcall }
}

pub fn is_pending<M: Machine>(m: &M, dom: &Domain, port: Port) -> bool {
    let (at, bits) = bit(PENDING, port);
    port.0 < EVTCHN_2L_NR_CHANNELS && m.load(&dom.shared_info, at) & bits != 0
}

pub fn is_masked<M: Machine>(m: &M, dom: &Domain, port: Port) -> bool {
    let (at, bits) = bit(MASK, port);
    port.0 >= EVTCHN_2L_NR_CHANNELS || m.load(&dom.shared_info, at) & bits != 0
}

pub fn clear_pending<M: Machine>(m: &M, dom: &Domain, port: Port) {
    if port.0 < EVTCHN_2L_NR_CHANNELS {
        let (at, bits) = bit(PENDING, port);
        update64(m, &dom.shared_info, at, |w| w & !bits);
    }
}
