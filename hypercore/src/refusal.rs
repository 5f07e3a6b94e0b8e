//! Why a hypercall was refused, in words.
//!
//! Where a check fails, [`refuse!`] notes the reason for the CPU it runs on and answers the errno; a caller that
//! knows more (which element of a batch, whose frame) adds that around it by [`within!`]. When the hypercall ends
//! with an error, [`record`] keeps the chain with the vCPU, where `XENOLITH_WHY` (see [`abi::xenolith`]) reads it,
//! and logs it for whoever watches `guest_loglvl=all`. Elements of grant operations, which have a status each while
//! the call succeeds, are kept by [`keep_status`].
//!
//! Words are fixed; the two numbers they may speak of are the caller's own arguments and limits, never another
//! domain's frames.
//!
//! The last check that failed is the reason: what was noted before it, in a call that went on, is forgotten. So calls
//! that succeed pay nothing where every refusal has a reason, as with those of page tables and grants ([`of`]);
//! tools' calls, where not every one has, pay for [`Refusals::begin`]: two stores.

use crate::domain::Domain;
use crate::guest;
use crate::hypercall_table::HYPERCALLS;
use crate::ids::{CpuId, VcpuId};
use crate::log;
use crate::machine::{GuestFault, Machine};
use crate::sync::Mutex;
use crate::vcpu::Vcpu;
use crate::xen::{Cx, HcResult, Xen};
use abi::Errno;
use abi::xen::*;
use abi::xenolith::*;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Refusals kept for each vCPU.
pub const KEPT: usize = 8;
/// [`OnCpu::noted`] where the error ends a list: nobody wonders why.
const EXPECTED: u32 = u32::MAX;
/// Reasons kept of a chain: the innermost.
const DEPTH: usize = XENOLITH_WHY_LINKS;

/// A few words, with `{}` (decimal) or `{:x}` where one of two values goes.
pub struct Reason {
    words: &'static str,
}

impl Reason {
    pub const fn new(words: &'static str) -> Self {
        Self { words }
    }

    /// Names the reason; the same for the same words (32-bit FNV-1a).
    pub fn code(&self) -> u32 {
        self.words.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
    }
}

/// A reason and what its words speak of.
#[derive(Clone, Copy)]
pub struct Link {
    reason: &'static Reason,
    values: [u64; 2],
}

impl Link {
    const NONE: Self = Self { reason: &Reason::new(""), values: [0; 2] };
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.iter();
        let mut rest = self.reason.words;
        while let Some((before, after)) = rest.split_once('{') {
            f.write_str(before)?;
            let Some((format, after)) = after.split_once('}') else { break };
            match (values.next(), format) {
                (Some(v), ":x") => write!(f, "{v:#x}")?,
                (Some(v), _) => write!(f, "{v}")?,
                (None, _) => {}
            }
            rest = after;
        }
        f.write_str(rest)
    }
}

/// Reasons of one refusal, innermost first.
#[derive(Clone, Copy)]
struct Chain {
    len: usize,
    links: [Link; DEPTH],
}

impl Chain {
    const EMPTY: Self = Self { len: 0, links: [Link::NONE; DEPTH] };

    fn links(&self) -> &[Link] {
        &self.links[..self.len]
    }

    fn push(&mut self, link: Link) {
        if let Some(place) = self.links.get_mut(self.len) {
            *place = link;
            self.len += 1;
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, link) in self.links().iter().rev().enumerate() {
            write!(f, "{}{link}", if i == 0 { "" } else { ": " })?;
        }
        Ok(())
    }
}

/// A refused hypercall.
#[derive(Clone, Copy)]
pub struct Refusal {
    /// How many the vCPU had with this one.
    number: u64,
    hypercall: u32,
    command: u32,
    answer: Answer,
    chain: Chain,
}

/// What a refused call, or element of one, answered.
#[derive(Clone, Copy)]
enum Answer {
    Errno(Errno),
    /// `GNTST_*`
    Status(i16),
}

impl Answer {
    /// As the guest sees it: negative.
    fn value(self) -> i32 {
        match self {
            Answer::Errno(e) => -e.0,
            Answer::Status(s) => s.into(),
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Answer::Errno(e) => e.name(),
            Answer::Status(s) => abi::grant_table::status_name(s),
        }
    }
}

/// The last refusals of a vCPU.
pub struct Kept {
    made: u64,
    last: [Refusal; KEPT],
}

impl Default for Kept {
    fn default() -> Self {
        let answer = Answer::Errno(Errno(0));
        let none = Refusal { number: 0, hypercall: 0, command: 0, answer, chain: Chain::EMPTY };
        Self { made: 0, last: [none; KEPT] }
    }
}

impl Kept {
    fn keep(&mut self, mut refusal: Refusal) {
        self.made += 1;
        refusal.number = self.made;
        self.last[self.made as usize % KEPT] = refusal;
    }

    /// The `index`-th, counted from the latest.
    fn get(&self, index: u32) -> Option<&Refusal> {
        let kept = self.made.min(KEPT as u64);
        (u64::from(index) < kept).then(|| &self.last[(self.made - u64::from(index)) as usize % KEPT])
    }

    /// How many there were; of the latest: its command, and how many reasons were noted. For tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn latest(&self) -> (u64, u32, usize) {
        let last = &self.last[self.made as usize % KEPT];
        (self.made, last.command, last.chain.len)
    }
}

/// What has been noted on each CPU since its hypercall began.
pub struct Refusals {
    cpus: Vec<OnCpu>,
}

struct OnCpu {
    command: AtomicU32,
    /// Links in `chain` that are of this hypercall.
    noted: AtomicU32,
    /// Only this CPU takes the lock.
    chain: Mutex<Chain>,
}

impl Refusals {
    /// For a machine of `cpus` CPUs.
    pub fn new(cpus: usize) -> Self {
        let cpu = || OnCpu {
            command: AtomicU32::new(0),
            noted: AtomicU32::new(0),
            chain: Mutex::new(Chain::EMPTY),
        };
        Self { cpus: core::iter::repeat_with(cpu).take(cpus).collect() }
    }

    /// A hypercall begins, of this command or operation: what was noted before is of no interest.
    #[inline]
    pub fn begin(&self, cpu: CpuId, command: u32) {
        if let Some(c) = self.cpus.get(cpu.0 as usize) {
            c.command.store(command, Relaxed);
            c.noted.store(0, Relaxed);
        }
    }

    fn command(&self, cpu: CpuId, command: u32) {
        if let Some(c) = self.cpus.get(cpu.0 as usize) {
            c.command.store(command, Relaxed);
        }
    }

    /// `first`: a check that failed, not something around one.
    #[cold]
    fn note(&self, cpu: CpuId, link: Link, first: bool) {
        let Some(c) = self.cpus.get(cpu.0 as usize) else { return };
        let mut chain = c.chain.lock();
        if first || c.noted.load(Relaxed) == 0 {
            chain.len = 0;
        }
        chain.push(link);
        c.noted.store(chain.len as u32, Relaxed);
    }

    /// The command and what was noted, which is then forgotten. `None`: the error was to be expected.
    fn take(&self, cpu: CpuId) -> Option<(u32, Chain)> {
        let c = self.cpus.get(cpu.0 as usize)?;
        let len = match c.noted.swap(0, Relaxed) {
            EXPECTED => return None,
            n => (n as usize).min(DEPTH),
        };
        Some((c.command.load(Relaxed), Chain { len, ..*c.chain.lock() }))
    }
}

/// The error with which a call says that a list ends here: no refusal.
pub fn end_of_list<M: Machine, E>(xen: &Xen<M>, error: E) -> E {
    if let Some(c) = xen.refusals.cpus.get(xen.m.cpu().0 as usize) {
        c.noted.store(EXPECTED, Relaxed);
    }
    error
}

/// The error of [`refuse!`] and [`within!`], which may be refused or within something itself: that is noted before.
#[inline(always)]
pub fn noted<E>(error: E, note: impl FnOnce()) -> E {
    note();
    error
}

/// What [`refuse!`] does.
#[cold]
#[inline(never)]
pub fn note<M: Machine>(xen: &Xen<M>, reason: &'static Reason, a: u64, b: u64) {
    xen.refusals.note(xen.m.cpu(), Link { reason, values: [a, b] }, true);
}

/// What [`within!`] does.
#[cold]
#[inline(never)]
pub fn note_around<M: Machine>(xen: &Xen<M>, reason: &'static Reason, a: u64, b: u64) {
    xen.refusals.note(xen.m.cpu(), Link { reason, values: [a, b] }, false);
}

/// `refuse!(xen, error, "words {} and {:x}", value, value)`: notes which check failed, and is the error. At most two
/// values.
#[macro_export]
macro_rules! refuse {
    ($xen:expr, $error:expr, $words:literal) => {
        $crate::refuse!($xen, $error, $words, 0, 0)
    };
    ($xen:expr, $error:expr, $words:literal, $a:expr) => {
        $crate::refuse!($xen, $error, $words, $a, 0)
    };
    ($xen:expr, $error:expr, $words:literal, $a:expr, $b:expr) => {{
        static REASON: $crate::refusal::Reason = $crate::refusal::Reason::new($words);
        $crate::refusal::noted($error, || $crate::refusal::note($xen, &REASON, $a as u64, $b as u64))
    }};
}

/// As [`refuse!`], around an error that was noted further in: where that was, for whom.
#[macro_export]
macro_rules! within {
    ($xen:expr, $error:expr, $words:literal) => {
        $crate::within!($xen, $error, $words, 0, 0)
    };
    ($xen:expr, $error:expr, $words:literal, $a:expr) => {
        $crate::within!($xen, $error, $words, $a, 0)
    };
    ($xen:expr, $error:expr, $words:literal, $a:expr, $b:expr) => {{
        static REASON: $crate::refusal::Reason = $crate::refusal::Reason::new($words);
        $crate::refusal::noted($error, || $crate::refusal::note_around($xen, &REASON, $a as u64, $b as u64))
    }};
}

/// A guest's address cannot be accessed.
#[cold]
#[inline(never)]
pub fn fault<M: Machine>(xen: &Xen<M>, at: GuestFault) -> Errno {
    refuse!(xen, Errno::EFAULT, "address {:x} cannot be accessed", at.va)
}

/// The error of a call of this command or operation, which has not told it by [`Refusals::begin`].
#[cold]
#[inline(never)]
pub fn of<M: Machine, E>(xen: &Xen<M>, command: u32, error: E) -> E {
    xen.refusals.command(xen.m.cpu(), command);
    error
}

/// Whether refusals of a hypercall are kept: those of tools and of memory, which somebody may want explained.
pub(crate) fn of_interest(nr: u32) -> bool {
    matches!(
        nr,
        HYPERVISOR_MMU_UPDATE
            | HYPERVISOR_UPDATE_VA_MAPPING
            | HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN
            | HYPERVISOR_MMUEXT_OP
            | HYPERVISOR_SET_GDT
            | HYPERVISOR_UPDATE_DESCRIPTOR
            | HYPERVISOR_MEMORY_OP
            | HYPERVISOR_GRANT_TABLE_OP
            | HYPERVISOR_DOMCTL
            | HYPERVISOR_SYSCTL
    )
}

/// Whether a hypercall of interest tells which command or operation it is.
fn has_commands(nr: u32) -> bool {
    matches!(
        nr,
        HYPERVISOR_MMUEXT_OP
            | HYPERVISOR_MEMORY_OP
            | HYPERVISOR_GRANT_TABLE_OP
            | HYPERVISOR_DOMCTL
            | HYPERVISOR_SYSCTL
    )
}

/// A hypercall of the running vCPU ends with `error`: keeps what was noted.
#[cold]
pub fn record<M: Machine>(cx: &Cx<'_, M>, nr: u32, error: Errno) {
    if of_interest(nr) {
        keep(cx, nr, error);
    }
}

/// As [`record`], of an element that was refused in a call that answers how far it got.
#[cold]
pub fn keep<M: Machine>(cx: &Cx<'_, M>, nr: u32, error: Errno) {
    keep_answer(cx.xen, cx.dom, cx.vcpu, nr, Answer::Errno(error));
}

/// As [`record`], of the element at guest address `at` of a grant operation, which goes on.
#[cold]
#[inline(never)]
pub fn keep_status<M: Machine>(cx: &Cx<'_, M>, command: u32, at: u64, status: i16) {
    within!(cx.xen, (), "the element at {:x}", at);
    of(cx.xen, command, ());
    keep_answer(cx.xen, cx.dom, cx.vcpu, HYPERVISOR_GRANT_TABLE_OP, Answer::Status(status));
}

static FAULT: Reason = Reason::new("an argument cannot be accessed");
static FULL: Reason = Reason::new("the hypervisor's heap is full");

fn keep_answer<M: Machine>(xen: &Xen<M>, dom: &Domain, vcpu: &Vcpu, nr: u32, answer: Answer) {
    let Some((told, mut chain)) = xen.refusals.take(xen.m.cpu()) else { return };
    let command = if has_commands(nr) { told } else { 0 };
    // Where this is not noted, it can be nothing else.
    let only = match answer {
        Answer::Errno(Errno::EFAULT) => Some(&FAULT),
        Answer::Errno(Errno::ENOMEM) => Some(&FULL),
        _ => None,
    };
    if let Some(reason) = only.filter(|_| chain.len == 0) {
        chain.push(Link { reason, values: [0; 2] });
    }
    let refusal = Refusal { number: 0, hypercall: nr, command, answer, chain };
    vcpu.refusals.lock().keep(refusal);
    log!(xen.m, GuestDebug, "{}v{}: {refusal}", dom.id, vcpu.id.0);
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_call = || HYPERCALLS.iter().filter(|r| r.nr == self.hypercall);
        let call = of_call().find(|r| r.op.is_none()).map_or("hypercall", |r| r.name);
        match of_call().find(|r| r.op == Some(self.command)) {
            Some(r) => write!(f, "{}", r.name)?,
            None if matches!(self.command, 0 | XENOLITH_WHY_NO_OPERATION) => write!(f, "{call}")?,
            None => write!(f, "{call} {}", self.command)?,
        }
        match self.answer.name() {
            Some(name) => write!(f, ": {name}")?,
            None => write!(f, ": {}", self.answer.value())?,
        }
        if self.chain.len != 0 {
            write!(f, ": {}", self.chain)?;
        }
        Ok(())
    }
}

/// Text of limited room; what does not fit is left out. The last byte stays NUL.
struct Text<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            if self.used + c.len_utf8() >= self.room.len() {
                return Err(fmt::Error);
            }
            c.encode_utf8(&mut self.room[self.used..]);
            self.used += c.len_utf8();
        }
        Ok(())
    }
}

/// `xenolith_op` (see [`abi::xenolith`]).
pub fn xenolith_op<M: Machine>(cx: &mut Cx<'_, M>, cmd: u32, arg: u64) -> HcResult {
    match cmd {
        XENOLITH_WHY => why(cx, arg),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn why<M: Machine>(cx: &mut Cx<'_, M>, arg: u64) -> HcResult {
    let asked: XenolithWhy = guest::read(&cx.xen.m, arg)?;
    let vcpu = match asked.vcpu {
        XENOLITH_WHY_THIS_VCPU => cx.vcpu.clone(),
        n if n >= cx.dom.max_vcpus => return Err(Errno::EINVAL.into()),
        n => cx.dom.vcpu(VcpuId(n)).ok_or(Errno::EINVAL)?,
    };
    let r = *vcpu.refusals.lock().get(asked.index).ok_or(Errno::ENOENT)?;
    let mut answer = XenolithWhy {
        number: r.number,
        hypercall: r.hypercall,
        command: r.command,
        error: r.answer.value(),
        links: r.chain.len as u32,
        ..asked
    };
    answer.chain = Default::default();
    for (to, link) in answer.chain.iter_mut().zip(r.chain.links()) {
        *to = XenolithWhyLink { code: link.reason.code(), _pad: 0, values: link.values };
    }
    answer.text = [0; XENOLITH_WHY_TEXT];
    // Words that do not fit are left out.
    let _ = write!(Text { room: &mut answer.text, used: 0 }, "{r}");
    guest::write(&cx.xen.m, arg, &answer)?;
    Ok(0)
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
