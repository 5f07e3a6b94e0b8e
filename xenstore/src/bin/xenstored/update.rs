//! A live update: another program takes the daemon's place, with its descriptors and its memory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xenstore::state;

use crate::memory::Memory;

/// Comes back where this *is* that program, which the one before has executed.
///
/// # Errors
/// Why it does not take this one's place.
pub fn update(memory: &Memory, file: &Path) -> Result<()> {
    let wanted = fs::metadata(file).with_context(|| format!("looking for {}", file.display()))?;
    let own = fs::metadata("/proc/self/exe").context("looking for this program")?;
    if (wanted.dev(), wanted.ino()) == (own.dev(), own.ino()) {
        return Ok(());
    }
    // Once it is executed there is no way back: it must be able to go on with what it finds.
    let version = state::VERSION.to_string();
    let asked = Command::new(file).args(["--reads-state", &version]).output();
    let said = asked.with_context(|| format!("trying {}", file.display()))?.stdout;
    ensure!(said == YES, "{} cannot go on with this store's state", file.display());
    Err(memory.life.again(Some(file))).with_context(|| format!("executing {}", file.display()))
}

const YES: &[u8] = b"yes\n";

/// What a program answers to `--reads-state`.
pub fn answer(version: &str) -> &'static str {
    if version == state::VERSION.to_string() { "yes\n" } else { "no\n" }
}
