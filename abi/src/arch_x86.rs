//! `xen/arch-x86/xen.h`, `xen-x86_64.h` and `cpuid.h`: registers, address-space layout, a PV vCPU's
//! context, the hypervisor's CPUID leaves. (CPU policies stand in [`crate::cpu_policy`].)

// Selectors of the flat segments that every PV guest finds in its GDT.
pub const FLAT_RING3_CS32: u16 = 0xe023;
pub const FLAT_RING3_CS64: u16 = 0xe033;
pub const FLAT_RING3_DS32: u16 = 0xe02b;
pub const FLAT_RING3_DS64: u16 = 0x0000;
pub const FLAT_RING3_SS32: u16 = 0xe02b;
pub const FLAT_RING3_SS64: u16 = 0xe02b;
pub const FLAT_KERNEL_CS64: u16 = FLAT_RING3_CS64;
pub const FLAT_KERNEL_CS: u16 = FLAT_KERNEL_CS64;
pub const FLAT_KERNEL_DS64: u16 = FLAT_RING3_DS64;
pub const FLAT_KERNEL_DS: u16 = FLAT_KERNEL_DS64;
pub const FLAT_KERNEL_SS64: u16 = FLAT_RING3_SS64;
pub const FLAT_KERNEL_SS: u16 = FLAT_KERNEL_SS64;
pub const FLAT_USER_CS32: u16 = FLAT_RING3_CS32;
pub const FLAT_USER_CS64: u16 = FLAT_RING3_CS64;
pub const FLAT_USER_CS: u16 = FLAT_USER_CS64;
pub const FLAT_USER_DS64: u16 = FLAT_RING3_DS64;
pub const FLAT_USER_DS32: u16 = FLAT_RING3_DS32;
pub const FLAT_USER_SS64: u16 = FLAT_RING3_SS64;
pub const FLAT_USER_SS32: u16 = FLAT_RING3_SS32;
pub const FLAT_USER_SS: u16 = FLAT_USER_SS64;

/// First address of the hypervisor's area, which no PV guest may map or use.
pub const HYPERVISOR_VIRT_START: u64 = 0xffff_8000_0000_0000;
/// First address after the hypervisor's area.
pub const HYPERVISOR_VIRT_END: u64 = 0xffff_8800_0000_0000;
/// The guest's read-only view of the machine-to-physical table.
pub const MACH2PHYS_VIRT_START: u64 = 0xffff_8000_0000_0000;
pub const MACH2PHYS_VIRT_END: u64 = 0xffff_8040_0000_0000;
/// 64-bit entries that fit into that view.
pub const MACH2PHYS_NR_ENTRIES: u64 = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) >> 3;

// set_segment_base: which base.
pub const SEGBASE_FS: u32 = 0;
pub const SEGBASE_GS_USER: u32 = 1;
pub const SEGBASE_GS_KERNEL: u32 = 2;
/// Sets the user GS selector (and its base by it).
pub const SEGBASE_GS_USER_SEL: u32 = 3;

/// GDT pages of a PV guest; the rest is the hypervisor's.
pub const FIRST_RESERVED_GDT_PAGE: usize = 14;
pub const FIRST_RESERVED_GDT_BYTE: usize = FIRST_RESERVED_GDT_PAGE * 4096;
pub const FIRST_RESERVED_GDT_ENTRY: usize = FIRST_RESERVED_GDT_BYTE / 8;

/// vCPUs that have a vcpu_info in the shared_info page (`XEN_LEGACY_MAX_VCPUS`).
pub const LEGACY_MAX_VCPUS: usize = 32;

// TrapInfo::flags.
/// Privilege level up to which `int n` may reach the vector.
pub const TI_DPL_MASK: u8 = 3;
/// Events are masked on delivery.
pub const TI_IF: u8 = 4;

// VcpuGuestContext::flags, and (the first three) the flags of callbacks.
pub const VGCF_I387_VALID: u64 = 1 << 0;
pub const VGCF_IN_KERNEL: u64 = 1 << 2;
pub const VGCF_FAILSAFE_DISABLES_EVENTS: u64 = 1 << 3;
pub const VGCF_SYSCALL_DISABLES_EVENTS: u64 = 1 << 4;
pub const VGCF_ONLINE: u64 = 1 << 5;
/// In [`IretContext::flags`]: return by sysret, so rcx and r11 are not restored.
pub const VGCF_IN_SYSCALL: u64 = 1 << 8;

// ArchDomainconfig::emulation_flags: devices the hypervisor emulates for the domain.
pub const XEN_X86_EMU_LAPIC: u32 = 1 << 0;
pub const XEN_X86_EMU_HPET: u32 = 1 << 1;
pub const XEN_X86_EMU_PM: u32 = 1 << 2;
pub const XEN_X86_EMU_RTC: u32 = 1 << 3;
pub const XEN_X86_EMU_IOAPIC: u32 = 1 << 4;
pub const XEN_X86_EMU_PIC: u32 = 1 << 5;
pub const XEN_X86_EMU_VGA: u32 = 1 << 6;
pub const XEN_X86_EMU_IOMMU: u32 = 1 << 7;
pub const XEN_X86_EMU_PIT: u32 = 1 << 8;
pub const XEN_X86_EMU_USE_PIRQ: u32 = 1 << 9;
pub const XEN_X86_EMU_VPCI: u32 = 1 << 10;
pub const XEN_X86_EMU_ALL: u32 = (1 << 11) - 1;
/// ArchDomainconfig::misc_flags: unknown MSRs read as 0 and swallow writes.
pub const XEN_X86_MSR_RELAXED: u32 = 1 << 0;
pub const XEN_X86_MISC_FLAGS_MAX: u32 = XEN_X86_MSR_RELAXED;

/// `ud2a; "xen"`: an instruction after it is emulated by the hypervisor (CPUID is).
pub const XEN_EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

/// I/O port where an HVM guest's debug output goes.
pub const XEN_HVM_DEBUGCONS_IOPORT: u16 = 0xe9;

// The hypervisor's CPUID leaves (`cpuid.h`).
pub const XEN_CPUID_FIRST_LEAF: u32 = 0x4000_0000;
/// "XenV"
pub const XEN_CPUID_SIGNATURE_EBX: u32 = 0x566e_6558;
/// "MMXe"
pub const XEN_CPUID_SIGNATURE_ECX: u32 = 0x6558_4d4d;
/// "nVMM"
pub const XEN_CPUID_SIGNATURE_EDX: u32 = 0x4d4d_566e;
/// Leaf +2, ecx: the guest may use MMU_PT_UPDATE_PRESERVE_AD.
pub const XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
// Leaf +4, subleaf 0, eax: what an HVM guest has.
pub const XEN_HVM_CPUID_APIC_ACCESS_VIRT: u32 = 1 << 0;
pub const XEN_HVM_CPUID_X2APIC_VIRT: u32 = 1 << 1;
pub const XEN_HVM_CPUID_IOMMU_MAPPINGS: u32 = 1 << 2;
pub const XEN_HVM_CPUID_VCPU_ID_PRESENT: u32 = 1 << 3;
pub const XEN_HVM_CPUID_DOMID_PRESENT: u32 = 1 << 4;
pub const XEN_HVM_CPUID_EXT_DEST_ID: u32 = 1 << 5;
pub const XEN_HVM_CPUID_UPCALL_VECTOR: u32 = 1 << 6;
/// Leaf +5, subleaf 0, ebx: bits of a machine address a PV guest may see.
pub const XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff;
/// Leaves after the first one.
pub const XEN_CPUID_MAX_NUM_LEAVES: u32 = 5;

/// `XEN_CPUID_LEAF(i)`.
pub const fn xen_cpuid_leaf(i: u32) -> u32 {
    XEN_CPUID_FIRST_LEAF + i
}

/// `xen_pfn_to_cr3`: a page-table base as `ctrlreg[3]` holds it.
pub const fn xen_pfn_to_cr3(pfn: u64) -> u64 {
    pfn << 12
}

/// `xen_cr3_to_pfn`.
pub const fn xen_cr3_to_pfn(cr3: u64) -> u64 {
    cr3 >> 12
}

abi_struct! {
    /// `struct iret_context`: what stands on the guest kernel's stack at the `iret` hypercall
    /// (guest → hypervisor), and what a bounce pushes below.
    pub struct IretContext [72] {
        pub rax: u64,
        pub r11: u64,
        pub rcx: u64,
        /// `VGCF_IN_SYSCALL` or 0.
        pub flags: u64,
        pub rip: u64,
        pub cs: u64,
        pub rflags: u64,
        pub rsp: u64,
        pub ss: u64,
    }

    /// `struct cpu_user_regs` (both ways, in contexts).
    pub struct CpuUserRegs [200] {
        pub r15: u64,
        pub r14: u64,
        pub r13: u64,
        pub r12: u64,
        pub rbp: u64,
        pub rbx: u64,
        pub r11: u64,
        pub r10: u64,
        pub r9: u64,
        pub r8: u64,
        pub rax: u64,
        pub rcx: u64,
        pub rdx: u64,
        pub rsi: u64,
        pub rdi: u64,
        /// Private to the hypervisor.
        pub error_code: u32,
        /// Private to the hypervisor.
        pub entry_vector: u32,
        pub rip: u64,
        pub cs: u16,
        pub _pad0: u16,
        /// The vCPU's upcall mask when it was interrupted.
        pub saved_upcall_mask: u8,
        pub _pad1: [u8; 3],
        /// rflags.IF is the inverse of the saved upcall mask.
        pub rflags: u64,
        pub rsp: u64,
        pub ss: u16,
        pub _pad2: [u16; 3],
        pub es: u16,
        pub _pad3: [u16; 3],
        pub ds: u16,
        pub _pad4: [u16; 3],
        /// A non-zero selector takes its base from the descriptor.
        pub fs: u16,
        pub _pad5: [u16; 3],
        /// As `fs`.
        pub gs: u16,
        pub _pad6: [u16; 3],
    }

    /// `struct trap_info`: an entry of the virtual IDT (guest → hypervisor). A zero `address` ends
    /// a table.
    pub struct TrapInfo [16] {
        /// Exception vector, 0..=255.
        pub vector: u8,
        /// `TI_DPL_MASK`, `TI_IF`.
        pub flags: u8,
        pub cs: u16,
        pub _pad0: u32,
        /// Handler; canonical guest address.
        pub address: u64,
    }

    /// `struct vcpu_guest_context`: a PV vCPU's whole state (VCPUOP_initialise, domctl
    /// get/setvcpucontext).
    pub struct VcpuGuestContext [5168] {
        /// FXSAVE image.
        pub fpu_ctxt: [u8; 512],
        /// `VGCF_*`.
        pub flags: u64,
        pub user_regs: CpuUserRegs,
        /// Virtual IDT.
        pub trap_ctxt: [TrapInfo; 256],
        /// Linear address.
        pub ldt_base: u64,
        /// 8-byte entries.
        pub ldt_ents: u64,
        /// Machine frames of the GDT.
        pub gdt_frames: [u64; 16],
        /// 8-byte entries, at most `FIRST_RESERVED_GDT_ENTRY`.
        pub gdt_ents: u64,
        /// Virtual TSS, ring 1.
        pub kernel_ss: u64,
        pub kernel_sp: u64,
        /// CR0..CR7. `[1]` is the user page-table base, in CR3's form.
        pub ctrlreg: [u64; 8],
        /// DR0..DR7.
        pub debugreg: [u64; 8],
        pub event_callback_eip: u64,
        pub failsafe_callback_eip: u64,
        pub syscall_callback_eip: u64,
        /// Bits `1 << VMASST_TYPE_*`.
        pub vm_assist: u64,
        pub fs_base: u64,
        pub gs_base_kernel: u64,
        pub gs_base_user: u64,
    }

    /// `struct arch_vcpu_info`, in [`crate::xen::VcpuInfo`] (hypervisor → guest).
    pub struct ArchVcpuInfo [16] {
        /// Address of the last page fault.
        pub cr2: u64,
        pub pad: u64,
    }

    /// `struct arch_shared_info`, in [`crate::xen::SharedInfo`] (guest → tools, mostly).
    pub struct ArchSharedInfo [48] {
        /// First frame number the guest does not use.
        pub max_pfn: u64,
        /// Root of the three-level list of p2m frames; ~0 or 0 when only `p2m_vaddr` is valid.
        pub pfn_to_mfn_frame_list_list: u64,
        /// `XEN_NMIREASON_*`, dom0 only (hypervisor → guest).
        pub nmi_reason: u64,
        /// Page-table base under which `p2m_vaddr` is valid; 0 when it is not.
        pub p2m_cr3: u64,
        /// Virtual address of the linear p2m list.
        pub p2m_vaddr: u64,
        /// Odd while the guest changes the p2m's mapping.
        pub p2m_generation: u64,
    }

    /// `struct xen_arch_domainconfig`, in createdomain (tools → hypervisor).
    pub struct ArchDomainconfig [8] {
        /// `XEN_X86_EMU_*`; 0 for PV.
        pub emulation_flags: u32,
        /// `XEN_X86_MSR_RELAXED`.
        pub misc_flags: u32,
    }
}
