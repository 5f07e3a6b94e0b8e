//! What is said about a configuration file: what is wrong, where, and what to write instead.

use std::fmt;

/// A place in a file: line and column count from 1, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    /// Characters; at least 1 is underlined.
    pub len: u32,
}

impl Span {
    pub fn new(line: u32, column: u32, len: u32) -> Span {
        Span { line, column, len }
    }

    /// From the beginning of this to the end of `last`, where both are on one line.
    pub fn to(self, last: Span) -> Span {
        if last.line != self.line || last.column < self.column {
            return self;
        }
        Span { len: last.column + last.len - self.column, ..self }
    }

    /// `len` characters, `skip` characters after the beginning of this.
    pub fn part(self, skip: usize, len: usize) -> Span {
        Span { column: self.column + skip as u32, len: len as u32, ..self }
    }
}

/// Whether the file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// One thing about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Absent where it is about something that is not in the file.
    pub at: Option<Span>,
    /// What is wrong, and why.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(at: impl Into<Option<Span>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, at: at.into(), message: message.into(), help: None }
    }

    pub fn warning(at: impl Into<Option<Span>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(at, message) }
    }

    /// Adds what to do.
    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// Everything said about one file, shown with its lines.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// As the user named the file.
    pub file: &'a str,
    pub text: &'a str,
    pub diagnostics: &'a [Diagnostic],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.show(f, one)?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>, one: &Diagnostic) -> fmt::Result {
        let severity = match one.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        writeln!(f, "{severity}: {}", one.message)?;
        match one.at {
            None => writeln!(f, " --> {}", self.file)?,
            Some(at) => {
                let number = at.line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{margin}--> {}:{}:{}", self.file, at.line, at.column)?;
                // Tabs would move the mark away from what it is under.
                let line = self.text.lines().nth(at.line as usize - 1).unwrap_or("").replace('\t', " ");
                let before = at.column as usize - 1;
                let room = line.chars().count().saturating_sub(before).max(1);
                let mark = "^".repeat((at.len as usize).clamp(1, room));
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", line.trim_end())?;
                writeln!(f, "{margin} | {}{mark}", " ".repeat(before))?;
            }
        }
        if let Some(help) = &one.help {
            for (index, line) in help.lines().enumerate() {
                writeln!(f, "{}{line}", if index == 0 { "  help: " } else { "        " })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_underlined_even_behind_tabs() {
        let one = Diagnostic::error(Span::new(2, 6, 3), "no such colour").help("red\nor blue");
        let two = Diagnostic::warning(None, "no name");
        let report = Report { file: "a.cfg", text: "x\n\tc = 'é'\n", diagnostics: &[one, two] };
        let expected = "error: no such colour\n --> a.cfg:2:6\n  |\n2 |  c = 'é'\n  |      ^^^\n  help: red\n        or blue\n\
                        \nwarning: no name\n --> a.cfg\n";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_mark_never_leaves_its_line() {
        let one = Diagnostic::error(Span::new(1, 3, 99), "x");
        let report = Report { file: "f", text: "a =", diagnostics: &[one] };
        assert!(report.to_string().ends_with("1 | a =\n  |   ^\n"));
    }
}
