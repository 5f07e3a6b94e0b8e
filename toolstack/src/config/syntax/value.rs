//! What a parsed file holds.

use crate::config::Span;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub kind: Kind,
    pub at: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A quoted string, its escapes resolved.
    Text(String),
    /// Digits as they are written.
    Number(String),
    List(Vec<Value>),
}

impl Value {
    /// The text of a string or number.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            Kind::List(_) => None,
        }
    }

    pub fn list(&self) -> Option<&[Value]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The number a string or number stands for, as C's `strtol` with base 0 reads it.
    pub fn number(&self) -> Option<i64> {
        number(self.text()?)
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "a string",
            Kind::Number(_) => "a number",
            Kind::List(_) => "a list",
        }
    }

    /// The place of `part`, which is a piece of this string: exact where no escapes stand before it.
    pub fn place_of(&self, part: &str) -> Span {
        let Some(text) = self.text() else { return self.at };
        let quote = usize::from(matches!(self.kind, Kind::Text(_)));
        let skip = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        match text.get(..skip) {
            Some(before) if text.chars().count() + 2 * quote == self.at.len as usize => {
                self.at.part(before.chars().count() + quote, part.chars().count().max(1))
            }
            _ => self.at,
        }
    }
}

/// Decimal, octal after `0`, hexadecimal after `0x`; a sign and blanks may stand before.
pub fn number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    /// Where the key stands.
    pub at: Span,
    pub value: Value,
}

/// A parsed file: one setting a key, in the order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub settings: Vec<Setting>,
}

impl Settings {
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtol_reads_them() {
        let cases =
            [("010", Some(8)), ("0x1F", Some(31)), ("0", Some(0)), (" 12", Some(12)), ("-5", Some(-5))];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
        for text in ["", "08", "0x", "12 ", "12k", "--1", "0x-1", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn the_place_of_a_part_is_exact_without_escapes() {
        let value = Value { kind: Kind::Text("mac=é,x".into()), at: Span::new(3, 7, 9) };
        let text = value.text().unwrap();
        assert_eq!(value.place_of(&text[text.len() - 1..]), Span::new(3, 14, 1));
        let escaped = Value { kind: Kind::Text("a\n".into()), at: Span::new(3, 7, 5) };
        assert_eq!(escaped.place_of(&escaped.text().unwrap()[1..]), escaped.at);
    }
}
