//! libFuzzer around [`fuzz::otlp_translate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::otlp_translate(data));
