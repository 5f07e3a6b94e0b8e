//! What CPUID is to answer: leaves, made from the processor's own and cut down to what a guest may have.

use crate::fallible::room;
use abi::cpu_policy::{CpuidLeaf, MsrEntry, XEN_CPUID_NO_SUBLEAF};
use alloc::vec::Vec;

use super::features::{Feature, KNOWN};
use super::featureset::{FeatureSet, WORDS};
use crate::xstate;

/// EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;
pub const D: usize = 3;

const BASIC: usize = 0xe;
const CACHE: usize = 6;
const FEAT: usize = 3;
const TOPO: usize = 2;
const XSTATE: usize = 63;
const EXTD: usize = 0x22;
const EXTD_BASE: u32 = 0x8000_0000;
const XEN_BASE: u32 = abi::arch_x86::XEN_CPUID_FIRST_LEAF;

/// `MSR_INTEL_PLATFORM_INFO`: the one MSR of the policy besides [`MSR_ARCH_CAPS`].
pub const MSR_PLATFORM_INFO: u32 = 0xce;
/// `MSR_ARCH_CAPABILITIES`.
pub const MSR_ARCH_CAPS: u32 = 0x10a;
/// Bit of `MSR_PLATFORM_INFO`: user-mode CPUID can be made to fault.
pub const PLATFORM_INFO_CPUID_FAULTING: u64 = 1 << 31;

/// The most entries [`CpuPolicy::leaves`] has: every leaf, and the two limits of the hypervisor's range.
pub const MAX_LEAVES: u32 = (BASIC + CACHE - 1 + FEAT - 1 + TOPO - 1 + XSTATE - 1 + EXTD + 2) as u32;
/// The entries [`CpuPolicy::msrs`] has.
pub const MAX_MSRS: u32 = 2;

/// Who made the processor, as far as policy differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Intel,
    Amd,
    Other,
}

/// The leaves a processor, or a guest's virtual one, shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPolicy {
    basic: [Leaf; BASIC],
    cache: [Leaf; CACHE],
    feat: [Leaf; FEAT],
    topo: [Leaf; TOPO],
    xstate: [Leaf; XSTATE],
    extd: [Leaf; EXTD],
    /// Highest leaf of the hypervisor's own range (0: as many as there are) and of the one after it.
    hv_limit: u32,
    hv2_limit: u32,
    pub platform_info: u64,
    pub arch_caps: u64,
}

/// An entry of a policy that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLeaf {
    pub leaf: u32,
    pub subleaf: u32,
}

/// An MSR of a policy that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMsr(pub u32);

impl CpuPolicy {
    pub const EMPTY: CpuPolicy = CpuPolicy {
        basic: [[0; 4]; BASIC],
        cache: [[0; 4]; CACHE],
        feat: [[0; 4]; FEAT],
        topo: [[0; 4]; TOPO],
        xstate: [[0; 4]; XSTATE],
        extd: [[0; 4]; EXTD],
        hv_limit: 0,
        hv2_limit: 0,
        platform_info: 0,
        arch_caps: 0,
    };

    /// Everything the processor says; `cpuid` executes the instruction with (EAX, ECX).
    pub fn raw(cpuid: impl Fn(u32, u32) -> Leaf) -> CpuPolicy {
        let mut p = CpuPolicy::EMPTY;
        let max = cpuid(0, 0)[A] as usize;
        for (i, leaf) in p.basic.iter_mut().enumerate().take(max.saturating_add(1)) {
            if !matches!(i, 4 | 7 | 0xb | 0xd) {
                *leaf = cpuid(i as u32, 0);
            }
        }
        if max >= 4 {
            for (i, leaf) in p.cache.iter_mut().enumerate() {
                *leaf = cpuid(4, i as u32);
                // Cache type 0 ends the list.
                if leaf[A] & 0x1f == 0 {
                    break;
                }
            }
        }
        if max >= 7 {
            let last = cpuid(7, 0)[A] as usize;
            for (i, leaf) in p.feat.iter_mut().enumerate().take(last.saturating_add(1)) {
                *leaf = cpuid(7, i as u32);
            }
        }
        if max >= 0xb {
            for (i, leaf) in p.topo.iter_mut().enumerate() {
                *leaf = cpuid(0xb, i as u32);
            }
        }
        if max >= 0xd {
            for i in [0, 1] {
                p.xstate[i] = cpuid(0xd, i as u32);
            }
            let states = p.xstates() | u64::from(p.xstate[1][C]) | u64::from(p.xstate[1][D]) << 32;
            for i in 2..XSTATE {
                if states >> i & 1 != 0 {
                    p.xstate[i] = cpuid(0xd, i as u32);
                }
            }
        }
        let max = cpuid(EXTD_BASE, 0)[A];
        if max & 0xffff_0000 == EXTD_BASE {
            for (i, leaf) in p.extd.iter_mut().enumerate().take((max as usize & 0xffff) + 1) {
                *leaf = cpuid(EXTD_BASE + i as u32, 0);
            }
        }
        p
    }

    pub fn vendor(&self) -> Vendor {
        match (self.basic[0][B], self.basic[0][D], self.basic[0][C]) {
            // "GenuineIntel"
            (0x756e_6547, 0x4965_6e69, 0x6c65_746e) => Vendor::Intel,
            // "AuthenticAMD", "HygonGenuine"
            (0x6874_7541, 0x6974_6e65, 0x444d_4163) | (0x6f67_7948, 0x6e65_476e, 0x656e_6975) => Vendor::Amd,
            _ => Vendor::Other,
        }
    }

    /// The vendor's twelve letters.
    pub fn vendor_name(&self) -> [u8; 12] {
        let mut letters = [0; 12];
        for (to, n) in letters.chunks_exact_mut(4).zip([B, D, C]) {
            to.copy_from_slice(&self.basic[0][n].to_le_bytes());
        }
        letters
    }

    /// Family, model and stepping (Intel SDM vol. 2, CPUID leaf 1).
    pub fn signature(&self) -> (u32, u32, u32) {
        let a = self.basic[1][A];
        let (mut family, mut model) = (a >> 8 & 0xf, a >> 4 & 0xf);
        if family >= 6 {
            model |= (a >> 16 & 0xf) << 4;
        }
        if family == 0xf {
            family += a >> 20 & 0xff;
        }
        (family, model, a & 0xf)
    }

    /// Highest basic, sub- (of leaf 7) and extended leaf.
    pub(super) fn limits(&self) -> (u32, u32, u32) {
        (self.basic[0][A], self.feat[0][A], self.extd[0][A])
    }

    pub(super) fn set_limits(&mut self, (basic, feat, extd): (u32, u32, u32)) {
        self.basic[0][A] = basic;
        self.feat[0][A] = feat;
        self.extd[0][A] = extd;
    }

    /// The XCR0 bits there are.
    pub fn xstates(&self) -> u64 {
        u64::from(self.xstate[0][D]) << 32 | u64::from(self.xstate[0][A])
    }

    /// Bytes of an XSAVE area in the standard format with `states` on.
    pub fn xsave_size(&self, states: u64) -> u32 {
        let component = |i: usize| self.xstate[i][A].saturating_add(self.xstate[i][B]);
        (2..XSTATE).filter(|i| states >> i & 1 != 0).map(component).fold(512 + 64, u32::max)
    }

    /// Width of machine addresses.
    pub fn physical_bits(&self) -> u8 {
        if self.limits().2 >= 0x8000_0008 { self.extd[8][A] as u8 } else { 36 }
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features().has(feature)
    }

    /// Where each word of the featureset is; the MSR's two are elsewhere.
    fn word(&mut self, word: usize) -> Option<&mut u32> {
        Some(match word {
            0 => &mut self.basic[1][D],
            1 => &mut self.basic[1][C],
            2 => &mut self.extd[1][D],
            3 => &mut self.extd[1][C],
            4 => &mut self.xstate[1][A],
            5 => &mut self.feat[0][B],
            6 => &mut self.feat[0][C],
            7 => &mut self.extd[7][D],
            8 => &mut self.extd[8][B],
            9 => &mut self.feat[0][D],
            10 => &mut self.feat[1][A],
            11 => &mut self.extd[0x21][A],
            12 => &mut self.feat[1][B],
            13 => &mut self.feat[2][D],
            14 => &mut self.feat[1][C],
            15 => &mut self.feat[1][D],
            18 => &mut self.extd[0x21][C],
            _ => return None,
        })
    }

    /// The features in it.
    pub fn features(&self) -> FeatureSet {
        FeatureSet([
            self.basic[1][D],
            self.basic[1][C],
            self.extd[1][D],
            self.extd[1][C],
            self.xstate[1][A],
            self.feat[0][B],
            self.feat[0][C],
            self.extd[7][D],
            self.extd[8][B],
            self.feat[0][D],
            self.feat[1][A],
            self.extd[0x21][A],
            self.feat[1][B],
            self.feat[2][D],
            self.feat[1][C],
            self.feat[1][D],
            self.arch_caps as u32,
            (self.arch_caps >> 32) as u32,
            self.extd[0x21][C],
        ])
    }

    /// Replaces the features in it. Words that AMD repeats in leaf 0x80000001 are kept alike.
    pub(super) fn set_features(&mut self, features: &FeatureSet) {
        for i in 0..WORDS {
            if let Some(word) = self.word(i) {
                *word = features.0[i];
            }
        }
        self.arch_caps = u64::from(features.0[17]) << 32 | u64::from(features.0[16]);
        if self.vendor() == Vendor::Amd {
            const COMMON: u32 = 0x0183_f3ff;
            self.extd[1][D] = self.extd[1][D] & !COMMON | self.basic[1][D] & COMMON;
        }
    }

    /// Leaf 0xd as `from` has it, without what is not in `mask` (XCR0 bits) or belongs to a feature that is not there.
    /// Sizes and places are the processor's: nobody else can know them.
    pub(super) fn limit_xstates(&mut self, from: &CpuPolicy, mask: u64) {
        let instructions = self.xstate[1][A];
        self.xstate = from.xstate;
        self.xstate[1][A] = instructions;
        let mut mask = self.xstates() & mask;
        for (feature, states) in [(Feature::AVX, xstate::AVX), (Feature::AVX512F, xstate::AVX512)] {
            if !self.has(feature) {
                mask &= !states;
            }
        }
        let has_xsave = self.has(Feature::XSAVE) && mask & 3 == 3;
        for i in 2..XSTATE {
            if !has_xsave || mask >> i & 1 == 0 {
                self.xstate[i] = [0; 4];
            }
        }
        if has_xsave {
            let size = self.xsave_size(mask);
            self.xstate[0] = [mask as u32, size, size, (mask >> 32) as u32];
            // No supervisor states: the size in EBX is the compacted one, filled in as XCR0 says.
            self.xstate[1] = [self.xstate[1][A], 0, 0, 0];
        } else {
            self.xstate[0] = [0; 4];
            self.xstate[1] = [0; 4];
        }
    }

    /// Zeroes leaves that tell of what no guest gets: MONITOR, power, DCA, performance counters, SVM,
    /// AMD's topology and encryption.
    pub(super) fn drop_private_leaves(&mut self) {
        for i in [3, 5, 6, 8, 9, 0xa, 0xc] {
            self.basic[i] = [0; 4];
        }
        self.topo = [[0; 4]; TOPO];
        self.extd[9] = [0; 4];
        self.extd[0xa] = [0; 4];
        for leaf in &mut self.extd[0xb..=0x18] {
            *leaf = [0; 4];
        }
        for leaf in &mut self.extd[0x1b..=0x20] {
            *leaf = [0; 4];
        }
        // 0x80000007: only EDX is a guest's business; 0x80000008: address widths stay, with 4-level paging.
        self.extd[7] = [0, 0, 0, self.extd[7][D]];
        self.extd[8][A] = self.extd[8][A] & 0xff | 48 << 8;
        self.extd[8][D] = 0;
        self.extd[0x21][B] = 0;
        self.extd[0x21][D] = 0;
        for (i, leaf) in self.feat.iter_mut().enumerate() {
            if i == 2 {
                *leaf = [0, 0, 0, leaf[D]];
            }
        }
    }

    /// What the hypervisor itself uses of the processor.
    pub(super) fn keep_known(&mut self) {
        let features = self.features().and(&KNOWN);
        self.set_features(&features.without_orphans());
    }

    /// The stored leaf, as it is before anything about the running vCPU is filled in.
    pub fn stored(&self, leaf: u32, subleaf: u32) -> Leaf {
        let (basic, feat, extd) = self.limits();
        let get = |list: &[Leaf]| list.get(subleaf as usize).copied().unwrap_or([0; 4]);
        match leaf {
            0..EXTD_BASE if leaf > basic => [0; 4],
            4 => get(&self.cache),
            7 if subleaf > feat => [0; 4],
            7 => get(&self.feat),
            0xb => get(&self.topo),
            0xd => get(&self.xstate),
            0..EXTD_BASE => self.basic.get(leaf as usize).copied().unwrap_or([0; 4]),
            _ if leaf > extd => [0; 4],
            _ => self.extd.get((leaf - EXTD_BASE) as usize).copied().unwrap_or([0; 4]),
        }
    }

    /// Highest leaf of the range at 0x40000000, of `available`.
    pub(super) fn hv_leaves(&self, available: u32) -> u32 {
        match self.hv_limit & 0xff {
            0 => available,
            limit => limit.min(available),
        }
    }

    /// The policy as tools exchange it: every leaf up to the limits, empty ones too. libxc writes its changed
    /// copy into a buffer of just as many entries, so none may be left out.
    pub fn leaves(&self) -> Result<Vec<CpuidLeaf>, abi::Errno> {
        let mut out = room(MAX_LEAVES as usize)?;
        #[expect(clippy::disallowed_methods, reason = "reserved above")]
        let mut push = |leaf: u32, subleaf: u32, [a, b, c, d]: Leaf| {
            out.push(CpuidLeaf { leaf, subleaf, a, b, c, d });
        };
        let up_to = |limit: u32, len: usize| (limit as usize).saturating_add(1).min(len);
        let basic = up_to(self.basic[0][A], BASIC);
        for (i, value) in self.basic[..basic].iter().enumerate() {
            let lists: &[Leaf] = match i {
                4 => &self.cache,
                7 => &self.feat[..up_to(self.feat[0][A], FEAT)],
                0xb => &self.topo,
                0xd => &self.xstate[..(64 - self.xstates().leading_zeros() as usize).clamp(2, XSTATE)],
                _ => {
                    push(i as u32, XEN_CPUID_NO_SUBLEAF, *value);
                    continue;
                }
            };
            for (subleaf, value) in lists.iter().enumerate() {
                push(i as u32, subleaf as u32, *value);
            }
        }
        push(XEN_BASE, XEN_CPUID_NO_SUBLEAF, [self.hv_limit, 0, 0, 0]);
        push(XEN_BASE + 0x100, XEN_CPUID_NO_SUBLEAF, [self.hv2_limit, 0, 0, 0]);
        let extd = up_to(self.extd[0][A] & 0xffff, EXTD);
        for (i, value) in self.extd[..extd].iter().enumerate() {
            push(EXTD_BASE + i as u32, XEN_CPUID_NO_SUBLEAF, *value);
        }
        Ok(out)
    }

    /// The policy's MSRs as tools exchange them.
    pub fn msrs(&self) -> [MsrEntry; MAX_MSRS as usize] {
        [(MSR_PLATFORM_INFO, self.platform_info), (MSR_ARCH_CAPS, self.arch_caps)]
            .map(|(idx, val)| MsrEntry { idx, flags: 0, val })
    }

    /// Takes over one leaf from a tool.
    pub fn put_leaf(&mut self, new: &CpuidLeaf) -> Result<(), BadLeaf> {
        let bad = BadLeaf { leaf: new.leaf, subleaf: new.subleaf };
        let value = [new.a, new.b, new.c, new.d];
        if new.leaf == XEN_BASE || new.leaf == XEN_BASE + 0x100 {
            if new.subleaf != XEN_CPUID_NO_SUBLEAF {
                return Err(bad);
            }
            if new.leaf == XEN_BASE {
                self.hv_limit = new.a
            } else {
                self.hv2_limit = new.a
            }
            return Ok(());
        }
        let plain = new.subleaf == XEN_CPUID_NO_SUBLEAF;
        let slot = match new.leaf {
            4 => self.cache.get_mut(new.subleaf as usize),
            7 => self.feat.get_mut(new.subleaf as usize),
            0xb => self.topo.get_mut(new.subleaf as usize),
            0xd => self.xstate.get_mut(new.subleaf as usize),
            _ if !plain => None,
            0..EXTD_BASE => self.basic.get_mut(new.leaf as usize),
            _ => self.extd.get_mut((new.leaf - EXTD_BASE) as usize),
        };
        *slot.ok_or(bad)? = value;
        Ok(())
    }

    /// Takes over one MSR from a tool.
    pub fn put_msr(&mut self, new: &MsrEntry) -> Result<(), BadMsr> {
        match new.idx {
            _ if new.flags != 0 => return Err(BadMsr(new.idx)),
            MSR_PLATFORM_INFO if new.val & !PLATFORM_INFO_CPUID_FAULTING == 0 => self.platform_info = new.val,
            MSR_ARCH_CAPS => self.arch_caps = new.val,
            idx => return Err(BadMsr(idx)),
        }
        Ok(())
    }
}
