//! libFuzzer around [`fuzz::jaeger`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::jaeger(data));
