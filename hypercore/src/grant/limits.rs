//! What every domain may have of grants: `gnttab=`, `gnttab_max_frames=` and `gnttab_max_maptrack_frames=`.

/// Most frames an option may name: references stay below 2³¹.
pub const MOST_FRAMES: u32 = 1 << 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a table. What a domain gets if its creator does not say, and the most it can have.
    pub frames: u32,
    /// The same of the table of what it maps.
    pub maptrack_frames: u32,
    /// Highest version of the table: 1 or 2.
    pub version: u32,
    /// Whether grants of grants may be used.
    pub transitive: bool,
    /// Whether there is `GNTTABOP_transfer`.
    pub transfer: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames: 64, maptrack_frames: 1024, version: 2, transitive: true, transfer: true }
    }
}
