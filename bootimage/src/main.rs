//! `bootimage IN OUT`: makes the multiboot image OUT from the linked hypervisor IN.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        eprintln!("usage: bootimage IN OUT");
        return ExitCode::from(2);
    };
    let result = std::fs::read(&input)
        .map_err(|e| format!("reading {input}: {e}"))
        .and_then(|elf| bootimage::make(&elf).map_err(|e| format!("converting {input}: {e}")))
        .and_then(|image| std::fs::write(&output, image).map_err(|e| format!("writing {output}: {e}")));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bootimage: {message}");
            ExitCode::FAILURE
        }
    }
}
