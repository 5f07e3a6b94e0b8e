//! A machine on the host to test tools against: the hypervisor's own logic, and our own store.

pub mod drivers;
pub mod faults;
pub mod kernel;
pub mod stopped;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abi::io::xs_wire::{XS_ERROR, XsdSockmsg};
use xenctl::testing::Bed;
use xenctl::{DomId, Xen};
use xenstore::{ConnId, Effect, Path, Peer, Quotas, Store};
use zerocopy::{FromBytes, IntoBytes};

use self::drivers::Closed;
use self::faults::{Counted, Faults};
use crate::memory;
use crate::store::{Client, Stream};

/// A guest of one vCPU, called `guest`.
pub const GUEST: DomId = DomId(7);
pub const UUID: &str = "5eed0000-0000-4000-8000-000000000001";

/// A connection to a store of this process.
struct Here {
    store: Arc<Mutex<Store>>,
    conn: ConnId,
    answers: VecDeque<u8>,
    /// What happens after each request: other connections are not interrupted by it.
    kernel: Option<(Client, Arc<Mutex<Closed>>)>,
    faults: Arc<Faults>,
}

impl Here {
    fn new(
        store: &Arc<Mutex<Store>>,
        faults: &Arc<Faults>,
        kernel: Option<(Client, Arc<Mutex<Closed>>)>,
    ) -> Self {
        let conn = store.lock().unwrap().connect(Peer::Socket);
        Self { store: store.clone(), conn, answers: VecDeque::new(), kernel, faults: faults.clone() }
    }

    /// Domains are introduced as if their rings could be mapped.
    fn introduce(&self, store: &mut Store) {
        for effect in store.take_effects() {
            if let Effect::Introduce(asked) = effect {
                store.introduced(&asked, Ok(()));
            }
        }
    }

    fn collect(&mut self) {
        let mut store = self.store.lock().unwrap();
        self.introduce(&mut store);
        let out: Vec<u8> = store.connection(self.conn).unwrap().output().flatten().copied().collect();
        store.sent(self.conn, out.len());
        self.answers.extend(out);
    }
}

impl Write for Here {
    /// A request.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.faults.strikes() {
            let head = XsdSockmsg::read_from_prefix(bytes).map_err(|_| io::ErrorKind::InvalidInput)?.0;
            let answer = XsdSockmsg { type_: XS_ERROR, len: 7, ..head };
            self.answers.extend([answer.as_bytes(), b"ENOSPC\0"].concat());
            return Ok(bytes.len());
        }
        self.store.lock().unwrap().input(self.conn, bytes);
        self.collect();
        if let Some((kernel, closed)) = &mut self.kernel {
            drivers::step(kernel, &mut closed.lock().unwrap());
        }
        self.collect();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Here {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.answers.is_empty() {
            return Err(io::Error::other("nothing more will be told"));
        }
        self.answers.read(to)
    }
}

/// What happens is told before the next request is answered: who waits any longer waits for ever.
impl Stream for Here {
    fn limit(&mut self, _time: Option<Duration>) -> io::Result<bool> {
        Ok(true)
    }
}

/// A machine with a guest as a toolstack has made it.
pub struct Machine {
    pub bed: Bed,
    /// What fails, of hypercalls and of requests to the store.
    pub faults: Arc<Faults>,
    /// Devices that backends have let go of.
    pub closed: Arc<Mutex<Closed>>,
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
        Self::with_frames(4096)
    }

    /// With that much memory.
    pub fn with_frames(frames: u64) -> Self {
        let bed = Bed::new(frames, 2);
        bed.guest(GUEST, 1);
        let tree = Arc::new(Mutex::new(Store::new(Quotas::default(), None)));
        let faults = Arc::<Faults>::default();
        let kernel = Client::over(Here::new(&tree, &Arc::default(), None));
        let closed = Arc::<Mutex<Closed>>::default();
        let store = Client::over(Here::new(&tree, &faults, Some((kernel, closed.clone()))));
        let xen = Xen::through(Counted::new(bed.gate(), faults.clone()));
        let mut m = Self { bed, faults, closed, xen, store, tree };
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

    /// Every node with its value and rights, a line each, as `xenstore-ls -fp` shows them.
    pub fn nodes(&self) -> Vec<String> {
        let mut all = Vec::new();
        let store = self.tree.lock().unwrap();
        store.tree().root().visit(&Path::known("/"), &mut |path, node| {
            let rights =
                String::from_utf8_lossy(&node.perms.encode()).trim_end_matches('\0').replace('\0', ",");
            all.push(format!("{} = \"{}\" ({rights})", path.as_str(), String::from_utf8_lossy(&node.value)));
        });
        all.sort();
        all
    }

    pub fn limit_kib(&self) -> u64 {
        self.xen.domain(GUEST).unwrap().unwrap().max_pages * 4
    }
}

/// A connection to a store of this process.
pub fn client(tree: &Arc<Mutex<Store>>) -> Client {
    Client::over(Here::new(tree, &Arc::default(), None))
}
