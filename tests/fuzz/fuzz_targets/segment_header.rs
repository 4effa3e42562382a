//! libFuzzer around [`fuzz::segment_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::segment_header(data));
