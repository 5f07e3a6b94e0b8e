//! The command line, which is the one that start scripts have for `xenconsoled`, and how large logs may become.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::log::Limits;

/// Which consoles something is done for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Which {
    #[default]
    None,
    Guest,
    Hv,
    All,
}

impl Which {
    pub fn guests(self) -> bool {
        matches!(self, Self::Guest | Self::All)
    }

    pub fn hypervisor(self) -> bool {
        matches!(self, Self::Hv | Self::All)
    }
}

/// What becomes of output that a terminal does not take, beyond what is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Overflow {
    /// The oldest is dropped.
    #[default]
    Discard,
    /// The guest waits.
    Keep,
}

/// Gives each guest's console a terminal for `xl console`, and writes logs.
#[derive(Clone, Debug, Parser)]
#[command(name = "xenconsoled", version, disable_version_flag = true)]
pub struct Options {
    /// Says which version this is.
    #[arg(short = 'V', long = "version", action = clap::ArgAction::Version)]
    version: (),
    /// Says more; that is done anyway.
    #[arg(short, long)]
    pub verbose: bool,
    /// Stays in the foreground.
    #[arg(short, long)]
    pub interactive: bool,
    /// Whose output is logged.
    #[arg(short, long, value_enum, default_value_t)]
    pub log: Which,
    /// Where: hypervisor.log and guest-NAME.log.
    #[arg(short = 'r', long, default_value = "/var/log/xen/console")]
    pub log_dir: PathBuf,
    /// A file that the daemon's process number is written to.
    #[arg(short, long)]
    pub pid_file: Option<PathBuf>,
    /// Whose log has the time at the beginning of each line.
    #[arg(short, long, value_enum, default_value_t)]
    pub timestamp: Which,
    /// What becomes of output that nobody reads, beyond the limit that the store has for the console.
    #[arg(short, long, value_enum, default_value_t)]
    pub overflow_data: Overflow,
    /// Escape characters become dots in logs.
    #[arg(long)]
    pub replace_escape: bool,
    /// MiB after which a log is put aside and a new one begun; 0: never.
    #[arg(long, default_value_t = 16)]
    pub log_size: u64,
    /// Logs put aside that are kept.
    #[arg(long, default_value_t = 4)]
    pub log_old: u32,
}

impl Options {
    pub fn limits(&self) -> Limits {
        Limits { size: self.log_size << 20, old: self.log_old }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_start_scripts_say_is_understood() {
        let said = ["xenconsoled", "--pid-file=/run/xenconsoled.pid", "--log=all", "--timestamp=hv"];
        let options = Options::try_parse_from(said).unwrap();
        assert_eq!(options.pid_file, Some("/run/xenconsoled.pid".into()));
        assert!(options.log.guests() && options.log.hypervisor());
        assert!(!options.timestamp.guests() && options.timestamp.hypervisor());
        assert_eq!(options.limits().size, 16 << 20);
        assert!(Options::try_parse_from(["xenconsoled", "--log=some"]).is_err());
    }
}
