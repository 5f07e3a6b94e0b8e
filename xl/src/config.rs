//! `xl list -l`: the configurations domains were made from, with what has changed since.
//!
//! Who creates a domain leaves its configuration in a file that every manager of guests reads and keeps up to date
//! (`userdata-d.ID.UUID.libxl-json`).

use std::fs;
use std::path::Path;

use abi::Errno;
use abi::domctl::{DomctlGetdomaininfo, XEN_SCHEDULER_CREDIT2};
use serde_json::{Map, Value, json};
use toolstack::create::{files, vdev};
use toolstack::destroy::USERDATA;
use toolstack::names;
use toolstack::store::Client;
use xenctl::{DomId, Error};

use crate::list::uuid;
use crate::tools::{Done, Failure, Tools, complain};

/// Lists of devices in a configuration, and what the store calls them.
const DEVICES: [(&str, &str); 2] = [("disks", "vbd"), ("nics", "vif")];

pub fn print(tools: &mut Tools, domains: &[DomctlGetdomaininfo]) -> Done {
    let mut all = Vec::new();
    for info in domains {
        match now(tools, info) {
            Ok(config) => all.push(json!({ "domid": info.domain, "config": config })),
            Err(Failure::Refused(e)) => complain(&e),
            Err(e) => return Err(e),
        }
    }
    println!("{:#}", Value::from(all));
    Ok(())
}

/// The configuration of a domain as it is now.
pub fn now(tools: &mut Tools, info: &DomctlGetdomaininfo) -> Done<Value> {
    let path = files::path(Path::new(USERDATA), DomId(info.domain), &uuid(&info.handle));
    let doing = || format!("reading the configuration {}", path.display());
    // A zero ends the text.
    let text = fs::read(&path).map_err(|e| Error::os(doing(), &e))?;
    let text = String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned();
    let wrong = |why: String| Error::new(doing(), Errno::EINVAL).because(why);
    match serde_json::from_str::<Value>(&text).map_err(|e| wrong(e.to_string()))? {
        Value::Object(mut config) => {
            up_to_date(tools, DomId(info.domain), info, &mut config)?;
            Ok(config.into())
        }
        _ => Err(wrong("it holds no configuration".into()).into()),
    }
}

/// Puts in what the store knows better.
fn up_to_date(
    tools: &mut Tools,
    id: DomId,
    info: &DomctlGetdomaininfo,
    config: &mut Map<String, Value>,
) -> Done {
    let (xen, store) = tools.both()?;
    let share = match xen.pool_from(info.cpupool)? {
        Some(pool) if pool.scheduler == XEN_SCHEDULER_CREDIT2 => {
            let share = xen.share(id)?;
            Some(json!({ "sched": "credit2", "weight": share.weight, "cap": share.cap }))
        }
        _ => None,
    };
    let at = format!("/local/domain/{id}");
    let name = names::of_domain(store, id)?;
    let number = |store: &mut Client, path: String| -> Done<Option<u64>> {
        Ok(store.text(&path)?.and_then(|text| text.parse().ok()))
    };
    let most = number(store, format!("{at}/memory/static-max"))?;
    let target = number(store, format!("{at}/memory/target"))?;
    let screen = number(store, format!("{at}/memory/videoram"))?.unwrap_or(0);
    let mut online = Vec::new();
    for n in 0..info.max_vcpu_id.wrapping_add(1) {
        if store.text(&format!("{at}/cpu/{n}/availability"))?.as_deref() == Some("online") {
            online.push(n);
        }
    }
    if let Some(Value::Object(create)) = config.get_mut("c_info") {
        replace(create, "name", name.map(Value::from));
        replace(create, "uuid", Some(uuid(&info.handle).into()));
    }
    if let Some(Value::Object(build)) = config.get_mut("b_info") {
        replace(build, "max_memkb", most.map(Value::from));
        replace(build, "target_memkb", target.map(|t| (t + screen).into()));
        replace(build, "sched_params", share);
        if !online.is_empty() {
            replace(build, "avail_vcpus", Some(online.into()));
        }
    }
    for (list, kind) in DEVICES {
        let there = store.list(&format!("/libxl/{id}/device/{kind}"))?.unwrap_or_default();
        let mut empty = false;
        if let Some(Value::Array(devices)) = config.get_mut(list) {
            devices.retain(|device| number_of(device).is_none_or(|n| there.contains(&n.to_string())));
            empty = devices.is_empty();
        }
        if empty {
            config.remove(list);
        }
    }
    Ok(())
}

/// Only what a configuration has; it stays in its place.
fn replace(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let (Some(place), Some(value)) = (object.get_mut(key), value) {
        *place = value;
    }
}

/// A device's number in the store: of a disk by its name, of a network interface as it stands there.
fn number_of(device: &Value) -> Option<u64> {
    match device.get("vdev") {
        Some(name) => vdev::number(name.as_str()?).map(u64::from),
        None => device.get("devid")?.as_u64(),
    }
}
