//! libFuzzer around [`fuzz::syslog_stream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::syslog_stream(data));
