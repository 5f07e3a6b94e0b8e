//! Debian's tools in dom0 on Debian's Xen and on Xenolith: the same commands, and the same answers.
//!
//! `tests/tools/commands` lists the commands; `tests/tools/KNOWN_DIFFERENCES.md` the lines that differ by intent. What
//! dom0 answered stays in `target/logs/same-*.answers`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::{Outcome, Stage, tools};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{enter, leave};
use crate::image::debian::{DOM0_LABEL, PASSWORD};
use crate::run::Hypervisor;
use crate::setup::Env;

pub fn stage() -> Stage {
    Stage::new("xl: answers as on Debian's Xen", |env| {
        let debian = answers(env, Hypervisor::Debian, "same-debian")?;
        let ours = answers(env, Hypervisor::Xenolith, "same-xenolith")?;
        let known = known(&fs::read_to_string(env.root.join("tests/tools/KNOWN_DIFFERENCES.md"))?)?;
        let findings = compare(&debian, &ours, &known);
        if !findings.is_empty() {
            bail!("{} findings:\n{}", findings.len(), findings.join("\n"));
        }
        println!("{} commands, {} known differences", debian.len(), known.len());
        Ok(Outcome::Passed(debian.len() as u32))
    })
}

/// Debian's Xen loses the AVX state of guests of the emulated machine.
const CPU: &str = "EPYC-v4,-monitor,-xsave,-avx,-avx2,-fma,-f16c";

/// A command with the lines of its answer, the last of them its exit code.
pub type Answer = (String, Vec<String>);

/// A line that is in the answer of one of the two only, and why; or of both, but not the same.
pub struct Known {
    command: String,
    line: Regex,
    /// On Debian's Xen, on Xenolith.
    sides: [bool; 2],
}

fn answers(env: &Env, hypervisor: Hypervisor, log: &str) -> Result<Vec<Answer>> {
    let archive = env.target.join("images").join("commands.tar");
    let mut tar = Command::new("tar");
    // As a disk it has whole sectors.
    tar.args(["--record-size=1M", "-cf"]).arg(&archive).arg("-C").arg(env.root.join("tests/tools"));
    crate::proc::run(tar.args(["commands", "pools.py", "ask"]))?;
    let args = demo::Args { cpu: Some(CPU.into()), ..tools::machine(hypervisor) };
    let (qemu, mut machine) = demo::dom0_machine(env, &args)?;
    // On Debian's Xen under this emulator, programs in guests crash otherwise. The processors are to be the same.
    machine.one_thread = true;
    machine.disks.push(archive);
    let mut dom0 = Session::start(machine.command(&qemu)?, &env.log(log)?)?;
    dom0.login("dom0", PASSWORD, BOOT)?;
    dom0.must("dmesg -n 1", STEP)?;
    dom0.must(&format!("d=$(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL})); tar -xf $d -C /run"), STEP)?;
    demo::create(&mut dom0, "/etc/xen/guest.cfg maxvcpus=2 'uuid=\"5eed0000-0000-4000-8000-000000000001\"'")?;
    enter(&mut dom0, "guest")?;
    leave(&mut dom0)?;
    dom0.must("bash /run/ask </run/commands >/run/answers 2>&1", BOOT * 4)?;
    let text = dom0.must("cat /run/answers", BOOT)?;
    fs::write(env.log(log)?.with_extension("answers"), &text)?;
    demo::wait_gone(&mut dom0)?;
    dom0.send("poweroff\n")?;
    dom0.wait_exit(BOOT)?;
    parse(&text)
}

pub fn parse(text: &str) -> Result<Vec<Answer>> {
    let mut answers: Vec<Answer> = Vec::new();
    let rules = rules()?;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("## ") {
            answers.push((command.trim().to_owned(), Vec::new()));
        } else if let Some((_, lines)) = answers.last_mut() {
            let line = rules.iter().fold(line.to_owned(), |l, (r, to)| r.replace_all(&l, *to).into_owned());
            lines.push(line.trim().to_owned());
        }
    }
    if answers.is_empty() {
        bail!("dom0 answered nothing");
    }
    Ok(answers)
}

/// What differs from one run to the next, and what is put there.
fn rules() -> Result<Vec<(Regex, &'static str)>> {
    let rules = [
        // Alignment follows the widths of numbers.
        (r"[ \t]+", " "),
        // Domains: runs and blocks, and for how long. Who is paused still counts as blocked until an event comes.
        (r"^(\S+ \d+ \d+ \d+) [r-][b-]---- \d+\.\d", "$1 RUNS SECONDS"),
        (r"^(\S+ \d+ \d+ \d+) -[b-]p--- \d+\.\d", "$1 PAUSED SECONDS"),
        // vCPUs: where as well.
        (r"^(\S+ \d+ \d+) \d+ [r-][b-]- \d+\.\d", "$1 CPU RUNS SECONDS"),
        (r"^(\S+ \d+ \d+) - --p \d+\.\d", "$1 - OFF SECONDS"),
        (r"^(\S+ \d+) \d+:\d\d:\d\d$", "$1 TIME"),
        (r"^ ?\d\d:\d\d:\d\d up [^,]+,", "TIME up TIME,"),
        (r"^(free_memory|cpu_mhz) : .*", "$1 : N"),
        (r"^( ?0: \d+) \d+ (10)", "$1 N $2"),
        // Which numbers refused domains had.
        (r"\bDomain \d+:", "Domain N:"),
        (r"transport process \[\d+\]", "transport process [PID]"),
    ];
    rules.into_iter().map(|(rule, to)| Ok((Regex::new(rule)?, to))).collect()
}

/// Rows: command | whose answer has the line | the line, a regular expression | why.
pub fn known(markdown: &str) -> Result<Vec<Known>> {
    let mut rows = Vec::new();
    for line in markdown.lines() {
        // A bar within a cell is escaped.
        let cells: Vec<String> = line.trim().trim_matches('|').split(" | ").map(unescaped).collect();
        if cells.len() < 4 || !cells[0].starts_with('`') {
            continue;
        }
        let sides = match cells[1].as_str() {
            "Debian" => [true, false],
            "Xenolith" => [false, true],
            "both" => [true; 2],
            other => bail!("KNOWN_DIFFERENCES.md: whose answer is `{other}`?"),
        };
        let pattern = format!("^{}$", cells[2].trim_matches('`'));
        let line = Regex::new(&pattern).with_context(|| format!("KNOWN_DIFFERENCES.md: {pattern}"))?;
        rows.push(Known { command: cells[0].trim_matches('`').to_owned(), line, sides });
    }
    Ok(rows)
}

fn unescaped(cell: &str) -> String {
    cell.trim().replace(r"\|", "|")
}

pub fn compare(debian: &[Answer], ours: &[Answer], known: &[Known]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen = vec![[false; 2]; known.len()];
    for (n, (command, theirs)) in debian.iter().enumerate() {
        let Some((_, mine)) = ours.get(n).filter(|(c, _)| c == command) else {
            findings.push(format!("{command}: not asked of Xenolith"));
            continue;
        };
        for (line, side) in difference(theirs, mine) {
            let fits = |k: &Known| k.sides[side] && k.command == *command && k.line.is_match(line);
            match known.iter().position(fits) {
                Some(row) => seen[row][side] = true,
                None => findings.push(format!("{command}\n  {} {line}", ['-', '+'][side])),
            }
        }
    }
    for (k, _) in known.iter().zip(seen).filter(|(k, seen)| k.sides != *seen) {
        findings.push(format!("{}: listed, but not seen: {}", k.command, k.line));
    }
    findings
}

/// Lines of one that the other lacks, in order; whose they are: 0 or 1.
fn difference<'a>(a: &'a [String], b: &'a [String]) -> Vec<(&'a String, usize)> {
    // Length of the longest common part of what is left of both.
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            found.push((&a[i], 0));
            i += 1;
        } else {
            found.push((&b[j], 1));
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{compare, known, parse};

    #[test]
    fn lines_that_differ_are_found_unless_listed() {
        let debian = parse("## a\nx\ng 1 2 3 r----- 12.3\n-> 0\n## b\nold\nend\n-> 1\n").unwrap();
        let ours = parse("## a\nx\ng 1 2   3 -b---- 4.5\n-> 0\n## b\nnew\nend\n-> 0\n").unwrap();
        let found = |table| compare(&debian, &ours, &known(table).unwrap()).len();
        assert_eq!(found(""), 4);
        assert_eq!(found("| `b` | Debian | `old` | why |\n| `b` | Xenolith | `n..` | why |\n"), 2);
        assert_eq!(found("| `b` | both | `-> .` | why |\n"), 2);
        assert_eq!(found("| `a` | Debian | `x` | why |\n"), 5);
        assert_eq!(found("| `b` | both | `old` | why |\n"), 4, "it is on one side");
        assert!(known("| `b` | nobody | `old` | why |").is_err());
    }
}
