//! `xl cpupool-create`: a pool as a file or the command line describes it.

use std::fs;
use std::path::Path;

use abi::domctl::*;
use toolstack::config::syntax::{self, Kind, Settings, Value};
use toolstack::config::{Report, Severity};
use toolstack::{names, pools};
use xenctl::Cpus;

use crate::info::scheduler;
use crate::tools::{Done, Failure, Tools, complain, words};
use crate::vcpu::cpu_list;

#[derive(clap::Args)]
pub struct Args {
    /// Reads this file first
    #[arg(short = 'f', long = "defconfig")]
    file: Option<String>,
    /// Only shows what would be made
    #[arg(short = 'n', long)]
    dryrun: bool,
    /// A file, and settings as it has them: name="p" sched="credit2" cpus=["1","2"]
    settings: Vec<String>,
}

/// What names the file in messages where there is none.
const NO_FILE: &str = "command line";

/// What is asked for: where it stands, and the text. The settings are lines after those of the file, which may be the
/// first of them.
pub fn text(mut file: Option<String>, settings: &[String]) -> Done<(String, String)> {
    let mut lines = Vec::new();
    for one in settings {
        match (&file, one.contains('=')) {
            (_, true) => lines.push(one.as_str()),
            (None, false) => file = Some(one.clone()),
            (Some(_), false) => return words(format!("`{one}' is no setting, and there is a file already")),
        }
    }
    let mut text = String::new();
    if let Some(file) = &file {
        text = fs::read_to_string(file).or_else(|e| {
            words(format!("Failed to read config file: {file}: {}", xenctl::Error::os("", &e).words()))
        })?;
        text.push('\n');
    }
    text.push_str(&lines.join("\n"));
    text.push('\n');
    Ok((file.unwrap_or_else(|| NO_FILE.into()), text))
}

fn number_of_scheduler(name: &str) -> Option<u32> {
    let known = [
        XEN_SCHEDULER_CREDIT,
        XEN_SCHEDULER_CREDIT2,
        XEN_SCHEDULER_ARINC653,
        XEN_SCHEDULER_RTDS,
        XEN_SCHEDULER_NULL,
    ];
    known.into_iter().find(|id| scheduler(*id) == name)
}

pub fn create(tools: &mut Tools, args: &Args) -> Done {
    let (file, text) = text(args.file.clone(), &args.settings)?;
    let (settings, diagnostics) = syntax::parse(&text);
    if !diagnostics.is_empty() {
        eprint!("{}", Report { file: &file, text: &text, diagnostics: &diagnostics });
    }
    if diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return words("Failed to parse config file");
    }
    let name = match setting(&settings, "name")?.map(Value::text) {
        Some(Some(name)) => name.to_owned(),
        Some(None) => return words("name is to be a text"),
        None if file == NO_FILE => return words("A pool needs a name: name=\"...\""),
        // As the file is called.
        None => Path::new(&file).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
    };
    let (xen, store) = tools.both()?;
    if names::pool(xen, store, &name)?.is_some() {
        return words(format!("Pool name \"{name}\" already exists"));
    }
    let scheduler_id = match setting(&settings, "sched")?.map(|v| v.text().unwrap_or_default()) {
        None => xen.default_scheduler()?,
        Some(name) => match number_of_scheduler(name) {
            Some(id) => id,
            None => return words(format!("Unknown scheduler \"{name}\"")),
        },
    };
    let free = xen.free_cpus()?;
    let cpus = match (setting(&settings, "cpus")?, setting(&settings, "nodes")?) {
        (Some(_), Some(_)) => return words("cpus and nodes cannot both be given"),
        (Some(cpus), None) => listed(xen, cpus, "")?,
        // What is free of them.
        (None, Some(nodes)) => listed(xen, nodes, "nodes:")?.iter().filter(|c| free.contains(*c)).collect(),
        // CPUs can be added later.
        (None, None) => Cpus::default(),
    };
    if let Some(cpu) = cpus.iter().find(|c| !free.contains(*c)) {
        return words(format!("cpu {cpu} illegal or not free"));
    }
    let made = match args.dryrun {
        true => Ok(0),
        false => pools::create(xen, store, &name, scheduler_id, &cpus),
    };
    if let Err(e) = &made {
        complain(e);
        eprintln!("error on creating cpupool");
    }
    println!("Using config file \"{file}\"");
    println!("cpupool name:   {name}");
    println!("scheduler:      {}", scheduler(scheduler_id));
    println!("number of cpus: {}", cpus.count());
    made.map(drop).map_err(|_| Failure::Said(1))
}

fn setting<'s>(settings: &'s Settings, key: &str) -> Done<Option<&'s Value>> {
    Ok(settings.get(key).map(|s| &s.value))
}

/// CPUs by a list of lists, or by one.
fn listed(xen: &xenctl::Xen, value: &Value, prefix: &str) -> Done<Cpus> {
    let one = |value: &Value| -> Done<Cpus> {
        match (&value.kind, value.text()) {
            (Kind::List(_), _) | (_, None) => words("cpus and nodes are numbers and ranges"),
            (_, Some(text)) => cpu_list(xen, &format!("{prefix}{text}")),
        }
    };
    match value.list() {
        None => one(value),
        Some(items) => {
            let mut all = Cpus::default();
            for item in items {
                all.extend(one(item)?.iter());
            }
            Ok(all)
        }
    }
}
