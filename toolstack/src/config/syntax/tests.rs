//! The grammar, case by case; each answer was compared with the stock parser's.

use super::value::Kind;
use super::{Settings, Value, parse};
use crate::config::{Diagnostic, Severity, Span};

fn good(text: &str) -> Settings {
    let (settings, diagnostics) = parse(text);
    assert_eq!(diagnostics, [], "{text:?}");
    settings
}

/// A value in short: strings in quotes, numbers bare.
fn short(value: &Value) -> String {
    match &value.kind {
        Kind::Text(text) => format!("{text:?}"),
        Kind::Number(digits) => digits.clone(),
        Kind::List(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(" ")),
    }
}

fn value(text: &str) -> String {
    short(&good(text).get("a").unwrap_or_else(|| panic!("{text:?}")).value)
}

fn errors(text: &str) -> Vec<Diagnostic> {
    let (_, mut diagnostics) = parse(text);
    diagnostics.retain(|one| one.severity == Severity::Error);
    diagnostics
}

/// Line, column and message of the first error.
fn error(text: &str) -> (u32, u32, String) {
    let one = errors(text).into_iter().next().unwrap_or_else(|| panic!("{text:?}"));
    let Span { line, column, .. } = one.at.unwrap();
    (line, column, one.message)
}

#[test]
fn what_the_stock_parser_takes() {
    let cases = [
        ("a=1", "1"),
        ("a = 0x10", "0x10"),
        ("a=0x1F\n", "0x1F"),
        ("a=010", "010"),
        ("a=12ab", "12ab"),
        ("a='1'", "\"1\""),
        ("a=\"x'y\"", "\"x'y\""),
        ("a='#x' # c", "\"#x\""),
        ("a=''", "\"\""),
        ("a='é\t'", "\"é\\t\""),
        (r"a='x\ny\'\\'", r#""x\ny'\\""#),
        (r"a='\101\x42'", "\"AB\""),
        ("a=[]", "[]"),
        ("a=[\n1,\n\n# c\n'b'\n,]\n", "[1 \"b\"]"),
        ("a=[ ['x',2], [], 'y' ]", "[[\"x\" 2] [] \"y\"]"),
        (";a=1;;b=2;", "1"),
        ("\ta\t=\t1\n\n\n b=2", "1"),
        ("a+='x'\na+='y'", "\"xy\""),
        ("a=1\na+=2", "12"),
        ("a=[]\na+=['y',]", "[\"y\"]"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text:?}");
    }
    assert_eq!(value("a=1;b=2"), "1");
    assert_eq!(good("vif.default.bridge='b'").get("vif.default.bridge").unwrap().value.text(), Some("b"));
    assert_eq!(good(""), Settings::default());
}

#[test]
fn places_are_exact() {
    let settings = good("# x\n  vif = [ 'é', 12 ] ; b=0");
    let vif = settings.get("vif").unwrap();
    assert_eq!((vif.at, vif.value.at), (Span::new(2, 3, 3), Span::new(2, 9, 11)));
    let items = vif.value.list().unwrap();
    assert_eq!((items[0].at, items[1].at), (Span::new(2, 11, 3), Span::new(2, 16, 2)));
    assert_eq!(settings.get("b").unwrap().at, Span::new(2, 23, 1));
}

#[test]
fn what_it_refuses_and_where() {
    let cases = [
        ("a=", 1, 3, "expected a string, a number or a list for `a`, found the end of the file"),
        ("a=\n1=2", 1, 3, "expected a string, a number or a list for `a`, found the end of the line"),
        ("a=x", 1, 3, "expected a string, a number or a list for `a`, found the name `x`"),
        ("a=$x", 1, 3, "expected a string, a number or a list for `a`, found `$x`"),
        ("a==1", 1, 3, "expected a string, a number or a list for `a`, found `=`"),
        ("a", 1, 2, "expected `=` or `+=` after `a`, found the end of the file"),
        ("a\n= 1", 1, 2, "expected `=` or `+=` after `a`, found the end of the line"),
        ("A=1", 1, 1, "expected the name of an option, found `A`"),
        ("=1", 1, 1, "expected the name of an option, found `=`"),
        ("a-b=1", 1, 2, "expected `=` or `+=` after `a`, found `-b`"),
        ("a=1 b=2", 1, 5, "expected the end of the line or `;` after the value of `a`, found the name `b`"),
        ("a='x' 'y'", 1, 7, "expected the end of the line or `;` after the value of `a`, found a string"),
        (
            "a = 'x'\r\n",
            1,
            8,
            "expected the end of the line or `;` after the value of `a`, found a carriage return",
        ),
        ("a=[1 2]", 1, 6, "expected a comma or `]` in the list, found the number 2"),
        ("a=[,]", 1, 4, "expected a value or `]`, found a comma"),
        ("a=['x',,'y']", 1, 8, "expected a value or `]`, found a comma"),
        ("a=['x'\n'y']", 2, 1, "expected a comma or `]` in the list, found a string"),
        ("a=[1", 1, 3, "this list is not closed"),
        ("a=[1,\nb=2\n", 1, 3, "this list is not closed"),
        ("a='x", 1, 3, "this string does not end on its line"),
        ("a='x\nb=1\n", 1, 3, "this string does not end on its line"),
        (r"a='x\q'", 1, 5, r"`\q` is no escape"),
        (r"a='\18'", 1, 4, r"`\1` is no escape"),
        (r"a='\x4'", 1, 4, r"`\x4` is no escape"),
        (r"a='\000'", 1, 4, r"`\000` is no escape"),
        ("a=['x']\na+='y'", 2, 4, "`a` is a list, a string cannot be added to it"),
        ("a='x'\na+=['y']", 2, 4, "`a` is a string, a list cannot be added to it"),
        ("a=1\\\n", 1, 4, "expected the end of the line or `;` after the value of `a`, found `\\`"),
    ];
    for (text, line, column, message) in cases {
        assert_eq!(error(text), (line, column, message.to_string()), "{text:?}");
    }
}

#[test]
fn python_is_named_and_translated() {
    let cases = [
        ("import os", 1, "(`import`)", "nothing to import"),
        ("x = 1\nif x:\n  a = 1\n  b = (\nc=1", 1, "(`if`)", "keep the settings of the branch"),
        ("def f(n):\n  return n\n", 1, "(`def`)", "plain settings"),
        ("a = 'x' + 'y'", 9, "(an expression)", "+= on a line of its own"),
        ("a = 'vm%d' % n", 12, "(`%` formatting)", "the finished string"),
        ("a = True", 5, "(True)", "write 1"),
        ("a = None", 5, "(None)", "has its default"),
        ("a = ('x', 'y')", 5, "(a tuple)", "list in [ ]"),
        ("a = os.uname()[4]", 5, "(a function call)", "the value it would give"),
        ("a = {'x': 1}", 5, "(a dictionary)", "xl.cfg(5)"),
        ("a = \"\"\"x\"\"\"", 5, "(a triple-quoted string)", "one pair of quotes"),
        ("a = [ 'x',\n 'y' % z ]", 6, "(`%` formatting)", "the finished string"),
    ];
    for (text, column, what, help) in cases {
        let [one] = &errors(text)[..] else { panic!("{text:?}: {:?}", errors(text)) };
        assert_eq!(one.at.unwrap().column, column, "{text:?}");
        assert!(one.message.contains(what) && one.help.as_ref().unwrap().contains(help), "{one:?}");
    }
}

#[test]
fn all_errors_are_found_and_the_rest_is_read() {
    let text = "name = vm\nmemory = 64\ndisk = [ 'a' 'b' ]\nvcpus = 2\nextra = 'x\n";
    let (settings, diagnostics) = parse(text);
    let lines: Vec<u32> = diagnostics.iter().map(|one| one.at.unwrap().line).collect();
    assert_eq!(lines, [1, 3, 5]);
    assert_eq!(settings.get("memory").unwrap().value.number(), Some(64));
    assert_eq!(settings.get("vcpus").unwrap().value.number(), Some(2));
}

#[test]
fn a_second_setting_replaces_the_first_with_a_warning() {
    let (settings, diagnostics) = parse("a='x'\nb=1\na='y'\n");
    assert_eq!(settings.get("a").unwrap().value.text(), Some("y"));
    assert_eq!(diagnostics.len(), 1);
    assert_eq!((diagnostics[0].severity, diagnostics[0].at), (Severity::Warning, Some(Span::new(3, 1, 1))));
}

#[test]
fn nothing_makes_it_panic() {
    // Every sequence of three pieces out of those the grammar knows.
    let pieces = [
        "a", "=", "+=", "'x'", "'", "\\", "[", "]", ",", ";", "\n", "#", "0x", "é", "import ", "(", "%", " ",
    ];
    for first in pieces {
        for second in pieces {
            for third in pieces {
                let text = ["a=", first, second, third].concat();
                let (_, diagnostics) = parse(&text);
                let report = crate::config::Report { file: "f", text: &text, diagnostics: &diagnostics };
                assert_eq!(report.to_string().is_empty(), diagnostics.is_empty());
            }
        }
    }
}
