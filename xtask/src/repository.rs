//! A small Debian repository on this machine's loopback: one package of the mirror, as `dists/` and `pool/` have it,
//! served by HTTP for as long as the value lives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use sha2::Digest;

use crate::apt;
use crate::proc;
use crate::setup::Env;

/// The package, and the program that it brings.
pub const PACKAGE: &str = "hello";
pub const PROGRAM: &str = "usr/bin/hello";
/// What the suite is called.
pub const SUITE: &str = "test";

/// Contents by path.
type Files = BTreeMap<String, Vec<u8>>;

pub struct Repository {
    pub port: u16,
    /// Of the program, in hexadecimal digits.
    pub program_sha256: String,
}

impl Repository {
    /// Downloads the package, unless it is there, and serves it to the end of this process.
    pub fn serve(env: &Env) -> Result<Repository> {
        let deb = package(env)?;
        let unpacked = deb.with_extension("unpacked");
        proc::capture(Command::new("dpkg").arg("-x").arg(&deb).arg(&unpacked))?;
        let program_sha256 = sha256(&fs::read(unpacked.join(PROGRAM))?);
        let files = Arc::new(files(&deb)?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for peer in listener.incoming().map_while(Result::ok) {
                let files = files.clone();
                std::thread::spawn(move || answer(&peer, &files));
            }
        });
        Ok(Repository { port, program_sha256 })
    }
}

/// The package's file, downloaded if it is not there.
pub fn package(env: &Env) -> Result<PathBuf> {
    env.apt()?.deb(PACKAGE, apt::RELEASE)
}

/// The package with the indices that lead to it (<https://wiki.debian.org/DebianRepository/Format>).
fn files(deb: &Path) -> Result<Files> {
    let fields = proc::capture(Command::new("dpkg-deb").arg("-f").arg(deb))?;
    let name = deb.file_name().context("the package's file name")?.to_string_lossy();
    let path = format!("pool/main/{name}");
    let content = fs::read(deb).with_context(|| format!("reading {}", deb.display()))?;
    let packages = format!(
        "{}\nFilename: {path}\nSize: {}\nSHA256: {}\n\n",
        fields.trim_end(),
        content.len(),
        sha256(&content)
    );
    let index = "main/binary-amd64/Packages";
    let release = format!(
        "Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\n\
         Date: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n {} {} {index}\n",
        sha256(packages.as_bytes()),
        packages.len()
    );
    Ok(BTreeMap::from([
        (format!("dists/{SUITE}/Release"), release.into_bytes()),
        (format!("dists/{SUITE}/{index}"), packages.into_bytes()),
        (path, content),
    ]))
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers GET requests in a row until the peer goes.
fn answer(peer: &TcpStream, files: &Files) -> std::io::Result<()> {
    let mut lines = BufReader::new(peer).lines();
    let mut out = peer;
    while let Some(request) = lines.next() {
        let request = request?;
        for header in lines.by_ref() {
            if header?.is_empty() {
                break;
            }
        }
        let path = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
        let (status, content) = match path.and_then(|path| files.get(path)) {
            Some(content) => ("200 OK", content.as_slice()),
            None => ("404 Not Found", &[][..]),
        };
        write!(out, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len())?;
        out.write_all(content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::{Files, answer};

    #[test]
    fn requests_on_one_connection_are_answered_in_order() {
        let files =
            Files::from([("dists/a".into(), b"first".to_vec()), ("pool/b".into(), b"second".to_vec())]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let server = std::thread::spawn(move || answer(&peer, &files));
        for path in ["pool/b", "none", "dists/a"] {
            write!(client, "GET /{path} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        server.join().unwrap().unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(
            got,
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond\
             HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
        );
    }
}
