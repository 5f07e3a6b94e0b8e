//! The daemon's own process, without Xen: its socket, its command line, clients that misbehave.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use abi::io::xs_wire as xs;
use xenstore::wire::{self, HEAD, Message};

/// No step of a test takes that long.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("xenstored-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenstored"));
        command.env("XENSTORED_RUNDIR", &self.0).args(arguments);
        command
    }

    /// Connects as soon as the daemon listens.
    fn connect(&self) -> UnixStream {
        let began = Instant::now();
        loop {
            match UnixStream::connect(self.0.join("socket")) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(LIMIT)).unwrap();
                    return socket;
                }
                Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon in the foreground, killed at the end.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn send(socket: &mut UnixStream, type_: u32, payload: &[u8]) {
    socket.write_all(&wire::encode(type_, 5, 0, &[payload])).unwrap();
}

fn receive(socket: &mut UnixStream) -> (u32, Vec<u8>) {
    let mut bytes = vec![0; HEAD];
    socket.read_exact(&mut bytes).unwrap();
    let len = u32::from_le_bytes(bytes[12..].try_into().unwrap()) as usize;
    bytes.resize(HEAD + len, 0);
    socket.read_exact(&mut bytes[HEAD..]).unwrap();
    let message = Message::first(&bytes).unwrap().unwrap();
    (message.head.type_, message.payload.to_vec())
}

fn ask(socket: &mut UnixStream, type_: u32, payload: &[u8]) -> (u32, Vec<u8>) {
    send(socket, type_, payload);
    receive(socket)
}

#[test]
fn clients_share_one_store() {
    let folder = Folder::new("share");
    let _daemon = Daemon(folder.command(&["--no-fork", "--no-domain-init"]).spawn().unwrap());
    let (mut one, mut two) = (folder.connect(), folder.connect());
    assert_eq!(ask(&mut two, xs::XS_WATCH, b"/a\0t\0").0, xs::XS_WATCH);
    assert_eq!(receive(&mut two), (xs::XS_WATCH_EVENT, b"/a\0t\0".to_vec()));
    assert_eq!(ask(&mut one, xs::XS_WRITE, b"/a/b\0value").0, xs::XS_WRITE);
    assert_eq!(receive(&mut two), (xs::XS_WATCH_EVENT, b"/a/b\0t\0".to_vec()));
    assert_eq!(ask(&mut two, xs::XS_READ, b"/a/b\0"), (xs::XS_READ, b"value".to_vec()));
    // There are no guests to introduce.
    assert_eq!(ask(&mut one, xs::XS_INTRODUCE, b"1\x001\x001\0"), (xs::XS_ERROR, b"ENOSYS\0".to_vec()));

    // One byte at a time, and many requests at once.
    for byte in wire::encode(xs::XS_READ, 1, 0, &[b"/a/b\0"]) {
        one.write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&mut one).1, b"value");
    let request = wire::encode(xs::XS_READ, 1, 0, &[b"/a/b\0"]);
    one.write_all(&request.repeat(500)).unwrap();
    (0..500).for_each(|_| assert_eq!(receive(&mut one).1, b"value"));
}

#[test]
fn who_misbehaves_is_alone_with_it() {
    let folder = Folder::new("alone");
    let _daemon = Daemon(folder.command(&["-N", "-D"]).spawn().unwrap());
    let mut good = folder.connect();
    ask(&mut good, xs::XS_WRITE, &[&b"/big\0"[..], &[b'v'; 4000]].concat());

    // Asks for megabytes and reads none, until nobody takes its requests any more.
    let mut mute = folder.connect();
    mute.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let requests = wire::encode(xs::XS_READ, 1, 0, &[b"/big\0"]).repeat(100);
    let mut asked = 0;
    while let Ok(count) = mute.write(&requests) {
        asked += count;
        assert!(asked < 64 << 20, "its requests are taken without end");
    }
    assert_eq!(ask(&mut good, xs::XS_READ, b"/big\0").1.len(), 4000);
    // When it reads, it gets all of it.
    let whole = asked / (HEAD + 5);
    (0..whole).for_each(|_| assert_eq!(receive(&mut mute).1.len(), 4000));

    // A payload too long is the end of the connection.
    let mut rude = folder.connect();
    rude.write_all(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0]).unwrap();
    assert_eq!(rude.read(&mut [0]).unwrap(), 0);
    // So is leaving in the middle of a message.
    let mut gone = folder.connect();
    gone.write_all(&[1, 2, 3]).unwrap();
    drop(gone);
    assert_eq!(ask(&mut good, xs::XS_CONTROL, b"check\0"), (xs::XS_CONTROL, b"OK\0".to_vec()));
}

#[test]
fn in_the_background_it_serves_when_the_command_returns() {
    let folder = Folder::new("background");
    let pid_file = folder.0.join("pid");
    let pid_option = format!("--pid-file={}", pid_file.display());
    let trace = folder.0.join("trace");
    let arguments = ["-D", "-P", &pid_option, "-T", trace.to_str().unwrap()];
    let output = folder.command(&arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let pid = String::from_utf8(output.stdout).unwrap();
    assert_eq!(pid, fs::read_to_string(&pid_file).unwrap());
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap();
    assert_eq!(name, "xenstored\n", "scripts look for it by name");
    let mut client = UnixStream::connect(folder.0.join("socket")).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(ask(&mut client, xs::XS_READ, b"/tool\0"), (xs::XS_READ, vec![]));
    assert!(fs::read_to_string(&trace).unwrap().contains(" 2 0 (/tool\\x00)"));

    // A second one leaves the first alone.
    let second = folder.command(&["-D", "-N"]).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("served by another daemon"));
    assert_eq!(ask(&mut client, xs::XS_READ, b"/tool\0").0, xs::XS_READ);
    let kill = format!("kill {}", pid.trim());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it has ended");
}

#[test]
fn what_cannot_be_is_said() {
    let folder = Folder::new("refused");
    let output = folder.command(&["--nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown option \"--nonsense\""));
    assert!(folder.command(&["--help"]).output().unwrap().status.success());
}
