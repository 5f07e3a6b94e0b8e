//! From tokens to settings. After an error it goes on at the next setting, to find all errors.

use super::lexer::{Placed, Token, lex};
use super::python;
use super::value::{Kind, Setting, Settings, Value};
use crate::config::{Diagnostic, Span};

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    next: usize,
    out: Settings,
    diagnostics: Vec<Diagnostic>,
}

/// The settings of a file, and everything that is wrong with its form. With an error among that the
/// settings are only those that could be read.
pub fn parse(text: &str) -> (Settings, Vec<Diagnostic>) {
    let (tokens, diagnostics) = lex(text);
    let mut parser = Parser { text, tokens, next: 0, out: Settings::default(), diagnostics };
    parser.file();
    parser.diagnostics.sort_by_key(|one| one.at);
    (parser.out, parser.diagnostics)
}

impl Parser<'_> {
    fn peek(&self) -> &Placed {
        &self.tokens[self.next]
    }

    fn advance(&mut self) -> Placed {
        let placed = self.tokens[self.next].clone();
        if placed.token != Token::End {
            self.next += 1;
        }
        placed
    }

    fn skip(&mut self, what: &Token) -> bool {
        let found = self.peek().token == *what;
        if found {
            self.next += 1;
        }
        found
    }

    fn file(&mut self) {
        loop {
            match self.peek().token {
                Token::End => return,
                Token::Newline | Token::Semicolon => self.next += 1,
                _ => {
                    let from = self.next;
                    if let Err(error) = self.setting() {
                        self.explain(error, from);
                    }
                }
            }
        }
    }

    /// Notes an error in the setting that begins at token `from`, and goes on after it.
    fn explain(&mut self, error: Diagnostic, from: usize) {
        let line = self.tokens[from].at.line;
        let text = self.text.lines().nth(line as usize - 1).unwrap_or("");
        // Within a value that runs over lines, what is wrong is judged by its own line.
        let wrong = error.at.map_or(line, |at| at.line);
        let wrong_text = self.text.lines().nth(wrong as usize - 1).unwrap_or("");
        let seen = python::explain(text, line).or_else(|| python::explain_value(wrong_text, wrong));
        let block = seen.as_ref().is_some_and(|seen| seen.block);
        self.diagnostics.push(match seen {
            Some(seen) => seen.diagnostic,
            None => error,
        });
        while !matches!(self.peek().token, Token::End | Token::Newline) {
            self.next += 1;
        }
        // The indented lines of a Python block would each be called wrong again.
        while block
            && self
                .tokens
                .get(self.next + 1)
                .is_some_and(|after| after.at.column > 1 && after.token != Token::End)
        {
            self.next += 1;
            while !matches!(self.peek().token, Token::End | Token::Newline) {
                self.next += 1;
            }
        }
    }

    fn wrong(&self, expected: &str) -> Diagnostic {
        let found = self.peek();
        let error =
            Diagnostic::error(found.at, format!("expected {expected}, found {}", found.token.describe()));
        match &found.token {
            Token::Strange(text) if text == "\r" => {
                error.help("the lines of this file end as on Windows: sed -i 's/\\r$//' FILE")
            }
            Token::Strange(text) if text == "\\" => {
                error.help("lines are not continued with \\; only lists may run over several lines")
            }
            _ => error,
        }
    }

    fn setting(&mut self) -> Result<(), Diagnostic> {
        let Placed { token: Token::Key(key), at } = self.advance() else {
            self.next -= 1;
            let error = self.wrong("the name of an option");
            return Err(match &self.peek().token {
                Token::Strange(text) if text.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    error.help(format!("names are lower case: {}", text.to_lowercase()))
                }
                _ => error,
            });
        };
        let append = match self.peek().token {
            Token::Assign => false,
            Token::Append => true,
            _ => return Err(self.wrong(&format!("`=` or `+=` after `{key}`"))),
        };
        self.next += 1;
        let value = self.value(&format!("a string, a number or a list for `{key}`"))?;
        match self.peek().token {
            Token::Newline | Token::Semicolon | Token::End => {}
            _ => return Err(self.wrong(&format!("the end of the line or `;` after the value of `{key}`"))),
        }
        self.store(Setting { key, at, value }, append)
    }

    fn value(&mut self, expected: &str) -> Result<Value, Diagnostic> {
        let Placed { token, at } = self.peek().clone();
        let kind = match token {
            Token::Text(text) => Kind::Text(text),
            Token::Number(digits) => Kind::Number(digits),
            Token::Open => return self.list(),
            Token::Key(name) => {
                return Err(self.wrong(expected).help(format!("a string stands in quotes: \"{name}\"")));
            }
            _ => return Err(self.wrong(expected)),
        };
        self.next += 1;
        Ok(Value { kind, at })
    }

    fn newlines(&mut self) {
        while self.skip(&Token::Newline) {}
    }

    fn list(&mut self) -> Result<Value, Diagnostic> {
        let open = self.advance().at;
        let mut items = Vec::new();
        loop {
            self.newlines();
            if let Placed { token: Token::Close, at } = *self.peek() {
                self.next += 1;
                return Ok(Value { kind: Kind::List(items), at: open.to(at) });
            }
            items.push(self.value("a value or `]`").map_err(|error| self.unclosed(error, open))?);
            self.newlines();
            if !self.skip(&Token::Comma) && self.peek().token != Token::Close {
                let error = self
                    .wrong("a comma or `]` in the list")
                    .help("values of a list have commas between them");
                return Err(self.unclosed(error, open));
            }
        }
    }

    /// An error in a list that another setting or the end of the file follows is about its missing end.
    fn unclosed(&self, error: Diagnostic, open: Span) -> Diagnostic {
        let after = self.tokens.get(self.next + 1).map(|placed| &placed.token);
        match (&self.peek().token, after) {
            (Token::End, _) | (Token::Key(_), Some(Token::Assign | Token::Append)) => {
                Diagnostic::error(open, "this list is not closed").help("write `]` after its last value")
            }
            _ => error,
        }
    }

    fn store(&mut self, new: Setting, append: bool) -> Result<(), Diagnostic> {
        let Some(old) = self.out.settings.iter_mut().find(|old| old.key == new.key) else {
            self.out.settings.push(new);
            return Ok(());
        };
        if !append {
            let message = format!("`{}` is set again; what line {} says is ignored", new.key, old.at.line);
            self.diagnostics
                .push(Diagnostic::warning(new.at, message).help("use += to add to a list or string"));
            *old = new;
            return Ok(());
        }
        match (&mut old.value.kind, new.value.kind) {
            (Kind::List(list), Kind::List(more)) => list.extend(more),
            (Kind::Text(text) | Kind::Number(text), Kind::Text(more) | Kind::Number(more)) => {
                text.push_str(&more)
            }
            (_, kind) => {
                let added = Value { kind, at: new.value.at };
                let message = format!(
                    "`{}` is {}, {} cannot be added to it",
                    new.key,
                    old.value.describe(),
                    added.describe()
                );
                return Err(Diagnostic::error(new.value.at, message)
                    .help(format!("make it the same kind of value as in line {}", old.at.line)));
            }
        }
        Ok(())
    }
}
