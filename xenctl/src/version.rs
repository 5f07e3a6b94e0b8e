//! `xen_version`: who the hypervisor is.

use abi::version::{CompileInfo as RawCompileInfo, *};
use abi::xen::HYPERVISOR_XEN_VERSION;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::call::{Command, Xen};
use crate::error::Result;

/// Bytes of a build id that fit; one has 20.
const BUILD_ID_ROOM: usize = 1020;

/// Who made it, of what, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileInfo {
    pub compiler: String,
    pub by: String,
    pub domain: String,
    pub date: String,
}

/// What is before the first zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Xen {
    fn version_op<T: FromBytes + IntoBytes + Immutable>(
        &self,
        doing: &str,
        cmd: u32,
        argument: &mut T,
    ) -> Result<u64> {
        let doing = || format!("asking for the hypervisor's {doing}");
        self.call(doing, HYPERVISOR_XEN_VERSION, Command::Register(cmd), argument)
    }

    fn version_text<const N: usize>(&self, doing: &str, cmd: u32) -> Result<String> {
        let mut bytes = [0u8; N];
        self.version_op(doing, cmd, &mut bytes)?;
        Ok(text(&bytes))
    }

    /// Major and minor.
    pub fn version(&self) -> Result<(u32, u32)> {
        let answer = self.version_op("version", XENVER_VERSION, &mut [0u8; 0])? as u32;
        Ok((answer >> 16, answer & 0xffff))
    }

    /// What follows the numbers: `.0-xenolith`.
    pub fn extraversion(&self) -> Result<String> {
        self.version_text::<XEN_EXTRAVERSION_LEN>("version", XENVER_EXTRAVERSION)
    }

    pub fn compile_info(&self) -> Result<CompileInfo> {
        let mut info = RawCompileInfo::new_zeroed();
        self.version_op("build", XENVER_COMPILE_INFO, &mut info)?;
        Ok(CompileInfo {
            compiler: text(&info.compiler),
            by: text(&info.compile_by),
            domain: text(&info.compile_domain),
            date: text(&info.compile_date),
        })
    }

    /// Kinds of guests it runs, each followed by a space.
    pub fn capabilities(&self) -> Result<String> {
        self.version_text::<XEN_CAPABILITIES_INFO_LEN>("capabilities", XENVER_CAPABILITIES)
    }

    pub fn changeset(&self) -> Result<String> {
        self.version_text::<XEN_CHANGESET_INFO_LEN>("changeset", XENVER_CHANGESET)
    }

    /// First address of the hypervisor's area in each guest.
    pub fn virt_start(&self) -> Result<u64> {
        let mut parameters = PlatformParameters::default();
        self.version_op("address", XENVER_PLATFORM_PARAMETERS, &mut parameters)?;
        Ok(parameters.virt_start)
    }

    /// Bytes.
    pub fn page_size(&self) -> Result<u64> {
        self.version_op("page size", XENVER_PAGESIZE, &mut [0u8; 0])
    }

    pub fn command_line(&self) -> Result<String> {
        self.version_text::<XEN_COMMANDLINE_LEN>("command line", XENVER_COMMANDLINE)
    }

    /// Names the build; bytes.
    pub fn build_id(&self) -> Result<Vec<u8>> {
        let mut argument = [0u8; 4 + BUILD_ID_ROOM];
        argument[..4].copy_from_slice(&(BUILD_ID_ROOM as u32).to_le_bytes());
        let used = self.version_op("build id", XENVER_BUILD_ID, &mut argument)?;
        Ok(argument[4..].iter().copied().take(used as usize).collect())
    }
}
