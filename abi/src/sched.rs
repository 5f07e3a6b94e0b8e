//! `xen/sched.h`: sched_op.

use crate::GuestHandle;

// sched_op commands.
pub const SCHEDOP_YIELD: u32 = 0;
/// Enables upcalls and waits for an event.
pub const SCHEDOP_BLOCK: u32 = 1;
pub const SCHEDOP_SHUTDOWN: u32 = 2;
pub const SCHEDOP_POLL: u32 = 3;
pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;
/// As shutdown, but only records the reason.
pub const SCHEDOP_SHUTDOWN_CODE: u32 = 5;
pub const SCHEDOP_WATCHDOG: u32 = 6;
pub const SCHEDOP_PIN_OVERRIDE: u32 = 7;

// Reasons of a shutdown.
pub const SHUTDOWN_POWEROFF: u32 = 0;
pub const SHUTDOWN_REBOOT: u32 = 1;
pub const SHUTDOWN_SUSPEND: u32 = 2;
pub const SHUTDOWN_CRASH: u32 = 3;
pub const SHUTDOWN_WATCHDOG: u32 = 4;
pub const SHUTDOWN_SOFT_RESET: u32 = 5;
/// The largest reason.
pub const SHUTDOWN_MAX: u32 = 5;

abi_struct! {
    /// `struct sched_shutdown`.
    pub struct SchedShutdown [4] {
        /// `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// `struct sched_poll`: waits for one of some ports, upcalls masked.
    pub struct SchedPoll [24] {
        /// `evtchn_port_t[nr_ports]`.
        pub ports: GuestHandle,
        pub nr_ports: u32,
        pub _pad0: u32,
        /// System time in nanoseconds; 0 waits for ever.
        pub timeout: u64,
    }

    /// `struct sched_remote_shutdown`: a privileged domain marks another one as shut down.
    pub struct SchedRemoteShutdown [8] {
        pub domain_id: u16,
        pub _pad0: u16,
        /// `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// `struct sched_watchdog`.
    pub struct SchedWatchdog [8] {
        /// 0 makes a new one, whose id (1 or more) is returned.
        pub id: u32,
        /// Seconds; 0 stops it.
        pub timeout: u32,
    }

    /// `struct sched_pin_override`.
    pub struct SchedPinOverride [4] {
        /// A negative number ends the override.
        pub pcpu: i32,
    }
}
