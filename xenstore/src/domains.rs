//! Domains as the store knows them: introduced, shut down, gone.

use std::sync::Arc;

use abi::io::xs_wire as xs;

use crate::connection::Peer;
use crate::error::{Error, Result};
use crate::kept::kept;
use crate::path::Path;
use crate::quota::Delta;
use crate::store::{Domain, Effect, INTRODUCE_DOMAIN, RELEASE_DOMAIN, Store};
use crate::wire::{Message, Strings};
use crate::{ConnId, DomId};

/// A request that waits for what [`Store::introduced`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    pub conn: ConnId,
    pub req_id: u32,
    pub tx_id: u32,
    pub domid: DomId,
    pub gfn: u64,
    pub port: u32,
}

kept!(Introduction { conn, req_id, tx_id, domid, gfn, port });

impl Store {
    /// Dom0's own kernel, or whoever's ring was there before the store: no request asked for it.
    /// Answers its connection.
    pub fn introduce_first(&mut self, domid: DomId, gfn: u64, port: u32) -> ConnId {
        let conn = self.connect(Peer::Domain(domid));
        self.domains.insert(domid, Domain { conn, gfn, port, shut_down: false, target: None });
        conn
    }

    pub(crate) fn introduce(&mut self, conn: ConnId, message: Message<'_>) -> Result<()> {
        self.privileged(conn)?;
        let mut strings = Strings::new(message.payload);
        let domid: DomId = strings.number()?;
        // A frame number is signed on the wire; a guest's is never negative.
        let gfn = strings.number::<i64>()?.try_into().map_err(|_| Error::EINVAL)?;
        let port = strings.number()?;
        if domid == 0 || domid >= abi::xen::DOMID_FIRST_RESERVED {
            return Err(Error::EINVAL);
        }
        self.wait(conn);
        let xs::XsdSockmsg { req_id, tx_id, .. } = message.head;
        self.push_effect(Effect::Introduce(Introduction { conn, req_id, tx_id, domid, gfn, port }));
        Ok(())
    }

    /// What became of an introduction: the ring is mapped and its channel bound, or why not. Answers
    /// the domain's connection where it is introduced now.
    ///
    /// A domain that was introduced already begins anew on its connection: it was restored, or its
    /// toolstack wants another event channel.
    pub fn introduced(&mut self, asked: &Introduction, result: Result<()>) -> Option<ConnId> {
        let &Introduction { conn, req_id, tx_id, domid, gfn, port } = asked;
        let introduced = result.is_ok().then(|| match self.domains.get_mut(&domid) {
            Some(domain) => {
                (domain.gfn, domain.port, domain.shut_down) = (gfn, port, false);
                let its = domain.conn;
                self.restart(its);
                its
            }
            None => {
                let its = self.introduce_first(domid, gfn, port);
                self.fire_special(INTRODUCE_DOMAIN);
                its
            }
        });
        let head = xs::XsdSockmsg { type_: xs::XS_INTRODUCE, req_id, tx_id, len: 0 };
        self.answer(conn, &head, result.map(|()| b"OK\0".to_vec()));
        self.go_on(conn);
        introduced
    }

    /// The connection's next request waits until its last one is answered.
    pub(crate) fn wait(&mut self, conn: ConnId) {
        self.connections.get_mut(&conn).expect("it made a request").waiting = true;
    }

    /// It has been.
    pub(crate) fn go_on(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.waiting = false;
            self.input(conn, &[]);
        }
    }

    /// A connection begins anew: nothing that was on its way in either direction counts.
    pub fn restart(&mut self, conn: ConnId) {
        self.reset(conn);
        if let Some(connection) = self.connections.get_mut(&conn) {
            *connection = crate::connection::Connection::new(connection.peer);
        }
    }

    pub(crate) fn release(&mut self, conn: ConnId, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        self.privileged(conn)?;
        let domid = strings.number()?;
        self.introduced_domain(domid)?;
        self.forget(domid);
        Ok(b"OK\0".to_vec())
    }

    pub(crate) fn resume(&mut self, conn: ConnId, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        self.privileged(conn)?;
        self.introduced_domain(strings.number()?)?.shut_down = false;
        Ok(b"OK\0".to_vec())
    }

    pub(crate) fn set_target(&mut self, conn: ConnId, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        self.privileged(conn)?;
        let (domid, target) = (strings.number()?, strings.number()?);
        self.introduced_domain(target)?;
        self.introduced_domain(domid)?.target = Some(target);
        Ok(b"OK\0".to_vec())
    }

    /// `EINVAL` for dom0, which is always there; `ENOENT` for one that is not.
    fn introduced_domain(&mut self, domid: DomId) -> Result<&mut Domain> {
        if domid == 0 {
            return Err(Error::EINVAL);
        }
        self.domains.get_mut(&domid).ok_or(Error::ENOENT)
    }

    /// A domain has shut down or crashed. Told once, until it is resumed.
    pub fn domain_shut_down(&mut self, domid: DomId) {
        if let Some(domain) = self.domains.get_mut(&domid).filter(|domain| !domain.shut_down) {
            domain.shut_down = true;
            self.fire_special(RELEASE_DOMAIN);
        }
    }

    /// A domain does not exist any more: what it owned goes, and so do the rights it was given, for
    /// its number may be another's one day.
    pub fn domain_gone(&mut self, domid: DomId) {
        if self.domains.contains_key(&domid) {
            self.sweep(domid);
            self.forget(domid);
        }
    }

    fn forget(&mut self, domid: DomId) {
        let Some(domain) = self.domains.remove(&domid) else { return };
        for other in self.domains.values_mut().filter(|other| other.target == Some(domid)) {
            other.target = None;
        }
        self.disconnect(domain.conn);
        self.push_effect(Effect::Release { conn: domain.conn, domid });
        self.fire_special(RELEASE_DOMAIN);
    }

    /// Takes a dead domain out of the tree.
    fn sweep(&mut self, domid: DomId) {
        let mut owned = Vec::new();
        let mut granted = Vec::new();
        self.tree.root().visit(&Path::known("/"), &mut |path, node| {
            if node.perms.owner() == domid {
                owned.push(path.clone());
            } else if let Some(perms) = node.perms.without(domid) {
                granted.push((path.clone(), perms));
            }
        });
        for (path, perms) in granted {
            self.tree.get_mut(&path).expect("it was just seen").perms = Arc::new(perms);
        }
        for path in owned {
            self.remove_orphan(&path);
        }
    }

    /// Removes a node that has no owner any more, unless it went with one above it. The root stays:
    /// it becomes dom0's.
    fn remove_orphan(&mut self, path: &Path) {
        let mut delta = Delta::default();
        if path.is_root() {
            let root = self.tree.get_mut(path).expect("there is a root");
            delta.add(root.perms.owner(), -1);
            root.perms = Arc::new(root.perms.with_owner(0));
        }
        self.generation += 1;
        if let Some(removed) = self.tree.remove(path, self.generation) {
            removed.visit(path, &mut |_, node| {
                if node.perms.owner() != 0 {
                    delta.add(node.perms.owner(), -1);
                }
            });
            let before = Some(removed.perms.clone());
            self.owned.apply(&delta);
            self.fire_all(&[crate::ops::Change {
                path: path.clone(),
                before,
                after: None,
                removed: Some(removed),
            }]);
            return;
        }
        self.owned.apply(&delta);
    }
}
