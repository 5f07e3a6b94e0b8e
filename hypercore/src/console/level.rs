//! Log levels and the limits of `loglvl=` and `guest_loglvl=`.

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Error = 0,
    Warning = 1,
    Info = 2,
    Debug = 3,
}

/// Levels below `always` are printed, further levels below `limited` only at a bounded rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub always: u8,
    pub limited: u8,
}

impl Thresholds {
    /// Xen's default for the hypervisor's messages: errors and warnings.
    pub const HYPERVISOR: Thresholds = Thresholds { always: 2, limited: 2 };
    /// Xen's default for guests' messages: errors and warnings, rate-limited.
    pub const GUEST: Thresholds = Thresholds { always: 0, limited: 2 };

    /// Whether `level` is printed whatever the rate.
    pub fn always(self, level: Level) -> bool {
        (level as u8) < self.always
    }

    /// Whether `level` is printed when `limiter` lets it.
    pub fn admits(self, level: Level, now_ns: u64, limiter: &mut RateLimit) -> Admission {
        if self.always(level) {
            Admission::Print
        } else if (level as u8) < self.limited {
            limiter.admit(now_ns)
        } else {
            Admission::Drop
        }
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Print,
    /// Print, after saying that this many were suppressed.
    PrintAfter(u32),
    Drop,
}

/// A bucket of tokens: ten messages at once, one more every five seconds.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    tokens_ns: u64,
    last_ns: u64,
    missed: u32,
}

impl RateLimit {
    const INTERVAL_NS: u64 = 5_000_000_000;
    const BURST: u64 = 10;

    /// A full bucket.
    pub const fn new() -> Self {
        RateLimit { tokens_ns: Self::INTERVAL_NS * Self::BURST, last_ns: 0, missed: 0 }
    }

    fn admit(&mut self, now_ns: u64) -> Admission {
        let gained = now_ns.saturating_sub(self.last_ns);
        self.last_ns = now_ns;
        self.tokens_ns = self.tokens_ns.saturating_add(gained).min(Self::INTERVAL_NS * Self::BURST);
        if self.tokens_ns < Self::INTERVAL_NS {
            self.missed = self.missed.saturating_add(1);
            return Admission::Drop;
        }
        self.tokens_ns -= Self::INTERVAL_NS;
        match core::mem::take(&mut self.missed) {
            0 => Admission::Print,
            missed => Admission::PrintAfter(missed),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// `<level>[/<rate-limited level>]`, each of none, error, warning, info, debug, all.
pub fn parse_thresholds(text: &str) -> Option<Thresholds> {
    let one = |t: &str| {
        Some(match t {
            "none" => 0,
            "error" => 1,
            "warning" => 2,
            "info" => 3,
            "debug" | "all" => 4,
            _ => return None,
        })
    };
    let (always, limited) = match text.split_once('/') {
        Some((a, b)) => (one(a)?, one(b)?),
        None => (one(text)?, one(text)?),
    };
    Some(Thresholds { always, limited: limited.max(always) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_name_the_least_grave_level_printed() {
        let t = parse_thresholds("warning").unwrap();
        assert!(t.always(Level::Warning) && !t.always(Level::Info));
        assert_eq!(parse_thresholds("none/all"), Some(Thresholds { always: 0, limited: 4 }));
        assert_eq!(parse_thresholds("loud"), None);
        assert_eq!(parse_thresholds("error/none"), Some(Thresholds { always: 1, limited: 1 }));
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let t = Thresholds::GUEST;
        let mut limit = RateLimit::new();
        for _ in 0..10 {
            assert_eq!(t.admits(Level::Error, 1, &mut limit), Admission::Print);
        }
        assert_eq!(t.admits(Level::Error, 2, &mut limit), Admission::Drop);
        assert_eq!(t.admits(Level::Error, 3, &mut limit), Admission::Drop);
        let later = 3 + RateLimit::INTERVAL_NS;
        assert_eq!(t.admits(Level::Error, later, &mut limit), Admission::PrintAfter(2));
        assert_eq!(t.admits(Level::Debug, later, &mut limit), Admission::Drop);
    }
}
