//! A host for configurations to be judged on.

use toolstack::config::check::{Files, Found, Host, Neighbour, check};
use toolstack::config::model::{DomainConfig, Mac, Uuid};
use toolstack::config::{Globals, Report, Severity, Surroundings, load};

/// A configuration that works there.
pub const SOUND: &str = "name = \"vm\"\nmemory = 256\nvcpus = 2\nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/initrd\"\n\
    disk = [ '/img/a,raw,xvda,rw', '/img/busy,raw,xvdb,ro', 'vg/a,raw,xvdc1,rw' ]\n\
    vif = [ 'bridge=br0,script=vif-bridge', 'mac=00:16:3e:00:00:01,backend=web' ]\n";

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

/// Everything said about a file, whether it is refused, and what was understood.
pub fn judge(name: &str, text: &str) -> (String, bool, DomainConfig) {
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
    (Report { file: name, text, diagnostics: &said }.to_string(), bad, loaded.config)
}
