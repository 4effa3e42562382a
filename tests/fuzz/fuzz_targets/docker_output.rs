//! libFuzzer around [`fuzz::docker_output`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::docker_output(data));
