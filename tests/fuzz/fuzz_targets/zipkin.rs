//! libFuzzer around [`fuzz::zipkin`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::zipkin(data));
