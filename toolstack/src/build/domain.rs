//! A domain without contents, with all limits and rights that its configuration gives it.

use abi::arch_x86::XEN_X86_MSR_RELAXED;
use abi::domctl::{DomctlCreatedomain, TSC_MODE_ALWAYS_EMULATE, TSC_MODE_DEFAULT, TSC_MODE_NEVER_EMULATE};
use abi::sysctl::{XEN_SYSCTL_PHYSCAP_GNTTAB_V1, XEN_SYSCTL_PHYSCAP_GNTTAB_V2};
use xenctl::scheduler::Share;
use xenctl::{Cpus, DomId, Result, Xen};

use super::memory::{most_kib, target_kib};
use crate::config::model::{Bitmap, BuildInfo, DomainConfig, TscMode};
use crate::memory::SLACK_KIB;

/// Ports of a guest whose configuration does not say: what stock tools give.
const PORTS: u32 = 1023;
/// What a scheduler's weight can be.
const WEIGHTS: std::ops::RangeInclusive<i32> = 1..=65535;

/// A domain of this configuration, in this pool of CPUs: nothing but its number and its limits.
pub fn create(xen: &Xen, config: &DomainConfig, pool: u32) -> Result<DomId> {
    let number = config.c_info.domid.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
    xen.create(number.map(DomId), &announced(xen, config, pool)?)
}

fn announced(xen: &Xen, config: &DomainConfig, pool: u32) -> Result<DomctlCreatedomain> {
    let info = &config.b_info;
    let limit = |given: Option<u32>| given.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
    let mut what = DomctlCreatedomain {
        handle: config.c_info.uuid.0,
        ssidref: config.c_info.ssidref,
        max_vcpus: info.max_vcpus.max(1),
        max_evtchn_port: if info.event_channels == 0 { PORTS } else { info.event_channels },
        max_grant_frames: limit(info.max_grant_frames),
        max_maptrack_frames: limit(info.max_maptrack_frames),
        grant_opts: grant_version(xen, info)?,
        cpupool_id: pool,
        ..Default::default()
    };
    what.arch.misc_flags = if info.arch_x86.msr_relaxed.or(false) { XEN_X86_MSR_RELAXED } else { 0 };
    Ok(what)
}

/// The highest version of grant tables it may choose.
fn grant_version(xen: &Xen, info: &BuildInfo) -> Result<u32> {
    if let Some(version) = info.max_grant_version.and_then(|v| u32::try_from(v).ok()) {
        return Ok(version);
    }
    let able = xen.physinfo()?.capabilities;
    let has = |bit| able & bit != 0;
    Ok(if has(XEN_SYSCTL_PHYSCAP_GNTTAB_V2) { 2 } else { u32::from(has(XEN_SYSCTL_PHYSCAP_GNTTAB_V1)) })
}

/// Its vCPUs and where they may run, its share of the CPUs, its clocks, and how much memory it may have.
pub fn prepare(xen: &Xen, domain: DomId, info: &BuildInfo) -> Result<()> {
    let vcpus = info.max_vcpus.max(1);
    xen.create_vcpus(domain, vcpus)?;
    let cpus = xen.physinfo()?.nr_cpus as usize;
    for vcpu in 0..vcpus {
        let of = |all: &[Bitmap]| all.get(vcpu as usize).map(|set| set_of(set, cpus));
        let (hard, soft) = (of(&info.vcpu_hard_affinity), of(&info.vcpu_soft_affinity));
        if hard.is_some() || soft.is_some() {
            xen.set_affinity(domain, vcpu, hard.as_ref(), soft.as_ref(), false)?;
        }
    }
    share(xen, domain, info)?;
    match info.tsc_mode {
        TscMode::AlwaysEmulate => xen.set_tsc_mode(domain, TSC_MODE_ALWAYS_EMULATE)?,
        TscMode::Native | TscMode::NativeParavirt => xen.set_tsc_mode(domain, TSC_MODE_NEVER_EMULATE)?,
        TscMode::Default => xen.set_tsc_mode(domain, TSC_MODE_DEFAULT)?,
    }
    if info.rtc_timeoffset != 0 {
        // Seconds to the east or to the west.
        xen.set_time_offset(domain, i64::from(info.rtc_timeoffset as i32))?;
    }
    xen.set_max_memory(domain, target_kib(info) + SLACK_KIB)?;
    let slack = info.pv.as_ref().and_then(|pv| pv.slack_memkb).unwrap_or(0);
    xen.set_memory_map(domain, (most_kib(info) + slack) << 10)
}

fn set_of(set: &Bitmap, cpus: usize) -> Cpus {
    let mut all = Cpus::none(cpus);
    set.0.iter().map(|n| *n as usize).filter(|n| *n < cpus).for_each(|n| all.insert(n));
    all
}

/// What is given of weight and cap; the scheduler knows the rest.
fn share(xen: &Xen, domain: DomId, info: &BuildInfo) -> Result<()> {
    let weight = info.sched_params.weight.filter(|w| WEIGHTS.contains(w)).and_then(|w| u16::try_from(w).ok());
    let cap = info.sched_params.cap.and_then(|cap| u16::try_from(cap).ok());
    if weight.is_none() && cap.is_none() {
        return Ok(());
    }
    let now = xen.share(domain)?;
    xen.set_share(domain, Share { weight: weight.unwrap_or(now.weight), cap: cap.unwrap_or(now.cap) })
}
