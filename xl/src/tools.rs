//! What each command works with: the hypervisor, the store, and how it ends.

use std::cell::OnceCell;
use std::fmt::Display;

use toolstack::names;
use toolstack::store::Client;
use xenctl::{DomId, Error, Xen};

/// Why a command ends before its end.
#[derive(Debug)]
pub enum Failure {
    /// Something was refused.
    Refused(Error),
    /// Words that scripts know.
    Words(String),
    /// All has been said.
    Said(u8),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Refused(e)
    }
}

pub type Done<T = ()> = Result<T, Failure>;

/// Ends a command with words that scripts know.
pub fn words<T>(text: impl Into<String>) -> Done<T> {
    Err(Failure::Words(text.into()))
}

/// Tells a person why something was refused, and goes on.
pub fn complain(e: &dyn Display) {
    eprintln!("xl: {e}");
}

/// Connections, made when they are needed.
pub struct Tools {
    xen: OnceCell<Xen>,
    store: OnceCell<Client>,
}

impl Tools {
    pub fn new() -> Self {
        Self { xen: OnceCell::new(), store: OnceCell::new() }
    }

    /// Those of a machine on the host.
    #[cfg(test)]
    pub fn of(xen: Xen, store: Client) -> Self {
        Self { xen: OnceCell::from(xen), store: OnceCell::from(store) }
    }

    pub fn xen(&self) -> Done<&Xen> {
        if let Some(xen) = self.xen.get() {
            return Ok(xen);
        }
        let xen = Xen::open()?;
        Ok(self.xen.get_or_init(|| xen))
    }

    /// Both: names of domains need the two.
    pub fn both(&mut self) -> Done<(&Xen, &mut Client)> {
        self.xen()?;
        if self.store.get().is_none() {
            let _ = self.store.set(Client::open()?);
        }
        match (self.xen.get(), self.store.get_mut()) {
            (Some(xen), Some(store)) => Ok((xen, store)),
            _ => unreachable!("both have just been opened"),
        }
    }

    pub fn store(&mut self) -> Done<&mut Client> {
        Ok(self.both()?.1)
    }

    /// The domain called this, by number or name.
    pub fn domain(&mut self, called: &str) -> Done<DomId> {
        let (xen, store) = self.both()?;
        match names::domain(xen, store, called)? {
            Some(id) => Ok(id),
            None => words(format!("{called} is an invalid domain identifier (rc=-6)")),
        }
    }

    /// A domain's name, as lists show it.
    pub fn name(&mut self, id: DomId) -> Done<String> {
        Ok(names::of_domain(self.store()?, id)?.unwrap_or_else(|| "(null)".into()))
    }

    pub fn pool_name(&mut self, id: u32) -> Done<String> {
        Ok(names::of_pool(self.store()?, id)?.unwrap_or_else(|| "(null)".into()))
    }

    /// The pool called this.
    pub fn pool(&mut self, called: &str) -> Done<u32> {
        let (xen, store) = self.both()?;
        match names::pool(xen, store, called)? {
            Some(id) => Ok(id),
            None => words(format!("unknown cpupool '{called}'")),
        }
    }
}
