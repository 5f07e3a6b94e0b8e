//! A machine on the host to test tools against: the hypervisor's own logic, and our own store.

pub mod kernel;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use xenctl::testing::Bed;
use xenctl::{DomId, Xen};
use xenstore::{ConnId, Peer, Quotas, Store};

use crate::memory;
use crate::store::Client;

/// A guest of one vCPU, called `guest`.
pub const GUEST: DomId = DomId(7);
pub const UUID: &str = "5eed0000-0000-4000-8000-000000000001";

/// A connection to a store of this process.
struct Here {
    store: Arc<Mutex<Store>>,
    conn: ConnId,
    answers: VecDeque<u8>,
}

impl Write for Here {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut store = self.store.lock().unwrap();
        store.input(self.conn, bytes);
        let out: Vec<u8> = store.connection(self.conn).unwrap().output().flatten().copied().collect();
        store.sent(self.conn, out.len());
        self.answers.extend(out);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Here {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.answers.read(to)
    }
}

/// A machine with a guest as a toolstack has made it.
pub struct Machine {
    _bed: Bed,
    pub xen: Xen,
    pub tree: Arc<Mutex<Store>>,
    pub store: Client,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    pub fn new() -> Self {
        let bed = Bed::new(4096, 2);
        bed.guest(GUEST, 1);
        let tree = Arc::new(Mutex::new(Store::new(Quotas::default(), None)));
        let mut m = Self { xen: bed.xen(), _bed: bed, store: client(&tree), tree };
        m.xen.set_max_memory(GUEST, 8192 + memory::SLACK_KIB).unwrap();
        for (path, value) in [
            ("/local/domain/0/name", "Domain-0"),
            ("/local/domain/7/name", "guest"),
            ("/local/domain/7/vm", &format!("/vm/{UUID}")),
            (&format!("/vm/{UUID}/name"), "guest"),
            ("/local/domain/7/memory/static-max", "8192"),
            ("/local/domain/7/memory/target", "4096"),
            ("/vm/other/name", "other"),
            ("/libxl/8/type", "pv"),
        ] {
            m.store.write(path, value.as_bytes()).unwrap();
        }
        m
    }

    /// A device with both ends in this state.
    pub fn device(&mut self, kind: &str, id: &str, state: &str) {
        let (frontend, backend) =
            (format!("/local/domain/7/device/{kind}/{id}"), format!("/local/domain/0/backend/{kind}/7/{id}"));
        let path = format!("/libxl/7/device/{kind}/{id}");
        for (path, value) in [
            (format!("{frontend}/state"), state),
            (format!("{backend}/state"), state),
            (format!("{backend}/online"), "1"),
            (format!("{path}/frontend"), &frontend),
            (format!("{path}/backend"), &backend),
        ] {
            self.store.write(&path, value.as_bytes()).unwrap();
        }
    }

    /// A node's value.
    pub fn text(&mut self, path: &str) -> Option<String> {
        self.store.text(path).unwrap()
    }

    pub fn limit_kib(&self) -> u64 {
        self.xen.domain(GUEST).unwrap().unwrap().max_pages * 4
    }
}

/// A connection to it.
pub fn client(tree: &Arc<Mutex<Store>>) -> Client {
    let conn = tree.lock().unwrap().connect(Peer::Socket);
    Client::over(Here { store: tree.clone(), conn, answers: VecDeque::new() })
}
