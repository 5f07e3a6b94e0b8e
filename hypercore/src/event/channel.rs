//! Ports of a domain: what each is bound to, and which numbers are taken.
//!
//! A channel's state stands behind its own lock; two channels are locked in the order of (domain, port).
//! Looking a port up takes no lock: channels come in chunks that are allocated once and stay until the
//! domain goes.

use crate::domain::Domain;
use crate::fallible::{TryVec, boxed};
use crate::ids::{DomId, Port, VcpuId};
use crate::nospec;
use crate::sync::Mutex;
use abi::Errno;
use abi::event_channel::EVTCHN_FIFO_PRIORITY_DEFAULT;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use spin::Once;

/// Channels per chunk: one word of the map of taken ports.
const CHUNK: u32 = 64;

/// What a port is bound to.
#[derive(Default)]
pub enum State {
    #[default]
    Free,
    /// `remote` may bind to it.
    Unbound {
        remote: DomId,
    },
    Interdomain {
        remote: Arc<Domain>,
        port: Port,
    },
    Pirq(u32),
    /// Of `vcpu` (0 for a global one).
    Virq {
        virq: u32,
        vcpu: VcpuId,
    },
    Ipi,
}

/// One port.
#[derive(Default)]
pub struct Channel {
    pub state: Mutex<State>,
    /// vCPU that is told.
    notify: AtomicU32,
    /// FIFO priority.
    priority: AtomicU32,
    /// Became pending while the guest had no FIFO word for it.
    pub parked: AtomicBool,
    /// FIFO queue it was linked to last: vCPU above, priority in the low 4 bits. Outlives the binding,
    /// because that queue's tail may still name this port.
    pub last_queue: AtomicU32,
}

impl Channel {
    pub fn notify(&self) -> VcpuId {
        VcpuId(self.notify.load(Relaxed))
    }

    pub fn set_notify(&self, v: VcpuId) {
        self.notify.store(v.0, Relaxed);
    }

    pub fn priority(&self) -> u32 {
        self.priority.load(Relaxed)
    }

    pub fn set_priority(&self, p: u32) {
        self.priority.store(p, Relaxed);
    }
}

/// All ports of a domain.
pub struct Ports {
    /// Highest port the domain may have.
    last: u32,
    chunks: Box<[Once<Box<[Channel]>>]>,
    taken: Mutex<Taken>,
}

struct Taken {
    /// Bit n of word w: port 64·w + n is taken.
    bits: Vec<u64>,
    /// No word below this one has a free bit.
    first: usize,
}

impl Ports {
    /// For ports up to and including `last`. Port 0 is never given.
    pub fn new(last: u32) -> Result<Self, Errno> {
        let n = (last / CHUNK + 1) as usize;
        let ports = Self {
            last,
            chunks: boxed(n, Once::new)?,
            taken: Mutex::new(Taken { bits: Vec::new(), first: 0 }),
        };
        ports.grow(&mut ports.taken.lock())?;
        ports.taken.lock().bits[0] = 1;
        Ok(ports)
    }

    /// The channel of `port`, whatever its state; `None` if there never was one.
    #[inline]
    pub fn get(&self, port: Port) -> Option<&Channel> {
        nospec::get(&self.chunks, (port.0 / CHUNK) as usize)?.get()?.get((port.0 % CHUNK) as usize)
    }

    fn grow(&self, taken: &mut Taken) -> Result<(), Errno> {
        let slot = self.chunks.get(taken.bits.len()).ok_or(Errno::ENOSPC)?;
        slot.try_call_once(|| boxed(CHUNK as usize, Channel::default))?;
        taken.bits.try_push(0)
    }

    /// Takes the lowest free port below `limit` that `busy` does not refuse, told to vCPU 0 and with the
    /// default priority. ENOSPC, ENOMEM.
    pub fn take(&self, limit: u32, busy: impl Fn(Port) -> bool) -> Result<Port, Errno> {
        let mut taken = self.taken.lock();
        let mut word = taken.first;
        let mut skipped = false;
        loop {
            if word == taken.bits.len() {
                self.grow(&mut taken)?;
            }
            let mut free = !taken.bits[word];
            while free != 0 {
                let bit = free.trailing_zeros();
                let port = Port(word as u32 * CHUNK + bit);
                if port.0 > self.last || port.0 >= limit {
                    return Err(Errno::ENOSPC);
                }
                if !busy(port) {
                    taken.bits[word] |= 1 << bit;
                    let ch = self.get(port).ok_or(Errno::ENOSPC)?;
                    ch.set_notify(VcpuId(0));
                    ch.set_priority(EVTCHN_FIFO_PRIORITY_DEFAULT);
                    return Ok(port);
                }
                skipped = true;
                free &= free - 1;
            }
            word += 1;
            if !skipped {
                taken.first = word;
            }
        }
    }

    /// Gives a port back; its channel must be [`State::Free`].
    pub fn release(&self, port: Port) {
        let mut taken = self.taken.lock();
        let word = (port.0 / CHUNK) as usize;
        if let Some(w) = taken.bits.get_mut(word) {
            *w &= !(1 << (port.0 % CHUNK));
            taken.first = taken.first.min(word);
        }
    }

    /// The first taken port at or above `from`, port 0 left out.
    pub fn next_taken(&self, from: u32) -> Option<Port> {
        let taken = self.taken.lock();
        let from = from.max(1);
        let mut word = (from / CHUNK) as usize;
        let mut keep = u64::MAX << (from % CHUNK);
        while let Some(bits) = taken.bits.get(word) {
            let bits = bits & keep;
            if bits != 0 {
                return Some(Port(word as u32 * CHUNK + bits.trailing_zeros()));
            }
            keep = u64::MAX;
            word += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_lowest_first_and_again_after_release() {
        let p = Ports::new(100).unwrap();
        for want in 1..=100 {
            assert_eq!(p.take(4096, |_| false), Ok(Port(want)));
        }
        assert_eq!(p.take(4096, |_| false), Err(Errno::ENOSPC));
        p.release(Port(70));
        p.release(Port(3));
        assert_eq!(p.next_taken(0), Some(Port(1)));
        assert_eq!(p.next_taken(3), Some(Port(4)));
        assert_eq!(p.take(4096, |_| false), Ok(Port(3)));
        assert_eq!(p.take(4096, |_| false), Ok(Port(70)));
        assert_eq!(p.take(4096, |_| false), Err(Errno::ENOSPC));
    }

    #[test]
    fn a_busy_port_is_passed_over_and_found_later() {
        let p = Ports::new(4095).unwrap();
        assert_eq!(p.take(4096, |p| p.0 < 70), Ok(Port(70)));
        assert_eq!(p.take(4096, |_| false), Ok(Port(1)));
    }

    #[test]
    fn the_layout_limits_before_the_domain_does() {
        let p = Ports::new(100).unwrap();
        for _ in 1..50 {
            p.take(50, |_| false).unwrap();
        }
        assert_eq!(p.take(50, |_| false), Err(Errno::ENOSPC));
        assert_eq!(p.take(51, |_| false), Ok(Port(50)));
    }
}
