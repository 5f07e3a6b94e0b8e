//! xl.conf(5): what holds for all guests of a host.

use super::diagnostic::Diagnostic;
use super::options::nearest;
use super::read::reader::Reader;
use super::syntax;

/// Whether dom0 gives up memory when a guest needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Autoballoon {
    /// Unless `dom0_mem` stands on the hypervisor's command line.
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    #[default]
    Json,
    Sxp,
}

/// The settings of xl.conf; `None` is the default of whoever uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Numbers of new guests are random instead of ascending.
    pub random_domids: bool,
    pub autoballoon: Autoballoon,
    pub run_hotplug_scripts: bool,
    pub lockfile: String,
    pub max_grant_frames: Option<u32>,
    pub max_maptrack_frames: Option<u32>,
    pub max_grant_version: Option<i32>,
    pub vif_script: Option<String>,
    pub vif_bridge: Option<String>,
    pub vif_backend: Option<String>,
    pub vif_gatewaydev: Option<String>,
    pub remus_netbufscript: Option<String>,
    pub colo_proxyscript: Option<String>,
    pub output_format: OutputFormat,
    pub blkdev_start: Option<String>,
    pub claim_mode: bool,
    /// CPU lists, as `cpus` has them, that guests of each kind are kept to.
    pub vm_cpumask: Option<String>,
    pub hvm_cpumask: Option<String>,
    pub pv_cpumask: Option<String>,
}

impl Default for Globals {
    fn default() -> Globals {
        Globals {
            random_domids: false,
            autoballoon: Autoballoon::Auto,
            run_hotplug_scripts: true,
            lockfile: "/var/lock/xl".into(),
            max_grant_frames: None,
            max_maptrack_frames: None,
            max_grant_version: None,
            vif_script: None,
            vif_bridge: None,
            vif_backend: None,
            vif_gatewaydev: None,
            remus_netbufscript: None,
            colo_proxyscript: None,
            output_format: OutputFormat::Json,
            blkdev_start: None,
            claim_mode: true,
            vm_cpumask: None,
            hvm_cpumask: None,
            pv_cpumask: None,
        }
    }
}

const KNOWN: &[&str] = &[
    "domid_policy",
    "autoballoon",
    "run_hotplug_scripts",
    "lockfile",
    "max_grant_frames",
    "max_maptrack_frames",
    "max_grant_version",
    "vif.default.script",
    "vif.default.bridge",
    "vif.default.backend",
    "vif.default.gatewaydev",
    "vifscript",
    "defaultbridge",
    "remus.default.netbufscript",
    "colo.default.proxyscript",
    "output_format",
    "blkdev_start",
    "claim_mode",
    "vm.cpumask",
    "vm.hvm.cpumask",
    "vm.pv.cpumask",
];

impl Globals {
    /// Reads a file. What is wrong with it is told; the defaults stand in its place.
    pub fn read(text: &str) -> (Globals, Vec<Diagnostic>) {
        let (settings, diagnostics) = syntax::parse(text);
        let mut reader = Reader::new(&settings, diagnostics);
        let mut out = Globals::default();
        for setting in &settings.settings {
            if !KNOWN.contains(&setting.key.as_str()) {
                let unknown =
                    Diagnostic::warning(setting.at, format!("xl.conf has no option `{}`", setting.key));
                reader.diagnostics.push(match nearest(&setting.key, KNOWN) {
                    Some(name) => unknown.help(format!("is `{name}` meant?")),
                    None => unknown,
                });
            }
        }
        let policy = reader.choice("domid_policy", &[("xen", false), ("random", true)]);
        out.random_domids = policy.unwrap_or(out.random_domids);
        out.autoballoon = reader.autoballoon().unwrap_or_default();
        out.run_hotplug_scripts = reader.flag("run_hotplug_scripts").or(true);
        out.lockfile = reader.text("lockfile").unwrap_or(out.lockfile);
        out.max_grant_frames = reader.unsigned("max_grant_frames");
        out.max_maptrack_frames = reader.unsigned("max_maptrack_frames");
        out.max_grant_version = reader.unsigned("max_grant_version").and_then(|v| i32::try_from(v).ok());
        out.vif_script = reader.renamed("vifscript", "vif.default.script");
        out.vif_bridge = reader.renamed("defaultbridge", "vif.default.bridge");
        out.vif_backend = reader.text("vif.default.backend");
        out.vif_gatewaydev = reader.text("vif.default.gatewaydev");
        out.remus_netbufscript = reader.text("remus.default.netbufscript");
        out.colo_proxyscript = reader.text("colo.default.proxyscript");
        let formats = [("json", OutputFormat::Json), ("sxp", OutputFormat::Sxp)];
        out.output_format = reader.choice("output_format", &formats).unwrap_or_default();
        out.blkdev_start = reader.text("blkdev_start");
        out.claim_mode = reader.flag("claim_mode").or(true);
        out.vm_cpumask = reader.text("vm.cpumask");
        out.hvm_cpumask = reader.text("vm.hvm.cpumask");
        out.pv_cpumask = reader.text("vm.pv.cpumask");
        (out, reader.finish())
    }
}

impl Reader<'_> {
    /// A name or, as in old files, 0 or 1.
    fn autoballoon(&mut self) -> Option<Autoballoon> {
        let names = [
            ("auto", Autoballoon::Auto),
            ("on", Autoballoon::On),
            ("off", Autoballoon::Off),
            ("1", Autoballoon::On),
            ("0", Autoballoon::Off),
        ];
        self.choice("autoballoon", &names)
    }

    fn renamed(&mut self, old: &str, new: &str) -> Option<String> {
        let value = self.text(old);
        if value.is_some()
            && let Some(setting) = self.settings.get(old)
        {
            self.diagnostics.push(
                Diagnostic::warning(setting.at, format!("`{old}` is the old name of `{new}`"))
                    .help(format!("write {new} = ...")),
            );
        }
        self.text(new).or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_s_options_are_read() {
        let text = "domid_policy=\"random\"\nautoballoon=0\nrun_hotplug_scripts=0\nlockfile='/l'\nmax_grant_frames=8\n\
                    max_maptrack_frames=9\nmax_grant_version=1\nvif.default.script=\"vif-route\"\n\
                    defaultbridge=\"old\"\nvif.default.backend='b'\noutput_format='sxp'\nblkdev_start='xvdq'\n\
                    claim_mode=0\nvm.pv.cpumask='1-3'\n";
        let (globals, said) = Globals::read(text);
        let expected = Globals {
            random_domids: true,
            autoballoon: Autoballoon::Off,
            run_hotplug_scripts: false,
            lockfile: "/l".into(),
            max_grant_frames: Some(8),
            max_maptrack_frames: Some(9),
            max_grant_version: Some(1),
            vif_script: Some("vif-route".into()),
            vif_bridge: Some("old".into()),
            vif_backend: Some("b".into()),
            output_format: OutputFormat::Sxp,
            blkdev_start: Some("xvdq".into()),
            claim_mode: false,
            pv_cpumask: Some("1-3".into()),
            ..Globals::default()
        };
        assert_eq!(globals, expected);
        assert_eq!(said.len(), 1);
        assert!(said[0].message.contains("old name of `vif.default.bridge`"));
    }

    #[test]
    fn what_is_wrong_leaves_the_default() {
        let (globals, said) = Globals::read("autoballoon='maybe'\nclaim_mode='x'\nlockfiel='/x'\n");
        assert_eq!(globals, Globals::default());
        assert_eq!(said.len(), 3);
        assert_eq!(said[2].help.as_deref(), Some("is `lockfile` meant?"));
    }
}
