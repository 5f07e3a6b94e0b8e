//! The command line's options, kept for the run.

use hypercore::boot::cmdline::{self, Complaint, Options, RebootMethod};

use crate::sync::Once;

static OPTIONS: Once<Options<'static>> = Once::new();

/// Parses `line`; what it complains about is printed by [`report`], once there is a console.
pub fn init(line: &'static str) {
    OPTIONS.call_once(|| cmdline::parse(line, &mut |_, _| {}));
}

/// Names what could not be honoured.
pub fn report(line: &'static str) {
    cmdline::parse(line, &mut |word, complaint| match complaint {
        Complaint::Unknown => crate::warning!("parameter \"{word}\" unknown!"),
        Complaint::BadValue => crate::warning!("parameter \"{word}\" has invalid value, ignored"),
        Complaint::NoEffect => crate::warning!("parameter \"{word}\" has no effect here"),
    });
}

/// The options, once parsed.
pub fn get() -> Option<&'static Options<'static>> {
    OPTIONS.get()
}

/// Whether the machine is to stay up after its end.
pub fn never_reboot() -> bool {
    get().is_some_and(|o| o.reboot == RebootMethod::Never)
}
