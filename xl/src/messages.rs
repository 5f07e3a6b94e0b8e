//! `xl dmesg`, `debug-keys`, `why`: what the hypervisor has to say.

use std::io::Write;

use abi::Errno;
use xenctl::DomId;

use crate::tools::{Done, Tools, words};

#[derive(clap::Args)]
pub struct DmesgArgs {
    /// Forgets the messages afterwards
    #[arg(short, long)]
    clear: bool,
}

pub fn dmesg(tools: &mut Tools, args: &DmesgArgs) -> Done {
    let text = tools.xen()?.console(args.clear)?;
    // Who reads may have seen enough.
    let _ = std::io::stdout().write_all(&text);
    Ok(())
}

#[derive(clap::Args)]
pub struct KeysArgs {
    /// Keys as at the hypervisor's console; `h` tells them
    keys: String,
}

pub fn debug_keys(tools: &mut Tools, args: &KeysArgs) -> Done {
    tools.xen()?.debug_keys(&args.keys)?;
    Ok(())
}

/// Why calls of this domain were refused: of its tools and of its kernel.
pub fn why(tools: &mut Tools) -> Done {
    let xen = tools.xen()?;
    let vcpus = xen.domain(DomId(0))?.map_or(1, |d| d.max_vcpu_id.wrapping_add(1));
    let mut any = false;
    for vcpu in 0..vcpus {
        let refusals = match xen.refusals(vcpu) {
            Err(e) if e.errno == Errno::ENOSYS => {
                return words("This hypervisor does not keep why it refused something; Xenolith does.");
            }
            refusals => refusals?,
        };
        for refusal in refusals {
            println!("vCPU {vcpu}, {}: {}", refusal.number, refusal.text);
            any = true;
        }
    }
    if !any {
        println!("Nothing was refused.");
    }
    Ok(())
}
