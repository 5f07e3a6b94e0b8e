//! `xl top`: who uses what, again and again; the columns of `xentop`.

use std::collections::HashMap;
use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use abi::domctl::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use xenctl::{DomId, Error};

use crate::list::shutdown;
use crate::tools::{Done, Tools, words};
use crate::traffic::{Traffic, traffic};

#[derive(clap::Args)]
pub struct Args {
    /// Seconds from one look to the next
    #[arg(short, long, default_value = "3")]
    delay: u32,
    /// Ends after as many looks
    #[arg(short, long)]
    iterations: Option<u32>,
    /// Prints one look after the other, for scripts
    #[arg(short, long)]
    batch: bool,
    /// Whole names, however long
    #[arg(short, long)]
    full_name: bool,
    /// Dom0 stands first
    #[arg(short = 'z', long)]
    dom0_first: bool,
    /// A line for each vCPU as well
    #[arg(short, long)]
    vcpus: bool,
    /// Prints the header before each domain
    #[arg(short, long)]
    repeat_header: bool,
    /// Accepted: traffic is shown by domain
    #[arg(short, long)]
    networks: bool,
    /// Accepted: traffic is shown by domain
    #[arg(short = 'x', long)]
    vbds: bool,
}

/// Columns and how wide they are.
const COLUMNS: [(&str, usize); 19] = [
    ("NAME", 10),
    ("STATE", 6),
    ("CPU(sec)", 10),
    ("CPU(%)", 6),
    ("MEM(k)", 10),
    ("MEM(%)", 6),
    ("MAXMEM(k)", 10),
    ("MAXMEM(%)", 9),
    ("VCPUS", 5),
    ("NETS", 4),
    ("NETTX(k)", 8),
    ("NETRX(k)", 8),
    ("VBDS", 4),
    ("VBD_OO", 8),
    ("VBD_RD", 8),
    ("VBD_WR", 8),
    ("VBD_RSECT", 10),
    ("VBD_WSECT", 10),
    ("SSID", 4),
];

/// What was seen of a domain.
struct Seen {
    name: String,
    info: DomctlGetdomaininfo,
    traffic: Traffic,
    /// CPU time of each vCPU, in nanoseconds, with its number.
    vcpus: Vec<(u32, u64)>,
}

/// A look at all of them.
struct Look {
    at: Instant,
    machine_kib: u64,
    domains: Vec<Seen>,
}

fn header() -> String {
    COLUMNS.map(|(name, width)| format!("{name:>width$}")).join(" ")
}

/// Dying, shut down, blocked, crashed, paused, running.
fn state(info: &DomctlGetdomaininfo) -> String {
    let has = |flag| info.flags & flag != 0;
    let letters = [
        (has(XEN_DOMINF_DYING), 'd'),
        (has(XEN_DOMINF_SHUTDOWN), 's'),
        (has(XEN_DOMINF_BLOCKED), 'b'),
        (shutdown(info) == Some(abi::sched::SHUTDOWN_CRASH), 'c'),
        (has(XEN_DOMINF_PAUSED), 'p'),
        (has(XEN_DOMINF_RUNNING), 'r'),
    ];
    letters.iter().map(|(on, letter)| if *on { *letter } else { '-' }).collect()
}

/// `used` is the share of one CPU that it had since the look before, in per cent.
fn row(seen: &Seen, used: f64, machine_kib: u64, full_name: bool) -> String {
    let (info, traffic) = (&seen.info, &seen.traffic);
    let (memory, most) = (info.tot_pages * 4, info.max_pages * 4);
    let share = |kib: u64| format!("{:.1}", kib as f64 * 100.0 / machine_kib.max(1) as f64);
    let limited = most < 1 << 40;
    let name: String = match full_name {
        true => seen.name.clone(),
        false => seen.name.chars().take(COLUMNS[0].1).collect(),
    };
    let cells = [
        name,
        state(info),
        (info.cpu_time / 1_000_000_000).to_string(),
        format!("{used:.1}"),
        memory.to_string(),
        share(memory),
        if limited { most.to_string() } else { "no limit".into() },
        if limited { share(most) } else { "n/a".into() },
        info.nr_online_vcpus.to_string(),
        traffic.nets.to_string(),
        (traffic.sent / 1024).to_string(),
        (traffic.received / 1024).to_string(),
        traffic.disks.to_string(),
        traffic.full.to_string(),
        traffic.reads.to_string(),
        traffic.writes.to_string(),
        traffic.sectors_read.to_string(),
        traffic.sectors_written.to_string(),
        info.ssidref.to_string(),
    ];
    let cells = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}"));
    cells.collect::<Vec<_>>().join(" ")
}

/// The lines of a look; `before` is an earlier one.
fn lines(look: &Look, before: Option<&Look>, args: &Args) -> Vec<String> {
    let old: HashMap<u16, u64> =
        before.iter().flat_map(|b| &b.domains).map(|seen| (seen.info.domain, seen.info.cpu_time)).collect();
    let passed = before.map_or(0.0, |before| look.at.duration_since(before.at).as_nanos() as f64);
    let used = |seen: &Seen| match old.get(&seen.info.domain) {
        Some(old) if passed > 0.0 => seen.info.cpu_time.saturating_sub(*old) as f64 * 100.0 / passed,
        _ => 0.0,
    };
    let mut order: Vec<(&Seen, f64)> = look.domains.iter().map(|seen| (seen, used(seen))).collect();
    // Who uses most stands first.
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    if args.dom0_first {
        order.sort_by_key(|(seen, _)| seen.info.domain != 0);
    }
    let mut lines = Vec::new();
    for (n, (seen, used)) in order.into_iter().enumerate() {
        if n == 0 || args.repeat_header {
            lines.push(header());
        }
        lines.push(row(seen, used, look.machine_kib, args.full_name));
        if args.vcpus {
            let vcpus = seen.vcpus.iter().map(|(n, time)| format!("{n:2}: {:10}s", time / 1_000_000_000));
            lines.push(format!("VCPUs(sec): {}", vcpus.collect::<Vec<_>>().join(" ")));
        }
    }
    lines
}

fn look(tools: &mut Tools, args: &Args) -> Done<Look> {
    let machine_kib = tools.xen()?.physinfo()?.total_pages * 4;
    let mut domains = Vec::new();
    for info in tools.xen()?.domains(DomId(0))? {
        let id = DomId(info.domain);
        let mut vcpus = Vec::new();
        for n in (0..info.max_vcpu_id.wrapping_add(1)).take_while(|_| args.vcpus) {
            vcpus.push((n, tools.xen()?.vcpu(id, n)?.cpu_time));
        }
        domains.push(Seen { name: tools.name(id)?, info, traffic: traffic(id), vcpus });
    }
    Ok(Look { at: Instant::now(), machine_kib, domains })
}

pub fn top(tools: &mut Tools, args: &Args) -> Done {
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !args.batch && !terminal {
        return words("There is no terminal to show it on; -b prints it.");
    }
    let screen = if args.batch { None } else { Some(Screen::take()?) };
    let delay = Duration::from_secs(args.delay.max(1).into());
    let mut before = None;
    for n in 1.. {
        let now = look(tools, args)?;
        let lines = lines(&now, before.as_ref(), args);
        match &screen {
            None => lines.iter().for_each(|line| println!("{line}")),
            Some(screen) => screen.show(&now, &lines)?,
        }
        if args.iterations == Some(n) {
            break;
        }
        match &screen {
            None => std::thread::sleep(delay),
            Some(_) if key(delay)? => break,
            Some(_) => {}
        }
        before = Some(now);
    }
    Ok(())
}

/// Waits for a key, no longer than this; whether it is one that ends the view.
fn key(time: Duration) -> Done<bool> {
    let stdin = std::io::stdin();
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&time)) {
        // The terminal's size has changed, say.
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(e) => return Err(unheard(&e.into()).into()),
    }
    let mut keys = [0; 16];
    let count = stdin.lock().read(&mut keys).map_err(|e| unheard(&e))?;
    // The end of input, Escape, Ctrl-C.
    Ok(count == 0 || keys[..count].iter().any(|key| matches!(key, b'q' | b'Q' | 27 | 3)))
}

fn unheard(e: &std::io::Error) -> Error {
    Error::os("talking to the terminal", e)
}

/// The terminal while it shows nothing else, and takes single keys.
struct Screen {
    before: Termios,
}

impl Screen {
    fn take() -> Done<Self> {
        let failed = |e: rustix::io::Errno| Error::os("preparing the terminal", &e.into());
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut keys = before.clone();
        keys.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &keys).map_err(failed)?;
        let screen = Self { before };
        // A screen of its own, without a cursor.
        print!("\x1b[?1049h\x1b[?25l");
        Ok(screen)
    }

    fn show(&self, look: &Look, lines: &[String]) -> Done {
        let size = tcgetwinsize(std::io::stdout()).ok();
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
        let count = |flag| look.domains.iter().filter(|seen| seen.info.flags & flag != 0).count();
        let first = format!(
            "xl top   {} domains: {} running, {} blocked, {} paused   {} MiB of memory   q ends",
            look.domains.len(),
            count(XEN_DOMINF_RUNNING),
            count(XEN_DOMINF_BLOCKED),
            count(XEN_DOMINF_PAUSED),
            look.machine_kib >> 10
        );
        let mut text = String::from("\x1b[H");
        let bold = |line: &str| format!("\x1b[1m{line}\x1b[0m");
        for (n, line) in std::iter::once(&first).chain(lines).take(rows).enumerate() {
            let line: String = line.chars().take(columns).collect();
            let end = if n + 1 < rows { "\r\n" } else { "" };
            text += &format!("{}\x1b[K{end}", if n == 1 { bold(&line) } else { line });
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all((text + "\x1b[J").as_bytes()).and_then(|()| out.flush());
        Ok(written.map_err(|e| unheard(&e))?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        print!("\x1b[?25h\x1b[?1049l");
        let _ = std::io::stdout().flush();
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn seen(domain: u16, cpu_time: u64) -> Seen {
        let info = DomctlGetdomaininfo {
            domain,
            cpu_time,
            flags: XEN_DOMINF_BLOCKED,
            tot_pages: 65536,
            max_pages: if domain == 0 { u64::from(u32::MAX) << 8 } else { 65792 },
            nr_online_vcpus: 2,
            ..Default::default()
        };
        let traffic = Traffic { nets: 1, sent: 2048, disks: 1, reads: 7, ..Default::default() };
        Seen { name: format!("a-long-name-{domain}"), info, traffic, vcpus: vec![(0, cpu_time)] }
    }

    fn looks(line: &str) -> Vec<String> {
        let args = Line::parse_from(line.split(' ')).args;
        let at = Instant::now();
        let machine_kib = 1 << 20;
        let before = Look { at, machine_kib, domains: vec![seen(0, 0), seen(3, 0)] };
        let domains = vec![seen(0, 100_000_000), seen(3, 1_500_000_000)];
        let now = Look { at: at + Duration::from_secs(1), machine_kib, domains };
        lines(&now, Some(&before), &args)
    }

    #[test]
    fn columns_are_those_of_xentop() {
        let header = "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) \
                      NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID";
        let guest = "a-long-nam --b---          1  150.0     262144   25.0     263168      25.1     2    1        2        \
                     0    1        0        7        0          0          0    0";
        let lines = looks("top");
        assert_eq!(lines[0], header);
        assert_eq!(lines[1], guest, "who uses most stands first");
        assert!(lines[2].contains("no limit       n/a"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn lines_are_as_asked_for() {
        let lines = looks("top -z -f -r -v");
        assert_eq!(lines.len(), 6);
        assert!(lines[1].starts_with("a-long-name-0 "));
        assert_eq!((&lines[0], &lines[2]), (&lines[3], &"VCPUs(sec):  0:          0s".to_owned()));
    }
}
