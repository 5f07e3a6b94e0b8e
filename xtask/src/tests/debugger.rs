//! A guest's kernel under `gdbsx`, the stock tools' server for GDB, spoken to by GDB's remote protocol: memory,
//! breakpoints, single steps, and a guest that goes on as if nothing had been.

use anyhow::{Context, Result, ensure};

use super::Stage;
use super::tools::{self, state};
use crate::demo::{self, BOOT, STEP};
use crate::expect::Session;
use crate::guest_console::{back, enter, leave};
use crate::run::Hypervisor;

const PORT: u16 = 9999;

/// Sends its argument as a packet ("$text#sum", acknowledged by "+") and prints what the answer's holds.
const ASK: &str = "ask() { local i n s=0; for ((i=0; i<${#1}; i++)); do printf -v n %d \"'${1:i:1}\"; ((s+=n)); done; \
     printf '$%s#%02x' \"$1\" $((s&255)) >&3; read -rd '#' n <&3; read -rN 2 i <&3; printf + >&3; echo \"${n#*$}\"; }";

/// Hexadecimal digits before RIP in the answer to `g`: 16 registers of 8 bytes.
const RIP: usize = 16 * 8 * 2;

pub fn stage(hypervisor: Hypervisor) -> Stage {
    tools::stage("xl: a guest under gdbsx", "gdbsx", hypervisor, debug)
}

fn debug(dom0: &mut Session) -> Result<()> {
    demo::create(dom0, "/etc/xen/guest.cfg vcpus=2")?;
    enter(dom0, "guest")?;
    let symbols =
        dom0.must("dmesg -n 1; grep -wE 'linux_proc_banner|__x64_sys_sync' /proc/kallsyms", STEP)?;
    let address = |name: &str| -> Result<u64> {
        let line =
            symbols.lines().find(|l| l.trim().ends_with(name)).with_context(|| format!("no {name}"))?;
        Ok(u64::from_str_radix(line.split_whitespace().next().unwrap_or(""), 16)?)
    };
    let (banner, sync) = (address("linux_proc_banner")?, address("__x64_sys_sync")?);
    dom0.must("(while sleep 1; do sync; done) & true", STEP)?;
    leave(dom0)?;

    let mut gdb = Gdb::attach(dom0)?;
    let paused = state(gdb.0, "guest")?;
    ensure!(paused.contains('p'), "under gdbsx the guest's state is {paused}");
    gdb.stopped("?")?;
    ensure!(gdb.ask("m10,8")? == "E01", "the guest has nothing at address 16");
    // A format: "%s version %s (...". What is written there the guest shows us below.
    ensure!(gdb.read(banner, 10)? == hex(b"%s version"), "not the kernel's banner");
    gdb.write(banner + 3, &hex(b"VERSION"))?;
    ensure!(gdb.read(banner, 10)? == hex(b"%s VERSION"), "what was written is not there");

    let instruction = gdb.read(sync, 1)?;
    for round in 0..2 {
        gdb.write(sync, "cc")?;
        gdb.stopped("c")?;
        let rip = gdb.rip()?;
        ensure!(rip == sync + 1, "stopped at {rip:x}, but the breakpoint is at {sync:x}");
        gdb.write(sync, &instruction)?;
        gdb.set_rip(sync)?;
        if round == 0 {
            gdb.stopped("s")?;
            let rip = gdb.rip()?;
            ensure!((sync + 1..=sync + 15).contains(&rip), "a step from {sync:x} led to {rip:x}");
        }
    }
    gdb.detach()?;

    back(dom0, "guest")?;
    dom0.must("kill %1; disk-check", STEP)?;
    let version = dom0.must("cat /proc/version", STEP)?;
    ensure!(version.contains("Linux VERSION 6."), "the guest does not show what was written: {version}");
    leave(dom0)?;
    dom0.must("xl shutdown -w guest", BOOT).map(drop)
}

fn hex(text: &[u8]) -> String {
    text.iter().map(|b| format!("{b:02x}")).collect()
}

/// A connection to gdbsx, held by dom0's shell.
struct Gdb<'a>(&'a mut Session);

impl<'a> Gdb<'a> {
    fn attach(dom0: &'a mut Session) -> Result<Self> {
        dom0.must(&format!("(gdbsx -a $(xl domid guest) 64 {PORT} >/run/gdbsx.log 2>&1 &)"), STEP)?;
        let open = format!("exec 3<>/dev/tcp/127.0.0.1/{PORT}");
        dom0.must(&format!("for i in $(seq 60); do {open} && break; sleep 1; done 2>/dev/null"), STEP)?;
        dom0.must(ASK, STEP)?;
        Ok(Gdb(dom0))
    }

    /// The answer to a packet; before it the hypervisor may say why it refused something.
    fn ask(&mut self, packet: &str) -> Result<String> {
        let said = self.0.must(&format!("ask '{packet}'"), STEP)?;
        Ok(said.lines().last().unwrap_or("").to_owned())
    }

    /// The packet's answer must be that a vCPU has stopped by a trap.
    fn stopped(&mut self, packet: &str) -> Result<()> {
        let answer = self.ask(packet)?;
        ensure!(answer.starts_with("T05thread:"), "`{packet}` was answered with `{answer}`");
        Ok(())
    }

    fn done(&mut self, command: &str) -> Result<()> {
        let answer = self.0.must(command, STEP)?;
        ensure!(answer == "OK", "`{command}` was answered with `{answer}`");
        Ok(())
    }

    /// Memory as hexadecimal digits.
    fn read(&mut self, address: u64, bytes: usize) -> Result<String> {
        self.ask(&format!("m{address:x},{bytes:x}"))
    }

    fn write(&mut self, address: u64, digits: &str) -> Result<()> {
        self.done(&format!("ask M{address:x},{:x}:{digits}", digits.len() / 2))
    }

    /// RIP of the vCPU that stopped; the shell keeps its registers.
    fn rip(&mut self) -> Result<u64> {
        let digits = self.0.must(&format!("regs=$(ask g); echo ${{regs:{RIP}:16}}"), STEP)?;
        let rip = u64::from_str_radix(&digits, 16).with_context(|| format!("RIP is `{digits}`"))?;
        Ok(rip.swap_bytes())
    }

    /// Changes it in the registers that [`Self::rip`] got.
    fn set_rip(&mut self, rip: u64) -> Result<()> {
        let digits = hex(&rip.to_le_bytes());
        self.done(&format!("ask G${{regs:0:{RIP}}}{digits}${{regs:{}}}", RIP + 16))
    }

    /// The guest goes on. This packet has no answer.
    fn detach(self) -> Result<()> {
        self.0.must("ask D >/dev/null; exec 3>&-", STEP)?;
        self.0
            .must("until grep -q Detaching /run/gdbsx.log; do sleep 1; done; cat /run/gdbsx.log", STEP)
            .map(drop)
    }
}
