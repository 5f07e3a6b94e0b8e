//! Levels of the hypervisor's log.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Error = 0,
    Warning = 1,
    Info = 2,
    Debug = 3,
    /// Messages a guest caused: rate-limited, by `guest_loglvl`.
    GuestError = 4,
    GuestWarning = 5,
    GuestInfo = 6,
    GuestDebug = 7,
}

/// `log!(xen.m, Info, "text {}", x)`.
#[macro_export]
macro_rules! log {
    ($m:expr, $level:ident, $($arg:tt)*) => {
        $crate::machine::Machine::log(&$m, $crate::log::Level::$level, format_args!($($arg)*))
    };
}
