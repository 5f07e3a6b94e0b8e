//! The console: the hypervisor's messages, guests' lines, dom0's terminal, the debug keys.
//!
//! Everything printed goes to the serial port (and the screen until dom0 owns it) and, but for dom0's own
//! terminal output, into the ring that `xl dmesg` reads. The decisions are `hypercore::console`'s.

pub mod keys;
mod uart;
mod vga;

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::{ArrayString, ArrayVec};
use hypercore::boot::cmdline::Options;
use hypercore::boot::video::TextScreen;
use hypercore::console::level::{Admission, Level, RateLimit, Thresholds};
use hypercore::console::lines::Prefixer;
use hypercore::console::ring::Ring;
use hypercore::console::stamp::{Stamp, Timestamps};
use hypercore::console::switch::{Input, Switch};

use crate::apic::ioapic::{self, Wiring};
use crate::sync::Mutex;
use crate::{hooks, irq, time};
use uart::Uart;
use vga::Vga;

const EARLY_RING: usize = 16 << 10;
const INPUT: usize = 256;

struct Console {
    uart: Option<Uart>,
    vga: Option<Vga>,
    ring: Ring<&'static mut [u8]>,
    at_line_start: bool,
    own: Thresholds,
    own_limit: RateLimit,
    guests: Thresholds,
    guests_limit: RateLimit,
    switch: Switch,
    switch_char: u8,
    timestamps: Timestamps,
    /// Dom0's terminal output goes into the ring too.
    to_ring: bool,
    /// Typed for dom0 and not read yet.
    input: [u8; INPUT],
    input_start: usize,
    input_len: usize,
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);
static CONSOLE_IRQ: AtomicU32 = AtomicU32::new(u32::MAX);

struct RingStorage(core::cell::UnsafeCell<[u8; EARLY_RING]>);
// SAFETY: handed out once, to the console, by `init`.
unsafe impl Sync for RingStorage {}
static RING: RingStorage = RingStorage(core::cell::UnsafeCell::new([0; EARLY_RING]));

/// Sets the console up as the command line says; once.
pub fn init(options: &Options) {
    // SAFETY: only here, and `init` runs once.
    let storage: &'static mut [u8] = unsafe { &mut *RING.0.get() };
    let console = Console {
        uart: options.console_com.and_then(|n| Uart::new(options.coms.get(n)?)),
        vga: options.console_vga.then(Vga::new),
        ring: Ring::new(storage),
        at_line_start: true,
        own: options.loglvl,
        own_limit: RateLimit::new(),
        guests: options.guest_loglvl,
        guests_limit: RateLimit::new(),
        switch: Switch::new(true, options.switch_char),
        switch_char: options.switch_char,
        timestamps: options.timestamps,
        to_ring: options.console_to_ring,
        input: [0; INPUT],
        input_start: 0,
        input_len: 0,
    };
    *CONSOLE.lock() = Some(console);
}

/// Makes the ring `bytes` long (rounded up to a power of two), keeping what is in it. After the heap is there.
pub fn grow_ring(bytes: u64) {
    let size = bytes.clamp(EARLY_RING as u64, 16 << 20).next_power_of_two() as usize;
    let mut storage = alloc::vec::Vec::new();
    if size > EARLY_RING && storage.try_reserve_exact(size).is_ok() {
        storage.extend(core::iter::repeat_n(0, size));
        with(|c| c.ring = c.ring.replace(storage.leak()));
    }
}

fn with<R: Default>(work: impl FnOnce(&mut Console) -> R) -> R {
    CONSOLE.lock().as_mut().map(work).unwrap_or_default()
}

impl Console {
    /// To the devices alone.
    fn emit(&mut self, bytes: &[u8]) {
        if let Some(uart) = &self.uart {
            uart.send(bytes);
        }
        if let Some(vga) = &mut self.vga {
            vga.send(bytes);
        }
    }

    fn print(&mut self, prefix: &str, text: Arguments) {
        let mut at_start = self.at_line_start;
        let mut sink = |bytes: &[u8]| {
            self.emit(bytes);
            self.ring.write(bytes);
        };
        let _ = Prefixer { at_start: &mut at_start, prefix, sink: &mut sink }.write_fmt(text);
        self.at_line_start = at_start;
    }
}

impl Console {
    /// A line of the hypervisor's own, with the time if that is wanted.
    fn print_own(&mut self, text: Arguments) {
        if self.timestamps == Timestamps::None {
            return self.print("(XEN) ", text);
        }
        let boot_ns = time::now_ns();
        let wall = time::wall_at_boot_ns().saturating_add_unsigned(boot_ns);
        let how = self.timestamps;
        let stamp = Stamp { how, boot_ns, wall_ns: wall.max(0) as u64, tsc: crate::cpu::instr::rdtsc() };
        let mut prefix = ArrayString::<48>::new();
        let _ = write!(prefix, "(XEN) {stamp}");
        self.print(&prefix, text);
    }

    /// Whether it is printed.
    fn message(&mut self, admission: Admission, text: Arguments) -> bool {
        match admission {
            Admission::Drop => return false,
            Admission::Print => self.print_own(format_args!("{text}\n")),
            Admission::PrintAfter(n) => {
                self.print_own(format_args!("printk: {n} messages suppressed.\n{text}\n"));
            }
        }
        true
    }
}

/// Prints a message of the hypervisor, if its level is to be seen. A `\n` is added.
pub fn log(level: Level, text: Arguments) {
    let printed = with(|c| {
        let admission = c.own.admits(level, time::now_ns(), &mut c.own_limit);
        c.message(admission, text)
    });
    if printed {
        hooks::console_ring_changed();
    }
}

/// Prints a message that a guest's behaviour caused, by the guests' levels. A `\n` is added.
pub fn log_guest(level: Level, text: Arguments) {
    let printed = with(|c| {
        let admission = c.guests.admits(level, time::now_ns(), &mut c.guests_limit);
        c.message(admission, text)
    });
    if printed {
        hooks::console_ring_changed();
    }
}

/// Prints whatever the levels say. A `\n` is added.
pub fn always(text: Arguments) {
    with(|c| c.print_own(format_args!("{text}\n")));
    hooks::console_ring_changed();
}

/// A line that guest `domain` wrote to its emergency console (`CONSOLEIO_write`), marked as its own.
pub fn guest_line(domain: u16, line: &str) {
    with(|c| {
        if !c.at_line_start {
            c.print("", format_args!("\n"));
        }
        c.print("", format_args!("(d{domain}) {line}\n"));
    });
    hooks::console_ring_changed();
}

/// Text of a guest's emergency console: dom0's as it is, another's line by line with its number.
pub fn guest_write(domain: u16, text: &[u8]) {
    if domain == 0 {
        return write_raw(text);
    }
    let mut pending = PENDING.lock();
    let at = match pending.iter().position(|p| p.0 == domain) {
        Some(at) => at,
        None => {
            if pending.is_full() {
                pending.remove(0);
            }
            pending.push((domain, ArrayString::new()));
            pending.len() - 1
        }
    };
    let line = &mut pending[at].1;
    for &b in text {
        if b == b'\n' || line.is_full() {
            guest_line(domain, line);
            line.clear();
        }
        if (b' '..0x7f).contains(&b) || b == b'\t' {
            line.push(char::from(b));
        }
    }
}

/// Begun lines of guests, by domain.
static PENDING: Mutex<ArrayVec<(u16, ArrayString<120>), 16>> = Mutex::new(ArrayVec::new_const());

/// Dom0's terminal output: to the devices as it is, not into the ring.
pub fn write_raw(bytes: &[u8]) {
    with(|c| {
        // A line of ours that dom0 interrupts was whole; one of dom0's may stay open.
        c.emit(bytes);
        if c.to_ring {
            c.ring.write(bytes);
        }
    });
}

/// Prints without waiting for the lock's holder, for a CPU that dies. The text brings its own prefix.
pub fn emergency(text: Arguments) {
    for _ in 0..1_000_000 {
        if let Some(mut guard) = CONSOLE.try_lock() {
            if let Some(c) = guard.as_mut() {
                c.print("", text);
            }
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the holder is stopped or is this very CPU: it will not go on with what it locked.
    unsafe { CONSOLE.force_unlock() };
    if let Some(mut guard) = CONSOLE.try_lock()
        && let Some(c) = guard.as_mut()
    {
        c.print("", text);
    }
}

/// Dom0 starts: it gets the keyboard, and the screen is its own.
pub fn give_to_dom0(options: &Options) {
    if !options.keep_keyboard {
        announce("DOM0");
    }
    with(|c| {
        if !options.keep_keyboard {
            c.switch.give_to_dom0();
        }
        if !options.vga_keep {
            c.vga = None;
        }
    });
}

/// Says whose the keyboard is now, and how that is changed.
fn announce(whose: &str) {
    match with(|c| c.switch_char) {
        0 => always(format_args!("*** Serial input to {whose}")),
        c => {
            let letter = char::from(c | 0x60);
            always(format_args!(
                "*** Serial input to {whose} (type 'CTRL-{letter}' three times to switch input)"
            ));
        }
    }
}

/// The screen of characters, if the display shows one.
pub fn text_screen() -> Option<TextScreen> {
    let own = with(|c| c.vga.is_some());
    vga::text_screen(own)
}

/// The I/O ports of the console's serial port, which no guest may touch.
pub fn uart_ports() -> Option<core::ops::Range<u16>> {
    with(|c| c.uart.map(|u| u.ports()))
}

/// Moves typed characters into `out`; how many.
pub fn read_input(out: &mut [u8]) -> usize {
    with(|c| {
        let count = c.input_len.min(out.len());
        for b in &mut out[..count] {
            *b = c.input[c.input_start];
            c.input_start = (c.input_start + 1) % INPUT;
        }
        c.input_len -= count;
        count
    })
}

/// Reads the ring as `XEN_SYSCTL_readconsole` does: from `index` if `incremental` and still kept, else from the
/// oldest byte. `chunk` gets pieces of at most 256 bytes, with the position of each, and says whether to go on; at
/// most `count` bytes are read. The answer is the position after the last one, and the number of bytes.
pub fn read_ring(
    incremental: bool,
    index: u32,
    count: u32,
    chunk: &mut dyn FnMut(u32, &[u8]) -> bool,
) -> (u32, u32) {
    let mut at = with(|c| c.ring.first(incremental, index));
    let mut done = 0;
    let mut buffer = [0; 256];
    while done < count {
        let room = (count - done).min(256) as usize;
        // Not under the lock while the caller copies: that may take a while.
        let n = with(|c| c.ring.read(at, &mut buffer[..room]));
        if n == 0 || !chunk(done, &buffer[..n]) {
            break;
        }
        at = at.wrapping_add(n as u32);
        done += n as u32;
    }
    (at, done)
}

/// Forgets the ring's content before position `upto` (`clear` of `XEN_SYSCTL_readconsole`).
pub fn clear_ring(upto: u32) {
    with(|c| c.ring.clear(upto));
}

/// Lets the serial port interrupt for input, or has this CPU look for it. After the IOAPICs and clocks are set up.
pub fn enable_input() {
    let Some(uart) = with(|c| c.uart) else { return };
    if uart.irq == 0 {
        return time::poll_console(time::now_ns());
    }
    let gsi = ioapic::isa_gsi(uart.irq);
    let Wiring { level, active_low } = ioapic::firmware_wiring(gsi);
    match irq::bind_gsi(gsi, 0, Wiring { level, active_low }) {
        Ok(_) => {
            CONSOLE_IRQ.store(gsi, Ordering::Relaxed);
            uart.enable_interrupt();
            irq::unmask(gsi);
            on_interrupt();
        }
        Err(e) => {
            crate::warning!("serial port: no interrupt {gsi} ({e:?}): polled");
            time::poll_console(time::now_ns());
        }
    }
}

/// Looks for input; when to look again.
pub fn poll(now_ns: u64) -> u64 {
    on_interrupt();
    with(|c| Some(now_ns + c.uart?.fifo_ns())).unwrap_or(u64::MAX)
}

/// Whether `irq` is the serial port's.
pub fn is_console_irq(irq: u32) -> bool {
    CONSOLE_IRQ.load(Ordering::Relaxed) == irq
}

/// Takes what the serial port received: keys for the hypervisor act at once, the rest waits for dom0.
pub fn on_interrupt() {
    let Some(uart) = with(|c| c.uart) else { return };
    uart.acknowledge();
    let mut for_dom0 = false;
    while let Some(byte) = with(|_| uart.receive()) {
        match with(|c| Some(c.switch.typed(byte))) {
            Some(Input::ToDom0 { held, char }) => {
                with(|c| {
                    for _ in 0..held {
                        c.queue(c.switch_char);
                    }
                    c.queue(char);
                });
                for_dom0 = true;
            }
            Some(Input::Key(key)) => keys::press(key),
            Some(Input::Switched(to_hypervisor)) => {
                announce(if to_hypervisor { "Xen" } else { "DOM0" });
            }
            Some(Input::Held) | None => {}
        }
    }
    if for_dom0 {
        hooks::console_input();
    }
}

impl Console {
    fn queue(&mut self, byte: u8) {
        if self.input_len < INPUT {
            self.input[(self.input_start + self.input_len) % INPUT] = byte;
            self.input_len += 1;
        }
    }
}

/// Logs at level error.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::console::log(hypercore::console::level::Level::Error, format_args!($($arg)*)) };
}

/// Logs at level warning.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::console::log(hypercore::console::level::Level::Warning, format_args!($($arg)*)) };
}

/// Logs at level info.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::console::log(hypercore::console::level::Level::Info, format_args!($($arg)*)) };
}

/// Logs at level debug.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::console::log(hypercore::console::level::Level::Debug, format_args!($($arg)*)) };
}
