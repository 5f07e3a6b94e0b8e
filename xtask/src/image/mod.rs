//! What the virtual machines boot from: small initramfs archives and Debian disk images.

pub mod cpio;
pub mod debian;
pub mod initramfs;
pub mod loader;
pub mod modules;
pub mod overlay;

use sha2::Digest;

/// A short hash of a recipe: an image is made again exactly when what it is made from changes.
pub fn hash(parts: &[&str]) -> String {
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
