//! `XEN_MC_PHYSCPUINFO`: the processors, as dom0 must know them to say where an error was.

use super::{Call, bank};
use crate::guest;
use crate::host::HostInfo;
use crate::machine::Machine;
use crate::policy::cpu_policy::Vendor;
use crate::policy::featureset::FeatureSet;
use crate::xen::Cx;
use abi::Errno;
use abi::cpu_policy::XEN_CPUID_NO_SUBLEAF;
use abi::xen_mca::*;
use x86::cpuid::l1_edx::SEP;

/// How many there are; with a list, as many of them as it has room for.
pub(super) fn describe<M: Machine>(cx: &Cx<'_, M>, call: &Call) -> Result<(), Errno> {
    let mut op: McPhyscpuinfo = call.get();
    let host = &cx.xen.host;
    let mut n = host.nr_cpus;
    if !op.info.is_null() {
        n = n.min(op.ncpus);
        for i in 0..n {
            let cpu = one(host, i);
            guest::write_at(&cx.xen.m, op.info.addr(), i.into(), &cpu).map_err(|_| Errno::EFAULT)?;
        }
    }
    op.ncpus = n;
    call.put(&cx.xen.m, &op)
}

fn one(host: &HostInfo, n: u32) -> McinfoLogicalCpu {
    let all = &host.topology;
    let (apic, core, socket) = all.get(n as usize).copied().unwrap_or_default();
    let raw = |leaf| host.policies.raw.stored(leaf, XEN_CPUID_NO_SUBLEAF);
    let [levels, ..] = raw(0);
    let [_, ebx, ..] = raw(1);
    let (family, model, step) = host.policies.raw.signature();
    let in_socket = all.iter().filter(|t| t.2 == socket).count() as u32;
    let threads = all.iter().filter(|t| (t.1, t.2) == (core, socket)).count() as u32;
    let before = all[..(n as usize).min(all.len())].iter().filter(|t| (t.1, t.2) == (core, socket)).count();
    let mut names = [0; 16];
    names[..12].copy_from_slice(&host.policies.raw.vendor_name());
    let mut brand = [0; 64];
    for (to, word) in brand.chunks_exact_mut(4).zip((0x8000_0002..=0x8000_0004).flat_map(raw)) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let mut msrs = [McinfoMsr::default(); 8];
    msrs[0] = McinfoMsr { reg: bank::MSR_MCG_CAP.into(), value: host.mcg_cap };
    McinfoLogicalCpu {
        mc_cpunr: n,
        mc_chipid: socket,
        mc_coreid: core as u16,
        mc_threadid: before as u16,
        mc_apicid: apic,
        mc_clusterid: apic,
        mc_ncores: (in_socket / threads.max(1)).max(1),
        mc_ncores_active: (in_socket / threads.max(1)).max(1),
        mc_nthreads: threads.max(1),
        mc_cpuid_level: levels as i32,
        mc_family: family,
        mc_vendor: vendor_number(host),
        mc_model: model,
        mc_step: step,
        mc_vendorid: names,
        mc_brandid: brand,
        mc_cpu_caps: features(&host.policies.host.features(), host.policies.raw.vendor()),
        mc_cache_size: cache_kib(&raw),
        mc_cache_alignment: (ebx >> 8 & 0xff) * 8,
        mc_nmsrvals: 1,
        _pad0: 0,
        mc_msrvalues: msrs,
    }
}

/// Words of the featureset rather than what the header names. In the long mode of AMD's processors there is no SYSENTER,
/// and what leaf 0x80000001 repeats of leaf 1 is left out.
fn features(set: &FeatureSet, vendor: Vendor) -> [u32; 7] {
    const REPEATED: u32 = 0x0183_f3ff;
    let mut words = core::array::from_fn(|i| set.0[i]);
    if vendor == Vendor::Amd {
        words[0] &= !SEP;
    }
    words[2] &= !REPEATED;
    words
}

/// As Debian's Xen numbers vendors: one bit each.
fn vendor_number(host: &HostInfo) -> u32 {
    match host.policies.raw.vendor() {
        Vendor::Intel => 1,
        Vendor::Amd => 2,
        _ => 0,
    }
}

/// KiB of the last level of cache that leaf 0x80000006 tells of (AMD APM vol. 3, E.4.4).
fn cache_kib(raw: &impl Fn(u32) -> [u32; 4]) -> u32 {
    let [_, _, l2, l3] = raw(0x8000_0006);
    (l2 >> 16).max((l3 >> 18) * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_as_debians_xen_tells_them() {
        let mut set = FeatureSet::EMPTY;
        set.0[..4].copy_from_slice(&[0x178b_fbfd, 0xf6d8_3203, 0x2dd3_fbfd, 0x177]);
        assert_eq!(features(&set, Vendor::Amd)[..4], [0x178b_f3fd, 0xf6d8_3203, 0x2c50_0800, 0x177]);
        set.0[..4].copy_from_slice(&[0x178b_fbfd, 0xf6f8_3203, 0x2810_0800, 0x121]);
        assert_eq!(features(&set, Vendor::Intel)[..4], set.0[..4]);
    }

    #[test]
    fn caches() {
        // 8 MiB of L3 beside 512 KiB of L2, and no L3 beside 2 MiB of L2.
        let epyc = |leaf| if leaf == 0x8000_0006 { [0, 0, 512 << 16 | 0x6140, 16 << 18] } else { [0; 4] };
        assert_eq!(cache_kib(&epyc), 8192);
        let l2 = |leaf| if leaf == 0x8000_0006 { [0, 0, 2048 << 16, 0] } else { [0; 4] };
        assert_eq!(cache_kib(&l2), 2048);
    }
}
