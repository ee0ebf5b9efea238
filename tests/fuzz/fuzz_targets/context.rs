#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::context::any_bytes(data));
