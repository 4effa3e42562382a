//! libFuzzer around [`fuzz::otlp_packed`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::otlp_packed(data));
