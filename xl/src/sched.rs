//! `xl sched-credit2`: who gets how much of the CPUs.

use abi::domctl::XEN_SCHEDULER_CREDIT2;
use abi::sysctl::{XEN_SYSCTL_SCHED_RATELIMIT_MAX, XEN_SYSCTL_SCHED_RATELIMIT_MIN};
use serde_json::{Value, json};
use xenctl::{DomId, Error};

use crate::list::pretty;
use crate::tools::{Done, Failure, Tools, complain, words};

#[derive(clap::Args)]
pub struct Args {
    /// Only this domain, by name or number
    #[arg(short, long)]
    domain: Option<String>,
    /// Its weight, 1 to 65535: it gets this part of what those who compete with it get
    #[arg(short, long, allow_negative_numbers = true)]
    weight: Option<i64>,
    /// Its most, in per cent of one CPU; 0 for no limit
    #[arg(short, long, allow_negative_numbers = true)]
    cap: Option<i64>,
    /// The scheduler's own parameters
    #[arg(short, long)]
    schedparam: bool,
    /// For how many microseconds a vCPU is not preempted by another
    #[arg(short, long)]
    ratelimit_us: Option<u32>,
    /// Only in this pool
    #[arg(short = 'p', long)]
    cpupool: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const HEADER: &str = "Name                                ID Weight  Cap";

pub fn credit2(tools: &mut Tools, args: &Args) -> Done {
    if args.cpupool.is_some() && (args.domain.is_some() || args.weight.is_some() || args.cap.is_some()) {
        return words("Specifying a cpupool is not allowed with other options.");
    }
    if args.domain.is_none() && (args.weight.is_some() || args.cap.is_some()) {
        return words("Must specify a domain.");
    }
    match &args.domain {
        _ if args.schedparam => of_pool(tools, args),
        None => of_all(tools, args),
        Some(called) => of_domain(tools, args, called),
    }
}

fn of_pool(tools: &mut Tools, args: &Args) -> Done {
    let Some(limit) = args.ratelimit_us else { return of_all(tools, args) };
    let pool = tools.pool(args.cpupool.as_deref().unwrap_or("Pool-0"))?;
    let range = XEN_SYSCTL_SCHED_RATELIMIT_MIN..=XEN_SYSCTL_SCHED_RATELIMIT_MAX;
    let failed = || Failure::Words("libxl_sched_credit2_params_set failed.".into());
    // 0 switches it off.
    if limit != 0 && !range.contains(&limit) {
        complain(&format!("a rate limit is {} to {} us, not {limit}", range.start(), range.end()));
        return Err(failed());
    }
    tools.xen()?.set_rate_limit(pool, limit).map_err(|e| {
        complain(&e);
        failed()
    })
}

fn of_all(tools: &mut Tools, args: &Args) -> Done {
    let only = args.cpupool.as_ref().map(|called| tools.pool(called)).transpose()?;
    let mut objects: Vec<Value> = Vec::new();
    let pools = tools.xen()?.pools()?;
    let of_this =
        |p: &xenctl::pool::Pool| p.scheduler == XEN_SCHEDULER_CREDIT2 && only.is_none_or(|o| o == p.id);
    for pool in pools.into_iter().filter(of_this) {
        let (name, limit) = (tools.pool_name(pool.id)?, tools.xen()?.rate_limit(pool.id)?);
        let mut members: Vec<Value> = Vec::new();
        if !args.json {
            println!("Cpupool {name}: ratelimit={limit}us");
        }
        if !args.schedparam {
            if !args.json {
                println!("{HEADER}");
            }
            for domain in tools.xen()?.domains(DomId(0))?.iter().filter(|d| d.cpupool == pool.id) {
                let id = DomId(domain.domain);
                match args.json {
                    true => members.push(object(tools, id)?),
                    false => println!("{}", row(tools, id)?),
                }
            }
        }
        objects.push(json!({ "cpupool": name, "ratelimit_us": limit, "domains": members }));
    }
    if args.json {
        println!("{}", pretty(&objects.into()));
    }
    Ok(())
}

fn row(tools: &mut Tools, id: DomId) -> Done<String> {
    let share = tools.xen()?.share(id)?;
    Ok(format!("{:<33} {:4} {:6} {:4}", tools.name(id)?, id.0, share.weight, share.cap))
}

fn object(tools: &mut Tools, id: DomId) -> Done<Value> {
    let share = tools.xen()?.share(id)?;
    Ok(json!({ "domid": id.0, "name": tools.name(id)?, "weight": share.weight, "cap": share.cap }))
}

fn of_domain(tools: &mut Tools, args: &Args, called: &str) -> Done {
    let id = tools.domain(called)?;
    if args.weight.is_none() && args.cap.is_none() {
        match args.json {
            true => println!("{}", pretty(&object(tools, id)?)),
            false => println!("{HEADER}\n{}", row(tools, id)?),
        }
        return Ok(());
    }
    let failed = |e: &dyn std::fmt::Display| {
        complain(e);
        Failure::Words("libxl_domain_sched_params_set failed.".into())
    };
    let xen = tools.xen()?;
    let mut share = xen.share(id).map_err(|e: Error| failed(&e))?;
    if let Some(weight) = args.weight {
        let fits = u16::try_from(weight).ok().filter(|w| *w > 0);
        share.weight = fits.ok_or_else(|| failed(&format!("a weight is 1 to 65535, not {weight}")))?;
    }
    if let Some(cap) = args.cap {
        let most = (xen.physinfo()?.nr_cpus * 100).min(65535);
        let fits = u16::try_from(cap).ok().filter(|c| u32::from(*c) <= most);
        share.cap = fits.ok_or_else(|| failed(&format!("a cap is 0 to {most} here, not {cap}")))?;
    }
    xen.set_share(id, share).map_err(|e| failed(&e))
}
