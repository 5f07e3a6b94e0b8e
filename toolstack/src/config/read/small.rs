//! Devices of few parameters: TPMs, shared file systems, sockets, displays, device tree nodes.

use super::reader::Reader;
use super::spec::{Pair, pairs};
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{Connector, DomainConfig, DtDev, P9, PvCalls, Uuid, Vdispl, Vtpm};
use crate::config::syntax::Value;

pub fn devices(reader: &mut Reader<'_>, out: &mut DomainConfig) {
    out.vtpms = each(reader, "vtpm", vtpm);
    out.p9s = each(reader, "p9", p9);
    out.pvcallsifs = each(reader, "pvcalls", pvcalls);
    out.vdispls = each(reader, "vdispl", vdispl);
    out.dtdevs = reader
        .strings("dtdev", false)
        .into_iter()
        .map(|path| DtDev { path: Some(path), ..DtDev::default() })
        .collect();
}

/// Every element of `key`, with its number in the list.
pub fn each<T>(
    reader: &mut Reader<'_>,
    key: &str,
    one: impl Fn(&mut Reader<'_>, &Value, &[Pair<'_>], i32) -> T,
) -> Vec<T> {
    let mut out = Vec::new();
    for (index, item) in reader.list(key).iter().enumerate() {
        let Some(text) = reader.item(key, item) else { continue };
        let pairs: Vec<Pair<'_>> = pairs(item, text).collect();
        out.push(one(reader, item, &pairs, index as i32));
    }
    out
}

fn vtpm(reader: &mut Reader<'_>, item: &Value, pairs: &[Pair<'_>], devid: i32) -> Vtpm {
    let mut out = Vtpm { devid: Some(devid), ..Vtpm::default() };
    for pair in pairs {
        match pair.key {
            "backend" => out.backend_domname = pair.owned(reader),
            "uuid" => match pair.text(reader).map(Uuid::parse) {
                Some(Some(uuid)) => out.uuid = uuid,
                Some(None) => pair.wrong(reader, "8-4-4-4-12 hexadecimal digits"),
                None => {}
            },
            _ => pair.refuse(reader, "a vTPM", &["backend", "uuid"]),
        }
    }
    if out.backend_domname.is_none() {
        reader.error(
            item,
            "this vTPM has no backend",
            "write backend=DOMAIN, the name or number of the vTPM's domain",
        );
    }
    out
}

fn p9(reader: &mut Reader<'_>, item: &Value, pairs: &[Pair<'_>], _: i32) -> P9 {
    let mut out = P9::default();
    for pair in pairs {
        match pair.key {
            "tag" => out.tag = pair.owned(reader),
            "path" => out.path = pair.owned(reader),
            "security_model" => out.security_model = pair.owned(reader),
            "backend" => out.backend_domname = pair.owned(reader),
            _ => pair.refuse(reader, "a 9pfs share", &["tag", "path", "security_model", "backend"]),
        }
    }
    for (name, value) in [("tag", &out.tag), ("path", &out.path), ("security_model", &out.security_model)] {
        if value.is_none() {
            let help = "write tag=NAME,path=/folder,security_model=none";
            reader.error(item, format!("this 9pfs share has no `{name}`"), help);
        }
    }
    out
}

fn pvcalls(reader: &mut Reader<'_>, _: &Value, pairs: &[Pair<'_>], devid: i32) -> PvCalls {
    let mut out = PvCalls { devid: Some(devid), ..PvCalls::default() };
    for pair in pairs {
        match pair.key {
            "backend" => out.backend_domname = pair.owned(reader),
            _ => pair.refuse(reader, "a pvcalls device", &["backend"]),
        }
    }
    out
}

fn vdispl(reader: &mut Reader<'_>, _: &Value, pairs: &[Pair<'_>], devid: i32) -> Vdispl {
    let mut out = Vdispl { devid: Some(devid), ..Vdispl::default() };
    for pair in pairs {
        match pair.key {
            "backend" => out.backend_domname = pair.owned(reader),
            "be-alloc" => out.be_alloc = pair.flag(reader).unwrap_or(false),
            "connectors" => {
                for text in pair.text(reader).unwrap_or_default().split(';') {
                    match connector(text.trim()) {
                        Some(connector) => out.connectors.push(connector),
                        None => {
                            let message = format!("\"{text}\" is no connector");
                            let error = Diagnostic::error(pair.at(), message);
                            reader.diagnostics.push(error.help("write NAME:WIDTHxHEIGHT: id0:1920x1080"));
                        }
                    }
                }
            }
            _ => pair.refuse(reader, "a display", &["backend", "be-alloc", "connectors"]),
        }
    }
    out
}

fn connector(text: &str) -> Option<Connector> {
    let (name, size) = text.split_once(':')?;
    let (width, height) = size.split_once('x')?;
    let (width, height) = (width.parse().ok()?, height.parse().ok()?);
    Some(Connector { unique_id: Some(name.into()), width, height, ..Connector::default() })
}
