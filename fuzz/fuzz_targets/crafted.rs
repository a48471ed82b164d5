#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| emberlog_fuzz::crafted(data));
