//! Channels: byte streams between the guest and a pty or a socket of the host.

use super::reader::Reader;
use super::small::each;
use super::spec::Pair;
use crate::config::model::{Channel, ChannelPty, ChannelSocket, DomainConfig};
use crate::config::syntax::Value;

const KNOWN: &[&str] = &["backend", "name", "connection", "path"];

pub fn channels(reader: &mut Reader<'_>, out: &mut DomainConfig) {
    out.channels = each(reader, "channel", channel);
}

fn channel(reader: &mut Reader<'_>, item: &Value, pairs: &[Pair<'_>], devid: i32) -> Channel {
    let mut out = Channel { devid: Some(devid), ..Channel::default() };
    let mut path = None;
    let mut connected = false;
    for pair in pairs {
        match pair.key {
            "backend" => out.backend_domname = pair.owned(reader),
            "name" => out.name = pair.owned(reader),
            "path" => path = pair.owned(reader),
            "connection" => {
                connected = true;
                match pair.choice(reader, &[("pty", false), ("socket", true)]) {
                    Some(false) => out.pty = Some(ChannelPty::default()),
                    Some(true) => out.socket = Some(ChannelSocket::default()),
                    None => {}
                }
            }
            _ => pair.ignore(reader, "a channel", KNOWN),
        }
    }
    if !connected {
        reader.error(
            item,
            "this channel is connected to nothing",
            "write connection=pty, or connection=socket,path=/run/NAME",
        );
    }
    if out.name.is_none() {
        reader.error(item, "this channel has no name", "write name=NAME, by which the guest finds it");
    }
    if let Some(socket) = &mut out.socket {
        if path.is_none() {
            reader.error(item, "the socket of this channel has no path", "write path=/run/NAME");
        }
        socket.path = path;
    }
    out
}
