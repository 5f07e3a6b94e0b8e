//! From settings to a guest's configuration: each option as xl.cfg(5) says, and where it is silent
//! as the stock tool does.
//!
//! Stricter than stock on purpose: a value of the wrong kind, a number out of range and an address
//! that is none are errors, where stock warns at most and creates another guest than was described.
//! `cpus` without `vcpus` pins the one vCPU there is (stock drops it).

mod boot;
mod channel;
pub mod cpus;
mod disk;
mod display;
mod general;
mod nic;
mod numa;
mod pci;
pub(super) mod reader;
mod resources;
mod small;
mod sound;
pub(super) mod spec;
mod usb;

use super::diagnostic::{Diagnostic, Severity};
use super::globals::Globals;
use super::model::{DomainConfig, DomainType, Uuid};
use super::options::{For, of, similar};
use super::syntax::{self, Settings, Value};
use reader::Reader;

/// What a configuration is read against.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub globals: Globals,
    /// The NUMA node of each CPU of the host.
    pub cpu_nodes: Vec<u32>,
    /// For a guest whose file has none.
    pub uuid: Uuid,
}

/// A configuration file that has been read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What could be read; not to be used if an error was told.
    pub config: DomainConfig,
    pub settings: Settings,
    /// The whole file could be parsed: what is not in `settings` is not in the file.
    pub parsed: bool,
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|one| one.severity == Severity::Error)
    }
}

/// Reads a file. Settings after the file, as `xl create FILE key=value` has them, are appended to
/// its text by the caller, one a line.
pub fn load(text: &str, around: &Surroundings) -> Loaded {
    let (settings, diagnostics) = syntax::parse(text);
    let mut reader = Reader::new(&settings, diagnostics);
    let parsed = !reader.failed();
    let config = config(&mut reader, around);
    let diagnostics = reader.finish();
    Loaded { config, settings, parsed, diagnostics }
}

/// A disk as `xl block-attach` takes it: the parts of its description, joined by commas.
pub fn disk(text: &str) -> Result<super::model::Disk, Vec<Diagnostic>> {
    let settings = Settings::default();
    let mut reader = Reader::new(&settings, Vec::new());
    let source = Value {
        kind: syntax::Kind::Text(text.into()),
        at: super::Span::new(1, 1, text.chars().count() as u32),
    };
    disk::disk(&mut reader, &source).ok_or_else(|| reader.finish())
}

/// A network interface as `xl network-attach` takes it: the parts of its description, joined by commas.
pub fn nic(text: &str, globals: &Globals) -> Result<super::model::Nic, Vec<Diagnostic>> {
    let settings = Settings::default();
    let mut reader = Reader::new(&settings, Vec::new());
    let at = super::Span::new(1, 1, text.chars().count() as u32);
    let source = Value { kind: syntax::Kind::Text(text.into()), at };
    let nic = nic::nic(&mut reader, &source, text, globals);
    let failed = reader.failed();
    let said = reader.finish();
    if failed { Err(said) } else { Ok(nic) }
}

fn config(reader: &mut Reader<'_>, around: &Surroundings) -> DomainConfig {
    let mut out = DomainConfig::default();
    general::create_info(reader, &mut out.c_info, around);
    let kind = out.c_info.kind;
    recognise(reader, kind);
    general::build_info(reader, &mut out, around);
    boot::boot(reader, &mut out.b_info, kind);
    resources::resources(reader, &mut out.b_info);
    numa::vnuma(reader, &mut out.b_info, around);
    cpus::affinity(reader, &mut out.b_info, around);
    out.disks = disk::disks(reader);
    out.nics = nic::nics(reader, &around.globals);
    pci::pci(reader, &mut out);
    small::devices(reader, &mut out);
    display::displays(reader, &mut out);
    channel::channels(reader, &mut out);
    usb::usb(reader, &mut out);
    sound::sound(reader, &mut out);
    out
}

/// Tells of options that do not exist, or not for this kind of guest.
fn recognise(reader: &mut Reader<'_>, kind: DomainType) {
    for setting in &reader.settings.settings {
        let key = setting.key.as_str();
        let (message, help) = match of(key) {
            Some(For::Pv) => continue,
            Some(For::Pvh) if kind == DomainType::Pvh => continue,
            // Stock refuses it for PV guests, and so does `general`.
            Some(For::Pvh) if key == "timer_mode" => continue,
            Some(For::Pvh) => {
                (format!("`{key}` is for PVH guests; this guest does without it"), "delete the line".into())
            }
            Some(For::Hvm) => {
                (format!("`{key}` is for HVM guests; this guest does without it"), "delete the line".into())
            }
            Some(For::Arm) => {
                (format!("`{key}` is for guests on ARM; here it does nothing"), "delete the line".into())
            }
            Some(For::Xm) => {
                (format!("`{key}` was an option of xm; it does nothing now"), xm_help(key).into())
            }
            None => (
                format!("there is no option `{key}`"),
                match similar(key) {
                    Some(name) => format!("is `{name}` meant?"),
                    None => "see xl.cfg(5); the line does nothing".into(),
                },
            ),
        };
        reader.diagnostics.push(Diagnostic::warning(setting.at, message).help(help));
    }
}

fn xm_help(key: &str) -> &'static str {
    match key {
        "bootargs" => "write bootloader_args = [ \"...\" ]",
        "cpu" => "write cpus = \"...\"",
        "nics" => "write one element of `vif` for each interface",
        "device_model" => "write device_model_override = \"...\"",
        "ip" | "netmask" | "gateway" | "hostname" | "interface" | "dhcp" | "nfs_root" | "nfs_server" => {
            "write what the kernel is to know into `extra`"
        }
        _ => "delete the line",
    }
}
