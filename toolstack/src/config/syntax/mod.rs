//! The grammar of xl.cfg(5) and xl.conf(5): settings `key = value`, one a line or separated by `;`.
//!
//! A value is a string in `'` or `"`, a number, or a list of values in `[ ]`, which alone may run
//! over several lines. `+=` appends to a string or list set before. `#` begins a comment.
//!
//! As the stock parser does it, also where the manual is silent:
//! - keys are lower case and may have dots; the last of several settings counts;
//! - a number is kept as it is written (`010`, `0x10`), because it may stand where a string is wanted;
//!   two numbers joined with `+=` are joined as text;
//! - strings know `\a \b \f \n \r \t \v \\ \' \"` and end on their line; there is no line continuation;
//! - a list may end in a comma.
//!
//! Better than the stock parser on purpose: upper-case hexadecimal digits are accepted, `\ooo` and
//! `\xhh` mean what they look like (stock ends the string at the first and refuses the second), a
//! comment may end the file without a newline, and all errors are found in one go.

mod lexer;
mod parser;
mod python;
mod value;

#[cfg(test)]
mod tests;

pub use parser::parse;
pub use value::{Kind, Setting, Settings, Value, number};
