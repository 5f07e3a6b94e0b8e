//! USB controllers, and devices of the host behind them.

use super::reader::Reader;
use super::small::each;
use super::spec::Pair;
use crate::config::model::{DomainConfig, HostUsb, UsbCtrl, UsbCtrlType, UsbDev};
use crate::config::syntax::Value;

pub fn usb(reader: &mut Reader<'_>, out: &mut DomainConfig) {
    out.usbctrls = each(reader, "usbctrl", controller);
    out.usbdevs = each(reader, "usbdev", device);
}

fn controller(reader: &mut Reader<'_>, _: &Value, pairs: &[Pair<'_>], devid: i32) -> UsbCtrl {
    let mut out = UsbCtrl { devid: Some(devid), ..UsbCtrl::default() };
    for pair in pairs {
        let small = |reader: &mut Reader<'_>, to| {
            pair.number(reader, 1, to).and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
        };
        match pair.key {
            "type" => {
                let names: Vec<(&str, UsbCtrlType)> =
                    UsbCtrlType::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
                out.kind = pair.choice(reader, &names).unwrap_or_default();
            }
            "version" => out.version = small(reader, 3),
            "ports" => out.ports = small(reader, 31),
            _ => pair.refuse(reader, "a USB controller", &["type", "version", "ports"]),
        }
    }
    out
}

fn device(reader: &mut Reader<'_>, item: &Value, pairs: &[Pair<'_>], _: i32) -> UsbDev {
    let mut out = UsbDev::default();
    let (mut bus, mut address) = (None, None);
    for pair in pairs {
        let byte = |reader: &mut Reader<'_>| pair.number(reader, 1, 255).and_then(|n| u8::try_from(n).ok());
        match pair.key {
            "type" => {
                pair.choice(reader, &[("hostdev", ())]);
            }
            "hostbus" => bus = byte(reader),
            "hostaddr" => address = byte(reader),
            "controller" => out.ctrl = pair.number(reader, 0, 255).and_then(|n| i32::try_from(n).ok()),
            "port" => out.port = pair.number(reader, 1, 31).and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
            _ => pair.refuse(reader, "a USB device", &["type", "hostbus", "hostaddr", "controller", "port"]),
        }
    }
    match (bus, address) {
        (Some(hostbus), Some(hostaddr)) => {
            out.hostdev = Some(HostUsb { hostbus, hostaddr, ..HostUsb::default() });
        }
        _ if reader.failed() => {}
        _ => reader.error(
            item,
            "which USB device of the host is this?",
            "write hostbus=N,hostaddr=N, as lsusb shows them",
        ),
    }
    out
}
