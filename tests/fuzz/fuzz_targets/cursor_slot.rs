//! libFuzzer around [`fuzz::cursor_slot`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::cursor_slot(data));
