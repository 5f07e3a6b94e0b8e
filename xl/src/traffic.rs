//! [`traffic`]: what the kernel's backends of dom0 have counted for a domain.

use std::fs;

use xenctl::DomId;

/// Since its devices were connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub nets: u64,
    /// Bytes the guest has sent and got.
    pub sent: u64,
    pub received: u64,
    pub disks: u64,
    /// How often a disk had no room for another request.
    pub full: u64,
    pub reads: u64,
    pub writes: u64,
    /// Of 512 bytes.
    pub sectors_read: u64,
    pub sectors_written: u64,
}

/// Nothing where nothing is counted.
pub fn traffic(domain: DomId) -> Traffic {
    let mut all = Traffic::default();
    interfaces(domain, &fs::read_to_string("/proc/net/dev").unwrap_or_default(), &mut all);
    let number = |device: &std::path::Path, name: &str| -> u64 {
        let text = fs::read_to_string(device.join("statistics").join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    for device in fs::read_dir("/sys/bus/xen-backend/devices").into_iter().flatten().flatten() {
        if !device.file_name().to_string_lossy().starts_with(&format!("vbd-{domain}-")) {
            continue;
        }
        let of = |name| number(&device.path(), name);
        all.disks += 1;
        all.full += of("oo_req");
        all.reads += of("rd_req");
        all.writes += of("wr_req");
        all.sectors_read += of("rd_sect");
        all.sectors_written += of("wr_sect");
    }
    all
}

/// `/proc/net/dev`: what dom0 received from the interface, the guest has sent.
fn interfaces(domain: DomId, text: &str, all: &mut Traffic) {
    for line in text.lines() {
        let Some((name, numbers)) = line.trim().split_once(':') else { continue };
        if name.strip_prefix(&format!("vif{domain}.")).is_none_or(|n| n.parse::<u32>().is_err()) {
            continue;
        }
        let numbers: Vec<u64> = numbers.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        all.nets += 1;
        all.sent += numbers.first().unwrap_or(&0);
        all.received += numbers.get(8).unwrap_or(&0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_the_domain_are_counted() {
        let text = "Inter-|   Receive\n face |bytes    packets\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\
                    vif7.0: 1000 2 0 0 0 0 0 0 3000 4 0 0 0 0 0 0\nvif7.1:    5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n\
                    vif77.0: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\nvif7.0-emu: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n";
        let mut all = Traffic::default();
        interfaces(DomId(7), text, &mut all);
        assert_eq!(all, Traffic { nets: 2, sent: 1005, received: 3006, ..Default::default() });
    }
}
