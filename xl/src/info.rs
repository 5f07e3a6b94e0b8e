//! `xl info`: the machine and its hypervisor.

use std::fs;

use abi::domctl::*;
use abi::physdev::PhysdevPciDevice;
use abi::sysctl::*;
use serde_json::{Map, Value};
use xenctl::Xen;

use crate::list::pretty;
use crate::tools::{Done, Tools, complain};

#[derive(clap::Args)]
pub struct Args {
    /// Processors, nodes and devices as well
    #[arg(short, long)]
    numa: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only this field's value
    field: Option<String>,
}

/// Fields in their order, each a name and a value.
type Fields = Vec<(&'static str, String)>;

/// MiB of this many pages.
fn mib(pages: u64) -> u64 {
    pages / 256
}

pub fn scheduler(id: u32) -> String {
    match id {
        XEN_SCHEDULER_CREDIT => "credit".into(),
        XEN_SCHEDULER_CREDIT2 => "credit2".into(),
        XEN_SCHEDULER_ARINC653 => "arinc653".into(),
        XEN_SCHEDULER_RTDS => "rtds".into(),
        XEN_SCHEDULER_NULL => "null".into(),
        other => format!("scheduler {other}"),
    }
}

/// Of dom0's kernel, as the kernel tells it.
fn kernel(what: &str) -> String {
    fs::read_to_string(format!("/proc/sys/kernel/{what}")).unwrap_or_default().trim_end().to_owned()
}

fn host() -> Fields {
    vec![
        ("host", kernel("hostname")),
        ("release", kernel("osrelease")),
        ("version", kernel("version")),
        ("machine", std::env::consts::ARCH.into()),
    ]
}

/// What it can run, in Xen's words.
fn abilities(info: &SysctlPhysinfo) -> String {
    let has = |flags| info.capabilities & flags == flags;
    let list = [
        (has(XEN_SYSCTL_PHYSCAP_PV), " pv"),
        (has(XEN_SYSCTL_PHYSCAP_HVM), " hvm"),
        (has(XEN_SYSCTL_PHYSCAP_HVM | XEN_SYSCTL_PHYSCAP_DIRECTIO), " hvm_directio"),
        (has(XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_DIRECTIO), " pv_directio"),
        (has(XEN_SYSCTL_PHYSCAP_HAP), " hap"),
        (has(XEN_SYSCTL_PHYSCAP_SHADOW), " shadow"),
        (has(XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE), " iommu_hap_pt_share"),
        (has(XEN_SYSCTL_PHYSCAP_VMTRACE), " vmtrace"),
        (has(XEN_SYSCTL_PHYSCAP_VPMU), " vpmu"),
        (has(XEN_SYSCTL_PHYSCAP_GNTTAB_V1), " gnttab-v1"),
        (has(XEN_SYSCTL_PHYSCAP_GNTTAB_V2), " gnttab-v2"),
    ];
    list.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<String>().trim_start().to_owned()
}

fn machine(xen: &Xen) -> Done<Fields> {
    let info = xen.physinfo()?;
    let words: Vec<String> = info.hw_cap.iter().map(|w| format!("{w:08x}")).collect();
    // What is claimed is promised already.
    let free = info.free_pages.saturating_sub(info.outstanding_pages);
    Ok(vec![
        ("nr_cpus", info.nr_cpus.to_string()),
        ("max_cpu_id", info.max_cpu_id.to_string()),
        ("nr_nodes", info.nr_nodes.to_string()),
        ("cores_per_socket", info.cores_per_socket.to_string()),
        ("threads_per_core", info.threads_per_core.to_string()),
        ("cpu_mhz", format!("{}.{:03}", info.cpu_khz / 1000, info.cpu_khz % 1000)),
        ("hw_caps", words.join(":")),
        ("virt_caps", abilities(&info)),
        ("total_memory", mib(info.total_pages).to_string()),
        ("free_memory", mib(free).to_string()),
        ("sharing_freed_memory", mib(xen.sharing_freed_pages()?).to_string()),
        ("sharing_used_memory", mib(xen.sharing_used_pages()?).to_string()),
        ("outstanding_claims", mib(info.outstanding_pages).to_string()),
        ("free_cpus", xen.free_cpus()?.count().to_string()),
    ])
}

fn hypervisor(xen: &Xen) -> Done<Fields> {
    let ((major, minor), extra) = (xen.version()?, xen.extraversion()?);
    let made = xen.compile_info()?;
    let id: String = xen.build_id().unwrap_or_default().iter().map(|b| format!("{b:02x}")).collect();
    Ok(vec![
        ("xen_major", major.to_string()),
        ("xen_minor", minor.to_string()),
        ("xen_extra", extra.clone()),
        ("xen_version", format!("{major}.{minor}{extra}")),
        ("xen_caps", xen.capabilities()?),
        ("xen_scheduler", scheduler(xen.default_scheduler()?)),
        ("xen_pagesize", xen.page_size()?.to_string()),
        ("platform_params", format!("virt_start={:#x}", xen.virt_start()?)),
        ("xen_changeset", xen.changeset()?),
        ("xen_commandline", xen.command_line()?),
        ("cc_compiler", made.compiler),
        ("cc_compile_by", made.by),
        ("cc_compile_domain", made.domain),
        ("cc_compile_date", made.date),
        ("build_id", id),
        // Of guests' files: what xm's successor reads.
        ("xend_config_format", "4".into()),
    ])
}

/// To the page, for programs: as JSON, and of those who ask for the field. What is claimed counts as free here.
fn pages(xen: &Xen) -> Done<Fields> {
    let info = xen.physinfo()?;
    Ok(vec![
        ("free_pages", info.free_pages.to_string()),
        ("scrub_pages", info.scrub_pages.to_string()),
        ("outstanding_pages", info.outstanding_pages.to_string()),
    ])
}

pub fn info(tools: &mut Tools, args: &Args) -> Done {
    let xen = tools.xen()?;
    let (host, machine, hypervisor, pages) = (host(), machine(xen)?, hypervisor(xen)?, pages(xen)?);
    if let Some(field) = &args.field {
        let all = host.iter().chain(&machine).chain(&hypervisor).chain(&pages);
        all.filter(|(name, _)| name == field).for_each(|(_, value)| println!("{value}"));
        return Ok(());
    }
    if args.json {
        let all = host.into_iter().chain(machine).chain(hypervisor).chain(pages);
        let object: Map<String, Value> = all.map(|(name, value)| (name.into(), value.into())).collect();
        println!("{}", pretty(&object.into()));
        return Ok(());
    }
    show(&host);
    show(&machine);
    if args.numa {
        topology(xen)?;
    }
    show(&hypervisor);
    Ok(())
}

fn show(fields: &Fields) {
    fields.iter().for_each(|(name, value)| println!("{name:<23}: {value}"));
}

/// A number of a core, socket or node.
fn place(number: u32) -> String {
    if number == XEN_INVALID_NODE_ID { "-".into() } else { number.to_string() }
}

fn topology(xen: &Xen) -> Done {
    println!("cpu_topology           :");
    println!("cpu:    core    socket     node");
    for (cpu, at) in xen.cpu_topology()?.iter().enumerate().filter(|(_, at)| at.core != XEN_INVALID_CORE_ID) {
        println!("{cpu:3}:    {:4}     {:4}     {:4}", at.core, at.socket, at.node);
    }
    println!("device topology        :");
    println!("device           node");
    let list = devices(xen).unwrap_or_default();
    list.iter().for_each(|line| println!("{line}"));
    if list.is_empty() {
        println!("No device topology data available");
    }
    println!("numa_info              :");
    println!("node:    memsize    memfree    distances");
    for (node, (memory, distances)) in xen.numa()?.iter().enumerate() {
        let distances: Vec<String> = distances.iter().map(|d| place(*d)).collect();
        let (size, free) = (memory.memsize >> 20, memory.memfree >> 20);
        println!("{node:4}:    {size:6}     {free:6}      {}", distances.join(","));
    }
    Ok(())
}

/// The node of each PCI device of dom0's, if the hypervisor knows any.
fn devices(xen: &Xen) -> Option<Vec<String>> {
    let listed = fs::read_dir("/sys/bus/pci/devices").ok()?;
    let mut names: Vec<String> = listed
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| device(n).is_some())
        .collect();
    names.sort();
    let list: Vec<PhysdevPciDevice> = names.iter().filter_map(|n| device(n)).collect();
    let nodes = xen.pci_topology(&list).map_err(|e| complain(&e)).ok()?;
    let known =
        names.iter().zip(nodes).filter(|(_, node)| !matches!(*node, XEN_INVALID_NODE_ID | XEN_INVALID_DEV));
    Some(known.map(|(name, node)| format!("{name}      {node}")).collect())
}

/// `0000:00:1f.2`: segment, bus, device, function.
fn device(name: &str) -> Option<PhysdevPciDevice> {
    let (segment, rest) = name.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |text: &str| u16::from_str_radix(text, 16).ok();
    Some(PhysdevPciDevice {
        seg: hex(segment)?,
        bus: u8::try_from(hex(bus)?).ok()?,
        devfn: u8::try_from(hex(device)? << 3 | hex(function)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_in_xens_words() {
        let capabilities = XEN_SYSCTL_PHYSCAP_PV | XEN_SYSCTL_PHYSCAP_GNTTAB_V1 | XEN_SYSCTL_PHYSCAP_DIRECTIO;
        let info = SysctlPhysinfo { capabilities, ..Default::default() };
        assert_eq!(abilities(&info), "pv pv_directio gnttab-v1");
    }

    #[test]
    fn devices_have_four_numbers() {
        let d = device("0001:02:1f.3").unwrap();
        assert_eq!((d.seg, d.bus, d.devfn), (1, 2, 0xfb));
        assert!(device("0001:02").is_none());
    }
}
