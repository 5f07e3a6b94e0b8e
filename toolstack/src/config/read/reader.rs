//! Typed access to settings. A value of the wrong kind is an error with its place.
//!
//! Stock only warns of such a value, and goes on as if the option were not there; a guest that got
//! its default memory because of `memory = "64M"` helps nobody.

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::DefBool;
use crate::config::syntax::{Setting, Settings, Value};

pub struct Reader<'a> {
    pub settings: &'a Settings,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub fn new(settings: &'a Settings, diagnostics: Vec<Diagnostic>) -> Reader<'a> {
        Reader { settings, diagnostics }
    }

    /// Everything said, errors first, then by place.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|one| (one.at.is_none(), one.at));
        self.diagnostics
    }

    pub fn error(&mut self, at: &Value, message: impl Into<String>, help: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(at.at, message).help(help));
    }

    pub fn warning(&mut self, at: &Value, message: impl Into<String>, help: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(at.at, message).help(help));
    }

    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|one| one.severity == Severity::Error)
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.settings.get(key).map(|Setting { value, .. }| value)
    }

    /// A string, or a number as it is written.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        let text = value.text().map(String::from);
        if text.is_none() {
            self.error(value, format!("`{key}` is a string, not a list"), format!("write {key} = \"...\""));
        }
        text
    }

    /// A number within `from..=to`.
    pub fn number(&mut self, key: &str, from: i64, to: i64) -> Option<i64> {
        let value = self.value(key)?;
        match value.number() {
            Some(number) if (from..=to).contains(&number) => Some(number),
            Some(number) => {
                let message = format!("`{key}` cannot be {number}");
                self.error(value, message, format!("it is a number from {from} to {to}"));
                None
            }
            None => {
                let help = match value.text().map(str::trim).unwrap_or_default() {
                    text if text.ends_with(['M', 'G', 'k', 'K', 'B', 'b'])
                        && text.starts_with(|c: char| c.is_ascii_digit()) =>
                    {
                        "units are not written; memory is in MiB: 64, 1024"
                    }
                    text if text.starts_with('0') => {
                        "a number that begins with 0 is octal; hexadecimal begins with 0x"
                    }
                    _ => "write a number: 64, 0x40, 0100",
                };
                self.error(value, format!("`{key}` is not a number"), help);
                None
            }
        }
    }

    pub fn unsigned(&mut self, key: &str) -> Option<u32> {
        self.number(key, 0, i64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok())
    }

    pub fn signed(&mut self, key: &str) -> Option<i32> {
        self.number(key, i64::from(i32::MIN), i64::from(i32::MAX))
            .and_then(|number| i32::try_from(number).ok())
    }

    /// 0 is no, any other number yes.
    pub fn flag(&mut self, key: &str) -> DefBool {
        let Some(value) = self.value(key) else { return DefBool::Default };
        match value.number() {
            Some(number) => DefBool::from(number != 0),
            None => {
                self.error(value, format!("`{key}` is yes or no"), "write 1 for yes, 0 for no");
                DefBool::Default
            }
        }
    }

    /// One of the names.
    pub fn choice<T: Copy>(&mut self, key: &str, names: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = names.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let value = self.value(key)?;
            self.error(
                value,
                format!("`{key}` cannot be \"{text}\""),
                format!("it is one of: {}", known.join(", ")),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// The elements of a list.
    pub fn list(&mut self, key: &str) -> &'a [Value] {
        let Some(value) = self.value(key) else { return &[] };
        match value.list() {
            Some(items) => items,
            None => {
                let written = value.text().unwrap_or_default();
                self.error(
                    value,
                    format!("`{key}` is a list, not {}", value.describe()),
                    format!("write {key} = [ \"{written}\" ]"),
                );
                &[]
            }
        }
    }

    /// A list of strings; where `split` is true, one string with blanks between them too.
    pub fn strings(&mut self, key: &str, split: bool) -> Vec<String> {
        if split
            && let Some(value) = self.value(key)
            && let Some(text) = value.text()
        {
            self.warning(
                value,
                format!("`{key}` is a list now"),
                format!("write {key} = [ \"...\", \"...\" ]"),
            );
            return text.split_whitespace().map(String::from).collect();
        }
        self.list(key).iter().filter_map(|item| self.item(key, item)).map(String::from).collect()
    }

    /// The text of an element of the list `key`.
    pub fn item<'b>(&mut self, key: &str, item: &'b Value) -> Option<&'b str> {
        let text = item.text();
        if text.is_none() {
            self.error(
                item,
                format!("an element of `{key}` is a string, not a list"),
                "take away the inner [ ]",
            );
        }
        text
    }
}
