//! The console, the machine's end, and private state that a hypercall changed, on this CPU.

use abi::Errno;
use abi::arch_x86::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};
use hypercore::ids::{CpuId, DomId, Mfn};
use hypercore::machine::{HostShutdown, Platform, Reload};
use hypercore::platform_op::Symbol;
use hypercore::vcpu::VcpuPrivate;

use super::machine::Bare;
use super::{debugreg, segments, switch};
use crate::{boot, console, power, symbols};

impl Platform for Bare {
    fn host_shutdown(&self, why: HostShutdown) {
        match why {
            HostShutdown::Halt => {
                console::always(format_args!("Hardware Dom0 halted: halting machine"));
                power::halt()
            }
            HostShutdown::Reboot => {
                console::always(format_args!("Hardware Dom0 shutdown: rebooting machine"));
                power::reboot()
            }
            HostShutdown::Crash | HostShutdown::Watchdog => {
                super::report::dom0_state();
                let what = if why == HostShutdown::Crash { "crashed" } else { "watchdog rebooted" };
                if boot::options::never_reboot() {
                    console::always(format_args!("Hardware Dom0 {what}: 'noreboot' set - not rebooting."));
                    power::halt()
                }
                console::always(format_args!("Hardware Dom0 {what}: rebooting machine in 5 seconds."));
                crate::watchdog::without(|| crate::time::spin_ns(5_000_000_000));
                power::reboot()
            }
        }
    }
    fn console_write(&self, dom: DomId, text: &[u8]) {
        console::guest_write(dom.0, text);
    }
    fn console_read(&self, out: &mut [u8]) -> usize {
        console::read_input(out)
    }
    fn set_segment_base(&self, vp: &mut VcpuPrivate, which: u32, value: u64) {
        // A hypercall comes from the guest's kernel: its own GS base is the loaded one.
        match which {
            SEGBASE_FS => {
                vp.fs_base = value;
                segments::set_fs_base(value);
            }
            SEGBASE_GS_KERNEL => {
                vp.gs_base_kernel = value;
                segments::set_gs_base(value);
            }
            SEGBASE_GS_USER => vp.gs_base_user = value,
            SEGBASE_GS_USER_SEL => {
                // The selector's base goes to the user mode's; the kernel's own stays.
                let kernel = segments::gs_base();
                segments::load_gs(value as u16);
                vp.gs = value as u16;
                vp.gs_base_user = segments::gs_base();
                segments::set_gs_base(kernel);
            }
            _ => {}
        }
    }
    fn messages_read(&self, incremental: bool, index: u32, out: &mut [u8]) -> (u32, usize) {
        let count = out.len() as u32;
        let (end, done) = console::read_ring(incremental, index, count, &mut |at, bytes| {
            out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
            true
        });
        (end.wrapping_sub(done), done as usize)
    }
    fn messages_clear(&self, upto: u32) {
        console::clear_ring(upto);
    }
    fn debug_key(&self, key: u8) {
        console::keys::press(key);
    }
    fn power_off(&self, pm1a: u16, pm1b: u16, extended: bool) -> Result<(), Errno> {
        if extended || boot::acpi().is_none_or(|t| t.fadt.pm1a_cnt == 0) {
            return Err(Errno::ENODEV);
        }
        console::always(format_args!("Preparing system for ACPI S5 state."));
        power::acpi_sleep(pm1a, pm1b);
        Err(Errno::EIO)
    }
    fn clocks(&self) -> Option<(u64, u64)> {
        crate::time::clocks()
    }
    fn acpi_id(&self, cpu: CpuId) -> Option<u32> {
        crate::percpu::identifiers(cpu.0).map(|i| i.1)
    }
    fn mca_read(&self, msr: u32) -> u64 {
        crate::mca::read(msr)
    }
    fn mca_write(&self, msr: u32, value: u64) {
        crate::mca::write(msr, value);
    }
    fn m2p_piece(&self, n: u64) -> Option<Mfn> {
        crate::mm::tables::m2p_chunks()
            .nth(usize::try_from(n).ok()?)
            .filter(|p| *p != 0)
            .map(|p| Mfn(p >> 12))
    }
    fn symbol(&self, n: u32, name: &mut [u8]) -> Option<Symbol> {
        let s = symbols::get(n as usize)?;
        let len = s.name.len().min(name.len());
        name[..len].copy_from_slice(&s.name.as_bytes()[..len]);
        Some(Symbol { address: s.address, kind: b't', name_len: s.name.len() })
    }
    fn reload(&self, vp: &VcpuPrivate, what: Reload) {
        match what {
            Reload::Debug => debugreg::load(vp),
            Reload::TaskSwitched => switch::set_ts(vp.cr0 & 8 != 0),
        }
    }
}
