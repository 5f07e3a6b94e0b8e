//! The battery-backed calendar (MC146818), read once at boot and set by dom0 itself.
//!
//! Its index port is shared with dom0's accesses, which go through here too.

use crate::cpu::instr::{inb, outb};
use crate::sync::Mutex;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const HOURS_24: u8 = 2;
const BINARY: u8 = 4;

static LOCK: Mutex<()> = Mutex::new(());

/// Reads the register at `index` of the CMOS memory.
pub fn read_register(index: u8) -> u8 {
    let _lock = LOCK.lock();
    // SAFETY: the index and data ports belong together under the lock; reading memory is harmless.
    unsafe {
        outb(INDEX, index);
        inb(DATA)
    }
}

/// Writes the register at `index` of the CMOS memory, for dom0.
pub fn write_register(index: u8, value: u8) {
    let _lock = LOCK.lock();
    // SAFETY: as above; the calendar is dom0's to set.
    unsafe {
        outb(INDEX, index);
        outb(DATA, value);
    }
}

/// Seconds since 1970, by the calendar.
pub fn read() -> i64 {
    let fields = || [0u8, 2, 4, 7, 8, 9].map(read_register);
    let mut seen = fields();
    // Two equal readings outside an update are one moment.
    for _ in 0..1000 {
        if read_register(STATUS_A) & UPDATING != 0 {
            continue;
        }
        let again = fields();
        if again == seen {
            break;
        }
        seen = again;
    }
    let mode = read_register(STATUS_B);
    let number = |v: u8| if mode & BINARY != 0 { v } else { (v >> 4) * 10 + (v & 0xf) };
    let [second, minute, hour, day, month, year] = seen;
    let mut hours = i64::from(number(hour & 0x7f));
    if mode & HOURS_24 == 0 {
        hours = hours % 12 + if hour & 0x80 != 0 { 12 } else { 0 };
    }
    let year = i64::from(number(year));
    let days = days_since_1970(if year < 70 { 2000 + year } else { 1900 + year }, number(month), number(day));
    ((days * 24 + hours) * 60 + i64::from(number(minute))) * 60 + i64::from(number(second))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: u8, day: u8) -> i64 {
    // Years that begin in March have the leap day last.
    let (y, m) = if month > 2 { (year, i64::from(month) - 3) } else { (year - 1, i64::from(month) + 9) };
    365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + i64::from(day) - 719_469
}
