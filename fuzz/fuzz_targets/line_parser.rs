#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model_foundry_fuzz::line_parser(data));
