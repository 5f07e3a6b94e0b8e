//! Hypercall sequences chosen by the fuzzer; after each step the audit must find nothing.
#![no_main]

use hypercore::testing::fuzz::{Fuzz, Source};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    // One world for all runs: its memory lives for ever.
    static DRIVER: RefCell<Option<Fuzz>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    DRIVER.with(|d| {
        let mut d = d.borrow_mut();
        let f = d.get_or_insert_with(|| Fuzz::new(Source::Seed(1)));
        f.restart(Source::Bytes(data.to_vec().into_iter()));
        while f.step() {
            f.check();
        }
    });
});
