//! libFuzzer around [`fuzz::no_proxy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::no_proxy(data));
