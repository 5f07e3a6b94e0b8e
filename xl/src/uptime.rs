//! `xl uptime`: since when domains have been running.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use xenctl::DomId;

use crate::list::{chosen, pretty};
use crate::tools::{Done, Tools};

#[derive(clap::Args)]
pub struct Args {
    /// A line for each, with the time of day
    #[arg(short, long)]
    short: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only these, by name or number
    domains: Vec<String>,
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Seconds for which the domain has been running; of dom0 the kernel knows it.
fn running(tools: &mut Tools, id: DomId) -> Done<u64> {
    if id.0 == 0 {
        let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
        return Ok(text.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0));
    }
    let store = tools.store()?;
    let start = match store.text(&format!("/local/domain/{id}/vm"))? {
        Some(vm) => store.text(&format!("{vm}/start_time"))?,
        None => None,
    };
    // With a fraction, as who created the domain liked.
    let start = start.and_then(|s| s.split('.').next()?.parse::<u64>().ok());
    Ok(start.map_or(0, |start| now().saturating_sub(start)))
}

/// Days, if there are any, and a clock.
fn days(seconds: u64) -> String {
    match seconds / 86400 {
        0 => String::new(),
        1 => "1 day, ".into(),
        n => format!("{n} days, "),
    }
}

fn clock(seconds: u64) -> String {
    format!("{:2}:{:02}", seconds / 3600 % 24, seconds / 60 % 60)
}

pub fn uptime(tools: &mut Tools, args: &Args) -> Done {
    let mut objects: Vec<Value> = Vec::new();
    let domains = chosen(tools, &args.domains)?;
    if !args.short && !args.json {
        println!("Name                                ID Uptime");
    }
    for domain in domains {
        let id = DomId(domain.domain);
        let (name, seconds) = (tools.name(id)?, running(tools, id)?);
        if args.json {
            objects.push(json!({ "domid": id.0, "name": name, "uptime_s": seconds }));
        } else if args.short {
            let time = xenctl::clock::time_of_day();
            let (h, m, s) = (time / 3600, time / 60 % 60, time % 60);
            println!(" {h:02}:{m:02}:{s:02} up {}{}, {name} ({id})", days(seconds), clock(seconds));
        } else {
            println!("{name:<33} {:4} {}{}:{:02}", id.0, days(seconds), clock(seconds), seconds % 60);
        }
    }
    if args.json {
        println!("{}", pretty(&objects.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_told_once_there_are_any() {
        let show = |s| format!("{}{}", days(s), clock(s));
        assert_eq!(show(110), " 0:01");
        assert_eq!(show(86400 + 3600 * 11), "1 day, 11:00");
        assert_eq!(show(86400 * 40 + 59), "40 days,  0:00");
    }
}
