//! Guests on a machine of the host: what is left of one that was made, and of one that was not.

use std::fs;

use super::*;
use crate::config::model::{Uuid, values};
use crate::image::cache::Cache;
use crate::save::{read, write};
use crate::testing::kernel::Files;
use crate::testing::stopped::stop;
use crate::testing::{GUEST, Machine};

/// A guest of 8 MiB with a disk and an interface, which scripts prepare that have nothing to do here.
fn config(files: &Files) -> DomainConfig {
    let mut config = DomainConfig::default();
    config.c_info.name = Some("new".into());
    config.c_info.uuid = Uuid([0x5e; 16]);
    let info = &mut config.b_info;
    info.max_vcpus = 2;
    info.avail_vcpus = [0].into_iter().collect();
    info.target_memkb = Some(8 << 10);
    info.max_memkb = Some(16 << 10);
    info.kernel = Some(files.kernel());
    info.cmdline = Some("quiet".into());
    let script = Some("/bin/true".into());
    config.disks.push(Disk {
        pdev_path: Some("somewhere".into()),
        vdev: Some("xvda".into()),
        format: crate::config::model::DiskFormat::Raw,
        readwrite: 1,
        script: script.clone(),
        ..Disk::default()
    });
    config.nics.push(Nic { script, mac: values::Mac([0, 22, 62, 0, 0, 1]), ..Nic::default() });
    config
}

fn boot(config: &DomainConfig, files: &Files) -> Boot {
    Boot::read(&config.b_info, &Cache::new(files.folder.join("cache"))).unwrap()
}

fn attempt(m: &mut Machine, files: &Files, boot: &Boot) -> Result<Created> {
    let order = Order {
        config: config(files),
        contents: Contents::Boot(boot),
        folder: &files.folder.join("kept"),
        scripts: "/scripts",
    };
    create(&m.xen, &mut m.store, order, &mut |_| ())
}

fn kept(files: &Files) -> Vec<String> {
    let entries = fs::read_dir(files.folder.join("kept")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_guest_is_left_as_stock_tools_leave_theirs() {
    let files = Files::new("create", 0);
    let mut m = Machine::with_frames(8192);
    let before = m.nodes();
    let boot = boot(&config(&files), &files);
    let created = attempt(&mut m, &files, &boot).unwrap();
    let id = created.domain.to_string();
    let ring = |m: &mut Machine, what: &str| m.text(&format!("/local/domain/{id}/{what}/ring-ref")).unwrap();
    let (store, console) = (ring(&mut m, "store"), ring(&mut m, "console"));
    let new: Vec<String> = m.nodes().into_iter().filter(|line| !before.contains(line)).collect();
    let volatile = |line: &&String| !line.contains("/start_time = ");
    let text: Vec<&str> = new.iter().filter(volatile).map(String::as_str).collect();
    let expected = include_str!("nodes.txt")
        .replace("STORE", &store)
        .replace("CONSOLE", &console)
        .replace("KERNEL", &files.kernel());
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(text, expected, "{}", text.join("\n"));
    assert_eq!(kept(&files), [format!("userdata-d.{id}.5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5e.libxl-json")]);
    let again =
        files::kept(&files.folder.join("kept"), created.domain, &created.config.c_info.uuid.to_string());
    assert_eq!(again.unwrap(), created.config);
    let info = m.xen.domain(created.domain).unwrap().unwrap();
    assert_ne!(info.flags & abi::domctl::XEN_DOMINF_PAUSED, 0);
    // Its end leaves nothing either.
    let folder = files.folder.join("kept");
    let uuid = created.config.c_info.uuid.to_string();
    destroy::destroy_in(&m.xen, &mut m.store, created.domain, &uuid, &folder, &mut |e| panic!("{e}"))
        .unwrap();
    assert_eq!(m.nodes(), before);
    assert!(kept(&files).is_empty());
}

#[test]
fn whatever_fails_leaves_nothing() {
    let files = Files::new("undone", 0);
    let mut m = Machine::with_frames(8192);
    // Of a domain whose number others get here.
    m.store.remove("/libxl/8").unwrap();
    let boot = boot(&config(&files), &files);
    let state = |m: &Machine| {
        let free = m.xen.physinfo().unwrap();
        let domains: Vec<u16> = m.xen.domains(DomId(0)).unwrap().iter().map(|d| d.domain).collect();
        (m.nodes(), free.free_pages + free.scrub_pages, domains)
    };
    // A first one makes the hypervisor's and the store's own structures grow.
    let first = attempt(&mut m, &files, &boot).unwrap();
    let uuid = first.config.c_info.uuid.to_string();
    let folder = files.folder.join("kept");
    destroy::destroy_in(&m.xen, &mut m.store, first.domain, &uuid, &folder, &mut |_| ()).unwrap();
    let before = state(&m);
    let mut failed = 0;
    for step in 0.. {
        m.faults.after(step);
        let made = attempt(&mut m, &files, &boot);
        let struck = m.faults.end();
        match made {
            Err(e) => {
                failed += 1;
                assert!(struck, "step {step}: {e}");
                assert_eq!(state(&m), before, "step {step}: {e}");
                assert!(kept(&files).is_empty(), "step {step}: {e}");
            }
            // What fails of no consequence may be got over.
            Ok(created) => {
                destroy::destroy_in(&m.xen, &mut m.store, created.domain, &uuid, &folder, &mut |_| ())
                    .unwrap();
                if !struck {
                    break;
                }
            }
        }
    }
    assert!(failed > 100, "{failed} steps were refused");
    m.bed.world.check("all undone");
}

#[test]
fn a_saved_guest_comes_back_whole_or_not_at_all() {
    let files = Files::new("saved", 0);
    let mut m = Machine::with_frames(8192);
    // It would be the next one's.
    m.store.remove("/libxl/8").unwrap();
    let first = attempt(&mut m, &files, &boot(&config(&files), &files)).unwrap();
    let (folder, uuid) = (files.folder.join("kept"), first.config.c_info.uuid.to_string());
    // Which nodes there are; that their values are right is seen of one that is created.
    let nodes = |m: &Machine, id: DomId| -> Vec<String> {
        let paths = m.nodes().into_iter().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned() + "/"));
        let places = ["/libxl/", "/local/domain/", "/vbd/", "/vif/", "/console/"];
        let general = |path: String| {
            places.iter().fold(path, |path, at| path.replace(&format!("{at}{id}/"), &format!("{at}ID/")))
        };
        paths.map(general).filter(|path| path.contains("/ID/")).collect()
    };
    let as_created = nodes(&m, first.domain);
    stop(&m.bed, &m.xen, first.domain);
    let mut file = Vec::new();
    write::guest(&m.xen, first.domain, &mut file, &mut |_, _| ()).unwrap();
    destroy::destroy_in(&m.xen, &mut m.store, first.domain, &uuid, &folder, &mut |_| ()).unwrap();
    let state = |m: &Machine| {
        let free = m.xen.physinfo().unwrap();
        (m.nodes(), free.free_pages + free.scrub_pages)
    };
    let before = state(&m);
    let (mut step, mut failed) = (0, 0);
    loop {
        m.faults.after(step);
        let mut fill = |xen: &Xen, domain| read::guest(xen, domain, &mut &file[..], &mut |_| ());
        let contents = Contents::Saved(&mut fill);
        let order = Order { config: config(&files), contents, folder: &folder, scripts: "/scripts" };
        let made = create(&m.xen, &mut m.store, order, &mut |_| ());
        let struck = m.faults.end();
        match made {
            Err(e) => {
                failed += 1;
                assert!(struck, "step {step}: {e}");
                assert_eq!(state(&m), before, "step {step}: {e}");
            }
            Ok(created) => {
                assert_eq!(nodes(&m, created.domain), as_created);
                let kept = files::kept(&folder, created.domain, &uuid).unwrap();
                assert_eq!(kept, created.config);
                destroy::destroy_in(&m.xen, &mut m.store, created.domain, &uuid, &folder, &mut |_| ())
                    .unwrap();
                if !struck {
                    break;
                }
            }
        }
        // Each would take long; a prime misses no loop.
        step += 7;
    }
    assert!(failed > 15, "{failed} steps were refused");
    m.bed.world.check("all undone");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let files = Files::new("refused", 0);
    let mut m = Machine::with_frames(8192);
    let boot = boot(&config(&files), &files);
    let before = m.nodes();
    type Change = fn(&mut DomainConfig);
    let cases: [(Change, &str); 6] = [
        (|c| c.c_info.name = Some("guest".into()), "domain 7 is called guest"),
        (|c| c.c_info.pool_name = Some("none".into()), "looking for the CPU pool none"),
        (|c| c.disks[0].format = crate::config::model::DiskFormat::Qcow2, "qemu-img convert"),
        (|c| c.disks[0].vdev = Some("foo".into()), "it is no name of a disk"),
        (|c| c.disks[0].backend_domname = Some("driver".into()), "only Domain-0 can serve disks"),
        (|c| c.nics[0].backend_domname = Some("driver".into()), "only Domain-0 can serve interfaces"),
    ];
    for (change, expected) in cases {
        let mut config = config(&files);
        change(&mut config);
        let order =
            Order { config, contents: Contents::Boot(&boot), folder: &files.folder, scripts: "/scripts" };
        let e = create(&m.xen, &mut m.store, order, &mut |_| ()).unwrap_err().to_string();
        assert!(e.contains(expected), "{e}");
    }
    assert_eq!(m.nodes(), before);
    assert_eq!(m.xen.domains(GUEST).unwrap().len(), 1);
}
