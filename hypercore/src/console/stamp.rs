//! The time before the hypervisor's lines (`console_timestamps=`).

use core::fmt;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    #[default]
    None,
    /// `[2026-01-31 23:59:59] `
    Date,
    /// With milliseconds.
    DateMs,
    /// Seconds since the start: `[    5.123456] `
    Boot,
    /// The TSC: `[000000000123abcd] `
    Raw,
}

/// One line's: how, nanoseconds since the start, nanoseconds of the calendar since 1970, and the TSC.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub how: Timestamps,
    pub boot_ns: u64,
    pub wall_ns: u64,
    pub tsc: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            Timestamps::None => return Ok(()),
            Timestamps::Raw => return write!(f, "[{:016x}] ", self.tsc),
            // Before the clocks run there is no better time than none.
            _ if self.boot_ns == 0 => return f.write_str("[    0.000000] "),
            Timestamps::Boot => {
                let us = self.boot_ns / 1000;
                return write!(f, "[{:5}.{:06}] ", us / 1_000_000, us % 1_000_000);
            }
            Timestamps::Date | Timestamps::DateMs => {}
        }
        let seconds = self.wall_ns / 1_000_000_000;
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if self.how == Timestamps::DateMs {
            write!(f, ".{:03}", self.wall_ns / 1_000_000 % 1000)?;
        }
        f.write_str("] ")
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that a leap day ends its year; 146097 days are 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day_of_month = in_year - (153 * month + 2) / 5 + 1;
    let (carry, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    fn stamp(how: Timestamps, wall: u64) -> std::string::String {
        Stamp { how, boot_ns: 5_123_456_789, wall_ns: wall * 1_000_000_000 + 42_000_000, tsc: 0x1234 }
            .to_string()
    }

    #[test]
    fn forms() {
        assert_eq!(stamp(Timestamps::None, 0), "");
        assert_eq!(stamp(Timestamps::Boot, 0), "[    5.123456] ");
        assert_eq!(stamp(Timestamps::Raw, 0), "[0000000000001234] ");
        assert_eq!(stamp(Timestamps::Date, 0), "[1970-01-01 00:00:00] ");
        assert_eq!(stamp(Timestamps::DateMs, 1_709_210_096), "[2024-02-29 12:34:56.042] ");
        assert_eq!(stamp(Timestamps::Date, 1_767_225_599), "[2025-12-31 23:59:59] ");
        assert_eq!(stamp(Timestamps::Date, 4_107_542_400), "[2100-03-01 00:00:00] ", "2100 has no leap day");
        let early = Stamp { how: Timestamps::Date, boot_ns: 0, wall_ns: 0, tsc: 0 };
        assert_eq!(early.to_string(), "[    0.000000] ");
    }
}
