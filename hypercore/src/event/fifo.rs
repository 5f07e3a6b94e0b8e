//! The FIFO layout: a word per port in pages the guest gives, linked into a queue per vCPU and priority.
//!
//! Who may do what to a word: we set PENDING, LINKED and the link field of a queue's tail; the guest sets
//! and clears MASKED, clears PENDING, and clears LINKED with the link field when it takes the event off its
//! queue. While BUSY is set the guest does not clear MASKED by itself. The guest reads a queue's head from its
//! vCPU's control block when its own copy ran out; we write the head when an event joins an empty queue.
//!
//! Whoever turns LINKED on owns the event until it is on a queue again. That happens under the lock of the
//! queues the event was on last, together with forgetting it as their tail: a later event must not be
//! appended to one that has moved elsewhere.

use super::channel::Channel;
use super::level2::Effect;
use super::words::{load32, update32};
use crate::domain::Domain;
use crate::fallible::TryVec;
use crate::frame::{CanRead, WritableRef};
use crate::ids::{Port, VcpuId};
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use abi::Errno;
use abi::event_channel::*;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering::*;

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;
/// Event words in a page.
const WORDS: u32 = 1024;
const MAX_PAGES: usize = (EVTCHN_FIFO_NR_CHANNELS / WORDS) as usize;
/// How often an event's last queue may change under us before it is left alone.
const CHASES: usize = 64;

/// The pages of event words of a domain that uses this layout.
#[derive(Default)]
pub struct Fifo {
    pages: Vec<WritableRef>,
}

/// A vCPU's queues.
#[derive(Default)]
pub struct Queues {
    block: Option<Block>,
    /// Port that joined each queue last; 0 is none.
    tails: [u32; EVTCHN_FIFO_MAX_QUEUES],
}

struct Block {
    frame: WritableRef,
    offset: usize,
}

/// One event word.
struct Word<'a> {
    page: &'a WritableRef,
    offset: usize,
}

impl Word<'_> {
    fn load<M: Machine>(&self, m: &M) -> u32 {
        load32(m, self.page, self.offset)
    }

    fn update<M: Machine>(&self, m: &M, change: impl Fn(u32) -> u32) -> Option<u32> {
        update32(m, self.page, self.offset, change)
    }

    /// Makes `next` follow this event if it is still linked; true if it does now.
    fn link<M: Machine>(&self, m: &M, next: Port) -> bool {
        let linked = |w: u32| w & !(EVTCHN_FIFO_LINK_MASK | BUSY) | next.0;
        // Keeps the guest from unmasking, so that it runs out of changes it may make.
        if self.update(m, |w| if w & LINKED != 0 { w | BUSY } else { w }).is_none_or(|w| w & LINKED == 0) {
            return false;
        }
        match self.update(m, |w| if w & LINKED != 0 { linked(w) } else { w & !BUSY }) {
            Some(old) => old & LINKED != 0,
            None => false,
        }
    }
}

impl Queues {
    /// The guest's control block, `offset` bytes into `frame`.
    pub fn set_block(&mut self, frame: WritableRef, offset: usize) -> Result<(), Errno> {
        if self.block.is_some() {
            return Err(Errno::EINVAL);
        }
        self.block = Some(Block { frame, offset });
        Ok(())
    }

    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub fn frame(&self) -> Option<crate::ids::Mfn> {
        self.block.as_ref().map(|b| b.frame.mfn())
    }

    /// Puts an event at the end of a queue; true if the upcall is to be raised.
    fn append<M: Machine>(&mut self, m: &M, fifo: &Fifo, priority: usize, port: Port) -> bool {
        let Some(block) = &self.block else { return false };
        let tail = core::mem::replace(&mut self.tails[priority], port.0);
        if tail != 0 && fifo.word(Port(tail)).is_some_and(|w| w.link(m, port)) {
            return false;
        }
        let head = block.offset + offset_of!(EvtchnFifoControlBlock, head) + priority * 4;
        let ready = block.offset + offset_of!(EvtchnFifoControlBlock, ready);
        update32(m, &block.frame, head, |_| port.0);
        update32(m, &block.frame, ready, |r| r | 1 << priority).is_some_and(|r| r & 1 << priority == 0)
    }
}

impl Fifo {
    fn word(&self, port: Port) -> Option<Word<'_>> {
        let page = self.pages.get((port.0 / WORDS) as usize)?;
        Some(Word { page, offset: (port.0 % WORDS * 4) as usize })
    }

    /// Whether there is room for another page.
    pub fn full(&self) -> bool {
        self.pages.len() >= MAX_PAGES
    }

    /// Adds the next page; the ports whose words it holds.
    pub fn add_page(&mut self, page: WritableRef) -> Result<core::ops::Range<u32>, Errno> {
        let first = self.pages.len() as u32 * WORDS;
        self.pages.try_push(page)?;
        Ok(first..first + WORDS)
    }

    pub fn frames(&self) -> impl Iterator<Item = crate::ids::Mfn> + '_ {
        self.pages.iter().map(|p| p.mfn())
    }

    pub fn set_pending<M: Machine>(
        &self,
        m: &M,
        dom: &Domain,
        vcpu: &Vcpu,
        port: Port,
        ch: &Channel,
    ) -> Effect {
        let Some(word) = self.word(port) else {
            ch.parked.store(true, Release);
            return Effect::default();
        };
        let Some(old) = word.update(m, |w| w | PENDING) else { return Effect::default() };
        let upcall = old & (MASKED | LINKED) == 0 && self.enqueue(m, dom, vcpu, port, ch, &word);
        Effect { fresh: old & PENDING == 0, upcall }
    }

    /// Links an event that is not linked; true if the upcall is to be raised.
    fn enqueue<M: Machine>(
        &self,
        m: &M,
        dom: &Domain,
        vcpu: &Vcpu,
        port: Port,
        ch: &Channel,
        word: &Word<'_>,
    ) -> bool {
        let priority = ch.priority() as usize & (EVTCHN_FIFO_MAX_QUEUES - 1);
        let here = vcpu.id.0 << 4 | priority as u32;
        for _ in 0..CHASES {
            let last = ch.last_queue.load(Acquire);
            let last_vcpu = VcpuId(last >> 4);
            let elsewhere = if last_vcpu == vcpu.id { None } else { dom.vcpu(last_vcpu) };
            let mut queues = elsewhere.as_deref().unwrap_or(vcpu).events.queues.lock();
            if ch.last_queue.load(Acquire) != last {
                continue;
            }
            // Where the new queue cannot be written yet, the event stays pending and unlinked.
            if elsewhere.is_none() && queues.block.is_none() {
                return false;
            }
            match word.update(m, |w| w | LINKED) {
                Some(old) if old & LINKED == 0 => {}
                _ => return false,
            }
            let tail = &mut queues.tails[last as usize & (EVTCHN_FIFO_MAX_QUEUES - 1)];
            if *tail == port.0 {
                *tail = 0;
            }
            ch.last_queue.store(here, Release);
            if elsewhere.is_none() {
                return queues.append(m, self, priority, port);
            }
            drop(queues);
            let mut queues = vcpu.events.queues.lock();
            if queues.block.is_none() {
                word.update(m, |w| w & !LINKED);
                return false;
            }
            return queues.append(m, self, priority, port);
        }
        false
    }

    pub fn unmask<M: Machine>(&self, m: &M, dom: &Domain, vcpu: &Vcpu, port: Port, ch: &Channel) -> Effect {
        let Some(word) = self.word(port) else { return Effect::default() };
        match word.update(m, |w| w & !MASKED) {
            Some(old) if old & PENDING != 0 => self.set_pending(m, dom, vcpu, port, ch),
            _ => Effect::default(),
        }
    }

    pub fn is_pending<M: Machine>(&self, m: &M, port: Port) -> bool {
        self.word(port).is_some_and(|w| w.load(m) & PENDING != 0)
    }

    pub fn is_masked<M: Machine>(&self, m: &M, port: Port) -> bool {
        self.word(port).is_none_or(|w| w.load(m) & MASKED != 0)
    }

    /// Still on a queue the guest has not drained: the number cannot be given again yet.
    pub fn is_busy<M: Machine>(&self, m: &M, port: Port) -> bool {
        self.word(port).is_some_and(|w| w.load(m) & LINKED != 0)
    }

    pub fn clear_pending<M: Machine>(&self, m: &M, port: Port, ch: &Channel) {
        ch.parked.store(false, Release);
        if let Some(word) = self.word(port) {
            word.update(m, |w| w & !PENDING);
        }
    }
}
