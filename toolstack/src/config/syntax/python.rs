//! xm's configuration files were Python programs. Where a line is Python, say so, and say what to
//! write instead.

use crate::config::{Diagnostic, Span};

/// What a line of Python is told.
pub struct Python {
    pub diagnostic: Diagnostic,
    /// Indented lines that follow belong to it.
    pub block: bool,
}

/// Statements by their first word: what each is, and what to write.
const STATEMENTS: &[(&str, &str)] = &[
    ("import", "delete the line: there is nothing to import"),
    ("from", "delete the line: there is nothing to import"),
    ("def", "write the values it computes as plain settings"),
    ("class", "write the values it computes as plain settings"),
    ("if", "keep the settings of the branch that applies, and delete the rest"),
    ("elif", "keep the settings of the branch that applies, and delete the rest"),
    ("else", "keep the settings of the branch that applies, and delete the rest"),
    ("for", "write out each value, for instance as the elements of a list"),
    ("while", "write out each value, for instance as the elements of a list"),
    ("try", "keep only the settings"),
    ("except", "keep only the settings"),
    ("with", "write the values it reads as plain settings"),
    ("print", "delete the line"),
    ("exec", "delete the line"),
    ("return", "delete the line"),
    ("del", "delete the line, and the setting it takes away"),
    ("assert", "delete the line"),
    ("raise", "delete the line"),
    ("global", "delete the line"),
];

/// Recognises a setting that is Python. Called only where the grammar refuses the line.
pub fn explain(line: &str, number: u32) -> Option<Python> {
    statement(line, number).or_else(|| {
        let value = without_strings(line).find('=')? + 1;
        expression(line, value, number)
    })
}

/// Recognises Python in a line within a value.
pub fn explain_value(line: &str, number: u32) -> Option<Python> {
    expression(line, 0, number)
}

fn statement(line: &str, number: u32) -> Option<Python> {
    let code = line.trim_start();
    let word = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    let (name, help) = STATEMENTS.iter().find(|(name, _)| *name == word)?;
    let after = code[word.len()..].trim_start();
    if after.starts_with('=') && !after.starts_with("==") {
        return None;
    }
    let at = Span::new(number, (line.len() - code.len()) as u32 + 1, word.len() as u32);
    let diagnostic =
        Diagnostic::error(at, format!("this is Python (`{name}`), which configuration files no longer are"));
    Some(Python { diagnostic: diagnostic.help(*help), block: code.trim_end().ends_with(':') })
}

/// What in a value is Python: the byte where it begins, its length, its name, what to write.
type Seen = (usize, usize, &'static str, &'static str);

fn expression(line: &str, value: usize, number: u32) -> Option<Python> {
    let (skip, len, what, help) = construct(&line[value..], &without_strings(line)[value..])?;
    let at = Span::new(number, line[..value + skip].chars().count() as u32 + 1, len as u32);
    let message = format!("this is Python ({what}), which configuration files no longer are");
    Some(Python { diagnostic: Diagnostic::error(at, message).help(help), block: false })
}

/// `code` is `text` without its strings.
fn construct(text: &str, code: &str) -> Option<Seen> {
    let quotes = text.find("\"\"\"").or_else(|| text.find("'''"));
    let one = |c: &[char], what, help| code.find(c).map(|at| (at, 1, what, help));
    quotes
        .map(|at| (at, 3, "a triple-quoted string", "use one pair of quotes, on one line"))
        .or_else(|| code.find("True").map(|at| (at, 4, "True", "write 1")))
        .or_else(|| code.find("False").map(|at| (at, 5, "False", "write 0")))
        .or_else(|| {
            let at = code.find("None")?;
            Some((at, 4, "None", "delete the line: an option that is not set has its default"))
        })
        .or_else(|| one(&['%'], "`%` formatting", "write the finished string"))
        .or_else(|| call(code))
        .or_else(|| one(&['{'], "a dictionary", "write what xl.cfg(5) says of this option"))
        .or_else(|| one(&[':'], "a slice or lambda", "write the value it would give"))
        .or_else(|| {
            let help = "write its result; += on a line of its own adds to a string or list";
            one(&['+', '*', '/'], "an expression", help)
        })
}

fn call(code: &str) -> Option<Seen> {
    let at = code.find('(')?;
    let dotted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let name = code[..at].len() - code[..at].trim_end_matches(dotted).len();
    match name {
        0 => Some((at, 1, "a tuple", "write a list in [ ]")),
        _ => Some((at - name, name, "a function call", "write the value it would give")),
    }
}

/// The line with its strings, its comment and the mark of `+=` blanked out byte for byte.
fn without_strings(line: &str) -> String {
    let mut quote = None;
    let mut comment = false;
    let mut escaped = false;
    line.bytes()
        .map(|b| {
            comment |= quote.is_none() && b == b'#';
            let inside = comment || quote.is_some();
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if b == b'\\' => escaped = true,
                Some(q) if b == q => quote = None,
                None if !comment && matches!(b, b'\'' | b'"') => quote = Some(b),
                _ => {}
            }
            if inside || quote.is_some() || !b.is_ascii() { ' ' } else { char::from(b) }
        })
        .collect::<String>()
        .replace("+=", " =")
}
