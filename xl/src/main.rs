//! `xl`: what people type to manage guests, with the columns, words and exit codes that scripts know.
//!
//! Each command is a file's function; what is more than presentation stands in `toolstack`. A command that is refused
//! says what was being done, what refused it and why, in a line of its own that begins with `xl: `.

#![forbid(unsafe_code)]

mod attach;
mod config;
mod console;
mod create;
mod devices;
mod guest;
mod info;
mod list;
mod memory;
mod messages;
mod monitor;
mod pool;
mod pool_create;
mod progress;
mod restore;
mod save;
mod sched;
mod shutdown;
mod tools;
mod top;
mod traffic;
mod uptime;
mod vcpu;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use tools::{Done, Failure, Tools, complain};

/// Manages the guests of this machine.
#[derive(Parser)]
#[command(name = "xl", version, infer_subcommands = true, infer_long_args = true)]
struct Cli {
    /// Accepted; what there is to say is always said
    #[arg(short = 'v', action = ArgAction::Count)]
    _verbose: u8,
    /// Accepted; nothing here shows its progress
    #[arg(short = 't')]
    _progress: bool,
    /// Accepted; messages have no time
    #[arg(short = 'T')]
    _time: bool,
    /// Accepted; nothing here insists on being the only one
    #[arg(short = 'f')]
    _force: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists domains
    List(list::Args),
    /// Lists domains with their UUIDs
    VmList(list::Table),
    /// Lists domains with what is claimed for them
    Claims(list::Table),
    /// Tells a domain's number
    Domid(list::Named),
    /// Tells a domain's name
    Domname(list::Numbered),
    /// Tells what the machine and its hypervisor are
    Info(info::Args),
    /// Tells for how long domains have been running
    Uptime(uptime::Args),
    /// Shows who uses what, again and again
    Top(top::Args),
    /// Lists vCPUs
    VcpuList(vcpu::ListArgs),
    /// Says where a vCPU may run
    VcpuPin(vcpu::PinArgs),
    /// Says how many of its vCPUs a guest is to use
    VcpuSet(vcpu::SetArgs),
    /// Says how much memory a guest may have
    MemMax(memory::Args),
    /// Says how much memory a guest is to use
    MemSet(memory::Args),
    /// Tells and changes who gets how much of the CPUs
    #[command(name = "sched-credit2")]
    SchedCredit2(sched::Args),
    /// Gives a guest a disk
    BlockAttach(attach::AddArgs),
    /// Takes a disk from a guest
    BlockDetach(attach::RemoveArgs),
    /// Gives a guest a network interface
    NetworkAttach(attach::AddArgs),
    /// Takes a network interface from a guest
    NetworkDetach(attach::RemoveArgs),
    /// Lists disks of guests
    BlockList(devices::Args),
    /// Lists network interfaces of guests
    NetworkList(devices::Args),
    /// Lists pools of CPUs
    CpupoolList(pool::ListArgs),
    /// Makes a pool of free CPUs
    CpupoolCreate(pool_create::Args),
    /// Adds CPUs to a pool
    CpupoolCpuAdd(pool::CpusArgs),
    /// Takes CPUs out of a pool
    CpupoolCpuRemove(pool::CpusArgs),
    /// Names a pool
    CpupoolRename(pool::RenameArgs),
    /// Ends a pool without domains
    CpupoolDestroy(pool::OneArgs),
    /// Moves a domain to a pool
    CpupoolMigrate(pool::MigrateArgs),
    /// Divides the CPUs into a pool for each node
    CpupoolNumaSplit,
    /// Creates a guest from a configuration file
    Create(create::Args),
    /// Connects to a guest's console
    Console(console::Args),
    /// Waits for a guest's end (`xl create` starts it)
    #[command(hide = true)]
    Monitor(monitor::Args),
    /// Puts a guest into a file
    Save(save::SaveArgs),
    /// Makes a guest of a file
    Restore(restore::Args),
    /// Puts a guest's memory and registers into a file, for debuggers
    DumpCore(save::DumpArgs),
    /// Stops a domain
    Pause(guest::One),
    /// Lets a paused domain go on
    Unpause(guest::One),
    /// Asks guests to end
    Shutdown(shutdown::Args),
    /// Asks guests to begin anew
    Reboot(shutdown::Args),
    /// Ends a domain at once
    Destroy(guest::DestroyArgs),
    /// Names a domain
    Rename(guest::RenameArgs),
    /// Types a system request at a guest
    Sysrq(guest::SysrqArgs),
    /// Sends a signal to a vCPU
    Trigger(guest::TriggerArgs),
    /// Shows the hypervisor's messages
    Dmesg(messages::DmesgArgs),
    /// Types keys at the hypervisor's console
    DebugKeys(messages::KeysArgs),
    /// Tells why the last calls of this domain were refused
    Why,
    /// Prints what a shell needs to complete these commands
    Completion {
        #[arg(value_enum)]
        shell: Shell,
    },
}

fn run(tools: &mut Tools, command: &Command) -> Done {
    match command {
        Command::List(args) => list::list(tools, args),
        Command::VmList(args) => list::vm_list(tools, args),
        Command::Claims(args) => list::claims(tools, args),
        Command::Domid(args) => list::domid(tools, args),
        Command::Domname(args) => list::domname(tools, args),
        Command::Info(args) => info::info(tools, args),
        Command::Uptime(args) => uptime::uptime(tools, args),
        Command::Top(args) => top::top(tools, args),
        Command::VcpuList(args) => vcpu::list(tools, args),
        Command::VcpuPin(args) => vcpu::pin(tools, args),
        Command::VcpuSet(args) => vcpu::set(tools, args),
        Command::MemMax(args) => memory::max(tools, args),
        Command::MemSet(args) => memory::set(tools, args),
        Command::SchedCredit2(args) => sched::credit2(tools, args),
        Command::BlockAttach(args) => attach::add_disk(tools, args),
        Command::BlockDetach(args) => attach::remove_disk(tools, args),
        Command::NetworkAttach(args) => attach::add_nic(tools, args),
        Command::NetworkDetach(args) => attach::remove_nic(tools, args),
        Command::BlockList(args) => devices::block_list(tools, args),
        Command::NetworkList(args) => devices::network_list(tools, args),
        Command::CpupoolList(args) => pool::list(tools, args),
        Command::CpupoolCreate(args) => pool_create::create(tools, args),
        Command::CpupoolCpuAdd(args) => pool::add(tools, args),
        Command::CpupoolCpuRemove(args) => pool::remove(tools, args),
        Command::CpupoolRename(args) => pool::rename(tools, args),
        Command::CpupoolDestroy(args) => pool::destroy(tools, args),
        Command::CpupoolMigrate(args) => pool::migrate(tools, args),
        Command::CpupoolNumaSplit => pool::numa_split(tools),
        Command::Create(args) => create::create(tools, args),
        Command::Console(args) => console::console(tools, args),
        Command::Monitor(args) => monitor::run(tools, args),
        Command::Save(args) => save::save(tools, args),
        Command::Restore(args) => restore::restore(tools, args),
        Command::DumpCore(args) => save::dump_core(tools, args),
        Command::Pause(args) => guest::pause(tools, args),
        Command::Unpause(args) => guest::unpause(tools, args),
        Command::Shutdown(args) => shutdown::ask(tools, args, "poweroff", "Shutting down"),
        Command::Reboot(args) => shutdown::ask(tools, args, "reboot", "Rebooting"),
        Command::Destroy(args) => guest::destroy(tools, args),
        Command::Rename(args) => guest::rename(tools, args),
        Command::Sysrq(args) => guest::sysrq(tools, args),
        Command::Trigger(args) => guest::trigger(tools, args),
        Command::Dmesg(args) => messages::dmesg(tools, args),
        Command::DebugKeys(args) => messages::debug_keys(tools, args),
        Command::Why => messages::why(tools),
        Command::Completion { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "xl", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// What a command line that is none ends with.
/// `first` is what comes after the program's name.
fn usage(e: &clap::Error, first: &str) -> u8 {
    let text = e.to_string();
    let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    match e.kind() {
        ErrorKind::InvalidSubcommand => {
            complain(&format!("{what}; `xl help' lists the commands"));
            eprintln!("command not implemented");
            return 1;
        }
        ErrorKind::UnknownArgument if first.starts_with('-') => {
            complain(&what);
            eprintln!("unknown global option");
            return 1;
        }
        // Where nobody reads there is nobody to tell.
        _ => drop(e.print()),
    }
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 1,
        _ => 2,
    }
}

fn main() -> ExitCode {
    xenctl::process::end_unread();
    let code = match Cli::try_parse() {
        Err(e) => usage(&e, &std::env::args().nth(1).unwrap_or_default()),
        Ok(cli) => match run(&mut Tools::new(), &cli.command) {
            Ok(()) => 0,
            Err(Failure::Said(code)) => code,
            Err(Failure::Words(text)) => {
                eprintln!("{text}");
                1
            }
            Err(Failure::Refused(e)) => {
                complain(&e);
                1
            }
        },
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolstack::testing::Machine;

    /// Every command, on a machine of the host: that it does what it is told is seen beside Debian's.
    #[test]
    fn commands_end_as_they_should() {
        let mut m = Machine::new();
        m.device("vbd", "51712", "4");
        m.device("vif", "0", "4");
        let tools = &mut Tools::of(m.xen, m.store);
        let lines = [
            ("list", true),
            ("list guest 0", true),
            ("list -v -c -n", true),
            ("list --json", true),
            ("list -l", true),
            ("list 77", false),
            ("vm-list --json", true),
            ("claims --json", true),
            ("domid guest", true),
            ("domid other", false),
            ("domname 7", true),
            ("domname 9", false),
            ("info -n", true),
            ("info --json", true),
            ("uptime -s guest", true),
            ("uptime --json", true),
            ("vcpu-list", true),
            ("vcpu-list --json", true),
            ("vcpu-list guest nosuch", false),
            ("vcpu-pin guest 0 1 0", true),
            ("vcpu-pin guest all all all", true),
            ("vcpu-pin guest 0 9", false),
            ("vcpu-pin guest 7 0", false),
            ("vcpu-set guest 1", true),
            ("vcpu-set -i guest 2", false),
            ("mem-set guest 6m", true),
            ("mem-set guest 9m", false),
            ("mem-max guest 7m", true),
            ("mem-max guest 5m", false),
            ("sched-credit2 -d guest -w 512 -c 10", true),
            ("sched-credit2 -d guest -w 0", false),
            ("sched-credit2 -d guest -c -1", false),
            ("sched-credit2 -s -r 2000", true),
            ("sched-credit2 --json", true),
            ("create /nonexistent", false),
            ("create -n name=\"new\" kernel=\"/k\" memory=64", true),
            ("create -q name=\"guest\" kernel=\"/k\" memory=8", false),
            ("block-attach guest phy:/nonexistent,xvdb,w", false),
            ("block-attach guest nonsense=1", false),
            ("block-detach guest xvdq", false),
            ("network-attach guest mac=nonsense", false),
            ("network-detach guest 7", false),
            ("console nosuch", false),
            ("console -t serial guest", false),
            ("block-list guest", true),
            ("block-list --json guest", true),
            ("block-list nosuch", true),
            ("network-list nosuch", false),
            ("network-list guest", true),
            ("network-list --json guest", true),
            ("cpupool-list -c", true),
            ("cpupool-list --json", true),
            ("cpupool-cpu-remove Pool-0 1", true),
            ("cpupool-create name=\"p\" cpus=[\"0\"]", false),
            ("cpupool-create -n name=\"p\"", true),
            ("cpupool-create name=\"p\" cpus=[\"1\"]", true),
            ("cpupool-create name=\"p\"", false),
            ("cpupool-create name=\"empty\"", true),
            ("cpupool-destroy empty", true),
            ("cpupool-create name=\"c\" sched=\"credit\"", false),
            ("cpupool-rename p q", true),
            ("cpupool-migrate guest q", true),
            ("cpupool-destroy q", false),
            ("cpupool-migrate guest Pool-0", true),
            ("cpupool-destroy q", true),
            ("cpupool-cpu-add Pool-0 1", true),
            ("cpupool-numa-split", true),
            ("cpupool-list Pool-node0", true),
            ("cpupool-rename Pool-node0 Pool-0", true),
            ("unpause guest", true),
            ("pause guest", true),
            ("rename guest Domain-0", false),
            ("rename guest gast", true),
            ("sysrq gast h", true),
            ("sysrq gast hh", false),
            ("trigger gast nmi", true),
            ("trigger gast nonsense", false),
            ("debug-keys m", true),
            ("dmesg -c", true),
            ("why", true),
            ("shutdown gast", true),
            ("reboot -a", true),
            ("shutdown", false),
            ("shutdown 77", false),
            ("top -b -i 1 -v", true),
            ("save 77 /nonexistent/file", false),
            ("save guest /nonexistent/file", false),
            ("dump-core guest /nonexistent/file", false),
            ("dump-core guest /dev/null", false),
            ("restore /nonexistent/file", false),
            ("restore /dev/null", false),
            ("destroy 0", false),
            ("destroy nosuch", false),
        ];
        for (line, well) in lines {
            let words = ["xl"].into_iter().chain(line.split(' '));
            let cli = Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
            let ended = run(tools, &cli.command);
            assert_eq!(ended.is_ok(), well, "xl {line}: {ended:?}");
        }
    }

    #[test]
    fn commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_that_are_none_end_as_scripts_know() {
        let code = |line: &[&str]| {
            Cli::try_parse_from(line)
                .map_or_else(|e| usage(&e, line.get(1).copied().unwrap_or_default()), |_| 255)
        };
        assert_eq!(code(&["xl", "list", "-v", "guest"]), 255);
        assert_eq!(code(&["xl", "list", "--verb"]), 255, "long options may be cut short");
        assert_eq!(code(&["xl", "sched-credit2", "--domain=g", "-w", "7"]), 255);
        assert_eq!(code(&["xl", "vcpu-pin", "g", "0", "-", "0"]), 255);
        assert_eq!(code(&["xl", "list", "-q"]), 2);
        assert_eq!(code(&["xl", "domid"]), 2);
        assert_eq!(code(&["xl", "nonsense"]), 1);
        assert_eq!(code(&["xl"]), 1);
        assert_eq!(code(&["xl", "-q", "list"]), 1);
        assert_eq!(code(&["xl", "-vv", "-f", "list"]), 255);
        assert_eq!(code(&["xl", "list", "--help"]), 0);
    }
}
