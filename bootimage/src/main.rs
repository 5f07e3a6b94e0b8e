//! `bootimage IN OUT`: makes the multiboot image OUT and the PVH image OUT-pvh from the linked hypervisor IN.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        eprintln!("usage: bootimage IN OUT");
        return ExitCode::from(2);
    };
    match convert(&input, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bootimage: {message}");
            ExitCode::FAILURE
        }
    }
}

fn convert(input: &str, output: &str) -> Result<(), String> {
    let elf = std::fs::read(input).map_err(|e| format!("reading {input}: {e}"))?;
    let images = bootimage::make(&elf).map_err(|e| format!("converting {input}: {e}"))?;
    let write = |path: &str, image| std::fs::write(path, image).map_err(|e| format!("writing {path}: {e}"));
    write(output, &images.multiboot)?;
    write(&format!("{output}-pvh"), &images.pvh)
}
