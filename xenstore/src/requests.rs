//! What each type of message asks for: payload to request, request to payload.

use abi::io::xs_wire as xs;

use crate::error::{Error, Result};
use crate::ops::{Op, Outcome};
use crate::path::{Named, Path};
use crate::perms::Perms;
use crate::store::{Effect, Store};
use crate::transaction::Transaction;
use crate::watch::{Token, Watch};
use crate::wire::{Message, Strings};
use crate::{ConnId, DomId};

/// What most requests answer.
const OK: &[u8] = b"OK\0";

impl Store {
    /// Answers one request, or makes its connection wait for what it needs from outside.
    pub(crate) fn request(&mut self, conn: ConnId, message: Message<'_>) {
        let head = message.head;
        let answer = match head.type_ {
            xs::XS_INTRODUCE => match self.introduce(conn, message) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            xs::XS_WATCH => match self.watch(conn, Strings::new(message.payload)) {
                Ok((token, watch)) => {
                    self.answer(conn, &head, Ok(OK.to_vec()));
                    // Every watch has a first event, behind the answer.
                    return self.event(conn, &token, &watch, &watch.path);
                }
                Err(error) => Err(error),
            },
            xs::XS_CONTROL => match self.control(conn, message) {
                Ok(None) => return,
                Ok(Some(answer)) => Ok(answer),
                Err(error) => Err(error),
            },
            _ => self.answered(conn, message),
        };
        self.answer(conn, &head, answer);
    }

    fn answered(&mut self, conn: ConnId, message: Message<'_>) -> Result<Vec<u8>> {
        let tx = message.head.tx_id;
        let mut strings = Strings::new(message.payload);
        let type_ = message.head.type_;
        // A watch is never in a transaction, whatever the head says.
        if type_ != xs::XS_UNWATCH {
            self.in_transaction(conn, tx)?;
        }
        match type_ {
            xs::XS_READ => self.op(conn, tx, Op::Read, &mut strings),
            xs::XS_DIRECTORY => self.op(conn, tx, Op::Directory, &mut strings),
            xs::XS_DIRECTORY_PART => self.directory_part(conn, tx, strings),
            xs::XS_MKDIR => self.op(conn, tx, Op::Mkdir, &mut strings),
            xs::XS_RM => self.op(conn, tx, Op::Rm, &mut strings),
            xs::XS_WRITE => {
                let path = self.path(conn, strings.string()?)?.path;
                self.perform(conn, tx, &Op::Write(path, strings.rest().into()))?;
                Ok(OK.to_vec())
            }
            xs::XS_GET_PERMS => self.op(conn, tx, Op::GetPerms, &mut strings),
            xs::XS_SET_PERMS => self.set_perms(conn, tx, strings),
            xs::XS_UNWATCH => self.unwatch(conn, strings),
            xs::XS_RESET_WATCHES => {
                self.reset(conn);
                Ok(OK.to_vec())
            }
            xs::XS_TRANSACTION_START => self.transaction_start(conn, tx),
            xs::XS_TRANSACTION_END => self.transaction_end(conn, tx, strings),
            xs::XS_RELEASE => self.release(conn, strings),
            xs::XS_RESUME => self.resume(conn, strings),
            xs::XS_SET_TARGET => self.set_target(conn, strings),
            xs::XS_GET_DOMAIN_PATH => {
                Ok(format!("/local/domain/{}\0", strings.number::<DomId>()?).into_bytes())
            }
            xs::XS_IS_DOMAIN_INTRODUCED => {
                let domid = self.self_or(conn, strings.number()?);
                Ok(if domid == 0 || self.domains.contains_key(&domid) { b"T\0" } else { b"F\0" }.to_vec())
            }
            _ => Err(Error::ENOSYS),
        }
    }

    /// `EACCES` unless the caller may manage domains.
    pub(crate) fn privileged(&self, conn: ConnId) -> Result<()> {
        if self.caller(conn).privileged { Ok(()) } else { Err(Error::EACCES) }
    }

    fn self_or(&self, conn: ConnId, domid: DomId) -> DomId {
        if domid == abi::xen::DOMID_SELF { self.caller(conn).domid } else { domid }
    }

    fn path(&self, conn: ConnId, name: &str) -> Result<Named> {
        Path::parse(name, self.caller(conn).domid, self.quotas.path_max as usize)
    }

    fn path_any(&self, conn: ConnId, name: &str) -> Result<Named> {
        Path::parse_any(name, self.caller(conn).domid, self.quotas.path_max as usize)
    }

    /// A request whose payload is a path alone.
    fn op(
        &mut self,
        conn: ConnId,
        tx: u32,
        op: impl FnOnce(Path) -> Op,
        strings: &mut Strings<'_>,
    ) -> Result<Vec<u8>> {
        let path = self.path(conn, strings.string()?)?.path;
        if !strings.is_empty() {
            return Err(Error::EINVAL);
        }
        Ok(match self.perform(conn, tx, &op(path))? {
            Outcome::Value(value) => value.to_vec(),
            Outcome::Perms(perms) => perms.encode(),
            Outcome::Children(node) => names(&node),
            Outcome::Done => OK.to_vec(),
        })
    }

    /// The part of a list of children that begins `offset` bytes into it: a generation and as many
    /// whole names as fit; an empty name ends the last part.
    fn directory_part(&mut self, conn: ConnId, tx: u32, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        let path = self.path(conn, strings.string()?)?.path;
        let offset: usize = strings.number()?;
        let Outcome::Children(node) = self.perform(conn, tx, &Op::Directory(path))? else {
            return Err(Error::EIO);
        };
        let names = names(&node);
        let mut part = format!("{}\0", node.generation).into_bytes();
        let rest = names.get(offset..).unwrap_or_default();
        // Whole names only, and room for the mark of the end.
        let room = xs::XENSTORE_PAYLOAD_MAX - part.len() - 1;
        let end = match rest.len() <= room {
            true => rest.len(),
            false => rest[..room].iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1),
        };
        part.extend_from_slice(&rest[..end]);
        if end == rest.len() {
            part.push(0);
        }
        Ok(part)
    }

    fn set_perms(&mut self, conn: ConnId, tx: u32, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        let path = self.path_any(conn, strings.string()?)?.path;
        let perms = Perms::decode(strings.rest())?.into();
        if path.is_special() {
            let caller = self.caller(conn);
            let now = self.special.get_mut(&path).ok_or(Error::EINVAL)?;
            if !now.owned_by(&caller) {
                return Err(Error::EACCES);
            }
            *now = perms;
        } else {
            self.perform(conn, tx, &Op::SetPerms(path, perms))?;
        }
        Ok(OK.to_vec())
    }

    fn watch(&mut self, conn: ConnId, mut strings: Strings<'_>) -> Result<(Token, Watch)> {
        let Named { path, implied } = self.path_any(conn, strings.string()?)?;
        let token: Token = strings.bytes()?.into();
        let depth = match strings.is_empty() {
            true => None,
            false => Some(strings.number()?),
        };
        let caller = self.caller(conn);
        let connection = &self.connections[&conn];
        if !caller.privileged && connection.watches.len() >= self.quotas.watches as usize {
            return Err(Error::E2BIG);
        }
        let watch = Watch { path: path.clone(), implied, depth };
        self.watches.add(conn, token.clone(), watch.clone())?;
        let connection = self.connections.get_mut(&conn).expect("it made a request");
        connection.watches.insert((path, token.clone()));
        Ok((token, watch))
    }

    fn unwatch(&mut self, conn: ConnId, mut strings: Strings<'_>) -> Result<Vec<u8>> {
        let path = self.path_any(conn, strings.string()?);
        let token = strings.bytes()?.into();
        // No watch has a path that is none.
        let path = path.map_err(|_| Error::ENOENT)?.path;
        self.watches.remove(conn, &token, &path)?;
        let connection = self.connections.get_mut(&conn).expect("it made a request");
        connection.watches.remove(&(path, token));
        Ok(OK.to_vec())
    }

    fn transaction_start(&mut self, conn: ConnId, tx: u32) -> Result<Vec<u8>> {
        if tx != 0 {
            return Err(Error::EBUSY);
        }
        let limited = !self.caller(conn).privileged;
        let connection = self.connections.get_mut(&conn).expect("it made a request");
        if limited && connection.transactions.len() >= self.quotas.transactions as usize {
            return Err(Error::ENOSPC);
        }
        let id = connection.new_transaction_id();
        connection.transactions.insert(id, Transaction::start(&self.tree));
        Ok(format!("{id}\0").into_bytes())
    }

    fn transaction_end(&mut self, conn: ConnId, tx: u32, strings: Strings<'_>) -> Result<Vec<u8>> {
        let commit = match strings.rest() {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(Error::EINVAL),
        };
        self.end_transaction(conn, tx, commit)?;
        Ok(OK.to_vec())
    }

    fn control(&mut self, conn: ConnId, message: Message<'_>) -> Result<Option<Vec<u8>>> {
        self.privileged(conn)?;
        self.in_transaction(conn, message.head.tx_id)?;
        crate::control::control(self, conn, message)
    }

    /// `ENOENT` for a transaction that the connection has not open.
    fn in_transaction(&self, conn: ConnId, tx: u32) -> Result<()> {
        let open = tx == 0 || self.connections[&conn].transactions.contains_key(&tx);
        if open { Ok(()) } else { Err(Error::ENOENT) }
    }

    /// For `log` and `print`.
    pub(crate) fn ask(&mut self, effect: Effect) -> Result<Vec<u8>> {
        self.push_effect(effect);
        Ok(OK.to_vec())
    }
}

/// A node's children as `DIRECTORY` answers them.
fn names(node: &crate::tree::Node) -> Vec<u8> {
    node.children.iter().flat_map(|child| child.name().bytes().chain([0])).collect()
}
