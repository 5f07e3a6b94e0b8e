//! `xl ... | head` ends quietly.
#![forbid(unsafe_code)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const SIGPIPE: i32 = 13;

#[test]
fn nobody_reading_ends_it() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut xl = Command::new(env!("CARGO_BIN_EXE_xl"));
    let ended = xl.args(["completion", "bash"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.signal(), Some(SIGPIPE), "{}", String::from_utf8_lossy(&ended.stderr));
}
