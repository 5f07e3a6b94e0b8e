//! The backends in dom0's kernel, and the scripts beside them: what they do of the store.

use crate::store::Client;

const ROOT: &str = "/local/domain/0/backend";

/// Backends that have let go of their device, and whether the frontend was still there.
pub type Closed = Vec<(String, bool)>;

/// Each backend takes its next step: it sees its device, or lets go of it.
pub fn step(store: &mut Client, closed: &mut Closed) {
    for kind in ["vbd", "vif"] {
        let of_kind = format!("{ROOT}/{kind}");
        for domain in store.list(&of_kind).unwrap().unwrap_or_default() {
            for id in store.list(&format!("{of_kind}/{domain}")).unwrap().unwrap_or_default() {
                let frontend = format!("/local/domain/{domain}/device/{kind}/{id}/state");
                device(store, &format!("{of_kind}/{domain}/{id}"), &frontend, closed);
            }
        }
    }
}

fn device(store: &mut Client, backend: &str, frontend: &str, closed: &mut Closed) {
    let state = format!("{backend}/state");
    match store.text(&state).unwrap().as_deref() {
        Some("1") => {
            store.write(&state, b"2").unwrap();
            store.write(&format!("{backend}/hotplug-status"), b"connected").unwrap();
        }
        Some("5") => {
            assert_eq!(store.text(&format!("{backend}/online")).unwrap().as_deref(), Some("0"));
            closed.push((backend.to_owned(), store.read(frontend).unwrap().is_some()));
            store.write(&state, b"6").unwrap();
        }
        _ => {}
    }
}
