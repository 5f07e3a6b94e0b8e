//! Time since a machine was switched on, read from outside, so that no guest's or hypervisor's clock is trusted.
//!
//! Under `-icount` QEMU's virtual time is instructions (plus jumps over idle time). No command tells it, but two
//! together do: `info jit` knows how far it is from real time, to within the time QEMU takes to start, and the ACPI
//! timer at port 608h counts it exactly, modulo 4.7 s. Between a line on the console and the answer pass some
//! milliseconds, during which the machine runs on: that is the error.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::monitor::Monitor;
use crate::expect::Session;

/// The ACPI timer of QEMU's q35 as its firmware places it: 24 bits at 3.58 MHz.
const PM_TIMER: &str = "i /w 0x608";
const PM_TIMER_HZ: f64 = 3_579_545.0;
const PM_TIMER_WRAP: f64 = 16_777_216.0 / PM_TIMER_HZ;

pub enum Clock {
    Wall,
    Instructions { socket: PathBuf, monitor: Option<Monitor> },
}

impl Clock {
    pub fn of_the_wall() -> Clock {
        Clock::Wall
    }

    /// Adds a monitor to the machine about to start.
    pub fn of_instructions(command: &mut Command) -> Result<Clock> {
        let socket = std::env::temp_dir().join(format!("xenolith-bench-{}", std::process::id()));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        Ok(Clock::Instructions { socket, monitor: None })
    }

    /// The monitor of a machine whose time is instructions.
    pub fn monitor(&mut self) -> Result<Option<&mut Monitor>> {
        let Clock::Instructions { socket, monitor } = self else {
            return Ok(None);
        };
        if monitor.is_none() {
            *monitor = Some(Monitor::open(socket)?);
        }
        Ok(monitor.as_mut())
    }

    /// Seconds since power-on.
    pub fn seconds(&mut self, session: &Session) -> Result<f64> {
        let Some(monitor) = self.monitor()? else {
            return Ok(session.elapsed().as_secs_f64());
        };
        let drift = monitor.ask("info jit")?;
        let drift = number(&drift, "Host - Guest clock", 10)? as f64 / 1e3;
        let rough = session.elapsed().as_secs_f64() - drift;
        let timer = monitor.ask(PM_TIMER)?;
        let fine = (number(&timer, "= 0x", 16)? & 0xff_ffff) as f64 / PM_TIMER_HZ;
        Ok(nearest(rough, fine))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Clock::Instructions { socket, .. } = self {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// The time nearest to `rough` at which a timer that wraps shows `fine`.
fn nearest(rough: f64, fine: f64) -> f64 {
    fine + ((rough - fine) / PM_TIMER_WRAP).round().max(0.0) * PM_TIMER_WRAP
}

/// The number that follows a label.
fn number(text: &str, label: &str, radix: u32) -> Result<i64> {
    let after = text.split(label).nth(1).with_context(|| format!("no `{label}` in: {text}"))?.trim_start();
    let end = after.find(|c: char| c != '-' && !c.is_digit(radix)).unwrap_or(after.len());
    i64::from_str_radix(&after[..end], radix).with_context(|| format!("after `{label}` in: {text}"))
}

#[cfg(test)]
mod tests {
    use super::{PM_TIMER_WRAP, nearest, number};

    #[test]
    fn the_timer_decides_within_its_wrap() {
        let exact = 3.0 * PM_TIMER_WRAP + 1.25;
        assert!((nearest(exact + 0.8, 1.25) - exact).abs() < 1e-9);
        assert!((nearest(exact - 2.0, 1.25) - exact).abs() < 1e-9);
        assert!((nearest(0.1, 0.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn numbers_follow_their_labels() {
        assert_eq!(number("a\nHost - Guest clock  -12 ms\n", "Host - Guest clock", 10).unwrap(), -12);
        assert_eq!(number("portl[0x0608] = 0x00ff12ab\r\n", "= 0x", 16).unwrap(), 0xff12ab);
        assert!(number("nothing", "= 0x", 16).is_err());
    }
}
