//! libFuzzer around [`fuzz::otlp_outgoing`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::otlp_outgoing(data));
