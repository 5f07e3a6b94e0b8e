//! Disks: names in the guest, files of the host, who else writes them.

use super::{Check, Found};
use crate::config::model::{Disk, DiskBackend, DiskFormat};

pub fn disks(check: &mut Check<'_>) {
    let config = &check.loaded.config;
    if !check.whole("disk", config.disks.len()) {
        return;
    }
    for (index, disk) in config.disks.iter().enumerate() {
        name(check, index, disk);
        // Another domain's files are its own.
        if disk.backend_domname.as_deref().is_none_or(|name| name == "0") && disk.script.is_none() {
            target(check, index, disk);
        }
        if let Some(script) = &disk.script {
            let path = if script.contains('/') {
                script.clone()
            } else {
                format!("{}/{script}", check.host.scripts)
            };
            check.file(check.element("disk", index), "the script of this disk", &path);
        }
        kind(check, index, disk);
    }
}

fn name(check: &mut Check<'_>, index: usize, disk: &Disk) {
    let at = check.element("disk", index);
    let vdev = disk.vdev.as_deref().unwrap_or_default();
    let Some((whole, part)) = parse(vdev) else {
        let help = "it is xvda, xvda1, xvdb, ...; hda and sda as well, or a number";
        return check.error(at, format!("\"{vdev}\" is no name a disk can have in a guest"), help);
    };
    for (before, other) in check.loaded.config.disks[..index].iter().enumerate() {
        let Some((other_whole, other_part)) = parse(other.vdev.as_deref().unwrap_or_default()) else {
            continue;
        };
        if other_whole != whole {
            continue;
        }
        let line = check.element("disk", before).map_or(0, |at| at.line);
        if other_part == part {
            let message = format!("two disks have the name {vdev}: the other stands in line {line}");
            return check.error(at, message, "give each disk a name of its own");
        }
        if other_part.is_none() || part.is_none() {
            let message = format!("{vdev} is a part of, or the whole of, the disk in line {line}");
            return check.warning(at, message, "guests take one or the other; use another letter");
        }
    }
}

fn target(check: &mut Check<'_>, index: usize, disk: &Disk) {
    let at = check.element("disk", index);
    let Some(target) =
        disk.pdev_path.as_deref().filter(|path| !path.is_empty() && disk.format != DiskFormat::Empty)
    else {
        return;
    };
    let path = absolute(target);
    match check.host.files.find(&path) {
        Found::File if disk.backend == DiskBackend::Phy => {
            let help = "delete backendtype=phy: for a file the right backend is chosen";
            check.error(at, format!("backendtype=phy wants a block device, {path} is a file"), help);
        }
        Found::Block | Found::File => {}
        Found::Other => check.error(
            at,
            format!("{path} is neither a file nor a block device"),
            "name the disk's image or device",
        ),
        _ => check.file(at, "this disk", &path),
    }
    if disk.readwrite == 0 {
        return;
    }
    for (before, other) in check.loaded.config.disks[..index].iter().enumerate() {
        if other.readwrite != 0 && other.pdev_path.as_deref().map(absolute) == Some(path.clone()) {
            let line = check.element("disk", before).map_or(0, |at| at.line);
            let message = format!(
                "{path} is two disks that both may be written (the other in line {line}): it would be destroyed"
            );
            return check.error(at, message, "make one of them read-only (ro), or use two images");
        }
    }
    if let Some(other) = check.host.neighbours.iter().find(|other| other.writes.contains(&path)) {
        let message = format!(
            "{path} is being written by guest {} (\"{}\"): two writers destroy it",
            other.domid, other.name
        );
        check.error(at, message, "end that guest, attach it read-only (ro) here, or use a copy");
    }
}

fn kind(check: &mut Check<'_>, index: usize, disk: &Disk) {
    let plain = matches!(disk.format, DiskFormat::Raw | DiskFormat::Empty);
    if disk.backend == DiskBackend::Phy && !plain {
        let message = format!("backendtype=phy knows raw images only, this one is {}", disk.format.name());
        check.error(
            check.element("disk", index),
            message,
            "delete backendtype=phy, or convert it: qemu-img convert -O raw",
        );
    }
}

/// A path without a `/` in front is below /dev.
pub fn absolute(target: &str) -> String {
    if target.starts_with('/') { target.into() } else { format!("/dev/{target}") }
}

/// Which disk a name means, and which part of it: `xvdb3` is `("xvdb", 3)`.
fn parse(name: &str) -> Option<(String, Option<u32>)> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return crate::config::syntax::number(name)
            .filter(|n| (0..1 << 29).contains(n))
            .map(|n| (n.to_string(), None));
    }
    let end = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (whole, part) = name.split_at(end);
    let part = if part.is_empty() { None } else { Some(part.parse().ok().filter(|part| *part > 0)?) };
    let letters = ["xvd", "hd", "sd", "vd"].iter().find_map(|prefix| whole.strip_prefix(prefix));
    match letters {
        Some(letters)
            if (1..=3).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_lowercase()) =>
        {
            Some((whole.into(), part))
        }
        // The form dDISKpPART.
        None if whole == "d" => Some((name.into(), None)),
        None if whole.starts_with('d')
            && whole.ends_with('p')
            && whole[1..whole.len() - 1].parse::<u32>().is_ok() =>
        {
            Some((whole[..whole.len() - 1].into(), part))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_of_disks() {
        assert_eq!(parse("xvda"), Some(("xvda".into(), None)));
        assert_eq!(parse("xvdaa15"), Some(("xvdaa".into(), Some(15))));
        assert_eq!(parse("d5p2"), Some(("d5".into(), Some(2))));
        assert_eq!(parse("51712"), Some(("51712".into(), None)));
        for bad in ["", "xvd", "xvda0", "foo", "xvdA", "1x", "dp1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
