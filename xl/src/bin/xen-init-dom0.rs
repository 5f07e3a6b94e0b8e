//! `xen-init-dom0`: run once after the store's start, before guests. It takes no arguments.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use toolstack::store::Client;
use xenctl::{Result, Xen};

/// Where configurations of domains are kept.
const DIR: &str = "/var/lib/xen";

fn init() -> Result<()> {
    toolstack::dom0::init(&Xen::open()?, &mut Client::open()?, Path::new(DIR))
}

fn main() -> ExitCode {
    match init() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xen-init-dom0: {e}");
            ExitCode::FAILURE
        }
    }
}
