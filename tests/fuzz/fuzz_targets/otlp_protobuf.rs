//! libFuzzer around [`fuzz::otlp_protobuf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::otlp_protobuf(data));
