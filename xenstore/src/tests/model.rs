//! The store against a model that is too simple to be wrong: a flat map, copied whole for each
//! transaction, with every watch asked about every change.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Result};
use crate::path::Path;
use crate::perms::{Access, Caller, Perms};

type Map = BTreeMap<Path, (Vec<u8>, Perms)>;

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Directory(usize),
    GetPerms(usize),
    Write(usize, u8),
    Mkdir(usize),
    Rm(usize),
    SetPerms(usize, usize),
    Watch(usize),
    Unwatch(usize),
    Start,
    End(bool),
}

const PATHS: [&str; 8] = ["/", "/g", "/g/a", "/g/a/x", "/g/a/y", "/g/b", "/h", "/h/c/d"];
const PERMS: [&[u8]; 5] = [b"n0\0", b"r0\0b1\0", b"b1\0", b"n1\0r2\0", b"w2\0r1\0"];

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    prop_oneof![
        3 => path().prop_map(Step::Read),
        2 => path().prop_map(Step::Directory),
        1 => path().prop_map(Step::GetPerms),
        5 => (path(), any::<u8>()).prop_map(|(path, value)| Step::Write(path, value % 4)),
        2 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Rm),
        2 => (path(), 0..PERMS.len()).prop_map(|(path, perms)| Step::SetPerms(path, perms)),
        1 => path().prop_map(Step::Watch),
        1 => path().prop_map(Step::Unwatch),
        2 => Just(Step::Start),
        2 => any::<bool>().prop_map(Step::End),
    ]
}

/// What a client is told of a request to the tree.
type Told = Result<Vec<u8>>;

/// What a step does: what is told, which paths changed (with every list of permissions they had), which
/// went with one of them.
type Done = (Told, Vec<(Path, Vec<Perms>)>, Vec<(Path, Perms)>);

/// A snapshot and what was done in it.
type Open = (Map, Vec<(Step, Told)>);

/// Does `step` on the map.
fn perform(map: &mut Map, caller: &Caller, step: &Step) -> Done {
    let at = match step {
        Step::Read(p) | Step::Directory(p) | Step::GetPerms(p) | Step::Write(p, _) => *p,
        Step::Mkdir(p) | Step::Rm(p) | Step::SetPerms(p, _) => *p,
        _ => unreachable!("not a request to the tree"),
    };
    let path = Path::known(PATHS[at]);
    let ok = b"OK\0".to_vec();
    let mut above = path.clone();
    while !map.contains_key(&above) {
        above = above.parent().expect("the root exists");
    }
    let (value, perms) = map[&above].clone();
    let missing = path.depth() - above.depth();
    let need = |access: Access| -> Result<()> {
        if perms.access(caller).allows(access) { Ok(()) } else { Err(Error::EACCES) }
    };
    let exists = if missing == 0 { Ok(()) } else { Err(Error::ENOENT) };
    let told = |told: Result<Vec<u8>>| (told, vec![], vec![]);
    match step {
        Step::Read(_) => told(need(Access::READ).and(exists).map(|()| value)),
        Step::GetPerms(_) => told(need(Access::READ).and(exists).map(|()| perms.encode())),
        Step::Directory(_) => {
            let names = map.keys().filter(|key| key.parent().as_ref() == Some(&path));
            let names = names.flat_map(|key| [key.names().next_back().unwrap().as_bytes(), b"\0"].concat());
            told(need(Access::READ).and(exists).map(|()| names.collect()))
        }
        Step::Write(..) | Step::Mkdir(_) => {
            if let Err(error) = need(Access::WRITE) {
                return told(Err(error));
            }
            let new = if let Step::Write(_, value) = step { Some(vec![b'v', *value]) } else { None };
            if missing == 0 {
                let Some(new) = new else { return told(Ok(ok)) };
                map.get_mut(&path).unwrap().0 = new;
                return (Ok(ok), vec![(path, vec![perms])], vec![]);
            }
            let its = if caller.privileged { perms.clone() } else { perms.with_owner(caller.domid) };
            let mut make = path.clone();
            map.insert(make.clone(), (new.unwrap_or_default(), its.clone()));
            while let Some(parent) = make.parent().filter(|parent| !map.contains_key(parent)) {
                map.insert(parent.clone(), (vec![], its.clone()));
                make = parent;
            }
            (Ok(ok), vec![(path, vec![its])], vec![])
        }
        Step::Rm(_) if path.is_root() => told(Err(Error::EINVAL)),
        Step::Rm(_) => {
            if let Err(error) = need(Access::WRITE) {
                return told(Err(error));
            }
            match missing {
                0 => {}
                1 => return told(Ok(ok)),
                _ => return told(Err(Error::ENOENT)),
            }
            let below = format!("{}/", path.as_str());
            let gone: Vec<_> = map.iter().filter(|(key, _)| key.as_str().starts_with(&below)).collect();
            let gone: Vec<_> =
                gone.into_iter().map(|(key, (_, perms))| (key.clone(), perms.clone())).collect();
            gone.iter().for_each(|(key, _)| drop(map.remove(key)));
            map.remove(&path);
            (Ok(ok), vec![(path, vec![perms])], gone)
        }
        Step::SetPerms(_, new) => {
            let new = Perms::decode(PERMS[*new]).unwrap();
            if !perms.owned_by(caller) {
                return told(Err(Error::EACCES));
            }
            if missing > 0 {
                return told(Err(Error::ENOENT));
            }
            if !caller.privileged && new.owner() != perms.owner() {
                return told(Err(Error::EPERM));
            }
            map.get_mut(&path).unwrap().1 = new.clone();
            (Ok(ok), vec![(path, vec![perms, new])], vec![])
        }
        _ => unreachable!("not a request to the tree"),
    }
}

struct Model {
    map: Map,
    /// Of each client: its snapshot and what it did in it.
    open: [Option<Open>; 3],
    watches: Vec<(usize, Path)>,
    /// Events that each client waits for, sorted, none twice.
    events: [Vec<String>; 3],
}

const CALLERS: [Caller; 3] = [
    Caller::DOM0,
    Caller { domid: 1, target: None, privileged: false },
    Caller { domid: 2, target: None, privileged: false },
];

impl Model {
    fn request(&mut self, who: usize, step: &Step) -> Told {
        if let Some((map, log)) = &mut self.open[who] {
            let (told, ..) = perform(map, &CALLERS[who], step);
            log.push((step.clone(), told.clone()));
            return told;
        }
        let (told, changed, gone) = perform(&mut self.map, &CALLERS[who], step);
        self.fire(&changed, &gone);
        told
    }

    fn fire(&mut self, changed: &[(Path, Vec<Perms>)], gone: &[(Path, Perms)]) {
        for (who, watched) in &self.watches {
            let readable = |perms: &Perms| perms.access(&CALLERS[*who]).read;
            for (path, perms) in changed {
                let above = watched.is_root()
                    || format!("{}/", path.as_str()).starts_with(&format!("{}/", watched.as_str()));
                if above && perms.iter().any(readable) {
                    self.events[*who].push(format!("{} t", path.as_str()));
                }
            }
            if gone.iter().any(|(path, perms)| path == watched && readable(perms)) {
                self.events[*who].push(format!("{} t", watched.as_str()));
            }
        }
    }

    /// The commit as its definition has it: everything once more, in one go, and the same answers.
    fn commit(&mut self, who: usize, log: Vec<(Step, Told)>) -> Result<()> {
        let before = self.map.clone();
        let mut fired = Vec::new();
        for (step, then) in log {
            let (told, changed, gone) = perform(&mut self.map, &CALLERS[who], &step);
            if told != then {
                self.map = before;
                return Err(Error::EAGAIN);
            }
            fired.push((changed, gone));
        }
        fired.iter().for_each(|(changed, gone)| self.fire(changed, gone));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_and_tells_as_the_model(steps in prop::collection::vec((0usize..3, step()), 0..150)) {
        let mut world = World::new();
        let conns = [world.store.connect(Peer::Socket), world.introduce(1), world.introduce(2)];
        let mut model = Model { map: Map::new(), open: [None, None, None], watches: vec![], events: Default::default() };
        for path in ["/", "/tool", "/tool/xenstored"] {
            model.map.insert(Path::known(path), (vec![], Perms::owned(0, Access::NONE)));
        }
        let mut ids = [0; 3];
        for (who, step) in steps {
            let (conn, tx) = (conns[who], ids[who]);
            let told = |told: Told| match told {
                Ok(bytes) => Ok(String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()),
                Err(error) => refused(error.name()),
            };
            // Events are taken after each step, so that none waits when its like comes again.
            let (request, path) = match &step {
                Step::Read(path) => (xs::XS_READ, *path),
                Step::Directory(path) => (xs::XS_DIRECTORY, *path),
                Step::GetPerms(path) => (xs::XS_GET_PERMS, *path),
                Step::Write(path, _) => (xs::XS_WRITE, *path),
                Step::Mkdir(path) => (xs::XS_MKDIR, *path),
                Step::Rm(path) => (xs::XS_RM, *path),
                Step::SetPerms(path, _) => (xs::XS_SET_PERMS, *path),
                Step::Watch(path) => (xs::XS_WATCH, *path),
                Step::Unwatch(path) => (xs::XS_UNWATCH, *path),
                Step::Start => (xs::XS_TRANSACTION_START, 0),
                Step::End(_) => (xs::XS_TRANSACTION_END, 0),
            };
            let mut payload = [PATHS[path].as_bytes(), b"\0"].concat();
            let watched = Path::known(PATHS[path]);
            let place = model.watches.iter().position(|watch| *watch == (who, watched.clone()));
            let expected = match &step {
                Step::Watch(_) => {
                    payload.extend_from_slice(b"t\0");
                    match place {
                        Some(_) => Err(Error::EEXIST),
                        None => {
                            model.events[who].push(format!("{} t", watched.as_str()));
                            model.watches.push((who, watched));
                            Ok(b"OK".to_vec())
                        }
                    }
                }
                Step::Unwatch(_) => {
                    payload.extend_from_slice(b"t\0");
                    place.map(|at| drop(model.watches.remove(at))).ok_or(Error::ENOENT).map(|()| b"OK".to_vec())
                }
                Step::Start if tx != 0 => Err(Error::EBUSY),
                Step::Start => {
                    payload = b"\0".to_vec();
                    model.open[who] = Some((model.map.clone(), vec![]));
                    ids[who] = world.store.connection(conn).unwrap().last_transaction + 1;
                    Ok(ids[who].to_string().into_bytes())
                }
                Step::End(commit) => {
                    payload = if *commit { b"T\0".to_vec() } else { b"F\0".to_vec() };
                    ids[who] = 0;
                    match model.open[who].take() {
                        None => Err(Error::ENOENT),
                        Some((_, log)) if *commit => model.commit(who, log).map(|()| b"OK".to_vec()),
                        Some(_) => Ok(b"OK".to_vec()),
                    }
                }
                _ => {
                    match &step {
                        Step::Write(_, value) => payload.extend_from_slice(&[b'v', *value]),
                        Step::SetPerms(_, perms) => payload.extend_from_slice(PERMS[*perms]),
                        _ => {}
                    }
                    model.request(who, &step)
                }
            };
            world.send(conn, request, tx, &payload);
            let (mut answers, own_events): (Vec<_>, Vec<_>) = world.take(conn).into_iter().partition(|m| m.0 != xs::XS_WATCH_EVENT);
            let (type_, answer) = answers.pop().expect("an answer");
            let text = String::from_utf8(answer).unwrap().trim_end_matches('\0').to_owned();
            prop_assert_eq!(if type_ == xs::XS_ERROR { Err(text) } else { Ok(text) }, told(expected), "{:?}", step);
            for (other, &its) in conns.iter().enumerate() {
                let events = if other == who { own_events.clone() } else { world.take(its) };
                let mut got: Vec<String> = events.into_iter().map(|(_, e)| String::from_utf8(e).unwrap().replace('\0', " ").trim().to_owned()).collect();
                got.sort();
                let mut wanted = std::mem::take(&mut model.events[other]);
                wanted.sort();
                wanted.dedup();
                prop_assert_eq!(got, wanted, "{:?} by {}, events of {}", step, who, other);
            }
            world.check();
        }
    }
}
