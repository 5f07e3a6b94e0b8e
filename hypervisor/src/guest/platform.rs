//! The console, the machine's end, and private state that a hypercall changed, on this CPU.

use abi::arch_x86::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};
use hypercore::ids::DomId;
use hypercore::machine::{HostShutdown, Platform, Reload};
use hypercore::vcpu::VcpuPrivate;

use super::machine::Bare;
use super::{debugreg, segments, switch};
use crate::{boot, console, power};

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
                let what = if why == HostShutdown::Crash { "crashed" } else { "watchdog rebooted" };
                if boot::options::never_reboot() {
                    console::always(format_args!("Hardware Dom0 {what}: 'noreboot' set - not rebooting."));
                    power::halt()
                }
                console::always(format_args!("Hardware Dom0 {what}: rebooting machine in 5 seconds."));
                crate::time::spin_ns(5_000_000_000);
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
    fn reload(&self, vp: &VcpuPrivate, what: Reload) {
        match what {
            Reload::Debug => debugreg::load(vp),
            Reload::TaskSwitched => switch::set_ts(vp.cr0 & 8 != 0),
        }
    }
}
