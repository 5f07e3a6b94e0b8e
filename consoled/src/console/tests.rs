use std::fs::{self, File};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use keeper::{Inlet, Outlet, Region};

use super::Console;
use crate::log::{Limits, Log};
use crate::record::{BACKLOG, FIRST, SLOT, steps};
use crate::ring::tests::Paper;
use crate::terminal::Terminal;

struct Bed {
    region: Region,
    console: Console<Paper>,
    person: File,
    log: PathBuf,
}

impl Bed {
    fn new(name: &str) -> Self {
        let region = Region::create("test", FIRST + SLOT).unwrap();
        let terminal = Terminal::open().unwrap();
        let person = File::options().read(true).write(true).open(&terminal.path).unwrap();
        rustix::io::ioctl_fionbio(&person, true).unwrap();
        let log = std::env::temp_dir().join(format!("consoled-{name}-{}.log", std::process::id()));
        let _ = fs::remove_file(&log);
        let console = Console {
            page: Paper::new(),
            slot: 0,
            terminal,
            outlet: Outlet::new().unwrap(),
            inlet: Inlet::new().unwrap(),
            log: Some(Log::open(log.clone(), Limits { size: 0, old: 0 }, false).unwrap()),
            limit: BACKLOG,
        };
        let mut bed = Self { region, console, person, log };
        bed.console.begin(&mut bed.region);
        bed
    }

    fn turn(&mut self) -> super::Turn {
        self.console.turn(&mut self.region, false, &String::new).unwrap()
    }

    /// What the person's screen has got since the last time.
    fn screen(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut bytes = [0; 8192];
        while let Ok(len @ 1..) = self.person.read(&mut bytes) {
            all.extend_from_slice(&bytes[..len]);
        }
        all
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}

#[test]
fn a_guest_speaks_and_is_spoken_to() {
    let mut bed = Bed::new("speaks");
    assert!(!bed.turn().notify);
    bed.console.page.guest_says(b"login: ");
    assert!(bed.turn().notify);
    assert_eq!(bed.screen(), b"login: ");
    assert_eq!(fs::read(&bed.log).unwrap(), b"login: ");
    bed.person.write_all(b"root\n").unwrap();
    assert!(bed.turn().notify);
    assert_eq!(bed.console.page.guest_hears(), b"root\n", "a terminal that changes nothing");
}

#[test]
fn a_guest_never_waits_for_a_person_and_the_newest_is_kept() {
    let mut bed = Bed::new("newest");
    bed.console.limit = 10_000;
    let said: Vec<u8> = (0..4 * BACKLOG as u32).map(|n| (n / 7) as u8).collect();
    let mut at = 0;
    while at < said.len() {
        let more = bed.console.page.guest_says(&said[at..]);
        assert!(more > 0, "the ring has room after each turn");
        at += more;
        bed.turn();
    }
    let mut seen = bed.screen();
    while bed.turn().full || {
        let more = bed.screen();
        seen.extend(&more);
        !more.is_empty()
    } {}
    assert!(seen.len() >= 10_000 && seen.len() < said.len());
    assert_eq!(seen[seen.len() - 10_000..], said[said.len() - 10_000..]);
    assert_eq!(fs::read(&bed.log).unwrap(), said, "the log has all of it");
}

#[test]
fn input_waits_for_room() {
    let mut bed = Bed::new("room");
    let typed: Vec<u8> = (0..3000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    let mut at = 0;
    let mut heard = Vec::new();
    while heard.len() < typed.len() {
        if at < typed.len() {
            at += bed.person.write(&typed[at..(at + 700).min(typed.len())]).unwrap();
        }
        bed.turn();
        bed.turn();
        if at == typed.len() || heard.len() % 3 == 0 {
            heard.extend(bed.console.page.guest_hears());
        }
    }
    assert_eq!(heard, typed);
}

/// A life ends after every number of steps; the next one goes on.
#[test]
fn nothing_is_lost_or_doubled_wherever_a_life_ends() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut bed = Bed::new("steps");
    let (mut said, mut seen, mut typed, mut heard) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut deaths = 0;
    for steps in (0..60).cycle().take(1500) {
        let text = format!("output {steps} of {}\n", said.len());
        said.extend_from_slice(&text.as_bytes()[..bed.console.page.guest_says(text.as_bytes())]);
        let keys = format!("{steps}k");
        typed.extend_from_slice(&keys.as_bytes()[..bed.person.write(keys.as_bytes()).unwrap()]);
        steps::allow(steps);
        let Bed { region, console, .. } = &mut bed;
        let life = catch_unwind(AssertUnwindSafe(|| {
            console.turn(region, false, &String::new).unwrap();
            console.turn(region, false, &String::new).unwrap();
        }));
        deaths += u32::from(life.is_err());
        // The next life may be ended as well, while it settles.
        steps::allow(steps % 7);
        deaths += u32::from(catch_unwind(AssertUnwindSafe(|| console.settle(region).unwrap())).is_err());
        steps::allow(u32::MAX);
        console.settle(region).unwrap();
        seen.extend(bed.screen());
        heard.extend(bed.console.page.guest_hears());
    }
    let _ = std::panic::take_hook();
    assert!(deaths > 500, "{deaths}");
    for _ in 0..10 {
        bed.turn();
        seen.extend(bed.screen());
        heard.extend(bed.console.page.guest_hears());
    }
    assert_eq!(String::from_utf8(heard).unwrap(), String::from_utf8(typed).unwrap());
    assert_eq!(String::from_utf8(seen).unwrap(), String::from_utf8(said.clone()).unwrap());
    assert_eq!(fs::read(&bed.log).unwrap(), said);
}
