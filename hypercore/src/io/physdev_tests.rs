//! `physdev_op` as a kernel with hardware calls it.

use super::*;
use crate::ids::Port;
use crate::machine::{Devices, Frames};
use crate::testing::{Guest, Scratch, World};
use crate::xen::Stop;
use alloc::boxed::Box;
use zerocopy::{Immutable, IntoBytes};

const IOAPIC: u64 = 0xfec0_0000;

fn bed() -> (Guest, Scratch) {
    let w = World::new(512, 1);
    let g = w.domain(0, 1);
    g.dom.io.irqs.write().add(0, 23).unwrap();
    (g, Scratch::new(w.xen))
}

fn ask<T: IntoBytes + Immutable>(g: &Guest, s: &mut Scratch, cmd: u32, arg: &T) -> Result<u64, Errno> {
    let at = s.put(arg);
    g.call(0, |cx| physdev_op(cx, cmd, at)).map_err(|stop| match stop {
        Stop::Errno(e) => e,
        Stop::Continue => panic!("goes on"),
    })
}

#[test]
fn writing_a_pin_tells_its_wiring() {
    let (g, mut s) = bed();
    let mut write = |base, reg, value| {
        ask(&g, &mut s, PHYSDEVOP_APIC_WRITE, &PhysdevApic { apic_physbase: base, reg, value })
    };
    assert_eq!(write(IOAPIC, 0x10 + 2 * 20, 1 << 16 | 1 << 15 | 1 << 13), Ok(0));
    let wiring = g.xen.m.devices.wiring.lock().unwrap().clone();
    assert_eq!(wiring[&Irq(20)], (Trigger::Level, Polarity::Low));
    assert_eq!(wiring.len(), 1);
    // Nobody's pin, the target, an NMI, the version, another unit.
    for (base, reg, value) in [
        (IOAPIC, 0x10 + 2 * 24, 0),
        (IOAPIC, 0x11, 0),
        (IOAPIC, 0x10, 4 << 8),
        (IOAPIC, 1, 0),
        (IOAPIC + 0x1000, 0x10, 0),
    ] {
        assert_eq!(write(base, reg, value), Err(Errno::EINVAL), "{base:x} {reg:x}");
    }
    assert_eq!(g.xen.m.devices.wiring.lock().unwrap().len(), 1);
}

#[test]
fn windows_of_configuration_space_are_where_firmware_has_them() {
    let (g, mut s) = bed();
    let mut tell = |address, end_bus| {
        let op = PhysdevPciMmcfgReserved { address, segment: 0, start_bus: 0, end_bus, flags: 1 };
        ask(&g, &mut s, PHYSDEVOP_PCI_MMCFG_RESERVED, &op)
    };
    assert_eq!(tell(0xe000_0000, 0), Ok(0));
    assert_eq!(tell(0x9000_0000, 0), Err(Errno::EIO));
    assert_eq!(tell(0xe000_0000, 9), Err(Errno::ENODEV));
}

/// Maps and binds a pin.
fn bind(g: &Guest, s: &mut Scratch, gsi: u32) -> Port {
    ask(g, s, PHYSDEVOP_ALLOC_IRQ_VECTOR, &PhysdevIrq { irq: gsi, vector: 0 }).unwrap();
    crate::event::bind::bind_pirq(g.xen, &g.dom, gsi, false).unwrap()
}

#[test]
fn a_page_tells_which_interrupts_need_an_eoi() {
    let (g, mut s) = bed();
    g.xen.m.gsi_setup(Irq(9), Trigger::Level, Polarity::High).unwrap();
    g.xen.m.gsi_setup(Irq(20), Trigger::Level, Polarity::High).unwrap();
    bind(&g, &mut s, 9);
    bind(&g, &mut s, 8);
    let page = g.frame();
    let set = |s: &mut Scratch, gmfn| ask(&g, s, PHYSDEVOP_PIRQ_EOI_GMFN_V2, &PhysdevPirqEoiGmfn { gmfn });
    assert_eq!(set(&mut s, 1 << 38), Err(Errno::EINVAL));
    assert_eq!(set(&mut s, page.0), Ok(0));
    assert_eq!(set(&mut s, page.0), Err(Errno::EBUSY));
    let bits = || g.xen.m.debug_load(page, 0);
    assert_eq!(bits(), 1 << 9, "an edge needs none");
    bind(&g, &mut s, 20);
    assert_eq!(bits(), 1 << 9 | 1 << 20);
    irq::pirq_unbind(g.xen, &g.dom, 9);
    assert_eq!(bits(), 1 << 20);
    let report = crate::mm::audit::audit(g.xen).unwrap();
    assert!(report.is_clean(), "{report:?}");
    irq::teardown(g.xen, &g.dom);
    let report = crate::mm::audit::audit(g.xen).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_pirq_that_is_unmapped_while_it_is_bound_shows_nothing() {
    let (g, mut s) = bed();
    g.xen.m.gsi_setup(Irq(9), Trigger::Level, Polarity::High).unwrap();
    let page = g.frame();
    ask(&g, &mut s, PHYSDEVOP_PIRQ_EOI_GMFN_V2, &PhysdevPirqEoiGmfn { gmfn: page.0 }).unwrap();
    ask(&g, &mut s, PHYSDEVOP_ALLOC_IRQ_VECTOR, &PhysdevIrq { irq: 9, vector: 0 }).unwrap();
    let (xen, dom) = (g.xen, g.dom.clone());
    let other = g.dom.clone();
    *xen.m.devices.before_start.lock().unwrap() = Some(Box::new(move || {
        irq::unmap(xen, &other, 9).unwrap();
        let p = Pirq { irq: Irq(9), msi: None, port: None, needs_eoi: true, in_service: false };
        other.io.pirqs.lock().insert(9, p).unwrap();
    }));
    assert_eq!(crate::event::bind::bind_pirq(xen, &dom, 9, false).err(), Some(Errno::EINVAL));
    assert_eq!(xen.m.debug_load(page, 0), 0);
    assert_eq!(xen.irqs.owner(Irq(9)), None);
    // It can be bound then.
    assert!(crate::event::bind::bind_pirq(xen, &dom, 9, false).is_ok());
    assert_eq!(xen.m.debug_load(page, 0), 1 << 9);
}

#[test]
fn the_pages_first_version_unmasks_with_the_eoi() {
    for (cmd, masked) in [(PHYSDEVOP_PIRQ_EOI_GMFN_V1, false), (PHYSDEVOP_PIRQ_EOI_GMFN_V2, true)] {
        let (g, mut s) = bed();
        let port = bind(&g, &mut s, 9);
        let page = g.frame();
        ask(&g, &mut s, cmd, &PhysdevPirqEoiGmfn { gmfn: page.0 }).unwrap();
        let word = core::mem::offset_of!(abi::xen::SharedInfo, evtchn_mask);
        g.xen.m.store(&g.dom.shared_info, word, 1 << port.0);
        ask(&g, &mut s, PHYSDEVOP_EOI, &PhysdevEoi { irq: 9 }).unwrap();
        assert_eq!(g.xen.m.load(&g.dom.shared_info, word) != 0, masked);
    }
}

#[test]
fn interrupts_that_are_fixed_do_not_move() {
    let w = World::new(512, 2);
    let g = w.domain(0, 2);
    g.dom.io.irqs.write().add(0, 23).unwrap();
    let mut s = Scratch::new(w.xen);
    bind(&g, &mut s, 9);
    let on = || g.xen.m.devices.started.lock().unwrap()[&Irq(9)];
    let second = g.dom.vcpu(crate::ids::VcpuId(1)).unwrap();
    let before = on();
    g.xen.irqs.fix();
    irq::pirq_set_vcpu(g.xen, &g.dom, 9, second.id);
    assert_eq!(on(), before);
}
