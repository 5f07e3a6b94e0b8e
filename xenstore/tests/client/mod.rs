//! A client of a daemon under test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use keeper::testing::{PATIENCE, wait};
use xenstore::wire::{self, HEAD, Message};

/// The daemon, with its socket, its process's number and all else in `folder`.
pub fn daemon(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenstored"));
    command.env("XENSTORED_RUNDIR", folder).arg("--pid-file").arg(folder.join("pid")).args(arguments);
    command
}

/// A connection, as soon as the daemon listens.
pub fn connect(folder: &Path) -> UnixStream {
    let socket = wait("a connection", || UnixStream::connect(folder.join("socket")).ok());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn send(socket: &mut UnixStream, type_: u32, tx: u32, payload: &[u8]) {
    socket.write_all(&wire::encode(type_, 5, tx, &[payload])).unwrap();
}

/// The next message: its type and its payload.
pub fn receive(socket: &mut UnixStream) -> (u32, Vec<u8>) {
    let mut bytes = vec![0; HEAD];
    socket.read_exact(&mut bytes).unwrap();
    let len = u32::from_le_bytes(bytes[12..].try_into().unwrap()) as usize;
    bytes.resize(HEAD + len, 0);
    socket.read_exact(&mut bytes[HEAD..]).unwrap();
    let message = Message::first(&bytes).unwrap().unwrap();
    (message.head.type_, message.payload.to_vec())
}

pub fn ask(socket: &mut UnixStream, type_: u32, payload: &[u8]) -> (u32, Vec<u8>) {
    ask_in(socket, 0, type_, payload)
}

pub fn ask_in(socket: &mut UnixStream, tx: u32, type_: u32, payload: &[u8]) -> (u32, Vec<u8>) {
    send(socket, type_, tx, payload);
    receive(socket)
}
