//! Paths: `/`-separated like files' names, or `@…` for events that are not about a node.

use std::sync::Arc;

use abi::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

use crate::DomId;
use crate::error::{Error, Result};
use crate::kept::{Kept, Reader, Writer};

/// An absolute path that follows the rules, or a special one (`@releaseDomain`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Arc<str>);

impl Kept for Path {
    fn keep(&self, to: &mut Writer) {
        self.0.keep(to);
    }

    fn find(from: &mut Reader<'_>) -> Option<Self> {
        Kept::find(from).map(Self)
    }
}

/// A path as a client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Path,
    /// Bytes of `path` that the client left out (`/local/domain/3/`), 0 for an absolute one.
    pub implied: usize,
}

impl Path {
    /// `name` as the client of domain `domid` means it. `max`: the bytes an unprivileged client's
    /// own part may have. `EINVAL` for what is no path; special ones are refused.
    pub fn parse(name: &str, domid: DomId, max: usize) -> Result<Named> {
        if name.starts_with('@') {
            return Err(Error::EINVAL);
        }
        Self::parse_any(name, domid, max)
    }

    /// The same, where special paths are allowed.
    pub fn parse_any(name: &str, domid: DomId, max: usize) -> Result<Named> {
        if name.starts_with('@') {
            let fits = name.len() <= XENSTORE_REL_PATH_MAX && name.bytes().all(permitted);
            return if fits { Ok(Named { path: Self(name.into()), implied: 0 }) } else { Err(Error::EINVAL) };
        }
        let absolute = name.starts_with('/');
        let limit = if absolute { XENSTORE_ABS_PATH_MAX } else { XENSTORE_REL_PATH_MAX };
        let sound = !name.is_empty()
            && name.len() <= limit
            && own_part(name) <= max
            && name.bytes().all(permitted)
            && !name.contains("//")
            && (name == "/" || !name.ends_with('/'));
        if !sound {
            return Err(Error::EINVAL);
        }
        if absolute {
            return Ok(Named { path: Self(name.into()), implied: 0 });
        }
        let base = format!("/local/domain/{domid}/");
        Ok(Named { path: Self(format!("{base}{name}").into()), implied: base.len() })
    }

    /// A path known to be sound.
    ///
    /// # Panics
    /// Where it is not: this is for names in the source.
    pub fn known(name: &str) -> Self {
        Self::parse_any(name, 0, usize::MAX).expect("a sound path").path
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `@…`.
    pub fn is_special(&self) -> bool {
        self.0.starts_with('@')
    }

    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Names from the root down; none for the root. A special path is one name, or several with
    /// `/` between them.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        let text = self.0.strip_prefix('/').unwrap_or(&self.0);
        text.split('/').filter(|name| !name.is_empty())
    }

    /// How many names it has: 0 for the root.
    pub fn depth(&self) -> usize {
        self.names().count()
    }

    /// The path without its last name; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, last) = self.0.rsplit_once('/')?;
        match (parent, last) {
            ("", "") => None,
            ("", _) => Some(Self("/".into())),
            _ => Some(Self(parent.into())),
        }
    }

    /// The path with `name` below it.
    pub fn child(&self, name: &str) -> Self {
        let parent = if self.is_root() { "" } else { self.as_str() };
        Self(format!("{parent}/{name}").into())
    }
}

/// Which bytes may stand in a path.
fn permitted(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@')
}

/// Bytes that count against a domain's limit: all, without `/local/domain/N/`.
fn own_part(name: &str) -> usize {
    let below = name.strip_prefix("/local/domain/").and_then(|rest| {
        let (domid, own) = rest.split_once('/')?;
        domid.bytes().all(|byte| byte.is_ascii_digit()).then_some(own)
    });
    below.unwrap_or(name).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Result<Named> {
        Path::parse(name, 7, 2048)
    }

    #[test]
    fn what_a_path_may_look_like() {
        for good in ["/", "/a", "/a/b-c_d@e", "/local/domain/0", "a", "data/x"] {
            assert!(path(good).is_ok(), "{good}");
        }
        for bad in ["", "//", "/a/", "a/", "/a//b", "/a b", "/a.b", "/\u{e4}", "@releaseDomain", "/a:b"] {
            assert_eq!(path(bad), Err(Error::EINVAL), "{bad}");
        }
    }

    #[test]
    fn a_relative_path_is_below_its_domain() {
        let named = path("data/x").unwrap();
        assert_eq!(named.path.as_str(), "/local/domain/7/data/x");
        assert_eq!(&named.path.as_str()[named.implied..], "data/x");
        assert_eq!(path("/data").unwrap().implied, 0);
    }

    #[test]
    fn lengths_end_at_the_protocols_limits() {
        let long = |slash: &str, bytes: usize| format!("{slash}{}", "a".repeat(bytes - slash.len()));
        let any = |name: &str| Path::parse(name, 1, usize::MAX);
        assert!(any(&long("/", 3072)).is_ok());
        assert_eq!(any(&long("/", 3073)), Err(Error::EINVAL));
        assert!(any(&long("", 2048)).is_ok());
        assert_eq!(any(&long("", 2049)), Err(Error::EINVAL));
        // The domain's own limit does not count what names the domain.
        assert!(Path::parse("/local/domain/17/abcd", 1, 4).is_ok());
        assert_eq!(Path::parse("/local/domain/17/abcde", 1, 4), Err(Error::EINVAL));
    }

    #[test]
    fn special_paths_only_where_they_are_asked_for() {
        assert!(Path::parse_any("@releaseDomain", 1, 10).unwrap().path.is_special());
        assert_eq!(Path::parse_any("@a b", 1, 10), Err(Error::EINVAL));
    }

    #[test]
    fn parents_and_children() {
        let root = Path::known("/");
        assert_eq!(root.parent(), None);
        assert_eq!(root.child("a").as_str(), "/a");
        assert_eq!(Path::known("/a").parent(), Some(root.clone()));
        assert_eq!(Path::known("/a/b").parent(), Some(Path::known("/a")));
        assert_eq!(root.names().count(), 0);
        assert_eq!(Path::known("/a/b").names().collect::<Vec<_>>(), ["a", "b"]);
    }
}
