//! libFuzzer around [`fuzz::log_batch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::log_batch(data));
