//! libFuzzer around [`fuzz::service_error`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::service_error(data));
