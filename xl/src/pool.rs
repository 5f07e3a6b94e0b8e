//! `xl cpupool-*`: pools of CPUs.

use std::collections::BTreeMap;

use abi::sysctl::XEN_INVALID_NODE_ID;
use serde_json::{Value, json};
use toolstack::{names, pools};
use xenctl::pool::Pool;
use xenctl::{Cpus, DomId};

use crate::info::scheduler;
use crate::list::pretty;
use crate::tools::{Done, Failure, Tools, complain, words};
use crate::vcpu::{available, cpu_list};

#[derive(clap::Args)]
pub struct ListArgs {
    /// Which CPUs each has
    #[arg(short, long)]
    cpus: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only this one
    pool: Option<String>,
}

pub fn list(tools: &mut Tools, args: &ListArgs) -> Done {
    let (xen, store) = tools.both()?;
    let only = match &args.pool {
        None => None,
        Some(called) => match names::pool(xen, store, called)? {
            None => return words(format!("Pool '{called}' does not exist")),
            found => found,
        },
    };
    let mut objects: Vec<Value> = Vec::new();
    let rest = if args.cpus { "CPU list" } else { "CPUs   Sched     Active   Domain count" };
    if !args.json {
        println!("{:<19}{rest}", "Name");
    }
    for pool in tools.xen()?.pools()?.into_iter().filter(|p| only.is_none_or(|o| o == p.id)) {
        let name = tools.pool_name(pool.id)?;
        let Pool { id, domains, cpus, .. } = &pool;
        let scheduler = scheduler(pool.scheduler);
        let numbers: Vec<usize> = cpus.iter().collect();
        if args.json {
            objects.push(json!({
                "id": id, "name": name, "cpus": numbers, "scheduler": scheduler, "domains": domains,
            }));
        } else if args.cpus {
            let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
            println!("{name:<19}{}", numbers.join(","));
        } else {
            println!("{name:<19}{:3} {scheduler:>9}       y       {domains:4}", cpus.count());
        }
    }
    if args.json {
        println!("{}", pretty(&objects.into()));
    }
    Ok(())
}

#[derive(clap::Args)]
pub struct CpusArgs {
    /// A pool, by name or number
    pool: String,
    /// CPUs: numbers, ranges, `^` to leave out, `nodes:`
    cpus: String,
}

/// The pool, and CPUs of the machine.
fn pool_and_cpus(tools: &mut Tools, args: &CpusArgs) -> Done<(u32, Cpus)> {
    let set = cpu_list(tools.xen()?, &args.cpus)?;
    Ok((tools.pool(&args.pool)?, set))
}

pub fn add(tools: &mut Tools, args: &CpusArgs) -> Done {
    let (pool, set) = pool_and_cpus(tools, args)?;
    let refused = each(&set, |cpu| tools.xen()?.add_cpu_to_pool(pool, cpu).map_err(Failure::from))?;
    if refused {
        eprintln!("some cpus may not have been added to {}", args.pool);
    }
    Ok(())
}

pub fn remove(tools: &mut Tools, args: &CpusArgs) -> Done {
    let (pool, set) = pool_and_cpus(tools, args)?;
    let refused = each(&set, |cpu| tools.xen()?.remove_cpu_from_pool(pool, cpu).map_err(Failure::from))?;
    if refused {
        let name = &args.pool;
        eprintln!("Some cpus may have not or only partially been removed from '{name}'.");
        eprintln!("If a cpu can't be added to another cpupool, add it to '{name}' again and retry.");
    }
    Ok(())
}

/// Whether any was refused.
fn each(set: &Cpus, mut work: impl FnMut(u32) -> Done) -> Done<bool> {
    let mut refused = false;
    for cpu in set.iter() {
        match work(cpu as u32) {
            Err(Failure::Refused(e)) => {
                complain(&e);
                refused = true;
            }
            other => other?,
        }
    }
    Ok(refused)
}

#[derive(clap::Args)]
pub struct RenameArgs {
    /// A pool, by name or number
    pool: String,
    /// What it is called from now on
    name: String,
}

pub fn rename(tools: &mut Tools, args: &RenameArgs) -> Done {
    let pool = tools.pool(&args.pool)?;
    tools.store()?.write(&format!("/local/pool/{pool}/name"), args.name.as_bytes()).map_err(|e| {
        complain(&e);
        Failure::Words(format!("Can't rename cpupool '{}'", args.pool))
    })
}

#[derive(clap::Args)]
pub struct OneArgs {
    /// A pool, by name or number
    pool: String,
}

/// It has no domains; its CPUs belong to none then.
pub fn destroy(tools: &mut Tools, args: &OneArgs) -> Done {
    let id = tools.pool(&args.pool)?;
    let xen = tools.xen()?;
    let failed = |e: &dyn std::fmt::Display| {
        complain(e);
        Failure::Words(format!("Can't destroy cpupool '{}'", args.pool))
    };
    let Some(pool) = xen.pool_from(id)?.filter(|p| p.id == id) else {
        return words(format!("unknown cpupool '{}'", args.pool));
    };
    if pool.domains != 0 {
        return Err(failed(&format!("domains in pool {}: {}", args.pool, pool.domains)));
    }
    let (xen, store) = tools.both()?;
    pools::destroy(xen, store, id).map_err(|e| failed(&e))
}

/// A pool for each node. dom0 is in the first, and told to use no more vCPUs than that has CPUs.
pub fn numa_split(tools: &mut Tools) -> Done {
    let xen = tools.xen()?;
    let mut nodes = BTreeMap::<u32, Cpus>::new();
    for (cpu, at) in xen.cpu_topology()?.iter().enumerate().filter(|(_, at)| at.node != XEN_INVALID_NODE_ID) {
        nodes.entry(at.node).or_default().extend([cpu]);
    }
    let (xen, store) = tools.both()?;
    pools::split(xen, store, &nodes).map_err(|e| {
        complain(&e);
        Failure::Words("splitting not possible".into())
    })?;
    let (Some(first), Some(dom0)) = (tools.xen()?.pool_from(0)?, tools.xen()?.domain(DomId(0))?) else {
        return Ok(());
    };
    let cpus = first.cpus.count() as u32;
    match cpus < dom0.nr_online_vcpus {
        true => available(tools, DomId(0), dom0.max_vcpu_id.wrapping_add(1), cpus),
        false => Ok(()),
    }
}

#[derive(clap::Args)]
pub struct MigrateArgs {
    /// A domain, by name or number
    domain: String,
    /// A pool, by name or number
    pool: String,
}

pub fn migrate(tools: &mut Tools, args: &MigrateArgs) -> Done {
    let pool = tools.pool(&args.pool)?;
    let (xen, store) = tools.both()?;
    let Some(id) = names::domain(xen, store, &args.domain)? else {
        return words(format!("unknown domain '{}'", args.domain));
    };
    tools.xen()?.move_to_pool(pool, id)?;
    Ok(())
}
