//! Configurations that cannot work, and what is said about each: `broken/NAME.cfg` and `broken/NAME.txt`.
//!
//! `XENOLITH_WRITE=1 cargo test -p toolstack --test broken` writes the texts anew; read them before they
//! are kept.

use std::fs;
use std::path::Path;

use toolstack::config::check::{Files, Found, Host, Neighbour, check};
use toolstack::config::model::{Mac, Uuid};
use toolstack::config::{Globals, Report, Severity, Surroundings, load};

/// A host with few files.
struct Few;

impl Files for Few {
    fn find(&self, path: &str) -> Found {
        match path {
            "/boot/vmlinuz" | "/boot/initrd" | "/img/a" | "/img/b" | "/img/busy" => Found::File,
            "/usr/lib/xen/bin/pygrub" | "/etc/xen/scripts/vif-bridge" => Found::File,
            "/dev/vg/a" => Found::Block,
            "/img" | "/boot" => Found::Directory,
            _ => Found::Missing,
        }
    }
}

/// Everything said about a file.
fn judge(name: &str, text: &str) -> (String, bool) {
    let around = Surroundings { globals: Globals::default(), cpu_nodes: vec![0; 4], uuid: Uuid([7; 16]) };
    let web = Neighbour {
        domid: 3,
        name: "web".into(),
        uuid: Uuid([0x33; 16]),
        macs: vec![Mac([0, 0x16, 0x3e, 0, 0, 3])],
        writes: vec!["/img/busy".into()],
    };
    let host = Host {
        files: &Few,
        neighbours: &[web],
        bridges: Some(&["br0".into(), "br1".into()]),
        pools: Some(&["Pool-0".into()]),
        cpus: 4,
        free_kib: Some(4 << 20),
        bootloaders: &["/usr/lib/xen/bin"],
        scripts: "/etc/xen/scripts",
    };
    let loaded = load(text, &around);
    let mut said = loaded.diagnostics.clone();
    said.extend(check(&loaded, host));
    said.sort_by_key(|one| (one.at.is_none(), one.at));
    let bad = said.iter().any(|one| one.severity == Severity::Error);
    (Report { file: name, text, diagnostics: &said }.to_string(), bad)
}

#[test]
fn each_is_told_clearly_what_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|end| end == "cfg"));
    names.sort();
    assert!(names.len() >= 40, "only {} are left", names.len());
    let mut wrong = Vec::new();
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (said, bad) = judge(name, &text);
        assert!(bad, "{name} is not refused:\n{said}");
        assert!(
            said.matches("error: ").count() + said.matches("warning: ").count()
                <= said.matches("  help: ").count() + 3
        );
        let expected = path.with_extension("txt");
        if std::env::var_os("XENOLITH_WRITE").is_some() {
            fs::write(expected, said).unwrap();
        } else if fs::read_to_string(expected).unwrap_or_default() != said {
            wrong.push(format!("{name}:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sound_one_is_not_complained_of() {
    let text = "name = \"vm\"\nmemory = 256\nvcpus = 2\nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd\"\n\
                disk = [ '/img/a,raw,xvda,rw', '/img/busy,raw,xvdb,ro', 'vg/a,raw,xvdc1,rw' ]\n\
                vif = [ 'bridge=br0,script=vif-bridge', 'mac=00:16:3e:00:00:01,backend=web' ]\n";
    assert_eq!(judge("sound.cfg", text), (String::new(), false));
}
