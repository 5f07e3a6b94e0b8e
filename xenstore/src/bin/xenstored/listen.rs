//! Where the daemon is found: its socket.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// A socket at the place where clients look for the store. One that nobody serves any more is replaced.
///
/// # Errors
/// Where another daemon serves it, or it cannot be made.
pub fn listen() -> Result<UnixListener> {
    let folder = std::env::var_os("XENSTORED_RUNDIR").map_or("/run/xenstored".into(), PathBuf::from);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let socket = folder.join("socket");
    if socket.exists() {
        if UnixStream::connect(&socket).is_ok() {
            bail!("{} is served by another daemon", socket.display());
        }
        fs::remove_file(&socket).with_context(|| format!("removing {}", socket.display()))?;
    }
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("listening at {}", socket.display()))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&socket, private)
        .with_context(|| format!("closing {} to others", socket.display()))?;
    Ok(listener)
}
