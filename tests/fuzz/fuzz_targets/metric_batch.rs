//! libFuzzer around [`fuzz::metric_batch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::metric_batch(data));
