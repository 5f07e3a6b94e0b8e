//! Network interfaces: xl-network-configuration(5).

use super::reader::Reader;
use super::spec::{Pair, pairs};
use crate::config::diagnostic::Diagnostic;
use crate::config::globals::Globals;
use crate::config::model::{DefBool, Mac, Nic, NicType};
use crate::config::syntax::Value;

const KNOWN: &[&str] = &[
    "mac",
    "bridge",
    "gatewaydev",
    "type",
    "model",
    "vifname",
    "script",
    "ip",
    "backend",
    "rate",
    "devid",
    "mtu",
    "trusted",
    "untrusted",
    "forwarddev",
];
/// How often the credit of a limited interface is filled up, if not said.
const DEFAULT_INTERVAL_US: u64 = 50_000;

/// Every element of `vif`.
pub fn nics(reader: &mut Reader<'_>, globals: &Globals) -> Vec<Nic> {
    let mut nics = Vec::new();
    for (index, item) in reader.list("vif").iter().enumerate() {
        let Some(text) = reader.item("vif", item) else { continue };
        let mut nic = nic(reader, item, text, globals);
        nic.devid = nic.devid.or(i32::try_from(index).ok());
        nics.push(nic);
    }
    nics
}

/// What a description says, and this host's defaults.
pub fn nic(reader: &mut Reader<'_>, source: &Value, text: &str, globals: &Globals) -> Nic {
    let mut nic = Nic {
        script: globals.vif_script.clone(),
        bridge: globals.vif_bridge.clone(),
        gatewaydev: globals.vif_gatewaydev.clone(),
        backend_domname: globals.vif_backend.clone(),
        ..Nic::default()
    };
    for pair in pairs(source, text) {
        one(reader, &mut nic, &pair);
    }
    nic
}

fn one(reader: &mut Reader<'_>, nic: &mut Nic, pair: &Pair<'_>) {
    match pair.key {
        "mac" => match pair.text(reader).map(Mac::parse) {
            Some(Some(mac)) => nic.mac = mac,
            Some(None) => pair.wrong(reader, "six pairs of hexadecimal digits: 00:16:3e:12:34:56"),
            None => {}
        },
        "bridge" => nic.bridge = pair.owned(reader),
        "gatewaydev" => nic.gatewaydev = pair.owned(reader),
        "netdev" => {
            nic.gatewaydev = pair.owned(reader);
            let message = "`netdev` is the old name of `gatewaydev`";
            reader.diagnostics.push(Diagnostic::warning(pair.at(), message).help("write gatewaydev=..."));
        }
        "type" => {
            let types = [("ioemu", NicType::VifIoemu), ("vif", NicType::Vif)];
            nic.nictype = pair.choice(reader, &types).unwrap_or_default();
        }
        "model" => nic.model = pair.owned(reader),
        "vifname" => nic.ifname = pair.owned(reader),
        "script" => nic.script = pair.owned(reader),
        "ip" => nic.ip = pair.owned(reader),
        "backend" => nic.backend_domname = pair.owned(reader),
        "forwarddev" => nic.coloft_forwarddev = pair.owned(reader),
        "devid" => {
            nic.devid = pair.number(reader, 0, i64::from(i32::MAX)).and_then(|n| i32::try_from(n).ok())
        }
        "mtu" => nic.mtu = pair.number(reader, 68, 65_535).and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        "rate" => match pair.text(reader).map(rate) {
            Some(Some((bytes, interval))) => {
                (nic.rate_bytes_per_interval, nic.rate_interval_usecs) = (bytes, interval);
            }
            Some(None) => pair.wrong(reader, "a rate like 10Mb/s or 250KB/s, with an interval 1MB/s@20ms"),
            None => {}
        },
        "trusted" if pair.value.is_none() => nic.trusted = DefBool::True,
        "untrusted" if pair.value.is_none() => nic.trusted = DefBool::False,
        "accel" => pair.ignore(reader, "a network interface", KNOWN),
        _ => pair.ignore(reader, "a network interface", KNOWN),
    }
}

/// Bytes an interval, and its microseconds, out of `RATE[@INTERVAL]`.
fn rate(text: &str) -> Option<(u64, u32)> {
    let (rate, interval) =
        text.split_once('@').map_or((text, None), |(rate, interval)| (rate, Some(interval)));
    let amount = rate.strip_suffix("/s")?;
    let (digits, unit) = amount.split_at(amount.find(|c: char| !c.is_ascii_digit())?);
    let bits: u64 = match unit {
        "GB" => 8_000_000_000,
        "MB" => 8_000_000,
        "KB" => 8_000,
        "B" => 8,
        "Gb" => 1_000_000_000,
        "Mb" => 1_000_000,
        "Kb" => 1_000,
        "b" => 1,
        _ => return None,
    };
    let bytes_per_s = digits.parse::<u64>().ok()?.checked_mul(bits)? / 8;
    let interval_us = match interval {
        None => DEFAULT_INTERVAL_US,
        Some(interval) => {
            let end = interval.find(|c: char| !c.is_ascii_digit()).unwrap_or(interval.len());
            let (digits, unit) = interval.split_at(end);
            let scale = match unit {
                "us" => 1,
                "ms" => 1_000,
                "s" | "" => 1_000_000,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(scale)?
        }
    };
    let interval = u32::try_from(interval_us).ok().filter(|us| *us > 0)?;
    let bytes = u128::from(bytes_per_s) * u128::from(interval_us) / 1_000_000;
    // The driver counts with 32 bits.
    u64::try_from(bytes).ok().filter(|bytes| *bytes <= u64::from(u32::MAX)).map(|bytes| (bytes, interval))
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rates_of_the_manual() {
        let cases = [
            ("10Mb/s", Some((62_500, 50_000))),
            ("250KB/s", Some((12_500, 50_000))),
            ("1MB/s@20ms", Some((20_000, 20_000))),
            ("1GB/s@1s", Some((1_000_000_000, 1_000_000))),
            ("10MB/s@5", Some((50_000_000, 5_000_000))),
            ("100b/s@10us", Some((0, 10))),
            ("1", None),
            ("1MB", None),
            ("1mb/s", None),
            ("MB/s", None),
            ("1MB/s@0ms", None),
            ("99999999GB/s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(rate(text), expected, "{text}");
        }
    }
}
