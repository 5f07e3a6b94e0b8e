//! Strings of `key=value` pairs with commas between them, as devices are written.

use super::reader::Reader;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::options::nearest;
use crate::config::syntax::Value;
use crate::config::syntax::number;

/// One pair, or a word without `=`.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub key: &'a str,
    pub value: Option<&'a str>,
    source: &'a Value,
    whole: &'a str,
}

/// The pairs of a string; blanks around keys and values do not count, empty pairs neither.
pub fn pairs<'a>(source: &'a Value, text: &'a str) -> impl Iterator<Item = Pair<'a>> {
    text.split(',').filter(|whole| !whole.trim().is_empty()).map(move |whole| {
        let whole = whole.trim();
        let (key, value) = match whole.split_once('=') {
            Some((key, value)) => (key.trim_end(), Some(value.trim_start())),
            None => (whole, None),
        };
        Pair { key, value, source, whole }
    })
}

impl<'a> Pair<'a> {
    pub fn at(&self) -> Span {
        self.source.place_of(self.whole)
    }

    /// The value as it is; a word alone is an error.
    pub fn text(&self, reader: &mut Reader<'_>) -> Option<&'a str> {
        if self.value.is_none() {
            let message = format!("`{}` has no value", self.key);
            reader
                .diagnostics
                .push(Diagnostic::error(self.at(), message).help(format!("write {}=...", self.key)));
        }
        self.value
    }

    pub fn owned(&self, reader: &mut Reader<'_>) -> Option<String> {
        self.text(reader).map(String::from)
    }

    /// A number within `from..=to`.
    pub fn number(&self, reader: &mut Reader<'_>, from: i64, to: i64) -> Option<i64> {
        let text = self.text(reader)?;
        let found = number(text).filter(|n| (from..=to).contains(n));
        if found.is_none() {
            self.wrong(reader, format!("a number from {from} to {to}"));
        }
        found
    }

    pub fn flag(&self, reader: &mut Reader<'_>) -> Option<bool> {
        let text = self.text(reader)?;
        let found = number(text);
        if found.is_none() {
            self.wrong(reader, "1 for yes, 0 for no");
        }
        found.map(|n| n != 0)
    }

    /// One of the names.
    pub fn choice<T: Copy>(&self, reader: &mut Reader<'_>, names: &[(&str, T)]) -> Option<T> {
        let text = self.text(reader)?;
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(reader, names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
        }
        found
    }

    /// The value is not what it should be.
    pub fn wrong(&self, reader: &mut Reader<'_>, expected: impl Into<String>) {
        let value = self.value.unwrap_or_default();
        let message = format!("`{}` cannot be \"{value}\"", self.key);
        reader
            .diagnostics
            .push(Diagnostic::error(self.at(), message).help(format!("it is {}", expected.into())));
    }

    fn stranger(&self, what: &str, known: &[&str]) -> (String, String) {
        let help = match nearest(self.key, known) {
            Some(name) => format!("is `{name}` meant?"),
            None => format!("it has: {}", known.join(", ")),
        };
        (format!("{what} has no `{}`", self.key), help)
    }

    /// The key is none of those known; stock refuses it too.
    pub fn refuse(&self, reader: &mut Reader<'_>, what: &str, known: &[&str]) {
        let (message, help) = self.stranger(what, known);
        reader.diagnostics.push(Diagnostic::error(self.at(), message).help(help));
    }

    /// The key is none of those known; stock ignores it too.
    pub fn ignore(&self, reader: &mut Reader<'_>, what: &str, known: &[&str]) {
        let (message, help) = self.stranger(what, known);
        reader
            .diagnostics
            .push(Diagnostic::warning(self.at(), format!("{message}; it is ignored")).help(help));
    }
}
