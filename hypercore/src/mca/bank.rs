//! Banks of machine-check registers (Intel SDM vol. 3, 16.3; AMD APM vol. 2, 9.3): reading them out, and what an error
//! means for who was running.

use crate::host::HostInfo;
use crate::policy::cpu_policy::Vendor;
use arrayvec::ArrayVec;

pub const MSR_MCG_CAP: u32 = 0x179;
pub const MSR_MCG_STATUS: u32 = 0x17a;
const MSR_MC0_CTL: u32 = 0x400;

/// MCG_CAP: MCi_STATUS has [`S`] and [`AR`]: software may recover from an uncorrected error.
pub const SER_P: u64 = 1 << 24;
/// MCG_STATUS: the interrupted code can go on.
pub const RIPV: u64 = 1 << 0;
/// MCG_STATUS: the instruction that was interrupted has to do with the error.
pub const EIPV: u64 = 1 << 1;
/// MCG_STATUS: a machine check is being handled; another one now is a shutdown.
pub const MCIP: u64 = 1 << 2;
/// MCi_STATUS: holds an error.
pub const VAL: u64 = 1 << 63;
/// MCi_STATUS: an earlier error was overwritten.
pub const OVER: u64 = 1 << 62;
/// MCi_STATUS: hardware could not correct it.
pub const UC: u64 = 1 << 61;
/// MCi_STATUS: its bank was to report it.
pub const EN: u64 = 1 << 60;
/// MCi_STATUS: MCi_MISC, MCi_ADDR hold something.
pub const MISCV: u64 = 1 << 59;
pub const ADDRV: u64 = 1 << 58;
/// MCi_STATUS: the processor's state is damaged.
pub const PCC: u64 = 1 << 57;
/// MCi_STATUS, with [`SER_P`]: it raised a machine check; whoever consumed it cannot go on.
pub const S: u64 = 1 << 56;
pub const AR: u64 = 1 << 55;

/// Banks of which a record has room: `mc_info` is 768 bytes.
pub const MAX_BANKS: usize = 15;

/// The MSR of bank `n` that controls what it reports; status, address and miscellany follow it.
pub const fn ctl(bank: u32) -> u32 {
    MSR_MC0_CTL + 4 * bank
}

/// How many banks a CPU has by its MCG_CAP.
pub fn count(mcg_cap: u64) -> u32 {
    (mcg_cap as u32 & 0xff).min(MAX_BANKS as u32)
}

/// Whether `msr` holds an error, or a part of one: MCG_STATUS, and a bank's status, address and miscellany.
pub fn is_register(mcg_cap: u64, msr: u64) -> bool {
    let bank = msr.wrapping_sub(MSR_MC0_CTL.into());
    msr == MSR_MCG_STATUS.into() || (bank / 4 < count(mcg_cap).into() && bank % 4 != 0)
}

/// The first bank whose control is the hypervisor's: before model 1AH the firmware of Intel's family 6 keeps bank 0
/// (SDM vol. 3, 16.3.2.1).
pub fn first_to_control(host: &HostInfo) -> u32 {
    let (family, model, _) = host.policies.raw.signature();
    u32::from(host.policies.raw.vendor() == Vendor::Intel && family == 6 && model < 0x1a)
}

/// What one bank held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bank {
    pub number: u16,
    pub status: u64,
    /// 0 where the bank has none.
    pub addr: u64,
    pub misc: u64,
}

/// What a CPU's banks held at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logout {
    /// MCG_STATUS.
    pub gstatus: u64,
    pub tsc: u64,
    pub banks: ArrayVec<Bank, MAX_BANKS>,
}

/// Which errors are read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All: what was left from before the start, and a machine check of this CPU's own.
    All,
    /// Looking by the clock: those that raise no machine check.
    Silent,
    /// A machine check that other CPUs share: all but those that one of them has consumed, and reads out.
    NotConsumed,
}

impl Wanted {
    /// What a machine check reads out. Intel's come to all CPUs at once, and the banks are shared: the one that an error
    /// has hit tells it by [`EIPV`], or cannot go on (SDM vol. 3, 16.9.3.2).
    pub fn of_exception(mcg_cap: u64, gstatus: u64) -> Self {
        let bystander = mcg_cap & SER_P != 0 && gstatus & (RIPV | EIPV) == RIPV;
        if bystander { Self::NotConsumed } else { Self::All }
    }

    fn has(self, status: u64, mcg_cap: u64) -> bool {
        let recoverable = mcg_cap & SER_P != 0;
        match self {
            Self::All => true,
            Self::Silent if recoverable => status & S == 0 && status & PCC == 0,
            Self::Silent => status & UC == 0,
            Self::NotConsumed => status & (S | AR) != S | AR || status & PCC != 0,
        }
    }
}

/// Reads a CPU's banks out, and empties those whose errors were wanted.
pub fn read_out(
    mcg_cap: u64,
    wanted: Wanted,
    mut read: impl FnMut(u32) -> u64,
    mut write: impl FnMut(u32, u64),
) -> ArrayVec<Bank, MAX_BANKS> {
    let mut found = ArrayVec::new();
    for n in 0..count(mcg_cap) {
        let at = ctl(n);
        let status = read(at + 1);
        if status & VAL == 0 || !wanted.has(status, mcg_cap) {
            continue;
        }
        let addr = if status & ADDRV != 0 { read(at + 2) } else { 0 };
        let misc = if status & MISCV != 0 { read(at + 3) } else { 0 };
        found.push(Bank { number: n as u16, status, addr, misc });
        write(at + 1, 0);
    }
    found
}

/// What is to be done after a machine check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody lost anything.
    Continue,
    /// The guest that ran has lost state: it crashes.
    CrashGuest,
    /// The hypervisor may have lost state.
    Fatal(&'static str),
}

/// What an uncorrected error means (SDM vol. 3, 16.6.3; AMD has no such classes, and all are consumed there).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Nobody has used what is broken.
    Latent,
    /// The interrupted code has.
    Consumed,
    /// Nothing on this CPU can be relied on.
    Fatal,
}

fn class(status: u64, mcg_cap: u64) -> Class {
    if status & PCC != 0 {
        return Class::Fatal;
    }
    if status & (UC | EN) != UC | EN || (mcg_cap & SER_P != 0 && status & (S | AR) != S | AR) {
        return Class::Latent;
    }
    // What was overwritten may have hit anybody.
    if status & OVER != 0 { Class::Fatal } else { Class::Consumed }
}

/// Judges a machine check that came while a guest ran, or the hypervisor.
pub fn judge(l: &Logout, mcg_cap: u64, in_guest: bool) -> Verdict {
    let any = |wanted| l.banks.iter().any(|b| class(b.status, mcg_cap) == wanted);
    if any(Class::Fatal) {
        return Verdict::Fatal("the processor's state is damaged");
    }
    match (any(Class::Consumed), l.gstatus & RIPV == 0, in_guest) {
        (false, false, _) => Verdict::Continue,
        (_, _, true) => Verdict::CrashGuest,
        (_, true, false) => Verdict::Fatal("the hypervisor cannot go on where it was"),
        (true, false, false) => Verdict::Fatal("an uncorrected error in what the hypervisor used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    const CAP: u64 = 4;

    #[test]
    fn banks_with_errors_are_read_and_emptied() {
        let msrs = RefCell::new(BTreeMap::from([
            (ctl(1) + 1, VAL | ADDRV | 0x135),
            (ctl(1) + 2, 0x1234_5000),
            (ctl(1) + 3, 7),
            (ctl(2) + 1, UC | 5),
            (ctl(3) + 1, VAL | UC | MISCV),
            (ctl(3) + 3, 9),
            (ctl(4) + 1, VAL),
        ]));
        let take = |cap, wanted| {
            read_out(
                cap,
                wanted,
                |m| msrs.borrow().get(&m).copied().unwrap_or(0),
                |m, v| {
                    msrs.borrow_mut().insert(m, v);
                },
            )
        };
        let found = take(CAP, Wanted::Silent);
        assert_eq!(found[..], [Bank { number: 1, status: VAL | ADDRV | 0x135, addr: 0x1234_5000, misc: 0 }]);
        let found = take(CAP, Wanted::All);
        assert_eq!(found[..], [Bank { number: 3, status: VAL | UC | MISCV, addr: 0, misc: 9 }]);
        assert!(take(CAP, Wanted::All).is_empty(), "emptied");
        assert_eq!(take(0xff, Wanted::All).len(), 1, "no more than there is room for");
        assert_eq!((count(0x100_010a), count(0xff)), (10, 15));
    }

    #[test]
    fn what_is_read_out_when() {
        const SER: u64 = CAP | SER_P;
        let rows = [
            // Status, and whether it is silent and not consumed: without, then with the classes of recovery.
            (0, [true, true], [true, true]),
            (UC, [false, true], [true, true]),
            (UC | S, [false, true], [false, true]),
            (UC | S | AR, [false, false], [false, false]),
            (UC | PCC, [false, true], [false, true]),
            (UC | S | AR | PCC, [false, true], [false, true]),
        ];
        for (status, without, with) in rows {
            for (cap, wanted) in [(CAP, without), (SER, with)] {
                let has = [Wanted::Silent, Wanted::NotConsumed].map(|w| w.has(status | VAL, cap));
                assert_eq!(has, wanted, "{status:x} {cap:x}");
                assert!(Wanted::All.has(status | VAL, cap));
            }
        }
        assert_eq!(Wanted::of_exception(SER, MCIP | RIPV), Wanted::NotConsumed);
        assert_eq!(Wanted::of_exception(CAP, MCIP | RIPV), Wanted::All);
        assert_eq!(Wanted::of_exception(SER, MCIP | RIPV | EIPV), Wanted::All);
        assert_eq!(Wanted::of_exception(SER, MCIP), Wanted::All);
    }

    #[test]
    fn verdicts() {
        use Verdict::{Continue, CrashGuest};
        const SER: u64 = CAP | SER_P;
        let judge = |cap, gstatus, status: &[u64], in_guest| {
            let banks = status.iter().map(|&s| Bank { status: s | VAL, ..Bank::default() }).collect();
            judge(&Logout { gstatus: gstatus | MCIP, tsc: 0, banks }, cap, in_guest)
        };
        let fatal = |v| matches!(v, Verdict::Fatal(_));
        // Nothing was lost: corrected, not to be reported, or not used by anybody.
        for (cap, status) in
            [(CAP, ADDRV), (CAP, UC), (SER, UC | EN), (SER, UC | EN | S), (SER, UC | EN | AR)]
        {
            for in_guest in [true, false] {
                assert_eq!(judge(cap, RIPV, &[status], in_guest), Continue, "{cap:x} {status:x}");
            }
        }
        assert_eq!(judge(CAP, RIPV, &[], false), Continue);
        // What ran has used what was lost.
        for (cap, status) in [(CAP, UC | EN), (SER, UC | EN | S | AR)] {
            assert_eq!(judge(cap, RIPV, &[0, status], true), CrashGuest);
            assert!(fatal(judge(cap, RIPV, &[0, status], false)));
            assert!(fatal(judge(cap, RIPV, &[status | OVER, 0], true)));
            assert!(fatal(judge(cap, RIPV, &[status | PCC], true)));
        }
        assert_eq!(judge(SER, 0, &[], true), CrashGuest);
        assert!(fatal(judge(SER, 0, &[], false)));
    }
}
