//! From characters to tokens, each with its place.

use std::iter::Peekable;
use std::str::Chars;

use crate::config::{Diagnostic, Span};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Key(String),
    Text(String),
    Number(String),
    Assign,
    Append,
    Open,
    Close,
    Comma,
    Semicolon,
    Newline,
    End,
    /// Anything else up to a blank or separator: no part of the grammar.
    Strange(String),
}

impl Token {
    /// What was found, for messages.
    pub fn describe(&self) -> String {
        match self {
            Token::Key(name) => format!("the name `{name}`"),
            Token::Text(_) => "a string".into(),
            Token::Number(digits) => format!("the number {digits}"),
            Token::Assign => "`=`".into(),
            Token::Append => "`+=`".into(),
            Token::Open => "`[`".into(),
            Token::Close => "`]`".into(),
            Token::Comma => "a comma".into(),
            Token::Semicolon => "`;`".into(),
            Token::Newline => "the end of the line".into(),
            Token::End => "the end of the file".into(),
            Token::Strange(text) if text == "\r" => "a carriage return".into(),
            Token::Strange(text) => format!("`{text}`"),
        }
    }
}

/// A token and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub token: Token,
    pub at: Span,
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: u32,
    column: u32,
    tokens: Vec<Placed>,
    errors: Vec<Diagnostic>,
}

/// All tokens of `text`, the last one [`Token::End`], and what is wrong with its strings.
pub fn lex(text: &str) -> (Vec<Placed>, Vec<Diagnostic>) {
    let mut lexer =
        Lexer { rest: text.chars().peekable(), line: 1, column: 1, tokens: Vec::new(), errors: Vec::new() };
    while let Some(c) = lexer.rest.peek().copied() {
        lexer.token(c);
    }
    let at = lexer.here();
    lexer.tokens.push(Placed { token: Token::End, at });
    (lexer.tokens, lexer.errors)
}

impl Lexer<'_> {
    fn here(&self) -> Span {
        Span::new(self.line, self.column, 1)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.rest.next_if(|c| wanted(*c)) {
            self.column += 1;
            taken.push(c);
        }
        taken
    }

    fn push(&mut self, token: Token, from: Span) {
        let len = if self.line == from.line { self.column - from.column } else { 1 };
        self.tokens.push(Placed { token, at: Span { len, ..from } });
    }

    fn token(&mut self, first: char) {
        let from = self.here();
        let token = match first {
            ' ' | '\t' => {
                self.take(|c| matches!(c, ' ' | '\t'));
                return;
            }
            '#' => {
                self.take(|c| c != '\n');
                return;
            }
            '\'' | '"' => {
                if let Some(text) = self.string(first, from) {
                    self.push(Token::Text(text), from);
                }
                return;
            }
            'a'..='z' => Token::Key(self.take(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.'))),
            '0'..='9' => {
                Token::Number(self.take(|c| matches!(c, '0'..='9' | 'a'..='f' | 'A'..='F' | 'x' | 'X')))
            }
            '\n' | '=' | '[' | ']' | ',' | ';' => {
                self.next();
                match first {
                    '\n' => Token::Newline,
                    '=' => Token::Assign,
                    '[' => Token::Open,
                    ']' => Token::Close,
                    ',' => Token::Comma,
                    _ => Token::Semicolon,
                }
            }
            '+' => {
                self.next();
                match self.rest.next_if_eq(&'=') {
                    Some(_) => {
                        self.column += 1;
                        Token::Append
                    }
                    None => Token::Strange("+".into()),
                }
            }
            _ => {
                let c = self.next().unwrap_or(first);
                let more = self.take(|c| !c.is_whitespace() && !"'\"[],;=#".contains(c));
                Token::Strange(format!("{c}{more}"))
            }
        };
        self.push(token, from);
    }

    /// A string, after its opening quote; `None` and an error if it does not end well.
    fn string(&mut self, quote: char, from: Span) -> Option<String> {
        self.next();
        let mut text = String::new();
        let mut good = true;
        loop {
            let at = self.here();
            match self.rest.peek().copied() {
                None | Some('\n') => {
                    let error = Diagnostic::error(from, "this string does not end on its line");
                    self.errors.push(
                        error.help(format!("close it with {quote}; only lists may run over several lines")),
                    );
                    // What follows is judged as if the string had ended here.
                    self.push(Token::Text(text), from);
                    return None;
                }
                Some(c) if c == quote => {
                    self.next();
                    if !good {
                        self.push(Token::Text(text), from);
                        return None;
                    }
                    return Some(text);
                }
                Some('\\') => match self.escape() {
                    Ok(c) => text.push(c),
                    Err(written) => {
                        good = false;
                        let len = written.chars().count() as u32;
                        let error =
                            Diagnostic::error(Span { len, ..at }, format!("`{written}` is no escape"));
                        self.errors.push(error.help(
                            r#"write \\ for a backslash; known are \n \t \r \a \b \f \v \' \" \ooo \xhh"#,
                        ));
                    }
                },
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    /// What an escape stands for, or what is written there if it is none.
    fn escape(&mut self) -> Result<char, String> {
        self.next();
        let Some(c) = self.rest.next_if(|c| *c != '\n') else { return Err("\\".into()) };
        self.column += 1;
        let (mut digits, radix, count) = match c {
            '\\' | '\'' | '"' => return Ok(c),
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'v' => return Ok('\x0b'),
            'x' => (String::new(), 16, 2),
            '0'..='7' => (String::from(c), 8, 3),
            _ => return Err(format!("\\{c}")),
        };
        while digits.len() < count
            && let Some(digit) = self.rest.next_if(|c| c.is_digit(radix))
        {
            self.column += 1;
            digits.push(digit);
        }
        let value = u8::from_str_radix(&digits, radix)
            .ok()
            .filter(|v| digits.len() == count && (1..0x80).contains(v));
        value
            .map(char::from)
            .ok_or_else(|| if radix == 16 { format!("\\x{digits}") } else { format!("\\{digits}") })
    }
}
