//! What a Debian dom0 makes: a PV guest in which the program runs, with a disk and a network card; small guests, by
//! Debian's `xl` and by hypercalls alone, from their creation to their end.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::clock::Clock;
use super::{Bench, KERNEL_ARGS, LIMIT, MEM_GUEST_MIB, Mode, ROUNDS, Role, Run, ask, measure, object};
use crate::expect::Session;
use crate::image::debian::{self, DOM0_LABEL, PASSWORD};
use crate::image::initramfs::{self, Purpose};
use crate::image::overlay::{DOM0_ADDRESS, GUEST_ADDRESS};
use crate::run::Hypervisor;

/// The guest's disk, in MiB: a file in dom0's memory.
const DISK_MIB: u32 = 64;
const DEVICES: &str = "disk=['/run/disk.img,raw,xvda,w']; vif=['bridge=xenbr0']";
/// How many small guests there are when `xl list` is timed.
const CROWDS: [usize; 3] = [1, 10, 50];
/// Of `xl` creating and destroying; odd, for the median.
const PAIRS: usize = 3;

const PROMPT: &str = r"(?m)^root@dom0:[^\n]*# ";

impl Bench<'_> {
    /// Starts a Debian dom0, where the program serves.
    pub fn debian(&self, hypervisor: Hypervisor, mode: Mode) -> Result<(Session, Clock)> {
        let args = format!(
            "{KERNEL_ARGS} root=LABEL={DOM0_LABEL} systemd.show_status=auto systemd.log_level=warning"
        );
        let initrd = initramfs::make(self.env, &self.kernel, Purpose::Root)?;
        let mut machine = self.machine(hypervisor, mode, &args, initrd, MEM_GUEST_MIB)?;
        machine.disks = vec![debian::dom0(self.env)?, self.disk.clone()];
        let (mut session, clock) = self.start(&machine, hypervisor, mode)?;
        session.login("dom0", PASSWORD, LIMIT)?;
        for line in [
            "dmesg -n 1; cd /run".to_owned(),
            format!("tar -xf $(ls /dev/sd? | grep -v $(blkid -L {DOM0_LABEL}))"),
            format!("yes xenolith | head -c {DISK_MIB}M >disk.img"),
            config(
                "b",
                "/srv/guest/vmlinuz",
                &format!(
                    "memory=256; ramdisk='/run/initramfs.gz'; extra='console=hvc0 {KERNEL_ARGS}'; {DEVICES}"
                ),
            ),
            // Its counter is dom0's, so that what both read can be compared.
            config("t", "/run/tiny-guest", "memory=16; vcpus=2; tsc_mode='native'; extra='group=cost'"),
            config("p", "/run/tiny-guest", "memory=16"),
            "(./xen-bench --serve >/dev/null &)".to_owned(),
        ] {
            session.must(&line, LIMIT)?;
        }
        Ok((session, clock))
    }

    /// Both measurements share a boot of dom0.
    pub fn guest(&mut self, hypervisor: Hypervisor, mode: Mode) -> Result<()> {
        let (mut session, mut clock) = self.debian(hypervisor, mode)?;
        enter_guest(&mut session)?;
        let result = measure(&mut session)?;
        self.add(&session, Run { hypervisor, mode, role: Role::Guest, result, boot: None });
        end_guest(&mut session)?;
        let result = life(&mut session, &mut clock)?;
        self.add(&session, Run { hypervisor, mode, role: Role::Life, result, boot: None });
        Ok(())
    }
}

/// Writes a guest's configuration.
fn config(name: &str, kernel: &str, more: &str) -> String {
    format!("echo \"name='{name}'; kernel='{kernel}'; {more}\" >{name}.cfg")
}

/// Creates the guest and comes to its prompt.
pub fn enter_guest(session: &mut Session) -> Result<()> {
    session.send("xl create -c b.cfg\n")?;
    session.wait("(?m)^dom0# ", LIMIT)?;
    for line in [
        format!("ip addr del {DOM0_ADDRESS}/24 dev eth0; ip addr add {GUEST_ADDRESS}/24 dev eth0"),
        format!("ping -c 1 -w 30 {DOM0_ADDRESS}; export XEN_BENCH_PEER={DOM0_ADDRESS}"),
    ] {
        session.must(&line, LIMIT)?;
    }
    Ok(())
}

/// Switches the guest off at whose prompt we are, and comes back to dom0's.
fn end_guest(session: &mut Session) -> Result<()> {
    session.send("poweroff -f\n")?;
    session.wait(PROMPT, LIMIT)?;
    gone(session)
}

fn gone(session: &mut Session) -> Result<()> {
    session.must("while [ $(xl list | wc -l) != 2 ]; do sleep 1; done", LIMIT).map(drop)
}

/// Domains from creation to end. Times are nanoseconds by dom0's clock, or by the machine's.
fn life(session: &mut Session, clock: &mut Clock) -> Result<Value> {
    let raw = "domain-create,domain-destroy,domain-create-16m,domain-destroy-16m";
    let mut result = ask(session, &format!("./xen-bench {ROUNDS} --only {raw}"))?;
    let operations = result["operations"].as_object_mut().context("no operations")?;
    let mut add = |name: &str, ns: f64| operations.insert(name.to_owned(), json!({ "ns": ns }));

    session.send("echo CRE''ATE; xl create -c b.cfg\n")?;
    session.wait("(?m)^CREATE$", LIMIT)?;
    let start = clock.seconds(session)?;
    session.wait("Run /init as init process", LIMIT)?;
    add("xl-create-to-user", (clock.seconds(session)? - start) * 1e9);
    session.wait("(?m)^dom0# ", LIMIT)?;
    end_guest(session)?;

    let text = session.must("./xen-bench --exec xl create -c t.cfg", LIMIT)?;
    let said = |what: &str| -> Result<f64> {
        let (_, value) = text.split_once(what).with_context(|| format!("no `{what}` in: {text}"))?;
        Ok(value.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let start = object(&text)?["tsc"].as_f64().context("no counter")?;
    add("xl-create-to-first", said("TG cost.begun: ")? - start);
    add("vcpu-switch", said("TG cost.switch: ")?);
    gone(session)?;

    for (name, ns) in pairs(session)? {
        add(name, ns);
    }
    let before = ask(session, MEMORY)?["memory"].take();
    let mut made = 0;
    for crowd in CROWDS {
        let make = format!(
            "for i in $(seq {} {crowd}); do xl create -q -e -p p.cfg \"name='p$i'\" || break; done",
            made + 1
        );
        session.must(&make, LIMIT)?;
        made = crowd;
        add(&format!("xl-list-{crowd}"), timed(session, PAIRS, "xl list")?);
    }
    let after = ask(session, MEMORY)?["memory"].take();
    let kept = kept_kib(&before, &after).context("no memory told")?;
    result["life"] = json!({ "kept_kib": kept });
    Ok(result)
}

/// What tells of the hypervisor's memory.
const MEMORY: &str = "./xen-bench --rounds 1 --scale 1 --only xen-version";

/// `xl` makes a small guest that stays paused, and destroys it.
fn pairs(session: &mut Session) -> Result<[(&'static str, f64); 2]> {
    let (mut create, mut destroy) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        create.push(timed(session, 1, "xl create -q -p p.cfg")?);
        destroy.push(timed(session, 1, "xl destroy p")?);
        gone(session)?;
    }
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[PAIRS / 2]
    };
    Ok([("xl-create-paused", middle(create)), ("xl-destroy", middle(destroy))])
}

fn timed(session: &mut Session, rounds: usize, command: &str) -> Result<f64> {
    ask(session, &format!("./xen-bench --time {rounds} {command}"))?["ns"].as_f64().context("no time told")
}

/// What the hypervisor keeps of its own for each guest that came: what is no longer free and is nobody's.
fn kept_kib(before: &Value, after: &Value) -> Option<f64> {
    let grown = |key: &str| Some(after[key].as_f64()? - before[key].as_f64()?);
    let given = grown("guests_pages")? + grown("own_pages")?;
    Some((-grown("free_pages")? - given) * 4.0 / grown("guests")?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::kept_kib;

    #[test]
    fn what_is_kept_is_neither_free_nor_anybodys() {
        let before = json!({ "free_pages": 10_000, "own_pages": 500, "guests": 0, "guests_pages": 0 });
        let after = json!({ "free_pages": 7_900, "own_pages": 510, "guests": 2, "guests_pages": 2048 });
        assert_eq!(kept_kib(&before, &after), Some(84.0));
    }
}
