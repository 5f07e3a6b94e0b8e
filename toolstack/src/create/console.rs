//! A guest's first console, which the console daemon serves.

use xenctl::{DomId, Result};

use super::tree::{node, readable};
use crate::build::Ends;
use crate::devices::Device;
use crate::store::Client;

/// Bytes of output that are kept while nobody reads them.
const LIMIT: u32 = 1 << 20;

/// Writes its nodes: the daemon looks for them when the domain is introduced.
pub fn write(store: &mut Client, domain: DomId, ends: &Ends) -> Result<()> {
    let frontend = format!("/local/domain/{domain}/console");
    let Device { path: own, backend, .. } = Device::new(domain, "console", 0);
    node(store, &frontend, "", &[format!("n{domain}"), "r0".into()])?;
    node(store, &backend, "", &readable(domain))?;
    node(store, &own, "", &["n0".into()])?;
    let number = domain.to_string();
    let back = [
        ("frontend", frontend.as_str()),
        ("frontend-id", &number),
        ("online", "1"),
        ("state", "1"),
        ("protocol", "vt100"),
    ];
    for (name, value) in back {
        store.write(&format!("{backend}/{name}"), value.as_bytes())?;
        store.write(&format!("{own}/{name}"), value.as_bytes())?;
    }
    store.write(&format!("{own}/backend"), backend.as_bytes())?;
    let [limit, port, frame] = [LIMIT.to_string(), ends.port.to_string(), ends.frame.to_string()];
    // The daemon believes these: the guest may read them, and no more.
    let front = [
        ("backend", backend.as_str()),
        ("backend-id", "0"),
        ("limit", &limit),
        ("type", "xenconsoled"),
        ("output", "pty"),
        ("tty", ""),
        ("port", &port),
        ("ring-ref", &frame),
    ];
    for (name, value) in front {
        node(store, &format!("{frontend}/{name}"), value, &readable(domain))?;
    }
    Ok(())
}
