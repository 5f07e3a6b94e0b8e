//! From dom0's shell to a guest's console, by `xl console`, and back.

use anyhow::Result;

use crate::demo::{BOOT, STEP};
use crate::expect::Session;
use crate::image::debian::PASSWORD;

/// dom0's.
pub const PROMPT: &str = r"root@dom0:[^\n]*# ";

/// To the console of a guest that boots, or stands at its login, and into its shell.
pub fn enter(dom0: &mut Session, name: &str) -> Result<()> {
    open(dom0, name)?;
    dom0.login("guest", PASSWORD, BOOT)
}

/// To the console of a guest that was left at its shell; it may be busy.
pub fn back(dom0: &mut Session, name: &str) -> Result<()> {
    open(dom0, name)?;
    dom0.wait(r"root@guest:[^\n]*# ", BOOT).map(drop)
}

fn open(dom0: &mut Session, name: &str) -> Result<()> {
    dom0.send(&format!("xl console {name}\n"))?;
    // A guest that was at its prompt before we looked shows it again after a line.
    dom0.send("\n")
}

/// From the guest's console to dom0's prompt. The key counts only if it comes alone: `xl` looks at a whole read.
pub fn leave(dom0: &mut Session) -> Result<()> {
    dom0.send("\x1d")?;
    dom0.wait(PROMPT, STEP).map(drop)
}
