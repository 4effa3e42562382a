//! libFuzzer around [`fuzz::series_table`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::series_table(data));
