//! PCI devices of the host given to the guest: xl-pci-configuration(5).

use super::reader::Reader;
use super::spec::{Pair, pairs};
use crate::config::model::{DefBool, DomainConfig, Pci, RdmPolicy};

const KNOWN: &[&str] =
    &["bdf", "vslot", "name", "permissive", "msitranslate", "seize", "power_mgmt", "rdm_policy"];
const FORM: &str =
    "[DOMAIN:]BUS:DEVICE.FUNCTION in hexadecimal, FUNCTION * for all: 00:1d.0, 0000:03:00.*; @SLOT after it";

pub fn pci(reader: &mut Reader<'_>, config: &mut DomainConfig) {
    let msitranslate = reader.flag("pci_msitranslate").or(false);
    let power_mgmt = reader.flag("pci_power_mgmt").or(false);
    let permissive = reader.flag("pci_permissive").or(false);
    let seize = reader.flag("pci_seize").or(false);
    for item in reader.list("pci") {
        let Some(text) = reader.item("pci", item) else { continue };
        let mut device = Pci {
            msitranslate,
            power_mgmt,
            permissive,
            seize,
            rdm_policy: RdmPolicy::Strict,
            ..Pci::default()
        };
        let before = reader.diagnostics.len();
        let mut named = false;
        for (index, pair) in pairs(item, text).enumerate() {
            named |= matches!(pair.key, "bdf" | "name") || (index == 0 && pair.value.is_none());
            one(reader, &mut device, &pair, index);
        }
        if !named && reader.diagnostics.len() == before {
            reader.error(item, "which device is this?", format!("it begins with {FORM}"));
        }
        config.pcidevs.push(device);
    }
    // A guest with devices sees the host's holes in its memory map.
    if !config.pcidevs.is_empty()
        && let Some(pv) = &mut config.b_info.pv
    {
        pv.e820_host = DefBool::True;
    }
}

fn one(reader: &mut Reader<'_>, device: &mut Pci, pair: &Pair<'_>, index: usize) {
    match pair.key {
        address if index == 0 && pair.value.is_none() => {
            let (address, slot) =
                address.split_once('@').map_or((address, None), |(address, slot)| (address, Some(slot)));
            if !bdf(device, address) || slot.is_some_and(|slot| !vslot(device, slot)) {
                reader.diagnostics.push(
                    crate::config::Diagnostic::error(pair.at(), format!("\"{}\" is no PCI device", pair.key))
                        .help(format!("write {FORM}")),
                );
            }
        }
        "bdf" => {
            if pair.text(reader).is_some_and(|text| !bdf(device, text)) {
                pair.wrong(reader, FORM);
            }
        }
        "vslot" => {
            if pair.text(reader).is_some_and(|text| !vslot(device, text)) {
                pair.wrong(reader, "a slot from 0 to 1f in hexadecimal");
            }
        }
        "name" => device.name = pair.owned(reader),
        "permissive" => device.permissive = pair.flag(reader).unwrap_or(false),
        "msitranslate" => device.msitranslate = pair.flag(reader).unwrap_or(false),
        "seize" => device.seize = pair.flag(reader).unwrap_or(false),
        "power_mgmt" => device.power_mgmt = pair.flag(reader).unwrap_or(false),
        "rdm_policy" => {
            let policies = [("strict", RdmPolicy::Strict), ("relaxed", RdmPolicy::Relaxed)];
            device.rdm_policy = pair.choice(reader, &policies).unwrap_or_default();
        }
        _ => pair.refuse(reader, "a PCI device", KNOWN),
    }
}

fn hex(text: &str, max: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(text, 16).ok()).flatten().filter(|n| *n <= max)
}

fn bdf(device: &mut Pci, text: &str) -> bool {
    let parse = || {
        let (place, function) = text.split_once('.')?;
        let parts: Vec<&str> = place.split(':').collect();
        let (domain, bus, slot) = match parts[..] {
            [bus, slot] => ("0", bus, slot),
            [domain, bus, slot] => (domain, bus, slot),
            _ => return None,
        };
        let (function, mask) = match function {
            "*" => (0, u32::MAX),
            one => (hex(one, 7)?, 1),
        };
        Some((hex(domain, 0xffff)?, hex(bus, 0xff)?, hex(slot, 0x1f)?, function, mask))
    };
    let Some((domain, bus, slot, function, mask)) = parse() else { return false };
    device.domain = domain as i32;
    (device.bus, device.dev, device.func) = (bus as u8, slot as u8, function as u8);
    device.vfunc_mask = mask;
    true
}

fn vslot(device: &mut Pci, text: &str) -> bool {
    let slot = hex(text, 0x1f);
    device.vdevfn = slot.unwrap_or(0) << 3;
    slot.is_some()
}
