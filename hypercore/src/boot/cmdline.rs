//! The hypervisor's command line, with the names and meanings of the Xen command line document
//! (`docs/misc/xen-command-line`). What is not known is handed to the caller, which names it in a warning.

use crate::console::level::{Thresholds, parse_thresholds};
use crate::console::stamp::Timestamps;
use crate::console::switch::SWITCH_CHAR;
use crate::grant::Limits;
use crate::grant::limits::MOST_FRAMES;

/// An amount of memory as `dom0_mem=` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Bytes(u64),
    /// All memory but this many bytes.
    AllBut(u64),
    /// So many bytes and a part of all memory, in percent.
    Share {
        bytes: u64,
        percent: u64,
    },
}

/// `dom0_mem=`: initial size, and bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dom0Mem {
    pub size: Option<Amount>,
    pub min: Option<Amount>,
    pub max: Option<Amount>,
}

/// `com1=`, `com2=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Com {
    /// `None`: leave the rate the firmware set (`auto`).
    pub baud: Option<u32>,
    pub data_bits: u8,
    /// `n`, `o`, `e`, `m` or `s`.
    pub parity: u8,
    pub stop_bits: u8,
    pub port: u16,
    /// 0: poll.
    pub irq: u8,
}

impl Com {
    /// The port at `port`, as PCs have it.
    const fn at(port: u16, irq: u8) -> Com {
        Com { baud: None, data_bits: 8, parity: b'n', stop_bits: 1, port, irq }
    }

    /// Time in which 16 characters, the FIFO's size, arrive: a port that is polled so often loses nothing. At least a
    /// millisecond; for an unknown rate that of the fastest.
    pub fn fifo_ns(&self) -> u64 {
        let bits = 1 + u64::from(self.data_bits) + u64::from(self.parity != b'n') + u64::from(self.stop_bits);
        (16 * bits * 1_000_000_000 / u64::from(self.baud.unwrap_or(115_200))).max(1_000_000)
    }
}

/// How to restart the machine (`reboot=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootMethod {
    /// What the firmware offers, then the others.
    Default,
    Acpi,
    Keyboard,
    Pci,
    Triple,
    /// Do not (`reboot=n`, `noreboot`).
    Never,
}

/// What becomes of an NMI from the chipset, or of unknown origin (`nmi=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiPolicy {
    Ignore,
    Dom0,
    /// The machine stops.
    Fatal,
}

/// The clock that the others are measured by (`clocksource=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The best there is.
    Any,
    Hpet,
    PmTimer,
    Pit,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// Which of the serial ports `console=` names (the last one); 0: com1.
    pub console_com: Option<usize>,
    /// `console=` names vga.
    pub console_vga: bool,
    /// `com1=` and `com2=`.
    pub coms: [Com; 2],
    pub loglvl: Thresholds,
    pub guest_loglvl: Thresholds,
    pub dom0_mem: Dom0Mem,
    /// `dom0_max_vcpus=<min>[-<max>]`.
    pub dom0_max_vcpus: Option<(u32, u32)>,
    pub reboot: RebootMethod,
    pub maxcpus: Option<u32>,
    /// `conring_size=` in bytes.
    pub conring_size: Option<u64>,
    /// `x2apic=`.
    pub x2apic: bool,
    pub smep: bool,
    pub smap: bool,
    /// `tsc=unstable` or `skewed`: do not trust the TSCs to run evenly, or to agree.
    pub tsc_distrusted: bool,
    /// `numa=`: whether the firmware's tables of nodes are read.
    pub numa: bool,
    /// `watchdog`: stop when a CPU is stuck in the hypervisor.
    pub watchdog: bool,
    /// `watchdog_timeout=`, in seconds.
    pub watchdog_timeout: u32,
    pub nmi: NmiPolicy,
    /// `gnttab=`, `gnttab_max_frames=`, `gnttab_max_maptrack_frames=`.
    pub grants: Limits,
    pub clock_source: ClockSource,
    /// `hpet=`: whether it may be used.
    pub hpet: bool,
    /// `dom0_vcpus_pin`: dom0's vCPU n runs on CPU n only.
    pub dom0_vcpus_pin: bool,
    /// `sched_ratelimit_us=`, in nanoseconds.
    pub rate_limit_ns: Option<u64>,
    /// `vga=keep`: the screen stays ours when dom0 runs.
    pub vga_keep: bool,
    /// `console_timestamps=`.
    pub timestamps: Timestamps,
    /// `console_to_ring`: dom0's terminal output goes into the ring as well.
    pub console_to_ring: bool,
    /// `conswitch=`: the control character that moves the keyboard; 0: none does.
    pub switch_char: u8,
    /// `conswitch=` with an `x`: dom0 does not get the keyboard when it starts.
    pub keep_keyboard: bool,
    /// `apic_verbosity=verbose` or `debug`: the IOAPICs' pins are shown at the start.
    pub apic_verbose: bool,
    /// After ` -- `: goes to dom0's command line.
    pub dom0_extra: Option<&'a str>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            console_com: None,
            console_vga: true,
            coms: [Com::at(0x3f8, 4), Com::at(0x2f8, 3)],
            loglvl: Thresholds::HYPERVISOR,
            guest_loglvl: Thresholds::GUEST,
            dom0_mem: Dom0Mem::default(),
            dom0_max_vcpus: None,
            reboot: RebootMethod::Default,
            maxcpus: None,
            conring_size: None,
            x2apic: true,
            smep: true,
            smap: true,
            tsc_distrusted: false,
            numa: true,
            watchdog: false,
            watchdog_timeout: 5,
            nmi: NmiPolicy::Dom0,
            grants: Limits::default(),
            clock_source: ClockSource::Any,
            hpet: true,
            dom0_vcpus_pin: false,
            rate_limit_ns: None,
            vga_keep: false,
            timestamps: Timestamps::None,
            console_to_ring: false,
            switch_char: SWITCH_CHAR,
            keep_keyboard: false,
            apic_verbose: false,
            dom0_extra: None,
        }
    }
}

/// What is wrong with one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    Unknown,
    BadValue,
    /// Understood, but this hypervisor has nothing that it would change.
    NoEffect,
}

/// Options that Xen has, that boot scripts pass, and that change nothing here; each with the values that ask for
/// what is so anyway.
const NO_EFFECT: &[(&str, &[&str])] = &[
    ("cpuidle", NO),
    ("cpufreq", &["none"]),
    ("ucode", NO),
    ("iommu", NO),
    ("vga", &["text-80x25"]),
    ("sched_smt_power_savings", NO),
    ("mwait-idle", NO),
    ("sched", &["credit2"]),
    ("spec-ctrl", NO),
    ("xpti", NO),
    ("pv-l1tf", NO),
    ("flask", &["disabled"]),
    ("tboot", NO),
    ("crashkernel", &[]),
    ("dom0", &["pv"]),
    ("apicv", NO),
    ("hap", NO),
];
const NO: &[&str] = &["no", "off", "false", "disable", "0"];
/// Options that need no answer: those without meaning on this platform that GRUB's scripts always pass, and
/// `sync_console`, which the console always is.
const SILENT: &[&str] = &["placeholder", "no-real-mode", "edd", "sync_console"];

/// Reads `line`; each option that could not be honoured goes to `complain`.
pub fn parse<'a>(line: &'a str, complain: &mut dyn FnMut(&'a str, Complaint)) -> Options<'a> {
    let mut o = Options::default();
    let (own, extra) = match line.split_once(" -- ") {
        Some((own, extra)) => (own, Some(extra.trim())),
        None => (line.strip_suffix(" --").unwrap_or(line), None),
    };
    o.dom0_extra = extra;
    for word in own.split_ascii_whitespace() {
        let (mut name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let mut on = boolean(value);
        if let (Some(rest), None) = (name.strip_prefix("no-"), value)
            && !SILENT.contains(&name)
        {
            (name, on) = (rest, Some(false));
        }
        let complaint = match apply(&mut o, name, value, on) {
            Ok(()) => continue,
            Err(complaint) => complaint,
        };
        complain(word, complaint);
    }
    o
}

fn apply<'a>(
    o: &mut Options<'a>,
    name: &str,
    value: Option<&'a str>,
    on: Option<bool>,
) -> Result<(), Complaint> {
    let bad = Complaint::BadValue;
    let text = value.unwrap_or("");
    match name {
        "console" => {
            (o.console_com, o.console_vga) = (None, false);
            for device in text.split(',') {
                match device {
                    "com1" => o.console_com = Some(0),
                    "com2" => o.console_com = Some(1),
                    "vga" => o.console_vga = true,
                    "none" => {}
                    _ => return Err(bad),
                }
            }
        }
        "com1" => o.coms[0] = com(text, o.coms[0]).ok_or(bad)?,
        "com2" => o.coms[1] = com(text, o.coms[1]).ok_or(bad)?,
        "loglvl" => o.loglvl = parse_thresholds(text).ok_or(bad)?,
        "guest_loglvl" => o.guest_loglvl = parse_thresholds(text).ok_or(bad)?,
        "dom0_mem" => dom0_mem(text, &mut o.dom0_mem).ok_or(bad)?,
        "dom0_max_vcpus" => {
            let (min, max) = text.split_once('-').unwrap_or((text, text));
            let min = if min.is_empty() { 1 } else { min.parse().map_err(|_| bad)? };
            let max = if max.is_empty() { u32::MAX } else { max.parse().map_err(|_| bad)? };
            if min == 0 || max < min {
                return Err(bad);
            }
            o.dom0_max_vcpus = Some((min, max));
        }
        "noreboot" => o.reboot = if on.ok_or(bad)? { RebootMethod::Never } else { RebootMethod::Default },
        "reboot" => {
            if on == Some(false) && (value.is_none() || !text.starts_with('n')) {
                o.reboot = RebootMethod::Never;
                return Ok(());
            }
            o.reboot = match text.as_bytes().first() {
                Some(b'n') => RebootMethod::Never,
                Some(b'a') => RebootMethod::Acpi,
                Some(b'k') => RebootMethod::Keyboard,
                Some(b'p') => RebootMethod::Pci,
                Some(b't') => RebootMethod::Triple,
                _ => return Err(bad),
            };
        }
        "maxcpus" => o.maxcpus = Some(text.parse().ok().filter(|&n| n > 0).ok_or(bad)?),
        "nosmp" => o.maxcpus = Some(1),
        "conring_size" => o.conring_size = Some(size(text, 1 << 10).ok_or(bad)?),
        "x2apic" => o.x2apic = on.ok_or(bad)?,
        "smep" => o.smep = on.ok_or(bad)?,
        "smap" => o.smap = on.ok_or(bad)?,
        // `force` is for hardware that Xen thinks unreliable.
        "watchdog" => o.watchdog = if text == "force" { true } else { on.ok_or(bad)? },
        "watchdog_timeout" => {
            let seconds = text.parse().map_err(|_| bad)?;
            (o.watchdog, o.watchdog_timeout) = (seconds > 0, seconds);
        }
        "nmi" => {
            o.nmi = match text {
                "ignore" => NmiPolicy::Ignore,
                "dom0" => NmiPolicy::Dom0,
                "fatal" => NmiPolicy::Fatal,
                _ => return Err(bad),
            }
        }
        "gnttab" => gnttab(text, &mut o.grants).ok_or(bad)?,
        "gnttab_max_frames" => o.grants.frames = frames(text, 1).ok_or(bad)?,
        "gnttab_max_maptrack_frames" => o.grants.maptrack_frames = frames(text, 0).ok_or(bad)?,
        "tsc" => match text {
            "unstable" | "skewed" => o.tsc_distrusted = true,
            // Sockets are told apart by no clock: what the test at the CPUs' start finds counts.
            "stable:socket" => {}
            _ => return Err(bad),
        },
        "numa" => o.numa = on.ok_or(bad)?,
        "clocksource" => {
            o.clock_source = match text {
                "hpet" => ClockSource::Hpet,
                "acpi" => ClockSource::PmTimer,
                "pit" => ClockSource::Pit,
                // System time is the TSC's anyway.
                "tsc" => ClockSource::Any,
                _ => return Err(bad),
            }
        }
        "hpet" => o.hpet = on.ok_or(bad)?,
        "dom0_vcpus_pin" => o.dom0_vcpus_pin = on.ok_or(bad)?,
        "sched_ratelimit_us" => {
            // The bounds of the ABI's field (public/sysctl.h).
            let us: u64 = text.parse().map_err(|_| bad)?;
            if us > 500_000 || (1..100).contains(&us) {
                return Err(bad);
            }
            o.rate_limit_ns = Some(us * 1000);
        }
        "vga" if text == "keep" || text == "text-80x25,keep" => o.vga_keep = true,
        "console_timestamps" => {
            o.timestamps = match (text, on) {
                ("date", _) | (_, Some(true)) => Timestamps::Date,
                ("none", _) | (_, Some(false)) => Timestamps::None,
                ("datems", _) => Timestamps::DateMs,
                ("boot", _) => Timestamps::Boot,
                ("raw", _) => Timestamps::Raw,
                _ => return Err(bad),
            }
        }
        "console_to_ring" => o.console_to_ring = on.ok_or(bad)?,
        "conswitch" => match *text.as_bytes() {
            // The `a` of Ctrl-a; one that is no letter switches the switch off.
            [c, ref rest @ ..] if matches!(rest, [] | [b'x']) => {
                o.switch_char = if c.is_ascii_alphabetic() { c & 0x1f } else { 0 };
                o.keep_keyboard = !rest.is_empty();
            }
            _ => return Err(bad),
        },
        "apic_verbosity" => {
            o.apic_verbose = match text {
                "verbose" | "debug" => true,
                "quiet" => false,
                _ => return Err(bad),
            }
        }
        _ if SILENT.contains(&name) => {}
        _ => match NO_EFFECT.iter().find(|known| known.0 == name) {
            // A negated name asks for what `=no` asks for.
            Some((_, so_anyway)) if so_anyway.contains(&text) => {}
            Some((_, so_anyway)) if on == Some(false) && so_anyway.contains(&"no") => {}
            Some(_) => return Err(Complaint::NoEffect),
            None => return Err(Complaint::Unknown),
        },
    }
    Ok(())
}

/// Xen's booleans: absent, yes, on, true, enable, 1; no, off, false, disable, 0.
fn boolean(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("yes" | "on" | "true" | "enable" | "1") => Some(true),
        Some("no" | "off" | "false" | "disable" | "0") => Some(false),
        Some(_) => None,
    }
}

/// A number with a suffix of `BKMGT`; without one it counts `unit` bytes. Hexadecimal with 0x.
fn size(text: &str, unit: u64) -> Option<u64> {
    let shift = |by: u32| (1u64 << by, 1);
    let (unit, suffix) = match text.as_bytes().last()? {
        b'B' | b'b' if !text.starts_with("0x") => shift(0),
        b'K' | b'k' => shift(10),
        b'M' | b'm' => shift(20),
        b'G' | b'g' => shift(30),
        b'T' | b't' => shift(40),
        _ => (unit, 0),
    };
    let digits = &text[..text.len() - suffix];
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    number.checked_mul(unit)
}

fn amount(text: &str) -> Option<Amount> {
    if let Some(rest) = text.strip_suffix('%') {
        let (bytes, percent) = match rest.split_once('+') {
            Some((bytes, percent)) => (size(bytes, 1 << 10)?, percent),
            None => (0, rest),
        };
        let percent = percent.parse().ok().filter(|p| *p < 100)?;
        return Some(Amount::Share { bytes, percent });
    }
    match text.strip_prefix('-') {
        Some(rest) => size(rest, 1 << 10).map(Amount::AllBut),
        None => size(text, 1 << 10).map(Amount::Bytes),
    }
}

fn dom0_mem(text: &str, out: &mut Dom0Mem) -> Option<()> {
    for part in text.split(',') {
        let (place, value) = match part.split_once(':') {
            Some(("min", value)) => (&mut out.min, value),
            Some(("max", value)) => (&mut out.max, value),
            Some(_) => return None,
            None => (&mut out.size, part),
        };
        *place = Some(amount(value)?);
    }
    Some(())
}

/// A list of `max-ver:<1|2>`, `transitive` and `transfer`, the last two with `=<boolean>` or `no-`.
fn gnttab(text: &str, out: &mut Limits) -> Option<()> {
    for part in text.split(',') {
        if let Some(version) = part.strip_prefix("max-ver:") {
            out.version = version.parse().ok().filter(|v| (1..=2).contains(v))?;
            continue;
        }
        let (name, on) = match (part.strip_prefix("no-"), part.split_once('=')) {
            (Some(name), _) => (name, false),
            (None, Some((name, value))) => (name, boolean(Some(value))?),
            (None, None) => (part, true),
        };
        match name {
            "transitive" => out.transitive = on,
            "transfer" => out.transfer = on,
            _ => return None,
        }
    }
    Some(())
}

fn frames(text: &str, least: u32) -> Option<u32> {
    let n = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => text.parse().ok()?,
    };
    (least..=MOST_FRAMES).contains(&n).then_some(n)
}

/// `<baud>[/<base>][,[<data><parity><stop>][,[<port>][,[<irq>]]]]`.
fn com(text: &str, mut com: Com) -> Option<Com> {
    let mut parts = text.split(',');
    let rate = parts.next()?.split('/').next()?;
    if rate == "auto" {
        com.baud = None;
    } else if !rate.is_empty() {
        com.baud = Some(rate.parse().ok().filter(|&b| (50..=115_200).contains(&b))?);
    }
    match parts.next().unwrap_or("").as_bytes() {
        [] => {}
        &[data @ b'5'..=b'8', parity @ (b'n' | b'o' | b'e' | b'm' | b's'), stop @ b'1'..=b'2'] => {
            (com.data_bits, com.parity, com.stop_bits) = (data - b'0', parity, stop - b'0');
        }
        _ => return None,
    }
    match parts.next().unwrap_or("") {
        "" => {}
        port => com.port = u16::from_str_radix(port.strip_prefix("0x")?, 16).ok()?,
    }
    match parts.next().unwrap_or("") {
        "" => {}
        irq => com.irq = irq.parse().ok()?,
    }
    Some(com)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::level::Level;
    extern crate std;
    use std::vec::Vec;

    fn read(line: &str) -> (Options<'_>, Vec<(&str, Complaint)>) {
        let mut complaints = Vec::new();
        let o = parse(line, &mut |w, c| complaints.push((w, c)));
        (o, complaints)
    }

    #[test]
    fn what_a_debian_grub_passes() {
        let (o, c) =
            read("placeholder console=com1,vga com1=115200,8n1 loglvl=all dom0_mem=1G,max:2G noreboot");
        assert!(c.is_empty(), "{c:?}");
        assert_eq!((o.console_com, o.console_vga), (Some(0), true));
        assert_eq!(o.coms[0].baud, Some(115_200));
        assert_eq!(o.dom0_mem.size, Some(Amount::Bytes(1 << 30)));
        assert_eq!(o.dom0_mem.max, Some(Amount::Bytes(2 << 30)));
        assert_eq!(o.dom0_mem.min, None);
        assert_eq!(o.reboot, RebootMethod::Never);
        assert!(o.loglvl.always(Level::Debug));
    }

    #[test]
    fn sizes_without_suffix_are_kilobytes() {
        assert_eq!(read("dom0_mem=524288").0.dom0_mem.size, Some(Amount::Bytes(512 << 20)));
        assert_eq!(read("dom0_mem=-512M").0.dom0_mem.size, Some(Amount::AllBut(512 << 20)));
        let share = |bytes, percent| Some(Amount::Share { bytes, percent });
        let o = read("dom0_mem=1G+25%,max:50%").0.dom0_mem;
        assert_eq!((o.size, o.max), (share(1 << 30, 25), share(0, 50)));
        for bad in ["dom0_mem=100%", "dom0_mem=%", "dom0_mem=25%+1G", "dom0_mem=-25%"] {
            assert_eq!(read(bad).1, [(bad, Complaint::BadValue)]);
        }
        assert_eq!(read("dom0_mem=0x10M").0.dom0_mem.size, Some(Amount::Bytes(16 << 20)));
    }

    #[test]
    fn complaints_name_the_word() {
        let (o, c) = read("dom0_mem=lots frobnicate=1 maxcpus=0 cpuidle sync_console maxcpus=3");
        assert_eq!(
            c,
            [
                ("dom0_mem=lots", Complaint::BadValue),
                ("frobnicate=1", Complaint::Unknown),
                ("maxcpus=0", Complaint::BadValue),
                ("cpuidle", Complaint::NoEffect)
            ]
        );
        assert_eq!(o.maxcpus, Some(3));
    }

    #[test]
    fn a_port_without_interrupt_is_polled_before_its_fifo_is_full() {
        assert_eq!(read("com1=115200,8n1").0.coms[0].irq, 4, "the interrupt PCs have there");
        let com = read("com1=9600,8n1,0x3f8,0").0.coms[0];
        assert_eq!((com.irq, com.fifo_ns()), (0, 16_666_666));
        assert_eq!(read("com1=115200,8e2").0.coms[0].fifo_ns(), 1_666_666);
        assert_eq!(read("com1=auto,5n1").0.coms[0].fifo_ns(), 1_000_000);
    }

    #[test]
    fn an_nmi_is_for_dom0_unless_said_otherwise() {
        assert_eq!(read("").0.nmi, NmiPolicy::Dom0);
        assert_eq!(read("nmi=ignore").0.nmi, NmiPolicy::Ignore);
        assert_eq!(read("nmi=fatal").0.nmi, NmiPolicy::Fatal);
        assert_eq!(read("nmi=maybe").1, [("nmi=maybe", Complaint::BadValue)]);
    }

    #[test]
    fn dom0_vcpus_may_be_a_range() {
        assert_eq!(read("dom0_max_vcpus=2").0.dom0_max_vcpus, Some((2, 2)));
        assert_eq!(read("dom0_max_vcpus=1-4").0.dom0_max_vcpus, Some((1, 4)));
        assert_eq!(read("dom0_max_vcpus=-4").0.dom0_max_vcpus, Some((1, 4)));
        assert_eq!(read("dom0_max_vcpus=4-1").1.len(), 1);
    }

    #[test]
    fn negated_booleans_and_reboot_methods() {
        assert!(!read("no-smap").0.smap);
        assert!(!read("smep=off").0.smep);
        assert_eq!(read("no-reboot").0.reboot, RebootMethod::Never);
        assert_eq!(read("reboot=no").0.reboot, RebootMethod::Never);
        assert_eq!(read("reboot=triple").0.reboot, RebootMethod::Triple);
        assert_eq!(read("reboot=k").0.reboot, RebootMethod::Keyboard);
        assert!(read("no-real-mode edd=off").1.is_empty());
    }

    #[test]
    fn what_is_so_anyway_needs_no_warning() {
        assert!(read("sched=credit2 cpuidle=0 no-cpuidle cpufreq=none spec-ctrl=no iommu=off").1.is_empty());
        let (_, c) = read("sched=null cpufreq=xen iommu crashkernel=64M");
        assert_eq!(c.len(), 4);
        assert!(c.iter().all(|c| c.1 == Complaint::NoEffect), "{c:?}");
    }

    #[test]
    fn limits_of_grants() {
        let (o, c) = read("gnttab=max-ver:1,no-transitive,transfer=off gnttab_max_frames=32");
        assert!(c.is_empty(), "{c:?}");
        let limits =
            Limits { frames: 32, version: 1, transitive: false, transfer: false, ..Limits::default() };
        assert_eq!(o.grants, limits);
        let (o, c) = read("gnttab_max_maptrack_frames=0x10 gnttab=transitive,transfer=yes,max-ver:2");
        assert_eq!((o.grants, c.len()), (Limits { maptrack_frames: 16, ..Limits::default() }, 0));
        for bad in [
            "gnttab=max-ver:3",
            "gnttab=max-ver:0",
            "gnttab",
            "gnttab=wide",
            "gnttab_max_frames=0",
            "gnttab_max_frames=5000000",
            "gnttab_max_maptrack_frames=many",
        ] {
            assert_eq!(read(bad).1, [(bad, Complaint::BadValue)]);
        }
    }

    #[test]
    fn options_of_the_console() {
        let (o, c) =
            read("conswitch=bx console_timestamps=boot console_to_ring vga=keep apic_verbosity=debug");
        assert!(c.is_empty(), "{c:?}");
        assert_eq!((o.switch_char, o.keep_keyboard, o.timestamps), (2, true, Timestamps::Boot));
        assert!(o.console_to_ring && o.vga_keep && o.apic_verbose);
        assert_eq!(read("").0.switch_char, 1, "Ctrl-a");
        assert_eq!(read("conswitch=0").0.switch_char, 0);
        assert_eq!(read("console_timestamps").0.timestamps, Timestamps::Date);
        assert_eq!(read("no-console_timestamps").0.timestamps, Timestamps::None);
        assert_eq!(read("conswitch=abc vga=ask console_timestamps=late").1.len(), 3);
    }

    #[test]
    fn options_of_clocks_and_scheduling() {
        let (o, c) = read("clocksource=pit hpet=off dom0_vcpus_pin sched_ratelimit_us=500");
        assert!(c.is_empty(), "{c:?}");
        assert_eq!((o.clock_source, o.hpet, o.dom0_vcpus_pin), (ClockSource::Pit, false, true));
        assert_eq!(o.rate_limit_ns, Some(500_000));
        assert_eq!(read("sched_ratelimit_us=0").0.rate_limit_ns, Some(0));
        assert_eq!(read("sched_ratelimit_us=99").1, [("sched_ratelimit_us=99", Complaint::BadValue)]);
    }

    #[test]
    fn counters_may_be_distrusted() {
        for (line, distrusted) in
            [("", false), ("tsc=unstable", true), ("tsc=skewed", true), ("tsc=stable:socket", false)]
        {
            let (o, c) = read(line);
            assert_eq!((o.tsc_distrusted, c.len()), (distrusted, 0), "{line}");
        }
        for bad in ["tsc", "tsc=stable", "tsc=reliable"] {
            assert_eq!(read(bad).1, [(bad, Complaint::BadValue)]);
        }
    }

    #[test]
    fn nodes_are_looked_for_unless_forbidden() {
        assert!(read("").0.numa && read("numa=on").0.numa);
        assert!(!read("numa=off").0.numa && !read("no-numa").0.numa);
        assert_eq!(read("numa=fake=2").1, [("numa=fake=2", Complaint::BadValue)]);
    }

    #[test]
    fn the_second_serial_port() {
        let (o, c) = read("console=com2 com2=57600,8n1");
        assert!(c.is_empty(), "{c:?}");
        let com = o.coms[1];
        assert_eq!((o.console_com, o.console_vga), (Some(1), false));
        assert_eq!((com.baud, com.port, com.irq), (Some(57_600), 0x2f8, 3), "where PCs have it");
        assert_eq!(o.coms[0], Options::default().coms[0], "the first one is left alone");
        assert_eq!(read("console=com1,com2").0.console_com, Some(1), "there is one; the last is it");
        assert_eq!(read("console=com3").1, [("console=com3", Complaint::BadValue)]);
    }

    #[test]
    fn the_watchdog_is_off_unless_asked_for() {
        let w = |line| {
            let o = read(line).0;
            (o.watchdog, o.watchdog_timeout)
        };
        assert_eq!(w(""), (false, 5));
        assert_eq!(w("watchdog"), (true, 5));
        assert_eq!(w("watchdog=force"), (true, 5));
        assert_eq!(w("watchdog_timeout=9"), (true, 9));
        assert_eq!(w("watchdog watchdog_timeout=0"), (false, 0));
        assert_eq!(w("watchdog no-watchdog"), (false, 5));
    }

    #[test]
    fn serial_port_fields_may_be_empty() {
        let c = read("com1=9600,,0x2f8,3").0.coms[0];
        assert_eq!((c.baud, c.parity, c.port, c.irq), (Some(9600), b'n', 0x2f8, 3));
        assert_eq!(read("com1=fast").1, [("com1=fast", Complaint::BadValue)]);
    }

    #[test]
    fn the_rest_is_dom0s() {
        let (o, c) = read("console=com1 -- root=/dev/sda1 quiet");
        assert_eq!(o.dom0_extra, Some("root=/dev/sda1 quiet"));
        assert!(c.is_empty());
    }
}
