//! What the processor can do, and switching on of what the hypervisor uses. Run on every CPU.

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicBool, Ordering};

use hypercore::vcpu::FpuArea;
use hypercore::xstate;

use super::instr::{rdmsr, read_cr0, read_cr4, write_cr0, write_cr4, wrmsr, xsetbv};
use crate::sync::Once;

const MSR_PAT: u32 = 0x277;
const MSR_EFER: u32 = 0xc000_0080;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_SFMASK: u32 = 0xc000_0084;

/// The page attribute table that the Xen ABI fixes: WB, WT, UC-, UC, WC, WP, UC, UC.
pub const PAT: u64 = 0x0000_0501_0007_0406;

const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;

const CR0_FIXED: u64 = 0x8005_0033 & !(1 << 3);
const CR4_PAE: u64 = 1 << 5;
const CR4_MCE: u64 = 1 << 6;
const CR4_PGE: u64 = 1 << 7;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;

/// Flags cleared by SYSCALL: all that a guest could leave to disturb the hypervisor (AC, NT, RF, IOPL, DF, TF,
/// IF, and the arithmetic flags for good measure).
const SYSCALL_MASK: u64 = 0x0025_7fd5;

/// What the boot processor has. Others are required to have the same.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub smep: bool,
    pub smap: bool,
    pub fsgsbase: bool,
    pub xsave: bool,
    /// State components switched on in XCR0.
    pub xcr0: u64,
    /// FXRSTOR and XRSTOR leave the addresses of the last x87 instruction and its operand as they were, but where an
    /// exception is pending (AMD's, up to Zen).
    pub keeps_x87_addresses: bool,
    pub x2apic: bool,
    pub page_1gb: bool,
    /// The TSC runs at one rate in all power states.
    pub invariant_tsc: bool,
    /// Width of physical addresses.
    pub phys_bits: u8,
}

static FEATURES: Once<Features> = Once::new();
/// [`Features::fsgsbase`], for hot paths.
static FSGSBASE: AtomicBool = AtomicBool::new(false);
/// SMAP turned out not to work.
static SMAP_BROKEN: AtomicBool = AtomicBool::new(false);

/// What the boot processor has; [`detect`] has run.
pub fn get() -> &'static Features {
    FEATURES.get().expect("features are detected first thing at boot")
}

/// Whether the instructions that read and write the bases of FS and GS may be used.
#[inline]
pub fn has_fsgsbase() -> bool {
    FSGSBASE.load(Ordering::Relaxed)
}

/// Looks at the boot processor; the command line may forbid some features.
pub fn detect(allow_smep: bool, allow_smap: bool, allow_x2apic: bool) {
    let (basic, extended) = (__cpuid(0).eax, __cpuid(0x8000_0000).eax);
    let one = __cpuid(1);
    let seven = if basic >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let power = if extended >= 0x8000_0007 { __cpuid(0x8000_0007).edx } else { 0 };
    let (sizes, more) = match extended {
        0x8000_0008.. => (__cpuid(0x8000_0008).eax, __cpuid(0x8000_0008).ebx),
        _ => (36, 0),
    };
    // First word of "AuthenticAMD" and "HygonGenuine".
    let amd = matches!(__cpuid(0).ebx, 0x6874_7541 | 0x6f67_7948);
    let xsave = one.ecx & 1 << 26 != 0;
    let xcr0 = if xsave && basic >= 0xd {
        let leaf = __cpuid_count(0xd, 0);
        switched((u64::from(leaf.eax) | u64::from(leaf.edx) << 32) & xstate::SWITCHED)
    } else {
        0
    };
    FSGSBASE.store(seven & 1 != 0, Ordering::Relaxed);
    FEATURES.call_once(|| Features {
        smep: allow_smep && seven & 1 << 7 != 0,
        smap: allow_smap && seven & 1 << 20 != 0,
        fsgsbase: seven & 1 != 0,
        xsave,
        xcr0,
        keeps_x87_addresses: amd && more & 1 << 2 == 0,
        x2apic: allow_x2apic && one.ecx & 1 << 21 != 0,
        page_1gb: __cpuid(0x8000_0001).edx & 1 << 26 != 0,
        invariant_tsc: power & 1 << 8 != 0,
        phys_bits: sizes as u8,
    });
}

/// The components of `all` whose state there is room for: all of them on processors so far.
fn switched(all: u64) -> u64 {
    let end = |i| {
        let component = __cpuid_count(0xd, i);
        component.eax + component.ebx
    };
    let room = size_of::<FpuArea>() as u32;
    let fits = (2..63).filter(|&i| all >> i & 1 != 0).all(|i| end(i) <= room);
    if fits && xstate::xcr0_valid(all, all) { all } else { all & (xstate::X87 | xstate::SSE) }
}

/// The CR4 the hypervisor runs with.
pub fn cr4() -> u64 {
    let f = get();
    let smap = f.smap && !SMAP_BROKEN.load(Ordering::Relaxed);
    let optional = [(f.smep, CR4_SMEP), (smap, CR4_SMAP), (f.fsgsbase, CR4_FSGSBASE), (f.xsave, CR4_OSXSAVE)];
    let fixed = CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    optional.iter().filter(|o| o.0).fold(fixed, |cr4, o| cr4 | o.1)
}

/// Gives SMAP up, for a processor that refuses a guest in ring 3 its own memory by it. `false`: it is off already.
///
/// QEMU 7.2 does that (its TCG reads the stack of an IRET in ring 3 with the supervisor's rights). Each CPU that
/// meets it comes here.
pub fn give_up_smap() -> bool {
    let cr4 = read_cr4();
    if cr4 & CR4_SMAP == 0 {
        return false;
    }
    if !SMAP_BROKEN.swap(true, Ordering::Relaxed) {
        crate::warning!("this processor applies SMAP to ring 3: SMAP is off from here on");
    }
    // SAFETY: only takes a protection away; the placeholders' CLAC and STAC work without it.
    unsafe { write_cr4(cr4 & !CR4_SMAP) };
    true
}

/// Switches on what the hypervisor uses, on this CPU.
pub fn enable() {
    let f = get();
    // SAFETY: each bit is supported (checked by `detect`; the unconditional ones belong to every CPU with long
    // mode), and the hypervisor's mappings are the same under all of them. CR0 keeps paging and write
    // protection on; no device is caching-disabled by it.
    unsafe {
        write_cr0(read_cr0() & !0x6000_0000 & !(1 << 2) | CR0_FIXED);
        write_cr4(read_cr4() & !(1 << 2) | cr4());
        wrmsr(MSR_PAT, PAT);
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | EFER_NXE);
        wrmsr(MSR_STAR, 0xe023 << 48 | 0xe008 << 32);
        wrmsr(MSR_SFMASK, SYSCALL_MASK);
        if f.xsave {
            xsetbv(0, f.xcr0);
        }
    }
}

/// Makes the placeholders of `clac` and `stac` real, if the CPU has them. Before other CPUs run.
pub fn patch_smap() {
    if !get().smap {
        return;
    }
    unsafe extern "C" {
        static __smap_patch_start: u64;
        static __smap_patch_mid: u64;
        static __smap_patch_end: u64;
    }
    let (start, mid, end) =
        (&raw const __smap_patch_start, &raw const __smap_patch_mid, &raw const __smap_patch_end);
    let mut at = start;
    while at < end {
        let last = if at < mid { 0xca } else { 0xcb };
        // SAFETY: the linker collects here the addresses of three-byte placeholders in the text, whose direct
        // map alias is writable; this CPU runs alone, and jumps on before it meets a patched place.
        unsafe {
            let code = (*at - crate::layout::IMAGE_OFFSET + crate::layout::DIRECT_MAP) as *mut [u8; 3];
            code.write_volatile([0x0f, 0x01, last]);
            at = at.add(1);
        }
    }
}

/// Assembly for `clac` where SMAP is on (nothing elsewhere). For `global_asm!` and `asm!` in AT&T or Intel syntax.
#[macro_export]
macro_rules! asm_clac {
    () => {
        "771: .byte 0x0f, 0x1f, 0x00\n.pushsection .smap_clac, \"a\"\n.quad 771b\n.popsection\n"
    };
}

/// Assembly for `stac` where SMAP is on (nothing elsewhere).
#[macro_export]
macro_rules! asm_stac {
    () => {
        "772: .byte 0x0f, 0x1f, 0x00\n.pushsection .smap_stac, \"a\"\n.quad 772b\n.popsection\n"
    };
}
