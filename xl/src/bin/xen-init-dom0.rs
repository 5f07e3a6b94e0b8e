//! `xen-init-dom0`: run once after the store's start, before guests. It takes no arguments.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use toolstack::destroy::USERDATA;
use toolstack::store::Client;
use xenctl::{Result, Xen};

fn init() -> Result<()> {
    toolstack::dom0::init(&Xen::open()?, &mut Client::open()?, Path::new(USERDATA))
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
