//! `XS_CONTROL`: what an administrator asks of the daemon itself (`xenstore-control`).

use abi::io::xs_wire as xs;

use crate::error::{Error, Result};
use crate::kept::kept;
use crate::path::Path;
use crate::quota::{Delta, Owned, Quotas};
use crate::store::{Effect, Store};
use crate::wire::{Message, Strings};
use crate::{ConnId, DomId};

/// Commands and what may follow them, as `help` lists them.
const COMMANDS: [(&str, &str); 6] = [
    ("check", ""),
    ("help", ""),
    ("live-update", "-f <file>|-s [-t <seconds>] [-F]|-a"),
    ("log", "on|off"),
    ("print", "<string>"),
    ("quota", "[set <name> <val>|<domid>]"),
];

/// A request that waits for another program to take the daemon's place, or for why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub conn: ConnId,
    pub req_id: u32,
    pub tx_id: u32,
    pub file: String,
}

kept!(Update { conn, req_id, tx_id, file });

/// Answers one command of a privileged caller; `None`: it waits. `EINVAL` for one that is unknown or incomplete.
pub fn control(store: &mut Store, conn: ConnId, message: Message<'_>) -> Result<Option<Vec<u8>>> {
    let mut strings = Strings::new(message.payload);
    match strings.string()? {
        "live-update" => live_update(store, conn, message, strings),
        command => answered(store, command, strings).map(Some),
    }
}

/// Another program takes the daemon's place. Open transactions go on in it, so nothing is waited for and nothing forced.
/// What cannot be is said in words, as `xenstore-control` expects it.
fn live_update(
    store: &mut Store,
    conn: ConnId,
    message: Message<'_>,
    mut strings: Strings<'_>,
) -> Result<Option<Vec<u8>>> {
    let said = match strings.string()? {
        "-f" => {
            store.update = Some(strings.string()?.to_owned());
            "OK"
        }
        "-a" => {
            store.update = None;
            "OK"
        }
        "-s" => match store.update.take() {
            None => "no program was named before (-f)",
            Some(file) => {
                let (req_id, tx_id) = (message.head.req_id, message.head.tx_id);
                store.wait(conn);
                store.push_effect(Effect::Update(Update { conn, req_id, tx_id, file }));
                return Ok(None);
            }
        },
        "-c" => "the command line stays what it is",
        _ => return Err(Error::EINVAL),
    };
    Ok(Some(answer(said.into())))
}

fn answered(store: &mut Store, command: &str, mut strings: Strings<'_>) -> Result<Vec<u8>> {
    match command {
        "check" => store.check().map(|()| b"OK\0".to_vec()),
        "help" => {
            let line = |(name, parameters): (&str, &str)| format!("{name}\t{parameters}\n");
            Ok(answer(COMMANDS.map(line).concat()))
        }
        "log" => match strings.string()? {
            "on" => store.ask(Effect::Log { on: true }),
            "off" => store.ask(Effect::Log { on: false }),
            _ => Err(Error::EINVAL),
        },
        "print" => {
            let text = strings.string()?.to_owned();
            store.ask(Effect::Print { text })
        }
        "quota" => quota(store, strings),
        _ => Err(Error::EINVAL),
    }
}

fn answer(mut text: String) -> Vec<u8> {
    text.push('\0');
    text.into_bytes()
}

/// The limits; one changed; or what one domain uses.
fn quota(store: &mut Store, mut strings: Strings<'_>) -> Result<Vec<u8>> {
    if strings.is_empty() {
        let quotas = &mut store.quotas;
        let line =
            |(name, meaning)| format!("{name:<17}: {:8} {meaning}\n", quotas.get_mut(name).expect("listed"));
        return Ok(answer(format!("Quota settings:\n{}", Quotas::NAMES.map(line).concat())));
    }
    match strings.string()? {
        "set" => {
            let limit = store.quotas.get_mut(strings.string()?).ok_or(Error::EINVAL)?;
            *limit = strings.number()?;
            Ok(b"OK\0".to_vec())
        }
        domid => {
            let domid: DomId = domid.parse().map_err(|_| Error::EINVAL)?;
            let domain = store.domain(domid).ok_or(Error::ENOENT)?;
            let connection = store.connection(domain.conn).ok_or(Error::ENOENT)?;
            let used = [
                ("nodes", store.owned.of(domid) as usize),
                ("watches", connection.watches.len()),
                ("transactions", connection.transactions.len()),
                ("events", connection.out.events()),
            ];
            let line = |(name, used): (&str, usize)| format!("{name:<17}: {used:8}\n");
            Ok(answer(format!("Domain {domid}:\n{}", used.map(line).concat())))
        }
    }
}

impl Store {
    /// What became of a live update: `refusal`, or this is the new program.
    pub fn updated(&mut self, asked: &Update, refusal: Option<&str>) {
        let &Update { conn, req_id, tx_id, .. } = asked;
        let head = xs::XsdSockmsg { type_: xs::XS_CONTROL, req_id, tx_id, len: 0 };
        self.answer(conn, &head, Ok(answer(refusal.unwrap_or("OK").into())));
        self.go_on(conn);
    }

    /// Recounts what is counted, and looks for every watch in both places it is kept. `EIO` where
    /// something does not agree.
    pub fn check(&self) -> Result<()> {
        let mut owned = Owned::default();
        let mut sound = true;
        self.tree.root().visit(&Path::known("/"), &mut |path, node| {
            sound &= path.is_root() || Path::parse(path.as_str(), 0, usize::MAX).is_ok();
            if node.perms.owner() != 0 {
                let mut one = Delta::default();
                one.add(node.perms.owner(), 1);
                owned.apply(&one);
            }
        });
        let watched = self.connections.iter().all(|(&conn, connection)| {
            connection.watches.iter().all(|(path, token)| self.watches.get(conn, token, path).is_some())
        });
        let connected = self.domains.values().all(|domain| self.connections.contains_key(&domain.conn));
        if sound && owned == self.owned && watched && connected { Ok(()) } else { Err(Error::EIO) }
    }
}
