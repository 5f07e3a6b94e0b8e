//! `xl list`, `vm-list`, `claims`, `domid`, `domname`: what domains there are.

use abi::domctl::*;
use abi::sched::SHUTDOWN_CRASH;
use serde_json::{Value, json};
use toolstack::config::model::Uuid;
use toolstack::names;
use xenctl::{Cpus, DomId};

use crate::config;
use crate::tools::{Done, Tools, words};

#[derive(clap::Args)]
pub struct Args {
    /// Whole configurations, as JSON
    #[arg(short, long)]
    long: bool,
    /// UUIDs, reasons of shutdowns, security labels as well
    #[arg(short, long)]
    verbose: bool,
    /// Security labels as well
    #[arg(short = 'Z', long)]
    context: bool,
    /// Pools as well
    #[arg(short, long)]
    cpupool: bool,
    /// Nodes as well
    #[arg(short, long)]
    numa: bool,
    /// The table as JSON
    #[arg(long)]
    json: bool,
    /// Only these, by name or number
    domains: Vec<String>,
}

/// KiB of this many pages.
fn kib(pages: u64) -> u64 {
    pages * 4
}

fn has(info: &DomctlGetdomaininfo, flag: u32) -> bool {
    info.flags & flag != 0
}

/// The reason, if it has shut down.
pub fn shutdown(info: &DomctlGetdomaininfo) -> Option<u32> {
    let reason = (info.flags >> XEN_DOMINF_SHUTDOWNSHIFT) & XEN_DOMINF_SHUTDOWNMASK;
    has(info, XEN_DOMINF_SHUTDOWN).then_some(reason)
}

/// Running, blocked, paused, shut down, crashed, dying.
fn state(info: &DomctlGetdomaininfo) -> String {
    let letters = [
        (has(info, XEN_DOMINF_RUNNING), 'r'),
        (has(info, XEN_DOMINF_BLOCKED), 'b'),
        (has(info, XEN_DOMINF_PAUSED), 'p'),
        (has(info, XEN_DOMINF_SHUTDOWN), 's'),
        (shutdown(info) == Some(SHUTDOWN_CRASH), 'c'),
        (has(info, XEN_DOMINF_DYING), 'd'),
    ];
    letters.iter().map(|(on, letter)| if *on { *letter } else { '-' }).collect()
}

/// What it has and what is claimed for it, in MiB.
fn mib(info: &DomctlGetdomaininfo) -> u64 {
    kib(info.tot_pages + info.outstanding_pages) / 1024
}

const HEADER: &str = "Name                                        ID   Mem VCPUs\tState\tTime(s)";

fn row(name: &str, info: &DomctlGetdomaininfo) -> String {
    let (id, mib, vcpus, state) = (info.domain, mib(info), info.nr_online_vcpus, state(info));
    let seconds = info.cpu_time as f64 / 1e9;
    format!("{name:<40} {id:5} {mib:5} {vcpus:5}     {state}  {seconds:8.1}")
}

/// A UUID as people write it.
pub fn uuid(handle: &[u8; 16]) -> String {
    Uuid(*handle).to_string()
}

/// The domains that are asked for, all of them if none is.
pub fn chosen(tools: &mut Tools, called: &[String]) -> Done<Vec<DomctlGetdomaininfo>> {
    if called.is_empty() {
        return Ok(tools.xen()?.domains(DomId(0))?);
    }
    let mut domains = Vec::new();
    for called in called {
        let id = tools.domain(called)?;
        match tools.xen()?.domain(id)? {
            Some(info) => domains.push(info),
            None => return words(format!("Error: Domain '{called}' does not exist.")),
        }
    }
    Ok(domains)
}

pub fn list(tools: &mut Tools, args: &Args) -> Done {
    let domains = chosen(tools, &args.domains)?;
    if args.long {
        return config::print(tools, &domains);
    }
    if args.json {
        let table = domains.iter().map(|d| object(tools, d)).collect::<Done<Vec<Value>>>()?;
        println!("{}", pretty(&table.into()));
        return Ok(());
    }
    let mut header = HEADER.to_owned();
    if args.verbose {
        header += "   UUID                            Reason-Code\tSecurity Label";
    } else if args.context {
        header += "   Security Label";
    }
    if args.cpupool {
        header += "         Cpupool";
    }
    if args.numa {
        header += " NODE Affinity";
    }
    println!("{header}");
    let nodes = if args.numa { tools.xen()?.physinfo()?.nr_nodes as usize } else { 0 };
    for info in &domains {
        let mut line = row(&tools.name(DomId(info.domain))?, info);
        if args.verbose {
            let reason = shutdown(info).map_or("-".into(), |reason| format!("{reason:x}"));
            line += &format!(" {} {reason:>8}", uuid(&info.handle));
        }
        if args.verbose || args.context {
            // There is no security module, and so no label.
            line += &format!(" {:>16}", "-");
        }
        if args.cpupool {
            line += &format!("{:>16}", tools.pool_name(info.cpupool)?);
        }
        if args.numa {
            let from = tools.xen()?.node_affinity(DomId(info.domain), nodes)?;
            line += &format!(" {}", few(&from, nodes));
        }
        println!("{line}");
    }
    Ok(())
}

/// A set of CPUs or nodes of `count`, as tables show it.
pub fn few(set: &Cpus, count: usize) -> String {
    match set.iter().filter(|n| *n < count).collect::<Cpus>() {
        set if set.is_empty() => "none".into(),
        set if set.count() == count => "all".into(),
        set => set.to_string(),
    }
}

/// JSON as all our tables have it.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn object(tools: &mut Tools, info: &DomctlGetdomaininfo) -> Done<Value> {
    let id = DomId(info.domain);
    Ok(json!({
        "domid": id.0,
        "name": names::of_domain(tools.store()?, id)?,
        "uuid": uuid(&info.handle),
        "memory_kib": kib(info.tot_pages),
        "max_memory_kib": kib(info.max_pages),
        "claimed_kib": kib(info.outstanding_pages),
        "vcpus_online": info.nr_online_vcpus,
        "vcpus_max": info.max_vcpu_id.wrapping_add(1),
        "state": state(info),
        "shutdown_reason": shutdown(info),
        "cpu_time_ns": info.cpu_time,
        "cpupool": tools.pool_name(info.cpupool)?,
    }))
}

#[derive(clap::Args)]
pub struct Table {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

pub fn vm_list(tools: &mut Tools, args: &Table) -> Done {
    let domains = chosen(tools, &[])?;
    if args.json {
        let table = domains.iter().map(|d| object(tools, d)).collect::<Done<Vec<Value>>>()?;
        println!("{}", pretty(&table.into()));
        return Ok(());
    }
    println!("UUID                                  ID    name");
    for info in domains {
        let name = tools.name(DomId(info.domain))?;
        println!("{}  {}    {name:<30}", uuid(&info.handle), info.domain);
    }
    Ok(())
}

pub fn claims(tools: &mut Tools, args: &Table) -> Done {
    let domains = chosen(tools, &[])?;
    if args.json {
        let table = domains.iter().map(|d| object(tools, d)).collect::<Done<Vec<Value>>>()?;
        println!("{}", pretty(&table.into()));
        return Ok(());
    }
    println!("{HEADER}  Claimed");
    for info in domains {
        let line = row(&tools.name(DomId(info.domain))?, &info);
        println!("{line} {:5}", kib(info.outstanding_pages) / 1024);
    }
    Ok(())
}

#[derive(clap::Args)]
pub struct Named {
    /// A domain's name
    name: String,
}

pub fn domid(tools: &mut Tools, args: &Named) -> Done {
    let (xen, store) = tools.both()?;
    match names::named(xen, store, &args.name)? {
        Some(id) => println!("{id}"),
        None => {
            let name = &args.name;
            return words(format!(
                "Can't get domid of domain name '{name}', maybe this domain does not exist."
            ));
        }
    }
    Ok(())
}

#[derive(clap::Args)]
pub struct Numbered {
    /// A domain's number
    domid: String,
}

pub fn domname(tools: &mut Tools, args: &Numbered) -> Done {
    let Ok(id) = args.domid.parse::<u16>() else {
        return words("Invalid domain id.\n");
    };
    match names::of_domain(tools.store()?, DomId(id))? {
        Some(name) => println!("{name}"),
        None => {
            return words(format!(
                "Can't get domain name of domain id '{id}', maybe this domain does not exist."
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> DomctlGetdomaininfo {
        DomctlGetdomaininfo {
            domain: 12,
            flags: XEN_DOMINF_BLOCKED,
            tot_pages: 65536,
            nr_online_vcpus: 2,
            cpu_time: 26_849_000_000,
            ..Default::default()
        }
    }

    #[test]
    fn rows_stand_under_their_header() {
        let expected = "guest                                       12   256     2     -b----      26.8";
        assert_eq!(row("guest", &info()), expected);
    }

    #[test]
    fn letters_tell_the_state() {
        let of = |flags| state(&DomctlGetdomaininfo { flags, ..info() });
        assert_eq!(of(XEN_DOMINF_RUNNING | XEN_DOMINF_PAUSED), "r-p---");
        let crashed = XEN_DOMINF_SHUTDOWN | SHUTDOWN_CRASH << XEN_DOMINF_SHUTDOWNSHIFT;
        assert_eq!(of(crashed), "---sc-");
        assert_eq!(of(XEN_DOMINF_SHUTDOWN | XEN_DOMINF_DYING), "---s-d");
    }

    #[test]
    fn sets_are_told_in_words_where_there_are_any() {
        assert_eq!(few(&Cpus::first(8), 4), "all");
        assert_eq!(few(&Cpus::none(8), 4), "none");
        assert_eq!(few(&[1, 2, 9].into_iter().collect(), 4), "1-2");
    }

    #[test]
    fn a_uuid_has_five_groups() {
        let handle: [u8; 16] = std::array::from_fn(|n| n as u8);
        assert_eq!(uuid(&handle), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
