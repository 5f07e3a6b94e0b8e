//! `cargo xtask demo`: a small dom0 with our tools (`--stock`: Debian as dom0, with its own), a PV guest that `xl` creates,
//! and a person at its prompt. With `--check` nobody has to be there: every step is done and verified by this program.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::expect::Session;
use crate::guest_console::{PROMPT, enter, leave};
use crate::image::debian::{self, DOM0_LABEL, PASSWORD};
use crate::image::initramfs::{self, Purpose};
use crate::image::loader::Loader;
use crate::image::overlay::DOM0_ADDRESS;
use crate::image::small;
use crate::qemu::{Bus, Chipset, Console, ESCAPE, ESCAPE_NAME, Machine};
use crate::run::{self, Hypervisor};
use crate::setup::{self, Env, Qemu, QemuVersion};

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Do and verify every step without a person; exit code 0 only if all of it worked
    #[arg(long)]
    pub check: bool,
    /// Debian as dom0, with Debian's tools
    #[arg(long)]
    pub stock: bool,
    /// Which hypervisor boots
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
    /// dom0's kernel: a Debian series (6.1, 6.12) or a file
    #[arg(long, default_value = "6.1")]
    pub kernel: String,
    /// CPUs of the machine
    #[arg(long, default_value_t = 2)]
    pub smp: u32,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 2048)]
    pub mem: u32,
    /// QEMU's CPU model
    #[arg(long)]
    pub cpu: Option<String>,
    /// Which chipset
    #[arg(long, value_enum, default_value = "q35")]
    pub machine: Chipset,
    /// What dom0's disk is connected by
    #[arg(long, value_enum, default_value = "ata")]
    pub bus: Bus,
    /// How the hypervisor is loaded
    #[arg(long, value_enum, default_value = "qemu")]
    pub loader: Loader,
    /// Which QEMU
    #[arg(long, value_enum, default_value = "10")]
    pub qemu: QemuVersion,
    /// Options of the hypervisor
    #[arg(last = true)]
    pub options: Vec<String>,
}

/// Generous: a boot takes well under a minute on a quiet machine, and five on one with other work.
pub const BOOT: Duration = Duration::from_secs(900);
pub const STEP: Duration = Duration::from_secs(180);

pub fn demo(env: &Env, args: &Args) -> Result<()> {
    let mut dom0 = boot_dom0(env, args, "demo")?;
    if args.stock {
        dom0.login("dom0", PASSWORD, BOOT)?;
        say(&dom0, "dom0 is up: Debian with its stock Xen tools");
    } else {
        dom0.wait(PROMPT, BOOT)?;
        say(&dom0, "dom0 is up: Debian's kernel, busybox, and Xenolith's store, console daemon and xl");
    }
    let info = dom0.must("dmesg -n 1; xl info", STEP)?;
    for key in ["host", "release", "nr_cpus", "total_memory", "xen_version"] {
        if let Some(line) = info.lines().find(|line| line.starts_with(key)) {
            println!("demo:          {line}");
        }
    }
    if args.check {
        if let Err(e) = check(&mut dom0) {
            last_words(&mut dom0);
            return Err(e);
        }
        println!("demo: everything worked, and all memory came back");
        return Ok(());
    }
    say(&dom0, "creating a PV guest: xl create /etc/xen/guest.cfg");
    dom0.must("xl create /etc/xen/guest.cfg", STEP)?;
    enter(&mut dom0, "guest")?;
    let (dom0_is, disk_is) =
        if args.stock { ("Debian", "a file") } else { ("a small Linux with our tools", "a disk") };
    println!(
        "\ndemo: You are at the prompt of a Debian guest. Under it: Xenolith, then {dom0_is} as dom0, which started\n\
         demo: this guest by `xl create` from /etc/xen/guest.cfg. The guest has a disk ({disk_is} in dom0) and\n\
         demo: a network card on dom0's bridge. Try:\n\
         demo:   disk-check           writes and re-reads 16 MiB on its disk\n\
         demo:   ping {DOM0_ADDRESS}       reaches dom0\n\
         demo:   poweroff             ends the guest; you come back to dom0\n\
         demo:   Ctrl-]               leaves the guest's console for dom0; there try: xl list, xl dmesg, xl console guest\n\
         demo: {ESCAPE_NAME} ends the whole machine. (root's password is {PASSWORD}.)\n"
    );
    dom0.send("\n")?;
    dom0.hand_over(ESCAPE)?;
    println!("\ndemo: the machine is switched off");
    Ok(())
}

fn say(session: &Session, what: &str) {
    println!("demo: [{:4} s] {what}", session.elapsed().as_secs());
}

/// Builds, makes the images and starts the machine; dom0 then boots. A reset ends it.
pub fn boot_dom0(env: &Env, args: &Args, log: &str) -> Result<Session> {
    let (qemu, machine) = dom0_machine(env, args)?;
    let log = env.log(log)?;
    println!("demo: starting the machine; its console is written to {}", env.shown(&log));
    Session::start(machine.command(&qemu)?, &log)
}

/// Builds, makes the images, and says what machine they are for.
pub fn dom0_machine(env: &Env, args: &Args) -> Result<(Qemu, Machine)> {
    let qemu = setup::qemu(env, args.qemu)?;
    let kernel = run::kernel(env, &args.kernel)?;
    let (initrd, kernel_args, disk) = if args.stock {
        let root = format!("root=LABEL={DOM0_LABEL} systemd.show_status=auto systemd.log_level=warning");
        (initramfs::make(env, &kernel, Purpose::Root)?, root, debian::dom0(env)?)
    } else {
        (small::dom0(env, &kernel)?, "quiet".into(), debian::guest(env)?)
    };
    let options = args.options.join(" ");
    let mut machine =
        run::machine(env, &qemu, args.hypervisor, &options, &kernel, &kernel_args, initrd, args.mem)?;
    machine.smp = args.smp;
    machine.chipset = args.machine;
    machine.boot = args.loader.load(env, machine.boot)?;
    machine.disks = vec![disk];
    machine.bus = args.bus;
    machine.console = Console::Pipes;
    machine.no_reboot = true;
    if let Some(cpu) = &args.cpu {
        machine.cpu.clone_from(cpu);
    }
    Ok((qemu, machine))
}

/// Memory the hypervisor has to give, in KiB, as physinfo tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub free: u64,
    pub scrub: u64,
    pub outstanding: u64,
}

pub fn memory(dom0: &mut Session) -> Result<Memory> {
    let text = dom0.must("xen-memory; xl info outstanding_claims", STEP)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, free, _, scrub, outstanding] = words[..] else {
        bail!("unexpected answer of xen-memory: {text}")
    };
    Ok(Memory { free: free.parse()?, scrub: scrub.parse()?, outstanding: outstanding.parse()? })
}

/// A first guest makes dom0 itself grow (its grant tables, its drivers' event channels); that stays with dom0
/// and is no loss, so memory is compared from after one.
pub fn warm_up(dom0: &mut Session) -> Result<()> {
    create(dom0, "-p /etc/xen/guest.cfg")?;
    dom0.must("xl destroy guest", STEP)?;
    wait_gone(dom0)
}

/// `xl create` with these arguments.
///
/// `xl` gives each hotplug script 40 s by the clock. An emulated machine on a busy host may need more, above all for
/// the first one, whose programs come from the disk: then what dom0 was doing is printed, and the guest is created
/// again, once.
pub fn create(dom0: &mut Session, args: &str) -> Result<()> {
    let create = format!("xl create {args}");
    match dom0.command(&create, STEP)? {
        (0, _) => Ok(()),
        (_, output) if output.contains("because of timeout") => {
            println!("demo: a hotplug script took more than xl allows:\n{output}");
            last_words(dom0);
            dom0.must(&create, STEP).map(drop)
        }
        (code, output) => bail!("`{create}` ended with {code}:\n{output}"),
    }
}

/// Prints what dom0 can tell of its state: what it waits for, its kernel's and the hypervisor's last messages.
pub fn last_words(dom0: &mut Session) {
    // From a guest's console back to dom0's shell, if it was there: a key that counts when it comes alone.
    let _ = dom0.send("\x1d");
    std::thread::sleep(Duration::from_secs(2));
    let _ = dom0.send("\n");
    for line in [
        "cat /proc/uptime /proc/loadavg; xl list",
        "ps axo pid,stat,time,wchan:20,args | grep -v '\\[' | tail -30",
        "tail -n 15 /var/log/xen/*.log",
        "dmesg | tail -n 25",
        "xl dmesg | tail -n 40",
    ] {
        match dom0.command(line, STEP) {
            Ok((_, output)) => println!("demo: {line}\n{output}"),
            Err(e) => return println!("demo: dom0 does not answer: {e:#}"),
        }
    }
}

/// Waits until only dom0 is left and its memory has been scrubbed.
pub fn wait_gone(dom0: &mut Session) -> Result<()> {
    let loop_ = "for i in $(seq 120); do [ $(xl list | wc -l) = 2 ] && [ $(xen-memory | cut -d' ' -f4) = 0 ] && break; sleep 1; done";
    dom0.must(loop_, STEP)?;
    let list = dom0.must("xl list", STEP)?;
    if list.lines().count() != 2 {
        bail!("a domain is still there:\n{list}");
    }
    Ok(())
}

/// No guest is left, and the hypervisor has all that it had before them.
pub fn memory_is_back(dom0: &mut Session, before: Memory) -> Result<()> {
    wait_gone(dom0)?;
    let after = memory(dom0)?;
    if after != before {
        let heap = dom0.must("xl debug-keys m; xl dmesg | grep heap: || true", STEP)?;
        bail!("memory did not come back: before {before:?}, after {after:?}\n{heap}");
    }
    Ok(())
}

/// The same, and every reference counts.
pub fn nothing_is_left(dom0: &mut Session, before: Memory) -> Result<()> {
    memory_is_back(dom0, before)?;
    audit(dom0, "after the guests are gone")
}

/// Answers whom asks on the network (`net-check`), as a job of dom0's shell; the checksum of what it sends.
pub fn serve(dom0: &mut Session) -> Result<String> {
    let sum = dom0.must(
        "net-server >/run/net-server & sleep 1; until grep . /run/net-server; do sleep 1; done",
        STEP,
    )?;
    Ok(last(&sum).trim().to_owned())
}

/// Has the hypervisor recount every reference to every frame and compare with what it has stored. Other
/// hypervisors have no such key.
pub fn audit(dom0: &mut Session, when: &str) -> Result<()> {
    if !dom0.must("xl info xen_extra", STEP)?.contains("xenolith") {
        return Ok(());
    }
    let text = dom0.must(
        "xl dmesg -c >/dev/null; xl debug-keys A; \
         for i in $(seq 120); do xl dmesg | grep -q Audit: && break; sleep 1; done; xl dmesg | grep -A9 Audit:",
        STEP,
    )?;
    if !text.contains("stored and recounted are equal") {
        bail!("the audit {when} found:\n{text}");
    }
    say(dom0, &format!("audit {when}: {}", last(&text).trim_start_matches("(XEN) ")));
    Ok(())
}

fn check(dom0: &mut Session) -> Result<()> {
    audit(dom0, "at boot")?;
    warm_up(dom0)?;
    let before = memory(dom0)?;
    say(
        dom0,
        &format!(
            "free {} KiB, scrub {} KiB, outstanding {} MiB",
            before.free, before.scrub, before.outstanding
        ),
    );
    let sum = serve(dom0)?;
    dom0.must("xl create /etc/xen/guest.cfg", STEP)?;
    say(dom0, "guest created");
    enter(dom0, "guest")?;
    say(dom0, "logged in to the guest");
    println!("demo:          {}", last(&dom0.must("disk-check", STEP)?));
    println!("demo:          {}", last(&dom0.must(&format!("net-check {sum}"), STEP)?));
    leave(dom0)?;
    audit(dom0, "with a guest running")?;
    let list = dom0.must("xl list", STEP)?;
    if !list.contains("guest") {
        bail!("xl list does not show the guest:\n{list}");
    }
    dom0.must("xl shutdown -w guest", BOOT)?;
    say(dom0, "guest shut down");
    nothing_is_left(dom0, before)?;
    dom0.send("poweroff\n")?;
    dom0.wait_exit(BOOT)?;
    Ok(())
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or("")
}
