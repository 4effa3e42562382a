//! libFuzzer around [`fuzz::log_objects`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::log_objects(data));
