//! `xl mem-max`, `mem-set`: how much memory a guest may have, and is to use.

use toolstack::memory;

use crate::tools::{Done, Failure, Tools, complain, words};

#[derive(clap::Args)]
pub struct Args {
    /// A domain, by name or number
    domain: String,
    /// How much: MiB, or a number with k, m, g or t
    memory: String,
}

pub fn max(tools: &mut Tools, args: &Args) -> Done {
    let id = tools.domain(&args.domain)?;
    let Some(kib) = memory::size(&args.memory) else {
        return words(format!("invalid memory size: {}", args.memory));
    };
    let (xen, store) = tools.both()?;
    memory::set_most(xen, store, id, kib).map_err(|e| {
        complain(&e);
        Failure::Words(format!("cannot set domid {id} static max memory to : {}", args.memory))
    })
}

pub fn set(tools: &mut Tools, args: &Args) -> Done {
    let id = tools.domain(&args.domain)?;
    let Some(kib) = memory::size(&args.memory) else {
        return words(format!("invalid memory size: {}", args.memory));
    };
    let (xen, store) = tools.both()?;
    memory::set_target(xen, store, id, kib).map_err(|e| {
        complain(&e);
        Failure::Words(format!("cannot set domid {id} dynamic max memory to : {}", args.memory))
    })
}
