//! `xl block-list`, `network-list`: devices of guests.

use serde_json::{Value, json};
use toolstack::devices::{Device, devices};
use toolstack::names;
use toolstack::store::Client;
use xenctl::DomId;

use crate::list::pretty;
use crate::tools::{Done, Failure, Tools};

#[derive(clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Of these, by name or number
    #[arg(required = true)]
    domains: Vec<String>,
}

/// Devices of one kind, of each domain that is there, with its number; and whether all are.
fn of_kind(
    tools: &mut Tools,
    args: &Args,
    kind: &str,
    absent: impl Fn(&str) -> String,
) -> Done<(Vec<(DomId, Device)>, bool)> {
    let (mut all, mut all_there) = (Vec::new(), true);
    for called in &args.domains {
        let (xen, store) = tools.both()?;
        let Some(id) = names::domain(xen, store, called)? else {
            eprintln!("{}", absent(called));
            all_there = false;
            continue;
        };
        let found = devices(store, id)?;
        all.extend(found.into_iter().filter(|d| d.kind == kind).map(|d| (id, d)));
    }
    all.sort_by_key(|(id, d)| (*id, d.id.parse::<u32>().unwrap_or(u32::MAX)));
    Ok((all, all_there))
}

/// A number that the frontend has written; -1 before that.
fn number(store: &mut Client, device: &Device, name: &str) -> Done<i64> {
    Ok(device.of_frontend(store, name)?.and_then(|text| text.parse().ok()).unwrap_or(-1))
}

/// `/local/domain/N/backend/...`: who serves the device.
fn served_by(device: &Device) -> &str {
    device.backend.split('/').nth(3).unwrap_or("-1")
}

fn show(args: &Args, header: &str, rows: &[(String, Value)], all_there: bool) -> Done {
    if args.json {
        println!("{}", pretty(&rows.iter().map(|(_, object)| object.clone()).collect()));
    } else {
        println!("{header}");
        rows.iter().for_each(|(row, _)| println!("{row}"));
    }
    if all_there { Ok(()) } else { Err(Failure::Said(1)) }
}

pub fn block_list(tools: &mut Tools, args: &Args) -> Done {
    // Of disks a domain that is not there is told, but no failure: scripts know it so.
    let absent = |called: &str| format!("{called} is an invalid domain identifier");
    let (found, _) = of_kind(tools, args, "vbd", absent)?;
    let store = tools.store()?;
    let mut rows = Vec::new();
    for (domain, device) in &found {
        let [state, port, ring] = [
            number(store, device, "state")?,
            number(store, device, "event-channel")?,
            number(store, device, "ring-ref")?,
        ];
        let (id, by, at) = (&device.id, served_by(device), &device.backend);
        let row = format!("{id:<5} {by:<3} {:<6} {state:<5} {port:<6} {ring:<8} {at:<30}", domain.0);
        let object = json!({
            "domid": domain.0, "vdev": id, "backend_domid": by, "state": state, "event_channel": port,
            "ring_ref": ring, "backend": at, "target": device.of_backend(store, "params")?,
            "mode": device.of_backend(store, "mode")?,
        });
        rows.push((row, object));
    }
    let header = format!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}",
        "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"
    );
    show(args, &header, &rows, true)
}

pub fn network_list(tools: &mut Tools, args: &Args) -> Done {
    let absent = |called: &str| format!("{called} is an invalid domain identifier (rc=-6)");
    let (found, all_there) = of_kind(tools, args, "vif", absent)?;
    let store = tools.store()?;
    let mut rows = Vec::new();
    for (domain, device) in &found {
        let [handle, state, port, tx, rx] = [
            number(store, device, "handle")?,
            number(store, device, "state")?,
            number(store, device, "event-channel")?,
            number(store, device, "tx-ring-ref")?,
            number(store, device, "rx-ring-ref")?,
        ];
        let mac = device.of_frontend(store, "mac")?.unwrap_or_default();
        let (id, by, at) = (&device.id, served_by(device), &device.backend);
        let row = format!("{id:<3} {by:<2} {mac:<17} {handle:5} {state:5} {port:6} {tx:5}/{rx:<11} {at:<30}");
        let object = json!({
            "domid": domain.0, "devid": id, "backend_domid": by, "mac": mac, "state": state, "event_channel": port,
            "tx_ring_ref": tx, "rx_ring_ref": rx, "backend": at, "bridge": device.of_backend(store, "bridge")?,
        });
        rows.push((row, object));
    }
    let header = format!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>17} {:<30}",
        "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-/rx-ring-ref", "BE-path"
    );
    show(args, &header, &rows, all_there)
}
