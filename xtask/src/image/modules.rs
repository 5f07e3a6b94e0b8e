//! Kernel modules: which ones a list needs, and in which order they load.
//!
//! Debian ships neither `modules.dep` nor the order; both follow from each module's `.modinfo`
//! ("depends=a,b"), so nothing has to be run to find out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::Kernel;

/// All modules of a kernel by name (with '_' for '-', as the kernel calls them).
pub struct Tree {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A module ready for `insmod`: decompressed.
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Tree {
    pub fn read(kernel: &Kernel) -> Result<Tree> {
        let mut files = BTreeMap::new();
        walk(&kernel.modules, &mut |path| {
            if let Some(name) = module_name(path) {
                files.insert(name, path.to_owned());
            }
        })?;
        let builtin = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
        let builtin = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(Tree { files, builtin })
    }

    /// The wanted modules after everything they depend on. One that is built in, or that this kernel
    /// does not have, is left out.
    pub fn closure(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(&name.replace('-', "_"), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<()> {
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else { return Ok(()) };
        let bytes = load(path)?;
        for dependency in depends(&bytes) {
            self.visit(&dependency, seen, order)?;
        }
        order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz"))?;
    Some(stem.replace('-', "_"))
}

fn load(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if path.extension().is_none_or(|e| e != "xz") {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    lzma_rust2::XzReader::new(bytes.as_slice(), true)
        .read_to_end(&mut unpacked)
        .with_context(|| format!("unpacking {}", path.display()))?;
    Ok(unpacked)
}

/// The names after `depends=` in the module's `.modinfo` (NUL-separated text).
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else { return Vec::new() };
    let rest = &module[at + key.len()..];
    let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
    let text = String::from_utf8_lossy(&rest[..end]);
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn walk(dir: &Path, found: &mut dyn FnMut(&Path)) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found(&entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn depends_are_read_from_modinfo() {
        let module = b"\x7fELF..\0license=GPL\0depends=libata,scsi-mod\0name=ahci\0";
        assert_eq!(super::depends(module), ["libata", "scsi_mod"]);
        assert!(super::depends(b"\0depends=\0").is_empty());
    }
}
