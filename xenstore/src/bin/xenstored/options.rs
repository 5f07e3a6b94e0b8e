//! The command line: that of Xen's own daemon, as far as it concerns one that keeps its tree in memory.

use std::path::PathBuf;

use xenstore::Quotas;

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// Without dom0's kernel and without guests.
    pub no_domain_init: bool,
    pub pid_file: Option<PathBuf>,
    pub no_fork: bool,
    pub output_pid: bool,
    pub trace_file: Option<PathBuf>,
    pub privileged: Option<u16>,
    pub quotas: Quotas,
    pub help: bool,
    /// Asked by a daemon that is to be replaced by this program: see [`crate::update`].
    pub reads_state: Option<String>,
}

/// Letter, name, what follows, what it does.
const TABLE: [(char, &str, &str, &str); 16] = [
    ('D', "no-domain-init", "", "serve the socket only: neither dom0's kernel nor guests"),
    ('F', "pid-file", "<file>", "write the daemon's process id to this file"),
    ('H', "help", "", "print this"),
    ('N', "no-fork", "", "stay in the foreground"),
    ('P', "output-pid", "", "print the daemon's process id"),
    ('T', "trace-file", "<file>", "log every message to this file"),
    ('E', "entry-nb", "<nb>", "nodes per domain"),
    ('S', "entry-size", "<size>", "bytes of a node's value"),
    ('W', "watch-nb", "<nb>", "watches per domain"),
    ('t', "transaction", "<nb>", "open transactions per domain"),
    ('A', "perm-nb", "<nb>", "permissions per node"),
    ('M', "path-max", "<chars>", "length of a node's path"),
    ('Q', "quota", "<what>=<nb>", "one quota by its name, as xenstore-control lists them"),
    ('p', "priv-domid", "<domid>", "a domain beside dom0 that may do everything"),
    ('R', "reads-state", "<version>", "say whether a store whose state is of this version can be continued"),
    ('I', "internal-db", "on", "the tree is in memory: nothing else is offered"),
];

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What is wrong with them, in words.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (name, mut value) = match argument.strip_prefix("--") {
            Some(long) => match long.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (long.to_owned(), None),
            },
            None => {
                let mut letters = argument.strip_prefix('-').unwrap_or_default().chars();
                let letter = letters.next().ok_or(format!("{argument:?} is no option"))?;
                let rest = letters.as_str().to_owned();
                (letter.to_string(), Some(rest).filter(|rest| !rest.is_empty()))
            }
        };
        let known = |entry: &&(char, &str, &str, &str)| match argument.starts_with("--") {
            true => entry.1 == name,
            false => name.starts_with(entry.0),
        };
        let entry = TABLE.iter().find(known).ok_or(format!("unknown option {argument:?}"))?;
        if !entry.2.is_empty() && value.is_none() {
            value = Some(arguments.next().ok_or(format!("--{} wants {}", entry.1, entry.2))?);
        }
        if entry.2.is_empty() && value.is_some() {
            return Err(format!("--{} takes nothing", entry.1));
        }
        options.set(entry.1, value.unwrap_or_default())?;
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "no-domain-init" => self.no_domain_init = true,
            "no-fork" => self.no_fork = true,
            "output-pid" => self.output_pid = true,
            "help" => self.help = true,
            "pid-file" => self.pid_file = Some(value.into()),
            "trace-file" => self.trace_file = Some(value.into()),
            "priv-domid" => self.privileged = Some(number(name, &value)?),
            "entry-nb" => self.quotas.nodes = number(name, &value)?,
            "entry-size" => self.quotas.node_size = number(name, &value)?,
            "watch-nb" => self.quotas.watches = number(name, &value)?,
            "transaction" => self.quotas.transactions = number(name, &value)?,
            "perm-nb" => self.quotas.node_permissions = number(name, &value)?,
            "path-max" => self.quotas.path_max = number(name, &value)?,
            "reads-state" => self.reads_state = Some(value),
            "internal-db" if value == "on" => {}
            "internal-db" => return Err("the tree is kept in memory: --internal-db on".into()),
            _ => {
                let (what, limit) = value.split_once('=').ok_or("--quota wants <what>=<nb>")?;
                let quota = self.quotas.get_mut(what).ok_or(format!("unknown quota {what:?}"))?;
                *quota = number(what, limit)?;
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: {value:?} is not a number that fits"))
}

/// What `--help` prints.
pub fn usage() -> String {
    let line = |(letter, name, value, what): (char, &str, &str, &str)| {
        format!("  -{letter}, {:<28} {what}\n", format!("--{name} {value}"))
    };
    format!("Usage: xenstored <options>\n{}", TABLE.map(line).concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn each_way_to_write_an_option() {
        for line in ["--pid-file /a -N -E 5", "--pid-file=/a --no-fork -E5", "-F /a -N --entry-nb=5"] {
            let options = parsed(line).unwrap();
            assert_eq!(options.pid_file, Some("/a".into()), "{line}");
            assert!(options.no_fork && options.quotas.nodes == 5, "{line}");
        }
        assert_eq!(parsed("-Q nodes=7 --quota transaction-nodes=8").unwrap().quotas.nodes, 7);
        assert_eq!(parsed("").unwrap(), Options::default());
        assert!(parsed("--internal-db on").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, says) in [
            ("--nonsense", "unknown option \"--nonsense\""),
            ("stray", "\"stray\" is no option"),
            ("-F", "--pid-file wants <file>"),
            ("-E x", "entry-nb: \"x\" is not a number that fits"),
            ("--no-fork=1", "--no-fork takes nothing"),
            ("-Q memory=1", "unknown quota \"memory\""),
            ("-Q nodes", "--quota wants <what>=<nb>"),
            ("-I off", "the tree is kept in memory: --internal-db on"),
        ] {
            assert_eq!(parsed(line), Err(says.into()));
        }
    }

    #[test]
    fn help_names_every_option() {
        let usage = usage();
        assert!(TABLE.iter().all(|(_, name, ..)| usage.contains(&format!("--{name}"))));
    }
}
