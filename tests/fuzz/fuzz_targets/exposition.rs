//! libFuzzer around [`fuzz::exposition`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::exposition(data));
