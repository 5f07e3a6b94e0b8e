//! Devices of the host machine: ports that remember, a configuration space, no real interrupts.

use super::machine::HostMachine;
use crate::ids::{CpuId, DomId, Irq};
use crate::io::pci::Bdf;
use crate::machine::{Devices, HostShutdown, Platform, Polarity, Reload, Trigger};
use crate::vcpu::VcpuPrivate;
use abi::Errno;
use core::sync::atomic::Ordering::SeqCst;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

/// GSIs there are.
pub const NR_GSIS: u32 = 24;

/// What tests see of devices.
#[derive(Default)]
pub struct HostDevices {
    pub ports: Mutex<BTreeMap<u16, u32>>,
    pub cmos: Mutex<BTreeMap<u8, u8>>,
    /// Configuration bytes by device.
    pub pci: Mutex<BTreeMap<Bdf, Vec<u8>>>,
    pub mmio: Mutex<BTreeMap<u64, u32>>,
    pub started: Mutex<BTreeMap<Irq, CpuId>>,
    /// What another CPU does just before the next pin starts.
    pub before_start: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    pub wiring: Mutex<BTreeMap<Irq, (Trigger, Polarity)>>,
    pub msis: Mutex<Vec<Irq>>,
    /// What domains wrote to the console, and what was typed.
    pub written: Mutex<Vec<(DomId, Vec<u8>)>>,
    pub typed: Mutex<Vec<u8>>,
    pub shutdowns: Mutex<Vec<HostShutdown>>,
    pub reloads: Mutex<Vec<Reload>>,
    /// Machine-check registers, the same on every CPU.
    pub msrs: Mutex<BTreeMap<u32, u64>>,
}

impl Devices for HostMachine {
    fn port_read(&self, port: u16, bytes: u8) -> u32 {
        let v = self.devices.ports.lock().unwrap().get(&port).copied().unwrap_or(0);
        v & (u32::MAX >> (32 - 8 * u32::from(bytes)))
    }
    fn port_write(&self, port: u16, _bytes: u8, value: u32) {
        self.devices.ports.lock().unwrap().insert(port, value);
    }
    fn cmos_read(&self, index: u8) -> u8 {
        self.devices.cmos.lock().unwrap().get(&index).copied().unwrap_or(0)
    }
    fn cmos_write(&self, index: u8, value: u8) {
        self.devices.cmos.lock().unwrap().insert(index, value);
    }
    fn pci_cfg_read(&self, bdf: Bdf, reg: u16, bytes: u8) -> u32 {
        let pci = self.devices.pci.lock().unwrap();
        let Some(space) = pci.get(&bdf) else { return u32::MAX >> (32 - 8 * u32::from(bytes)) };
        (0..u32::from(bytes)).fold(0, |v, i| v | u32::from(space[reg as usize + i as usize]) << (8 * i))
    }
    fn pci_cfg_write(&self, bdf: Bdf, reg: u16, bytes: u8, value: u32) {
        if let Some(space) = self.devices.pci.lock().unwrap().get_mut(&bdf) {
            for i in 0..usize::from(bytes) {
                space[reg as usize + i] = (value >> (8 * i)) as u8;
            }
        }
    }
    fn mmio_write32(&self, phys: u64, value: u32) -> Option<()> {
        self.devices.mmio.lock().unwrap().insert(phys, value);
        Some(())
    }
    fn nr_gsis(&self) -> u32 {
        NR_GSIS
    }
    fn gsi_exists(&self, gsi: u32) -> bool {
        gsi < NR_GSIS
    }
    fn gsi_setup(&self, irq: Irq, trigger: Trigger, polarity: Polarity) -> Result<(), Errno> {
        self.devices.wiring.lock().unwrap().insert(irq, (trigger, polarity));
        Ok(())
    }
    fn gsi_trigger(&self, irq: Irq) -> Trigger {
        self.devices.wiring.lock().unwrap().get(&irq).map_or(Trigger::Edge, |w| w.0)
    }
    fn ioapic_read(&self, _base: u64, _reg: u32) -> Option<u32> {
        None
    }
    fn ioapic_gsi(&self, base: u64, pin: u32) -> Option<u32> {
        (base == 0xfec0_0000 && pin < NR_GSIS).then_some(pin)
    }
    fn irq_start_gsi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        let meanwhile = self.devices.before_start.lock().unwrap().take();
        if let Some(f) = meanwhile {
            f();
        }
        self.devices.started.lock().unwrap().insert(irq, cpu);
        Ok(())
    }
    fn irq_start_msi(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        self.irq_start_gsi(irq, cpu)
    }
    fn irq_stop(&self, irq: Irq) {
        self.devices.started.lock().unwrap().remove(&irq);
    }
    fn irq_set_affinity(&self, irq: Irq, cpu: CpuId) -> Result<(), Errno> {
        self.irq_start_gsi(irq, cpu)
    }
    fn msi_alloc(&self) -> Option<Irq> {
        let mut msis = self.devices.msis.lock().unwrap();
        let irq = (NR_GSIS..256).map(Irq).find(|i| !msis.contains(i))?;
        msis.push(irq);
        Some(irq)
    }
    fn msi_free(&self, irq: Irq) {
        self.devices.msis.lock().unwrap().retain(|i| *i != irq);
    }
    fn msi_message(&self, irq: Irq) -> Option<(u64, u32)> {
        self.devices.started.lock().unwrap().get(&irq).map(|c| (0xfee0_0000 | u64::from(c.0) << 12, irq.0))
    }
}

impl Platform for HostMachine {
    fn acpi_id(&self, cpu: CpuId) -> Option<u32> {
        Some(cpu.0)
    }
    fn clocks(&self) -> Option<(u64, u64)> {
        let platform = self.platform_ns.load(SeqCst);
        (platform != u64::MAX).then(|| (self.clock_ns.load(SeqCst), platform))
    }
    fn host_shutdown(&self, why: HostShutdown) {
        self.devices.shutdowns.lock().unwrap().push(why);
    }
    fn console_write(&self, dom: DomId, text: &[u8]) {
        self.devices.written.lock().unwrap().push((dom, text.to_vec()));
    }
    fn console_read(&self, out: &mut [u8]) -> usize {
        let mut typed = self.devices.typed.lock().unwrap();
        let n = typed.len().min(out.len());
        for (to, from) in out.iter_mut().zip(typed.drain(..n)) {
            *to = from;
        }
        n
    }
    fn set_segment_base(&self, vp: &mut VcpuPrivate, which: u32, value: u64) {
        match which {
            abi::arch_x86::SEGBASE_FS => vp.fs_base = value,
            abi::arch_x86::SEGBASE_GS_USER => vp.gs_base_user = value,
            abi::arch_x86::SEGBASE_GS_KERNEL => vp.gs_base_kernel = value,
            _ => vp.gs = value as u16,
        }
    }
    fn mca_read(&self, msr: u32) -> u64 {
        self.devices.msrs.lock().unwrap().get(&msr).copied().unwrap_or(0)
    }
    fn mca_write(&self, msr: u32, value: u64) {
        self.devices.msrs.lock().unwrap().insert(msr, value);
    }
    fn reload(&self, _vp: &VcpuPrivate, what: Reload) {
        self.devices.reloads.lock().unwrap().push(what);
    }
}
