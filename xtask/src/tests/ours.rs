//! Our `xl` and Debian's in one dom0, with one guest: the same commands, and the same answers.
//!
//! `tests/tools/xl-commands` lists the commands; `tests/tools/OUR_XL.md` the lines that differ by intent. What dom0
//! answered stays in `target/logs/ours-*.answers`.

use std::fs;

use anyhow::{Result, bail};

use super::same::{Answer, compare, known, parse};
use super::{Outcome, Stage, our_tools};
use crate::build;
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{enter, leave};
use crate::run::Hypervisor;
use crate::setup::Env;

/// Alike on Xen and on Xenolith, and whoever asks.
const GUEST: &str = "/etc/xen/guest.cfg maxvcpus=2 'uuid=\"5eed0000-0000-4000-8000-000000000001\"'";

/// What guests have in dom0: nodes of the store, files, loop devices, network interfaces.
const TRACES: &str = "for d in /vm /libxl /local/domain /local/domain/0/backend; do xenstore-ls -f $d | \
     grep -v -e ^/local/domain/0/ -e ^/vm/00000000- -e ^/libxl/0; done; \
     ls /var/lib/xen | grep -v ^userdata-d.0; losetup -a; ls /sys/class/net";

pub fn stage(hypervisor: Hypervisor) -> Stage {
    Stage::new("our xl: answers as the stock one", move |env| {
        let [mut stock, mut ours] = answers(env, hypervisor)?;
        stock.iter_mut().zip(&mut ours).for_each(|(stock, ours)| own_words(&mut stock.1, &mut ours.1));
        let known = known(&fs::read_to_string(env.root.join("tests/tools/OUR_XL.md"))?)?;
        let findings = compare(&stock, &ours, &known);
        if !findings.is_empty() {
            bail!("{} findings:\n{}", findings.len(), findings.join("\n"));
        }
        println!("{} commands, {} known differences", stock.len(), known.len());
        Ok(Outcome::Passed(stock.len() as u32))
    })
}

/// What Debian's answers, and what ours does.
fn answers(env: &Env, hypervisor: Hypervisor) -> Result<[Vec<Answer>; 2]> {
    let programs = build::tools(env, &["xl"])?;
    let scripts = env.root.join("tests/tools");
    let files = [(&*scripts, "xl-commands"), (&scripts, "ask"), (&programs, "xl")];
    let mut dom0 = our_tools::dom0_with(env, hypervisor, "ours", &files)?;
    // Only our `xl` is found by this path.
    dom0.must("cd /run/ours; mv xl-commands ask ..; cd", STEP)?;
    demo::warm_up(&mut dom0)?;
    let before = demo::memory(&mut dom0)?;
    let traces = dom0.must(TRACES, STEP)?;
    demo::create(&mut dom0, GUEST)?;
    enter(&mut dom0, "guest")?;
    leave(&mut dom0)?;
    let stock = ask(env, &mut dom0, "stock", "$PATH")?;
    let ours = ask(env, &mut dom0, "ours", "/run/ours:$PATH")?;
    // One that is busy with its devices, then one that ends by itself.
    dom0.must("/run/ours/xl destroy guest", STEP)?;
    demo::memory_is_back(&mut dom0, before)?;
    demo::create(&mut dom0, GUEST)?;
    enter(&mut dom0, "guest")?;
    leave(&mut dom0)?;
    dom0.must("/run/ours/xl shutdown -w guest", BOOT)?;
    demo::nothing_is_left(&mut dom0, before)?;
    let left = dom0.must(TRACES, STEP)?;
    if left != traces {
        bail!("guests left traces: before them\n{traces}\nafter them\n{left}");
    }
    dom0.send("poweroff\n")?;
    dom0.wait_exit(BOOT)?;
    Ok([stock, ours])
}

/// What each program explains a refusal with is its own, but where Debian's explains one ours has to as well. Of a command
/// line that is none only the exit code counts.
fn own_words(stock: &mut Vec<String>, ours: &mut Vec<String>) {
    let explained = [&mut *stock, &mut *ours].map(|lines| {
        if lines.last().is_some_and(|code| code == "-> 2") {
            lines.drain(..lines.len() - 1);
        }
        let before = lines.len();
        lines.retain(|line| !["libxl: ", "xc: ", "xl: "].iter().any(|own| line.starts_with(own)));
        let explained = lines.len() != before;
        lines.retain(|line| !line.is_empty());
        explained
    });
    if explained[0] {
        stock.insert(0, "EXPLAINED".into());
        if explained[1] {
            ours.insert(0, "EXPLAINED".into());
        }
    }
}

fn ask(env: &Env, dom0: &mut Session, whose: &str, path: &str) -> Result<Vec<Answer>> {
    dom0.must(&format!("PATH={path} bash /run/ask </run/xl-commands >/run/{whose}.answers 2>&1"), BOOT * 2)?;
    let text = dom0.must(&format!("cat /run/{whose}.answers"), BOOT)?;
    fs::write(env.log("ours")?.with_file_name(format!("ours-{whose}.answers")), &text)?;
    parse(&text)
}

#[cfg(test)]
mod tests {
    use super::own_words;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn explanations_may_differ_but_not_be_missing() {
        let alike = |stock, ours| {
            let (mut stock, mut ours) = (lines(stock), lines(ours));
            own_words(&mut stock, &mut ours);
            stock == ours
        };
        assert!(alike("libxl: error: a\nlibxl: error: b\n\nNo.\n-> 1", "xl: c\nNo.\n-> 1"));
        assert!(!alike("libxl: error: a\nNo.\n-> 1", "No.\n-> 1"));
        assert!(alike("No.\n-> 1", "xl: c\nNo.\n-> 1"));
        assert!(!alike("No.\n-> 1", "xl: c\nYes.\n-> 1"));
        assert!(alike("Usage: a\nb\n-> 2", "error: c\n-> 2"));
        assert!(!alike("Usage: a\nb\n-> 2", "error: c\n-> 1"));
    }
}
