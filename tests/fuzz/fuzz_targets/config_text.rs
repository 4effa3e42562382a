//! libFuzzer around [`fuzz::config_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::config_text(data));
