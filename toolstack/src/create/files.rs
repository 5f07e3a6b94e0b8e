//! What managers of guests keep of each in a folder: its configuration.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use xenctl::{DomId, Error, Result};

use crate::config::model::DomainConfig;

/// Where a domain's configuration is.
pub fn path(folder: &Path, domain: DomId, uuid: &str) -> PathBuf {
    folder.join(format!("userdata-d.{domain}.{uuid}.libxl-json"))
}

/// Keeps the configuration of a domain, in the place of an earlier one: the whole of it, or what was there before.
pub fn keep(folder: &Path, domain: DomId, config: &DomainConfig) -> Result<()> {
    let path = path(folder, domain, &config.c_info.uuid.to_string());
    // Stock tools end the text with a zero.
    let text = config.to_json() + "\0";
    write(folder, &path, text.as_bytes())
        .map_err(|e| Error::os(format!("writing the configuration to {}", path.display()), &e))
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = path.with_extension("libxl-json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// The configuration that is kept of a domain.
pub fn kept(folder: &Path, domain: DomId, uuid: &str) -> Result<DomainConfig> {
    let path = path(folder, domain, uuid);
    let doing = || format!("reading the configuration {}", path.display());
    let text = fs::read_to_string(&path).map_err(|e| Error::os(doing(), &e))?;
    DomainConfig::from_json(&text).map_err(|e| Error::new(doing(), abi::Errno::EINVAL).because(e.to_string()))
}
