//! libFuzzer around [`fuzz::loki_push_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::loki_push_json(data));
