//! What the virtual machines boot from: small initramfs archives and Debian disk images.

pub mod cpio;
pub mod debian;
pub mod initramfs;
pub mod loader;
pub mod modules;
pub mod overlay;
pub mod small;

use sha2::Digest;

/// A short hash of a recipe: an image is made again exactly when what it is made from changes.
pub fn hash<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
