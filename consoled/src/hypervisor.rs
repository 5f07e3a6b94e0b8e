//! The hypervisor's own messages in a log.

use std::fs;
use std::os::fd::AsRawFd;

use abi::xen::VIRQ_CON_RING;
use anyhow::Result;
use keeper::{Life, Region};
use xenctl::{EventChannels, Xen};

use crate::log::Log;
use crate::options::Options;
use crate::stamp;

/// Words before the first slot.
const CHANNEL: usize = 0;
/// Bytes of all that the hypervisor wrote which the log has.
const INDEX: usize = 8;
/// While more is written: one more than the log's length before, and the index behind it.
const WRITING: usize = 16;
const BEHIND: usize = 24;

/// The descriptor that is recorded.
pub fn number(region: &Region) -> i32 {
    region.published(CHANNEL) as i32 - 1
}

/// The log at work.
pub struct Hypervisor {
    pub channel: EventChannels,
    pub log: Log,
    xen: Xen,
}

impl Hypervisor {
    /// Begins, or goes on behind what the life before wrote.
    ///
    /// # Errors
    /// As the system calls and hypercalls used.
    pub fn open(life: &mut Life, options: &Options) -> Result<Self> {
        let channel = match life.inherit(number(&life.region)) {
            Some(fd) => EventChannels::from(fd),
            None => {
                let channel = EventChannels::open()?;
                channel.set_nonblocking(true)?;
                channel.bind_virq(VIRQ_CON_RING)?;
                life.region.publish(CHANNEL, channel.as_raw_fd() as u64 + 1);
                channel
            }
        };
        fs::create_dir_all(&options.log_dir)?;
        let path = options.log_dir.join("hypervisor.log");
        let log = Log::open(path, options.limits(), options.timestamp.hypervisor())?;
        let log = log.dotted(options.replace_escape);
        let before = life.region.published(WRITING);
        if before != 0 {
            if log.len()? != before - 1 {
                let behind = life.region.published(BEHIND);
                life.region.publish(INDEX, behind);
            }
            life.region.publish(WRITING, 0);
        }
        Ok(Self { channel, log, xen: Xen::open()? })
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// As the hypercall and the log.
    pub fn turn(&mut self, region: &mut Region) -> Result<()> {
        for port in self.channel.pending()? {
            self.channel.unmask(port)?;
        }
        loop {
            let (bytes, behind) = self.xen.console_from(region.published(INDEX) as u32)?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.log.prepare()?;
            region.publish(BEHIND, behind.into());
            region.publish(WRITING, self.log.len()? + 1);
            let wrote = self.log.write(&bytes, &stamp::now);
            region.publish(INDEX, behind.into());
            region.publish(WRITING, 0);
            wrote?;
        }
    }
}
