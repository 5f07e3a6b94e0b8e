//! `xen/hvm/hvm_vcpu.h`: the state in which VCPUOP_initialise starts a vCPU of a translated guest.

// VcpuHvmContext::mode.
pub const VCPU_HVM_MODE_32B: u32 = 0;
pub const VCPU_HVM_MODE_64B: u32 = 1;

abi_struct! {
    /// `struct vcpu_hvm_x86_32`.
    pub struct VcpuHvmX8632 [120] {
        pub eax: u32,
        pub ecx: u32,
        pub edx: u32,
        pub ebx: u32,
        pub esp: u32,
        pub ebp: u32,
        pub esi: u32,
        pub edi: u32,
        pub eip: u32,
        pub eflags: u32,
        pub cr0: u32,
        pub cr3: u32,
        pub cr4: u32,
        pub pad1: u32,
        pub efer: u64,
        pub cs_base: u32,
        pub ds_base: u32,
        pub ss_base: u32,
        pub es_base: u32,
        pub tr_base: u32,
        pub cs_limit: u32,
        pub ds_limit: u32,
        pub ss_limit: u32,
        pub es_limit: u32,
        pub tr_limit: u32,
        /// Attributes as in a VMCB.
        pub cs_ar: u16,
        pub ds_ar: u16,
        pub ss_ar: u16,
        pub es_ar: u16,
        pub tr_ar: u16,
        pub pad2: [u16; 3],
    }

    /// `struct vcpu_hvm_x86_64`: flat segments.
    pub struct VcpuHvmX8664 [112] {
        pub rax: u64,
        pub rcx: u64,
        pub rdx: u64,
        pub rbx: u64,
        pub rsp: u64,
        pub rbp: u64,
        pub rsi: u64,
        pub rdi: u64,
        pub rip: u64,
        pub rflags: u64,
        pub cr0: u64,
        pub cr3: u64,
        pub cr4: u64,
        pub efer: u64,
    }

    /// `struct vcpu_hvm_context` (guest → hypervisor).
    pub struct VcpuHvmContext [128] {
        /// `VCPU_HVM_MODE_*`.
        pub mode: u32,
        pub pad: u32,
        /// [`VcpuHvmX8632`] or [`VcpuHvmX8664`].
        pub cpu_regs: [u64; 15],
    }
}
