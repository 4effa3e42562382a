//! libFuzzer around [`fuzz::base_vector`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::base_vector(data));
