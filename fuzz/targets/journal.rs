#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shimmer_fuzz::journal(bytes));
