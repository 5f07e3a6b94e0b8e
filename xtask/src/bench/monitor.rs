//! QEMU's monitor, by its machine protocol (QMP) at a socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection.
pub struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    pub fn open(socket: &PathBuf) -> Result<Monitor> {
        let stream = UnixStream::connect(socket).context("connecting to QEMU's monitor")?;
        let mut monitor = Monitor { lines: BufReader::new(stream) };
        monitor.request(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// A command as a person types it, and what it prints.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let arguments = json!({ "command-line": line });
        let answer = self.request(&json!({ "execute": "human-monitor-command", "arguments": arguments }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    fn request(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.lines.get_mut(), "{request}")?;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                bail!("QEMU's monitor closed");
            }
            let answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                bail!("{request}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }
}
