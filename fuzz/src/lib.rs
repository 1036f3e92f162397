//! The assertions of the fuzz targets. Each target is a function of bytes, so that libFuzzer and the tests below run
//! the same code.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod configuration;
mod json_lines_reader;
mod line_parser;
mod wandb_round_trip;

pub use configuration::configuration;
pub use json_lines_reader::json_lines_reader;
pub use line_parser::line_parser;
pub use wandb_round_trip::wandb_round_trip;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// Seeds must be small, so that a mutation is likely to hit a byte that matters.
    const LARGEST_SEED: usize = 2048;
    const MOST_SEEDS: usize = 50;

    // Each target gets as many mutated seeds as it reads in about three seconds. The numbers are fixed, so that a busy
    // machine takes longer instead of testing less.

    #[test]
    fn line_parser_holds() {
        hold("line_parser", line_parser, 60_000);
    }

    #[test]
    fn json_lines_reader_holds() {
        hold("json_lines_reader", json_lines_reader, 80_000);
    }

    #[test]
    fn configuration_holds() {
        hold("configuration", configuration, 60_000);
    }

    #[test]
    fn wandb_round_trip_holds() {
        hold("wandb_round_trip", wandb_round_trip, 30_000);
    }

    /// Run a target on each of its seeds, and on this many mutated ones.
    fn hold(target: &str, body: fn(&[u8]), mutations: u32) {
        let seeds = seeds(target);
        for seed in &seeds {
            run(body, seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..mutations {
            run(body, &random.mutated(&seeds));
        }
    }

    /// The target's seeds, in the order of their names.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let files = std::fs::read_dir(&folder).expect("the target has a corpus");
        let mut paths: Vec<_> = files.map(|file| file.expect("a seed").path()).collect();
        paths.sort();
        assert!(!paths.is_empty() && paths.len() < MOST_SEEDS, "{} seeds", paths.len());
        let read = |path: &PathBuf| {
            let seed = std::fs::read(path).expect("a seed is a file");
            assert!(seed.len() < LARGEST_SEED, "{} is too large for a seed", path.display());
            seed
        };
        paths.iter().map(read).collect()
    }

    /// Run a target, and print the input if it panics.
    fn run(body: fn(&[u8]), input: &[u8]) {
        struct Shown<'a>(&'a [u8]);

        impl Drop for Shown<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("the input: b\"{}\"", self.0.escape_ascii());
                }
            }
        }

        let _shown = Shown(input);
        body(input);
    }

    /// Marsaglia's xorshift64 ("Xorshift RNGs", Journal of Statistical Software 8, 2003).
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound.max(1) as u64) as usize
        }

        /// A piece of one of the seeds.
        fn piece<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a [u8] {
            let seed = &seeds[self.below(seeds.len())];
            let start = self.below(seed.len());
            let length = 1 + self.below(40);
            &seed[start..seed.len().min(start + length)]
        }

        /// A seed with a few changes.
        fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
            let mut input = seeds[self.below(seeds.len())].clone();
            for _ in 0..=self.below(6) {
                let at = self.below(input.len() + 1);
                let end = input.len().min(at + self.below(24));
                match self.below(6) {
                    0 => drop(input.drain(at..end)),
                    1 => input.insert(at, self.below(256) as u8),
                    2 => input.truncate(at),
                    3 => drop(input.splice(at..end, self.piece(seeds).iter().copied())),
                    4 => input.extend_from_within(at..end),
                    _ => match input.get_mut(at) {
                        Some(byte) => *byte ^= 1 << self.below(8),
                        None => input.push(b'\n'),
                    },
                }
            }
            input
        }
    }
}
