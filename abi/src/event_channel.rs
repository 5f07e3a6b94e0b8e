//! `xen/event_channel.h`: event_channel_op and the two layouts of event state.

// event_channel_op commands (guest → hypervisor).
pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
pub const EVTCHNOP_CLOSE: u32 = 3;
pub const EVTCHNOP_SEND: u32 = 4;
pub const EVTCHNOP_STATUS: u32 = 5;
pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
pub const EVTCHNOP_BIND_IPI: u32 = 7;
pub const EVTCHNOP_BIND_VCPU: u32 = 8;
pub const EVTCHNOP_UNMASK: u32 = 9;
pub const EVTCHNOP_RESET: u32 = 10;
pub const EVTCHNOP_INIT_CONTROL: u32 = 11;
pub const EVTCHNOP_EXPAND_ARRAY: u32 = 12;
pub const EVTCHNOP_SET_PRIORITY: u32 = 13;
/// How the header names a continued reset; only the hypervisor's own continuation uses it.
pub const EVTCHNOP_RESET_CONT: u32 = 14;

/// `EvtchnBindPirq::flags`: the interrupt may be shared.
pub const BIND_PIRQ_WILL_SHARE: u32 = 1;

// EvtchnStatus::status.
pub const EVTCHNSTAT_CLOSED: u32 = 0;
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
pub const EVTCHNSTAT_PIRQ: u32 = 3;
pub const EVTCHNSTAT_VIRQ: u32 = 4;
pub const EVTCHNSTAT_IPI: u32 = 5;

/// Ports of the 2-level layout.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;

// FIFO priorities: smaller is more urgent.
pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
pub const EVTCHN_FIFO_MAX_QUEUES: usize = 16;

// Bit numbers in a FIFO event word (`u32`, shared memory, both ways).
pub const EVTCHN_FIFO_PENDING: u32 = 31;
pub const EVTCHN_FIFO_MASKED: u32 = 30;
pub const EVTCHN_FIFO_LINKED: u32 = 29;
pub const EVTCHN_FIFO_BUSY: u32 = 28;
/// Width of the link field in the event word's low bits.
pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
/// Ports of the FIFO layout.
pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;

abi_struct! {
    /// `struct evtchn_alloc_unbound`: a port of `dom` that `remote_dom` may bind to.
    pub struct EvtchnAllocUnbound [8] {
        /// Whose port; `DOMID_SELF` or, privileged, another.
        pub dom: u16,
        pub remote_dom: u16,
        /// Out: the new port.
        pub port: u32,
    }

    /// `struct evtchn_bind_interdomain`.
    pub struct EvtchnBindInterdomain [12] {
        pub remote_dom: u16,
        pub _pad0: u16,
        pub remote_port: u32,
        /// Out.
        pub local_port: u32,
    }

    /// `struct evtchn_bind_virq`.
    pub struct EvtchnBindVirq [12] {
        /// `VIRQ_*`.
        pub virq: u32,
        pub vcpu: u32,
        /// Out.
        pub port: u32,
    }

    /// `struct evtchn_bind_pirq`.
    pub struct EvtchnBindPirq [12] {
        pub pirq: u32,
        /// `BIND_PIRQ_WILL_SHARE`.
        pub flags: u32,
        /// Out.
        pub port: u32,
    }

    /// `struct evtchn_bind_ipi`.
    pub struct EvtchnBindIpi [8] {
        pub vcpu: u32,
        /// Out.
        pub port: u32,
    }

    /// `struct evtchn_close`.
    pub struct EvtchnClose [4] {
        pub port: u32,
    }

    /// `struct evtchn_send`.
    pub struct EvtchnSend [4] {
        pub port: u32,
    }

    /// `struct evtchn_status`: `dom` and `port` in, the rest out.
    pub struct EvtchnStatus [24] {
        pub dom: u16,
        pub _pad0: u16,
        pub port: u32,
        /// `EVTCHNSTAT_*`.
        pub status: u32,
        /// vCPU the port notifies.
        pub vcpu: u32,
        /// The union; see the methods.
        pub u: [u32; 2],
    }

    /// `struct evtchn_bind_vcpu`: which vCPU a port notifies.
    pub struct EvtchnBindVcpu [8] {
        pub port: u32,
        pub vcpu: u32,
    }

    /// `struct evtchn_unmask`.
    pub struct EvtchnUnmask [4] {
        pub port: u32,
    }

    /// `struct evtchn_reset`: closes every port of a domain.
    pub struct EvtchnReset [2] {
        pub dom: u16,
    }

    /// `struct evtchn_init_control`: a vCPU's FIFO control block.
    pub struct EvtchnInitControl [24] {
        /// Guest frame of the block.
        pub control_gfn: u64,
        /// Bytes into that frame, a multiple of 8.
        pub offset: u32,
        pub vcpu: u32,
        /// Out: width of the link field.
        pub link_bits: u8,
        pub _pad: [u8; 7],
    }

    /// `struct evtchn_expand_array`: one more page of FIFO event words.
    pub struct EvtchnExpandArray [8] {
        pub array_gfn: u64,
    }

    /// `struct evtchn_set_priority`.
    pub struct EvtchnSetPriority [8] {
        pub port: u32,
        /// `EVTCHN_FIFO_PRIORITY_MAX..=EVTCHN_FIFO_PRIORITY_MIN`.
        pub priority: u32,
    }

    /// `struct evtchn_op`: the argument of event_channel_op_compat.
    pub struct EvtchnOp [28] {
        pub cmd: u32,
        /// The command's structure.
        pub u: [u32; 6],
    }

    /// `struct evtchn_fifo_control_block` (shared memory, both ways).
    pub struct EvtchnFifoControlBlock [72] {
        /// One bit per priority with a non-empty queue.
        pub ready: u32,
        pub _rsvd: u32,
        /// Head port of each queue; 0 is empty.
        pub head: [u32; EVTCHN_FIFO_MAX_QUEUES],
    }
}

impl EvtchnStatus {
    /// `u.unbound.dom`: who may bind.
    pub fn set_unbound(&mut self, dom: u16) {
        self.status = EVTCHNSTAT_UNBOUND;
        self.u = [u32::from(dom), 0];
    }

    /// `u.interdomain`: the other end.
    pub fn set_interdomain(&mut self, dom: u16, port: u32) {
        self.status = EVTCHNSTAT_INTERDOMAIN;
        self.u = [u32::from(dom), port];
    }

    /// `u.pirq`.
    pub fn set_pirq(&mut self, pirq: u32) {
        self.status = EVTCHNSTAT_PIRQ;
        self.u = [pirq, 0];
    }

    /// `u.virq`.
    pub fn set_virq(&mut self, virq: u32) {
        self.status = EVTCHNSTAT_VIRQ;
        self.u = [virq, 0];
    }

    pub const fn unbound_dom(&self) -> u16 {
        self.u[0] as u16
    }

    /// Domain and port of the other end.
    pub const fn interdomain(&self) -> (u16, u32) {
        (self.u[0] as u16, self.u[1])
    }

    pub const fn pirq(&self) -> u32 {
        self.u[0]
    }

    pub const fn virq(&self) -> u32 {
        self.u[0]
    }
}
