//! What managers of guests expect to find about dom0 itself, as `xen-init-dom0` leaves it after the store's start: its
//! number and name, the pools' names, and a configuration beside those of guests.

use std::path::Path;

use xenctl::{DomId, Error, Result, Xen};

use crate::config::model::domain::{DomainType, PvInfo};
use crate::config::model::{DomainConfig, values::Uuid};
use crate::create::files;
use crate::store::Client;

/// dom0's name.
pub const NAME: &str = "Domain-0";

/// Enters dom0 and the pools into the store, and a configuration for dom0 into `dir`. What is there already is only
/// brought up to date.
pub fn init(xen: &Xen, store: &mut Client, dir: &Path) -> Result<()> {
    let id = DomId(0);
    let doing = || "entering dom0 into the store".to_owned();
    let info = xen.domain(id)?.ok_or_else(|| Error::new(doing(), abi::Errno::ESRCH))?;
    store.write("/local/domain/0/domid", b"0")?;
    store.write("/local/domain/0/name", NAME.as_bytes())?;
    for pool in xen.pools()? {
        let path = format!("/local/pool/{}/name", pool.id);
        if store.read(&path)?.is_none() {
            store.write(&path, format!("Pool-{}", pool.id).as_bytes())?;
        }
    }
    // Nothing is known that it was made from.
    let mut config = DomainConfig::default();
    (config.c_info.kind, config.c_info.uuid) = (DomainType::Pv, Uuid(info.handle));
    config.b_info.pv = Some(PvInfo::default());
    files::keep(dir, id, &config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use serde_json::{Value, json};
    use std::fs;

    #[test]
    fn dom0_is_entered_as_the_stock_tools_do_and_names_stay() {
        let mut m = Machine::new();
        m.store.write("/local/domain/0/name", b"").unwrap();
        let dir = std::env::temp_dir().join(format!("toolstack-dom0-{}", std::process::id()));
        for _ in 0..2 {
            init(&m.xen, &mut m.store, &dir).unwrap();
            assert_eq!(m.text("/local/domain/0/domid").as_deref(), Some("0"));
            assert_eq!(m.text("/local/domain/0/name").as_deref(), Some(NAME));
        }
        assert_eq!(m.text("/local/pool/0/name").as_deref(), Some("Pool-0"));
        m.store.write("/local/pool/0/name", b"first").unwrap();
        init(&m.xen, &mut m.store, &dir).unwrap();
        assert_eq!(m.text("/local/pool/0/name").as_deref(), Some("first"));
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
        let name = "userdata-d.0.00000000-0000-0000-0000-000000000000.libxl-json";
        assert_eq!(files, [dir.join(name)]);
        let text = fs::read_to_string(&files[0]).unwrap();
        let value: Value = serde_json::from_str(text.trim_end_matches('\0')).unwrap();
        // As Debian's leaves it.
        let build = json!({ "sched_params": {}, "type.pv": {}, "arch_arm": {}, "arch_x86": {} });
        assert_eq!(value, json!({ "c_info": { "type": "pv" }, "b_info": build }));
        fs::remove_dir_all(&dir).unwrap();
    }
}
