//! How long other programs take.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::report::Measured;
use crate::sys;

/// Runs a command `rounds` times and prints the median; what goes wrong is answered. Its output goes nowhere.
pub fn time(rounds: usize, words: &[String]) -> Result<(), String> {
    let mut command = of(words)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut ns = Vec::new();
    for _ in 0..rounds {
        let start = sys::now_ns();
        let status = command.status().map_err(|error| error.to_string())?;
        ns.push(sys::now_ns() - start);
        if !status.success() {
            return Err(format!("`{}` ended with {status}", words.join(" ")));
        }
    }
    println!("{{\"ns\": {}}}", Measured::new(1, &ns).ns);
    Ok(())
}

/// Becomes another program, after telling when.
pub fn exec(words: &[String]) -> String {
    let mut command = match of(words) {
        Ok(command) => command,
        Err(error) => return error,
    };
    // SAFETY: reads a counter.
    let tsc = unsafe { core::arch::x86_64::_rdtsc() };
    println!("{{\"tsc\": {tsc}}}");
    format!("{}: {}", words.join(" "), command.exec())
}

fn of(words: &[String]) -> Result<Command, String> {
    let (program, arguments) = words.split_first().ok_or("which command?")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
