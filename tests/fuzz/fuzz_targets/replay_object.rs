//! libFuzzer around [`fuzz::replay_object`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::replay_object(data));
