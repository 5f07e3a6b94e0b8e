//! A guest's configuration as a value, and its JSON form.
//!
//! Names, order and defaults of the fields are those of the stock tools' library, whose users
//! (`xl list -l`, libvirt, `/var/lib/xen/userdata-d.*.libxl-json`) read what is written here.

pub mod devices;
pub mod domain;
pub mod json;
pub mod values;

use serde_json::Value;

pub use devices::*;
pub use domain::*;
pub use json::{Json, Mismatch};
pub use values::{Bitmap, DefBool, Mac, Uuid};

/// Why a text is no configuration.
#[derive(Debug)]
pub enum ReadError {
    /// It is not JSON; the message has line and column.
    Syntax(serde_json::Error),
    Field(Mismatch),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Syntax(error) => write!(f, "the JSON of the configuration is damaged: {error}"),
            ReadError::Field(error) => write!(f, "the JSON of the configuration has a wrong field: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl DomainConfig {
    /// As `xl create --dryrun` prints it and as it is kept beside the guest.
    pub fn to_json(&self) -> String {
        json::text(&self.encode())
    }

    pub fn from_json(text: &str) -> Result<DomainConfig, ReadError> {
        // The stock tools keep the text with its terminating zero.
        let value: Value = serde_json::from_str(text.trim_end_matches('\0')).map_err(ReadError::Syntax)?;
        DomainConfig::decode(&value).map_err(ReadError::Field)
    }
}
