//! `xl pause`, `unpause`, `destroy`, `rename`, `sysrq`, `trigger`: things done to one guest at once.

use abi::domctl::*;
use toolstack::names;
use xenctl::DomId;

use crate::list::uuid;
use crate::tools::{Done, Failure, Tools, complain, words};

#[derive(clap::Args)]
pub struct One {
    /// A domain, by name or number
    domain: String,
}

/// A refusal is told, but the exit code is that of success: scripts count on it.
pub fn pause(tools: &mut Tools, args: &One) -> Done {
    let id = tools.domain(&args.domain)?;
    told(tools.xen()?.pause(id));
    Ok(())
}

/// As [`pause`].
pub fn unpause(tools: &mut Tools, args: &One) -> Done {
    let id = tools.domain(&args.domain)?;
    told(tools.xen()?.unpause(id));
    Ok(())
}

fn told(result: xenctl::Result<()>) {
    if let Err(e) = result {
        complain(&e);
    }
}

#[derive(clap::Args)]
pub struct RenameArgs {
    /// A domain, by name or number
    domain: String,
    /// What it is called from now on
    name: String,
}

pub fn rename(tools: &mut Tools, args: &RenameArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    let failed = |e: &dyn std::fmt::Display| {
        complain(e);
        Failure::Words(format!("Can't rename domain '{}'.", args.domain))
    };
    let (xen, store) = tools.both()?;
    if let Some(other) = names::named(xen, store, &args.name)?.filter(|other| *other != id) {
        return Err(failed(&format!("domain {other} is called {} already", args.name)));
    }
    match names::rename(store, id, &args.name) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed(&format!("there is no domain {id} in the store"))),
        Err(e) => Err(failed(&e)),
    }
}

#[derive(clap::Args)]
pub struct SysrqArgs {
    /// A domain, by name or number
    domain: String,
    /// The key
    letter: String,
}

/// The guest's kernel takes the key from the store.
pub fn sysrq(tools: &mut Tools, args: &SysrqArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    if args.letter.chars().count() != 1 {
        return words("Invalid sysrq.");
    }
    tools.store()?.write(&format!("/local/domain/{id}/control/sysrq"), args.letter.as_bytes())?;
    Ok(())
}

#[derive(clap::Args)]
pub struct TriggerArgs {
    /// A domain, by name or number
    domain: String,
    /// nmi, reset, init, power or sleep
    trigger: String,
    /// Which of its vCPUs
    vcpu: Option<String>,
}

/// As [`pause`].
pub fn trigger(tools: &mut Tools, args: &TriggerArgs) -> Done {
    let id: DomId = tools.domain(&args.domain)?;
    let trigger = match args.trigger.as_str() {
        "nmi" => XEN_DOMCTL_SENDTRIGGER_NMI,
        "reset" => XEN_DOMCTL_SENDTRIGGER_RESET,
        "init" => XEN_DOMCTL_SENDTRIGGER_INIT,
        "power" => XEN_DOMCTL_SENDTRIGGER_POWER,
        "sleep" => XEN_DOMCTL_SENDTRIGGER_SLEEP,
        other => return words(format!("Invalid trigger \"{other}\"")),
    };
    let vcpu = match args.vcpu.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(vcpu)) => vcpu,
        Some(Err(_)) => return words("Invalid argument for VCPU"),
    };
    told(tools.xen()?.trigger(id, trigger, vcpu));
    Ok(())
}

#[derive(clap::Args)]
pub struct DestroyArgs {
    /// Also dom0, which cannot be
    #[arg(short)]
    force: bool,
    /// A domain, by name or number
    domain: String,
}

pub fn destroy(tools: &mut Tools, args: &DestroyArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    if id.0 == 0 && !args.force {
        return words(
            "Not destroying domain 0; use -f to force.\nThis can only be done when using a disaggregated hardware \
             domain and toolstack.\n",
        );
    }
    let (xen, store) = tools.both()?;
    let Some(info) = xen.domain(id)? else {
        complain(&format!("there is no domain {id}"));
        return words("destroy failed (rc=-6)");
    };
    let told = &mut |e: &xenctl::Error| complain(e);
    toolstack::destroy::destroy(xen, store, id, &uuid(&info.handle), told).map_err(|e| {
        complain(&e);
        Failure::Words("destroy failed (rc=-3)".into())
    })
}
