//! The daemon's own process, without Xen: its socket, its command line, clients that misbehave.

mod client;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use abi::io::xs_wire as xs;
use client::{ask, connect, daemon, receive};
use keeper::testing::Daemon;
use xenstore::wire::{self, HEAD};

#[test]
fn clients_share_one_store() {
    let daemon = Daemon::start("store-share", |folder| daemon(folder, &["--no-fork", "--no-domain-init"]));
    let (mut one, mut two) = (connect(&daemon.folder), connect(&daemon.folder));
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
    let daemon = Daemon::start("store-alone", |folder| daemon(folder, &["-N", "-D"]));
    let mut good = connect(&daemon.folder);
    ask(&mut good, xs::XS_WRITE, &[&b"/big\0"[..], &[b'v'; 4000]].concat());

    // Asks for megabytes and reads none, until nobody takes its requests any more.
    let mut mute = connect(&daemon.folder);
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
    let mut rude = connect(&daemon.folder);
    rude.write_all(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0]).unwrap();
    assert_eq!(rude.read(&mut [0]).unwrap(), 0);
    // So is leaving in the middle of a message.
    let mut gone = connect(&daemon.folder);
    gone.write_all(&[1, 2, 3]).unwrap();
    drop(gone);
    assert_eq!(ask(&mut good, xs::XS_CONTROL, b"check\0"), (xs::XS_CONTROL, b"OK\0".to_vec()));
}

#[test]
fn in_the_background_it_serves_when_the_command_returns() {
    // It is found, and ended, by its folder.
    let here = Daemon::start("store-background", |_| Command::new("true"));
    let (pid_file, trace) = (here.folder.join("pid"), here.folder.join("trace"));
    let arguments = ["-D", "-P", "-T", trace.to_str().unwrap()];
    let output = daemon(&here.folder, &arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let pid = String::from_utf8(output.stdout).unwrap();
    assert_eq!(pid, fs::read_to_string(&pid_file).unwrap());
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap();
    assert_eq!(name, "xenstored\n", "scripts look for it by name");
    let mut client = connect(&here.folder);
    assert_eq!(ask(&mut client, xs::XS_READ, b"/tool\0"), (xs::XS_READ, vec![]));
    assert!(fs::read_to_string(&trace).unwrap().contains(" 2 0 (/tool\\x00)"));

    // A second one leaves the first alone.
    let second = daemon(&here.folder, &["-D", "-N"]).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("served by another daemon"));
    assert_eq!(ask(&mut client, xs::XS_READ, b"/tool\0").0, xs::XS_READ);
    let kill = format!("kill {}", pid.trim());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it has ended");
}

#[test]
fn another_program_takes_its_place() {
    let mut daemon = Daemon::start("store-update", |folder| daemon(folder, &["-N", "-D"]));
    let newer = daemon.folder.join("newer");
    fs::copy(env!("CARGO_BIN_EXE_xenstored"), &newer).unwrap();
    let mut client = connect(&daemon.folder);
    let update = |client: &mut std::os::unix::net::UnixStream, words: &str| {
        let (type_, said) = ask(client, xs::XS_CONTROL, format!("live-update\0{words}\0").as_bytes());
        assert_eq!(type_, xs::XS_CONTROL);
        String::from_utf8(said).unwrap()
    };
    assert_eq!(update(&mut client, "-s\0-t\x0060"), "no program was named before (-f)\0");
    assert_eq!(update(&mut client, "-f\0/bin/true"), "OK\0");
    assert_eq!(update(&mut client, "-s"), "/bin/true cannot go on with this store's state\0");
    assert_eq!(update(&mut client, "-f\0/nonexistent"), "OK\0");
    assert!(update(&mut client, "-s").starts_with("looking for /nonexistent: No such file"));

    let transaction = client::ask(&mut client, xs::XS_TRANSACTION_START, b"\0");
    assert_eq!(transaction, (xs::XS_TRANSACTION_START, b"1\0".to_vec()));
    assert_eq!(client::ask_in(&mut client, 1, xs::XS_WRITE, b"/a\0value").0, xs::XS_WRITE);
    let name = format!("-f\0{}", newer.display());
    assert_eq!(update(&mut client, &name), "OK\0");
    assert_eq!(update(&mut client, "-s"), "OK\0");
    let programs = |daemon: &mut Daemon| -> Vec<_> {
        let exe = |pid: rustix::process::Pid| fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        daemon.alive().into_iter().filter_map(|pid| exe(pid).ok()).collect()
    };
    assert_eq!(programs(&mut daemon), [newer.clone(), newer.clone()], "and its keeper, nobody else");
    assert_eq!(client::ask_in(&mut client, 1, xs::XS_TRANSACTION_END, b"T\0").1, b"OK\0");
    assert_eq!(ask(&mut client, xs::XS_READ, b"/a\0").1, b"value");
    assert_eq!(ask(&mut connect(&daemon.folder), xs::XS_READ, b"/a\0").1, b"value");
    daemon.end(|alive| alive[0]);
}

#[test]
fn what_cannot_be_is_said() {
    let folder = std::path::Path::new("/nonexistent");
    let output = daemon(folder, &["--nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown option \"--nonsense\""));
    assert!(daemon(folder, &["--help"]).output().unwrap().status.success());
}
