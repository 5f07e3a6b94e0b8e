//! Disks: xl-disk-configuration(5), in all its old and new forms.
//!
//! Parameters stand between commas. One without `=` that is no flag is positional: target, format,
//! vdev, access. Before the first, prefixes of older tools are stripped (`phy:`, `file:`,
//! `tap:aio:`, ...); they leave out the format, so that the vdev comes second.

use super::reader::Reader;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{DefBool, Disk, DiskBackend, DiskFormat};
use crate::config::options::nearest;
use crate::config::syntax::Value;

const FORMATS: &[(&str, DiskFormat)] = &[
    ("raw", DiskFormat::Raw),
    ("qcow", DiskFormat::Qcow),
    ("qcow2", DiskFormat::Qcow2),
    ("vhd", DiskFormat::Vhd),
    ("qed", DiskFormat::Qed),
    ("empty", DiskFormat::Empty),
];
const BACKENDS: &[(&str, DiskBackend)] = &[
    ("phy", DiskBackend::Phy),
    ("tap", DiskBackend::Tap),
    ("qdisk", DiskBackend::Qdisk),
    ("standalone", DiskBackend::Standalone),
];
const KNOWN: &[&str] = &[
    "target",
    "format",
    "vdev",
    "access",
    "devtype",
    "backend",
    "backendtype",
    "script",
    "colo-host",
    "colo-port",
    "colo-export",
    "active-disk",
    "hidden-disk",
    "specification",
];
const SHAPE: &str =
    "write \"/dev/vg/lv,raw,xvda,rw\", or format=raw, vdev=xvda, access=rw, target=/dev/vg/lv";

/// What is known of a disk so far, and where it is written.
struct Parser<'a, 'b, 's> {
    reader: &'a mut Reader<'s>,
    source: &'b Value,
    disk: Disk,
    access: Option<bool>,
    /// A prefix of older tools stood before the target.
    old: bool,
    good: bool,
}

/// Every element of `disk`.
pub fn disks(reader: &mut Reader<'_>) -> Vec<Disk> {
    let items = reader.list("disk");
    items.iter().filter_map(|item| disk(reader, item)).collect()
}

/// One disk as the string `source` describes it.
pub fn disk(reader: &mut Reader<'_>, source: &Value) -> Option<Disk> {
    let text = reader.item("disk", source)?;
    let mut parser = Parser { reader, source, disk: Disk::default(), access: None, old: false, good: true };
    parser.parameters(text);
    parser.finish(text)
}

impl Parser<'_, '_, '_> {
    fn wrong(&mut self, part: &str, message: String, help: impl Into<String>) {
        self.good = false;
        let at = self.source.place_of(part);
        self.reader.diagnostics.push(Diagnostic::error(at, message).help(help));
    }

    fn parameters(&mut self, text: &str) {
        let mut rest = Some(text);
        // What comes after something wrong would be misunderstood.
        while let Some(now) = rest.filter(|_| self.good) {
            let now = now.trim_start();
            // It takes all that follows, commas and blanks at the end included.
            if let Some(target) = now.strip_prefix("target=") {
                self.target(target);
                return;
            }
            let now = self.prefixes(now);
            let (one, more) = now.split_once(',').map_or((now, None), |(one, more)| (one, Some(more)));
            rest = more;
            // A comma at the end ends the last parameter; it does not begin another.
            if more.is_none() && one.is_empty() && text.ends_with(',') && text.len() > 1 {
                return;
            }
            if !self.flag(one) {
                match one.split_once('=') {
                    Some((key, value)) if is_key(key) => self.named(key, value),
                    _ => self.positional(one),
                }
            }
        }
    }

    /// Strips prefixes of older tools and notes what they say.
    fn prefixes<'t>(&mut self, mut text: &'t str) -> &'t str {
        if self.disk.pdev_path.is_some() && !self.old {
            return text;
        }
        while let Some((word, rest)) = text.split_once(':') {
            match word {
                "tapdisk" | "tap2" | "tap" | "aio" | "ioemu" | "file" | "phy" => {}
                "raw" | "qcow" | "qcow2" | "vhd" => self.disk.format = format(word).unwrap_or_default(),
                "iscsi" | "nbd" | "enbd" | "drbd" => self.disk.script = Some(format!("block-{word}")),
                _ => {
                    let lower = !word.is_empty()
                        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                    if lower && self.disk.pdev_path.is_none() {
                        let help = "known are raw: qcow: qcow2: vhd: iscsi: nbd: enbd: drbd: and, ignored, \
                                    phy: file: aio: tap: tap2: tapdisk: ioemu:";
                        self.wrong(word, format!("`{word}:` is no prefix of a disk"), help);
                        return rest;
                    }
                    return text;
                }
            }
            if word != "ioemu" || self.disk.pdev_path.is_none() {
                self.old = true;
                if self.disk.format == DiskFormat::Unknown {
                    self.disk.format = DiskFormat::Raw;
                }
            }
            text = rest;
        }
        text
    }

    fn flag(&mut self, word: &str) -> bool {
        match word {
            "cdrom" => (self.disk.is_cdrom, self.disk.removable) = (1, 1),
            "direct-io-safe" => self.disk.direct_io_safe = true,
            "discard" => self.disk.discard_enable = DefBool::True,
            "no-discard" => self.disk.discard_enable = DefBool::False,
            "colo" => self.disk.colo_enable = DefBool::True,
            _ => return false,
        }
        true
    }

    fn named(&mut self, key: &str, value: &str) {
        match key {
            "format" => self.format(value),
            "vdev" => self.vdev(value),
            "access" => self.access(value),
            "devtype" => self.devtype(value),
            "backendtype" => match BACKENDS.iter().find(|(name, _)| *name == value) {
                Some((_, backend)) => self.disk.backend = *backend,
                None => self.unknown(
                    key,
                    value,
                    "phy, tap, qdisk or standalone; without it the best one is chosen",
                ),
            },
            "colo-port" => match value.parse::<u16>() {
                Ok(port) => self.disk.colo_port = i32::from(port),
                Err(_) => self.unknown(key, value, "a port number"),
            },
            "specification" => match value {
                "xen" | "virtio" => self.disk.specification = Some(value.into()),
                _ => self.unknown(key, value, "xen or virtio"),
            },
            "backend" | "script" | "colo-host" | "colo-export" | "active-disk" | "hidden-disk" => {
                let slot = match key {
                    "backend" => &mut self.disk.backend_domname,
                    "script" => &mut self.disk.script,
                    "colo-host" => &mut self.disk.colo_host,
                    "colo-export" => &mut self.disk.colo_export,
                    "active-disk" => &mut self.disk.active_disk,
                    _ => &mut self.disk.hidden_disk,
                };
                if slot.replace(value.into()).is_some() {
                    self.twice(key, value);
                }
            }
            _ => {
                let help = match nearest(key, KNOWN) {
                    Some(name) => {
                        format!("is `{name}` meant? A path with `=` in it stands last, as target=...")
                    }
                    None => format!(
                        "it has {}; a path with `=` in it stands last, as target=...",
                        KNOWN.join(", ")
                    ),
                };
                self.wrong(key, format!("a disk has no `{key}`"), help);
            }
        }
    }

    fn unknown(&mut self, key: &str, value: &str, expected: &str) {
        self.wrong(value, format!("`{key}` of a disk cannot be \"{value}\""), format!("it is {expected}"));
    }

    fn twice(&mut self, what: &str, part: &str) {
        self.wrong(part, format!("the {what} of this disk is given twice"), "take one of them away");
    }

    /// A parameter without a name goes to the first place that is free; an empty one takes it.
    fn positional(&mut self, text: &str) {
        if self.disk.pdev_path.is_none() {
            self.target(text);
        } else if self.disk.format == DiskFormat::Unknown {
            self.format_or_old(text);
        } else if self.disk.vdev.is_none() {
            self.vdev(text);
        } else if self.access.is_none() {
            self.access(text);
        } else {
            let help = format!("there are target, format, vdev and access: {SHAPE}");
            self.wrong(text, format!("one parameter too many: \"{text}\""), help);
        }
    }

    /// What stands in the second place: the format, or in the form of older tools `[FORMAT:]VDEV[:TYPE]`.
    fn format_or_old(&mut self, text: &str) {
        match text.split_once(':') {
            Some((_, "cdrom" | "disk")) => {
                self.disk.format = DiskFormat::Raw;
                self.vdev(text);
            }
            Some((name, vdev)) if format(name).is_some() => {
                self.format(name);
                self.vdev(vdev);
            }
            _ => self.format(text),
        }
    }

    fn target(&mut self, text: &str) {
        match &self.disk.pdev_path {
            Some(old) if !old.is_empty() => self.twice("target", text),
            _ => self.disk.pdev_path = Some(text.into()),
        }
    }

    fn format(&mut self, text: &str) {
        match format(text) {
            _ if self.disk.format != DiskFormat::Unknown && !text.is_empty() => self.twice("format", text),
            Some(format) => self.disk.format = format,
            None if looks_like_vdev(text) => {
                let help = format!("the vdev is the third parameter: \"{}\"", format_args!(",raw,{text}"));
                self.wrong(text, format!("\"{text}\" stands where the format of the disk is expected"), help);
            }
            None => self.unknown("format", text, "raw, qcow, qcow2, vhd or qed"),
        }
    }

    fn vdev(&mut self, text: &str) {
        let (name, kind) = text.split_once(':').map_or((text, None), |(name, kind)| (name, Some(kind)));
        match kind {
            None | Some("disk") => {}
            Some("cdrom") => (self.disk.is_cdrom, self.disk.removable) = (1, 1),
            Some(kind) => self.unknown("type", kind, "cdrom or disk"),
        }
        match &self.disk.vdev {
            Some(_) => self.twice("vdev", text),
            None => self.disk.vdev = Some(name.into()),
        }
    }

    fn access(&mut self, text: &str) {
        let access = match text {
            "r" | "ro" => Some(false),
            "w" | "rw" | "" => Some(true),
            _ => return self.unknown("access", text, "ro or r (read only), rw or w"),
        };
        if self.access.is_some() {
            return self.twice("access", text);
        }
        self.access = access;
    }

    fn devtype(&mut self, text: &str) {
        match text {
            "cdrom" => (self.disk.is_cdrom, self.disk.removable) = (1, 1),
            "disk" | "" => {}
            _ => self.unknown("devtype", text, "cdrom or disk"),
        }
    }

    fn finish(mut self, text: &str) -> Option<Disk> {
        if self.good && self.disk.vdev.as_deref().unwrap_or_default().is_empty() {
            self.wrong(text, "this disk has no vdev, its name in the guest".into(), SHAPE);
        }
        if self.good && self.disk.pdev_path.is_none() && self.disk.is_cdrom == 0 {
            self.wrong(
                text,
                "this disk has no target: which file or device of the host is it?".into(),
                SHAPE,
            );
        }
        let empty = self.disk.pdev_path.as_deref().unwrap_or_default().is_empty();
        if self.disk.is_cdrom == 1 && empty {
            self.disk.format = DiskFormat::Empty;
        } else if self.disk.format == DiskFormat::Unknown {
            self.disk.format = DiskFormat::Raw;
        }
        let writable =
            self.access.unwrap_or(true) && self.disk.is_cdrom == 0 && self.disk.format != DiskFormat::Empty;
        self.disk.readwrite = i32::from(writable);
        self.good.then_some(self.disk)
    }
}

fn format(name: &str) -> Option<DiskFormat> {
    if name.is_empty() {
        return Some(DiskFormat::Raw);
    }
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn looks_like_vdev(text: &str) -> bool {
    ["xvd", "hd", "sd", "vd"].iter().any(|prefix| text.starts_with(prefix))
}
