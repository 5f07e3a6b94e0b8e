//! Hands the linker its script. Only the bare-metal target is linked with it.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo:rerun-if-changed=hypervisor.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=--build-id=sha1");
        println!("cargo:rustc-link-arg-bins=-T{folder}/hypervisor.ld");
    }
}
