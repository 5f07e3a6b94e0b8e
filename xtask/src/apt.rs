//! Debian packages without touching the system: a private apt configuration under `target/apt`.
//!
//! The mirror is the machine's own: its address is read from `apt-get indextargets`; only suite names
//! are changed. Packages are downloaded and verified by apt and unpacked with `dpkg -x`, so nothing needs
//! root and nothing is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::proc;

/// Debian's release we build on; its name is what the machine's sources are recognised by.
pub const RELEASE: &str = "bookworm";
pub const BACKPORTS: &str = "bookworm-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private view on the machine's Debian mirror.
pub struct Apt {
    dir: PathBuf,
}

/// One source of packages: where from, and which suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    uri: String,
    suite: String,
}

impl Apt {
    /// Writes the configuration and fetches the package lists, unless they are there already.
    pub fn open(target: &Path) -> Result<Apt> {
        let apt = Apt { dir: target.join("apt") };
        let stamp = apt.dir.join("lists-fetched");
        if stamp.exists() {
            return Ok(apt);
        }
        println!("setup: reading the package lists of this machine's Debian mirror");
        apt.configure()?;
        proc::capture(apt.command("apt-get").arg("update")).context("reading the package lists")?;
        fs::write(stamp, "")?;
        Ok(apt)
    }

    /// Lists older than the mirror lead to downloads that are gone: read them again.
    fn refresh(&self) -> Result<()> {
        self.configure()?;
        proc::capture(self.command("apt-get").arg("update")).map(drop)
    }

    fn configure(&self) -> Result<()> {
        for dir in ["lists/partial", "cache", "archives/partial"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        // An empty status file: apt then believes nothing is installed and downloads every dependency.
        fs::write(self.dir.join("status"), "")?;
        let at = |name: &str| self.dir.join(name).display().to_string();
        fs::write(
            self.dir.join("apt.conf"),
            format!(
                "#clear APT::Update::Post-Invoke-Success;\n#clear APT::Update::Post-Invoke;\n\
                 #clear DPkg::Post-Invoke;\n#clear Acquire::IndexTargets::deb::DEP-11;\n\
                 Dir::State::Lists \"{}\";\nDir::State::status \"{}\";\nDir::Cache \"{}\";\n\
                 Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
                 APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\nAcquire::Retries \"3\";\n",
                at("lists"),
                at("status"),
                at("cache"),
                at("sources.list"),
            ),
        )?;
        let lines: String = self.sources()?.iter().map(|source| source.line() + "\n").collect();
        fs::write(self.dir.join("sources.list"), lines)?;
        Ok(())
    }

    /// The suites we use, at the addresses this machine uses.
    fn sources(&self) -> Result<BTreeSet<Source>> {
        let listed = proc::capture(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(CREATED_BY)|$(REPO_URI)|$(RELEASE)",
        ]))?;
        let mut found = BTreeSet::new();
        for line in listed.lines() {
            let mut fields = line.split('|');
            let (Some("Packages"), Some(uri), Some(suite)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            found.insert(Source { uri: uri.to_owned(), suite: suite.to_owned() });
        }
        let main = found
            .iter()
            .find(|s| s.suite == RELEASE)
            .with_context(|| format!("this machine's apt configuration has no suite {RELEASE}"))?
            .uri
            .clone();
        let mut sources = BTreeSet::new();
        for suite in [RELEASE.to_owned(), format!("{RELEASE}-updates"), BACKPORTS.to_owned()] {
            sources.insert(Source { uri: main.clone(), suite });
        }
        let security = format!("{RELEASE}-security");
        sources.extend(found.into_iter().filter(|s| s.suite == security));
        Ok(sources)
    }

    /// The same sources as lines for a `sources.list`, for image builders.
    pub fn source_lines(&self) -> Result<Vec<String>> {
        let file = self.dir.join("sources.list");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf"));
        command
    }

    /// The newest package whose name is `prefix` + version + `suffix`, versions compared number by number.
    pub fn newest(&self, prefix: &str, suffix: &str) -> Result<String> {
        let names = proc::capture(self.command("apt-cache").args(["pkgnames", prefix]))?;
        newest(names.lines(), prefix, suffix)
            .map(str::to_owned)
            .with_context(|| format!("the mirror has no package {prefix}*{suffix}"))
    }

    /// Downloads and unpacks packages, with everything they depend on if `closure`, to `target/pkg/NAME`.
    pub fn unpack(&self, name: &str, suite: &str, packages: &[&str], closure: bool) -> Result<PathBuf> {
        let dest = self.dir.parent().context("target folder")?.join("pkg").join(name);
        let stamp = dest.join(".complete");
        let recipe = format!("{suite} {} {closure}\n", packages.join(" "));
        if fs::read_to_string(&stamp).is_ok_and(|found| found == recipe) {
            return Ok(dest);
        }
        let archives = self.dir.join("archives").join(name);
        let debs = self.debs(&archives, suite, packages, closure)?;
        if dest.exists() {
            fs::remove_dir_all(&dest)?;
        }
        fs::create_dir_all(&dest)?;
        println!("setup: {name}: unpacking {} package(s)", debs.len());
        for deb in &debs {
            proc::capture(Command::new("dpkg").arg("-x").arg(deb).arg(&dest))?;
        }
        fs::remove_dir_all(&archives)?;
        fs::write(stamp, recipe)?;
        Ok(dest)
    }

    /// One package as a file, below `target/pkg/deb-NAME`.
    pub fn deb(&self, package: &str, suite: &str) -> Result<PathBuf> {
        let all = self.dir.parent().context("target folder")?.join("pkg");
        let dir = all.join(format!("deb-{package}"));
        if let Some(deb) = find_debs(&dir)?.pop() {
            return Ok(deb);
        }
        let archives = self.dir.join("archives").join(package);
        self.debs(&archives, suite, &[package], false)?;
        fs::create_dir_all(&all)?;
        fs::rename(&archives, &dir).with_context(|| format!("moving {package} to {}", dir.display()))?;
        find_debs(&dir)?.pop().context("the package's file")
    }

    /// Downloads packages to a folder, which is emptied first; one at least, or it is an error.
    fn debs(&self, dir: &Path, suite: &str, packages: &[&str], closure: bool) -> Result<Vec<PathBuf>> {
        println!("setup: downloading {}", packages.join(" "));
        if self.download(dir, suite, packages, closure).is_err() {
            self.refresh()?;
            self.download(dir, suite, packages, closure)?;
        }
        let debs = find_debs(dir)?;
        if debs.is_empty() {
            bail!("apt downloaded nothing of {}", packages.join(" "));
        }
        Ok(debs)
    }

    /// apt checks size and hash of each file against the signed lists.
    fn download(&self, archives: &Path, suite: &str, packages: &[&str], closure: bool) -> Result<()> {
        if archives.exists() {
            fs::remove_dir_all(archives)?;
        }
        fs::create_dir_all(archives.join("partial"))?;
        let mut command = self.command("apt-get");
        command.args(["-q", "-y"]);
        if suite == BACKPORTS {
            // Backports are taken only where asked for; all else comes from the newest of the other suites.
            command.args(["-t", suite]);
        }
        command.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
        if closure {
            command.args(["--download-only", "--no-install-recommends", "install"]);
        } else {
            command.arg("download").current_dir(archives);
        }
        proc::capture(command.args(packages)).map(drop)
    }
}

impl Source {
    fn line(&self) -> String {
        format!("deb [signed-by={KEYRING}] {} {} main", self.uri, self.suite)
    }
}

/// The packages in a folder, which need not exist.
fn find_debs(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut debs: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    debs.sort();
    Ok(debs)
}

/// Numbers in a version, in order: enough to compare Debian's kernel package names.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn newest<'a>(names: impl Iterator<Item = &'a str>, prefix: &str, suffix: &str) -> Option<&'a str> {
    names
        .filter(|name| {
            name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).is_some_and(|version| {
                !version.ends_with("-cloud") && !version.ends_with("-rt") && numbers(version).len() > 1
                    || version.parse::<u64>().is_ok()
            })
        })
        .max_by_key(|name| numbers(name))
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn newest_compares_numbers_not_letters() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-58-amd64-dbg",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.100+deb12-amd64",
        ];
        let pick = |prefix| newest(names.into_iter(), prefix, "-amd64");
        assert_eq!(pick("linux-image-6.1."), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(pick("linux-image-6.12."), Some("linux-image-6.12.100+deb12-amd64"));
        assert_eq!(pick("linux-image-7."), None);
    }
}
