//! `xl vcpu-list`, `vcpu-pin`, `vcpu-set`: vCPUs, where they run and whether.

use serde_json::{Value, json};
use toolstack::config::read::cpus as cpulist;
use xenctl::{Cpus, DomId, Xen};

use crate::list::{chosen, few, pretty};
use crate::tools::{Done, Failure, Tools, complain, words};

#[derive(clap::Args)]
pub struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only of these, by name or number
    domains: Vec<String>,
}

/// CPUs the machine may have.
pub fn cpus(xen: &Xen) -> Done<usize> {
    Ok(xen.physinfo()?.max_cpu_id as usize + 1)
}

pub fn list(tools: &mut Tools, args: &ListArgs) -> Done {
    let cpus = cpus(tools.xen()?)?;
    let mut objects: Vec<Value> = Vec::new();
    // Shown at once, after what is to be said about domains that are not there.
    let mut table = vec![
        "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)"
            .to_owned(),
    ];
    let mut all_there = true;
    for called in each(&args.domains) {
        let domains = match chosen(tools, &called) {
            Err(Failure::Words(text)) => {
                eprintln!("{text}");
                all_there = false;
                continue;
            }
            domains => domains?,
        };
        for domain in domains {
            let (id, vcpus) = (DomId(domain.domain), domain.max_vcpu_id.wrapping_add(1));
            let name = tools.name(id)?;
            for n in 0..vcpus {
                // One that was not made, or is gone by now.
                let Ok(vcpu) = tools.xen()?.vcpu(id, n) else { continue };
                let affinity = tools.xen()?.affinity(id, n, cpus)?;
                let (hard, soft) = (few(&affinity.hard, cpus), few(&affinity.soft, cpus));
                if args.json {
                    objects.push(json!({
                        "domid": id.0, "name": name, "vcpu": n, "cpu": vcpu.cpu,
                        "online": vcpu.online != 0, "running": vcpu.running != 0, "blocked": vcpu.blocked != 0,
                        "cpu_time_ns": vcpu.cpu_time, "hard_affinity": hard, "soft_affinity": soft,
                    }));
                    continue;
                }
                let place = if vcpu.online == 0 {
                    "    -   --p ".to_owned()
                } else {
                    let letter = |on: u8, letter| if on == 0 { '-' } else { letter };
                    let (r, b) = (letter(vcpu.running, 'r'), letter(vcpu.blocked, 'b'));
                    format!("{:5}   {r}{b}- ", vcpu.cpu)
                };
                let seconds = vcpu.cpu_time as f64 / 1e9;
                table.push(format!("{name:<32} {:5} {n:5}{place}{seconds:9.1}  {hard} / {soft}", id.0));
            }
        }
    }
    match args.json {
        true => println!("{}", pretty(&objects.into())),
        false => println!("{}", table.join("\n")),
    }
    if all_there { Ok(()) } else { Err(Failure::Said(1)) }
}

/// One after the other, so that one that is not there does not hide the others; all if none is named.
fn each(called: &[String]) -> Vec<Vec<String>> {
    match called {
        [] => vec![Vec::new()],
        called => called.iter().map(|c| vec![c.clone()]).collect(),
    }
}

#[derive(clap::Args)]
pub struct PinArgs {
    /// Also where the guest has pinned itself for a while
    #[arg(short, long)]
    force: bool,
    /// A domain, by name or number
    domain: String,
    /// A vCPU, or `all`
    vcpu: String,
    /// CPUs it may run on: numbers, ranges, `^` to leave out, `nodes:`, `all`; `-` for no change
    #[arg(allow_hyphen_values = true)]
    hard: String,
    /// CPUs it would rather run on, written alike
    #[arg(allow_hyphen_values = true)]
    soft: Option<String>,
}

pub fn pin(tools: &mut Tools, args: &PinArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    let vcpu = match args.vcpu.as_str() {
        "all" => None,
        text => match text.parse::<u32>() {
            Ok(n) => Some(n),
            Err(_) => return words(format!("Error: Invalid argument {text} as VCPU.")),
        },
    };
    let xen = tools.xen()?;
    let set = |name: &str, text: Option<&str>| -> Done<Option<Cpus>> {
        match text {
            None | Some("-") => Ok(None),
            Some(text) => match cpu_list(xen, text)? {
                set if set.is_empty() => words(format!("vcpu {name} affinity map is empty")),
                set => Ok(Some(set)),
            },
        }
    };
    let (hard, soft) = (set("hard", Some(&args.hard))?, set("soft", args.soft.as_deref())?);
    let Some(domain) = xen.domain(id)? else {
        return words(format!("Error: Domain '{}' does not exist.", args.domain));
    };
    let pin = |n| -> xenctl::Result<()> {
        let [_, reached] = xen.set_affinity(id, n, hard.as_ref(), soft.as_ref(), args.force)?;
        if let (Some(soft), Some(reached)) = (&soft, reached)
            && reached.is_empty()
        {
            complain(&format!("vCPU {n} may run on none of the CPUs {soft} that it would rather run on"));
        }
        Ok(())
    };
    let Some(n) = vcpu else {
        let refused =
            (0..domain.max_vcpu_id.wrapping_add(1)).filter_map(|n| pin(n).err()).collect::<Vec<_>>();
        refused.iter().for_each(|e| complain(e));
        if !refused.is_empty() {
            eprintln!("Could not set affinity.");
        }
        // Of all vCPUs that counts as success: scripts know no better.
        return Ok(());
    };
    pin(n).map_err(|e| {
        complain(&e);
        Failure::Words(format!("Could not set affinity for vcpu `{n}'."))
    })
}

/// CPUs as people write them: `0-3,^1`, `all`, `nodes:0`.
pub fn cpu_list(xen: &Xen, text: &str) -> Done<Cpus> {
    let nodes: Vec<u32> = xen.cpu_topology()?.iter().map(|at| at.node).collect();
    match cpulist::parse(text, &nodes) {
        Ok(set) => Ok(set.into_iter().map(|n| n as usize).collect()),
        Err(part) => {
            complain(&format!("`{part}' is no range of CPUs: write 0-3,5,^1 or all,^7 or nodes:0-1,^2"));
            words(format!("Invalid pcpu range: {part}."))
        }
    }
}

#[derive(clap::Args)]
pub struct SetArgs {
    /// More than the machine has CPUs
    #[arg(short, long)]
    ignore_host: bool,
    /// A domain, by name or number
    domain: String,
    /// How many it is to use, of those it was made with
    vcpus: String,
}

/// Tells the guest which of its vCPUs to use; it does so when it likes.
pub fn set(tools: &mut Tools, args: &SetArgs) -> Done {
    let id = tools.domain(&args.domain)?;
    let Ok(wanted) = args.vcpus.parse::<u32>() else {
        return words("Error: Invalid argument.");
    };
    let xen = tools.xen()?;
    let there = xen.physinfo()?.nr_cpus;
    if wanted > there && !args.ignore_host {
        return words(format!(
            "You are overcommmitting! You have {there} physical CPUs and want {wanted} vCPUs! Aborting, \
             use --ignore-host to continue"
        ));
    }
    let Some(domain) = xen.domain(id)? else {
        return words(format!("Error: Domain '{}' does not exist.", args.domain));
    };
    let most = domain.max_vcpu_id.wrapping_add(1);
    if wanted == 0 || wanted > most {
        complain(&format!(
            "domain {id} was made with {most} vCPUs: it can use 1 to {most} of them, not {wanted}"
        ));
        return words(format!("libxl_set_vcpuonline failed domid={id} max_vcpus={wanted}, rc: -3"));
    }
    available(tools, id, most, wanted)
}

/// Tells a domain to use the first `wanted` of its `most` vCPUs.
pub fn available(tools: &mut Tools, id: DomId, most: u32, wanted: u32) -> Done {
    tools.store()?.transaction(|store| {
        for n in 0..most {
            let state: &[u8] = if n < wanted { b"online" } else { b"offline" };
            store.write(&format!("/local/domain/{id}/cpu/{n}/availability"), state)?;
        }
        Ok(())
    })?;
    Ok(())
}
