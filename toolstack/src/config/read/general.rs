//! Identity, memory, CPUs, time and what happens at the guest's end.

use super::Surroundings;
use super::reader::Reader;
use crate::config::model::*;

const ACTIONS: &[(&str, Action)] = &[
    ("destroy", Action::Destroy),
    ("restart", Action::Restart),
    ("rename-restart", Action::RestartRename),
    ("preserve", Action::Preserve),
    ("coredump-destroy", Action::CoredumpDestroy),
    ("coredump-restart", Action::CoredumpRestart),
    ("soft-reset", Action::SoftReset),
];
/// The most vCPUs a guest can have.
const MAX_VCPUS: i64 = 8192;
/// MiB that can still be counted in KiB.
const MAX_MIB: i64 = i64::MAX >> 20;

/// What `c_info` holds.
pub fn create_info(reader: &mut Reader<'_>, out: &mut CreateInfo, around: &Surroundings) {
    out.kind = kind(reader);
    out.name = reader.text("name");
    out.uuid = around.uuid;
    if let Some(value) = reader.value("uuid") {
        match value.text().and_then(Uuid::parse) {
            Some(uuid) => out.uuid = uuid,
            None => reader.error(
                value,
                "`uuid` is no UUID",
                "write 8-4-4-4-12 hexadecimal digits; uuidgen makes one",
            ),
        }
    }
    out.ssid_label = match (reader.text("init_seclabel"), reader.text("seclabel")) {
        (Some(init), _) => Some(init),
        (None, label) => label,
    };
    out.hap = reader.flag("hap");
    out.oos = reader.flag("oos");
    out.pool_name = reader.text("pool");
    out.run_hotplug_scripts = around.globals.run_hotplug_scripts.into();
    out.driver_domain = reader.flag("driver_domain");
    out.xend_suspend_evtchn_compat = reader.flag("xend_suspend_evtchn_compat");
    out.passthrough = passthrough(reader);
}

fn kind(reader: &mut Reader<'_>) -> DomainType {
    let types = [("pv", DomainType::Pv), ("pvh", DomainType::Pvh), ("hvm", DomainType::Hvm)];
    let builders = [("generic", DomainType::Pv), ("hvm", DomainType::Hvm)];
    let kind = reader.choice("type", &types);
    let builder = reader.choice("builder", &builders);
    if let (Some(kind), Some(builder), Some(value)) = (kind, builder, reader.value("builder"))
        && kind != builder
    {
        reader.error(
            value,
            "`builder` contradicts `type`",
            "delete `builder`, which is the old name of `type`",
        );
    }
    let kind = kind.or(builder).unwrap_or(DomainType::Pv);
    if kind == DomainType::Hvm
        && let Some(value) = reader.value("type").or(reader.value("builder"))
    {
        let help = "write type = \"pv\" where the guest's kernel can be one";
        reader.error(value, "HVM guests are not served: they need a machine of emulated devices", help);
    }
    kind
}

fn passthrough(reader: &mut Reader<'_>) -> Passthrough {
    let Some(text) = reader.text("passthrough") else { return Passthrough::Default };
    let known = Passthrough::from_name(&text.to_lowercase()).filter(|found| *found != Passthrough::Unknown);
    known.unwrap_or_else(|| {
        if let Some(value) = reader.value("passthrough") {
            let message = format!("`passthrough` cannot be \"{text}\"");
            reader.error(value, message, "it is one of: default, disabled, enabled, sync_pt, share_pt");
        }
        Passthrough::Default
    })
}

/// What `b_info` and the actions hold, but for booting, devices and resources.
pub fn build_info(reader: &mut Reader<'_>, config: &mut DomainConfig, around: &Surroundings) {
    let out = &mut config.b_info;
    memory(reader, out);
    vcpus(reader, out);
    time(reader, out);
    if reader.settings.get("init_seclabel").is_some() {
        out.exec_ssid_label = reader.text("seclabel");
    }
    if let Some(value) = reader.value("cpuid") {
        let help = "delete the line: the guest then sees the processor's features that PV guests can have";
        reader.error(value, "`cpuid` is not served here: the guest would see features it must not", help);
    }
    out.disable_migrate = reader.flag("nomigrate");
    out.blkdev_start = around.globals.blkdev_start.clone();
    out.claim_mode = around.globals.claim_mode.into();
    out.max_grant_frames = reader.unsigned("max_grant_frames").or(around.globals.max_grant_frames);
    out.max_maptrack_frames = reader.unsigned("max_maptrack_frames").or(around.globals.max_maptrack_frames);
    let version = reader.number("max_grant_version", 0, 2).and_then(|n| i32::try_from(n).ok());
    out.max_grant_version = version.or(around.globals.max_grant_version);
    out.event_channels =
        reader.number("max_event_channels", 1, 131_071).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    out.sched_params.weight = reader.signed("cpu_weight");
    out.sched_params.cap = reader.signed("cap");
    out.sched_params.period = reader.signed("period");
    out.sched_params.slice = reader.signed("slice");
    out.sched_params.latency = reader.signed("latency");
    out.sched_params.extratime = reader.signed("extratime");
    out.vpmu = reader.flag("vpmu");
    out.vmtrace_buf_kb = reader.signed("vmtrace_buf_kb").unwrap_or(0);
    out.device_tree = reader.text("device_tree");
    out.arch_x86.msr_relaxed = reader.flag("msr_relaxed");
    out.nested_hvm = reader.flag("nestedhvm");
    out.acpi = reader.flag("acpi");
    out.altp2m = reader
        .choice(
            "altp2m",
            &[
                ("disabled", Altp2m::Disabled),
                ("mixed", Altp2m::Mixed),
                ("external", Altp2m::External),
                ("limited", Altp2m::Limited),
            ],
        )
        .unwrap_or_default();
    config.on_poweroff = action(reader, "on_poweroff", Action::Destroy);
    config.on_reboot = action(reader, "on_reboot", Action::Restart);
    config.on_watchdog = action(reader, "on_watchdog", Action::Destroy);
    config.on_crash = action(reader, "on_crash", Action::Destroy);
    config.on_soft_reset = action(reader, "on_soft_reset", Action::SoftReset);
}

fn action(reader: &mut Reader<'_>, key: &str, default: Action) -> Action {
    reader.choice(key, ACTIONS).unwrap_or(default)
}

/// Amounts are MiB in the file.
fn memory(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    let mut kib = |key| reader.number(key, 0, MAX_MIB).and_then(|mib| u64::try_from(mib << 10).ok());
    out.target_memkb = kib("memory");
    out.max_memkb = kib("maxmem").or(out.target_memkb);
    out.shadow_memkb = kib("shadow_memory");
    out.video_memkb = kib("videoram");
}

fn vcpus(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    let mut count = |key| reader.number(key, 1, MAX_VCPUS).and_then(|n| u32::try_from(n).ok());
    let (vcpus, max) = (count("vcpus"), count("maxvcpus"));
    out.max_vcpus = max.or(vcpus).unwrap_or(0);
    out.avail_vcpus = (0..vcpus.unwrap_or(0)).collect();
    if let (Some(vcpus), Some(max), Some(value)) = (vcpus, max, reader.value("maxvcpus"))
        && max < vcpus
    {
        let message = format!(
            "`maxvcpus` ({max}) is less than `vcpus` ({vcpus}): no room for the vCPUs the guest starts with"
        );
        reader.error(value, message, format!("write maxvcpus = {vcpus}, or lower `vcpus`"));
    }
}

fn time(reader: &mut Reader<'_>, out: &mut BuildInfo) {
    out.localtime = reader.flag("localtime");
    // A negative offset is kept modulo 2^32, as in JSON.
    out.rtc_timeoffset = reader.signed("rtc_timeoffset").map_or(0, i32::cast_unsigned);
    out.tsc_mode = tsc_mode(reader);
    if let Some(value) = reader.value("timer_mode")
        && reader.settings.get("type").is_none_or(|kind| kind.value.text() != Some("pvh"))
    {
        reader.error(value, "`timer_mode` is not for PV guests", "delete the line");
    }
}

/// A name or, in old files, its number.
fn tsc_mode(reader: &mut Reader<'_>) -> TscMode {
    let Some(value) = reader.value("tsc_mode") else { return TscMode::Default };
    if let Some(number) = value.number() {
        let mode = usize::try_from(number).ok().and_then(|at| TscMode::ALL.get(at));
        match mode {
            Some(mode) => {
                reader.warning(
                    value,
                    "`tsc_mode` has names now",
                    format!("write tsc_mode = \"{}\"", mode.name()),
                );
                return *mode;
            }
            None => {
                let help = "it is one of: default, always_emulate, native, native_paravirt";
                reader.error(value, format!("`tsc_mode` cannot be {number}"), help);
                return TscMode::Default;
            }
        }
    }
    let names: Vec<(&str, TscMode)> = TscMode::ALL.iter().map(|mode| (mode.name(), *mode)).collect();
    reader.choice("tsc_mode", &names).unwrap_or_default()
}
