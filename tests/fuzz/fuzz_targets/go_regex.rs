//! libFuzzer around [`fuzz::go_regex`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::go_regex(data));
