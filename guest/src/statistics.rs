//! Streaming statistics: one pass, bounded memory, never a re-read.
//!
//! Mean and variance are Welford's (B. P. Welford, "Note on a method for calculating corrected sums of
//! squares and products", Technometrics 4, 1962), merged as Chan, Golub and LeVeque merge partial results
//! (Stanford STAN-CS-79-773, 1979). Percentiles come from a histogram whose buckets are equal parts of a power of
//! two, as in Gil Tene's HdrHistogram.

/// Statistics of a stream of numbers. Those that are not finite are counted and otherwise left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Finite samples.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The sum of squared deviations from the mean.
    pub squares: f64,
    /// The smallest; +∞ where there are none.
    pub min: f64,
    /// The largest; −∞ where there are none.
    pub max: f64,
    /// The latest.
    pub last: f64,
    /// Samples that were NaN.
    pub nan: u64,
    /// Samples that were +∞.
    pub positive_infinity: u64,
    /// Samples that were −∞.
    pub negative_infinity: u64,
    /// The step of the first sample that was not finite.
    pub first_non_finite_step: Option<u64>,
    /// How the samples are spread.
    pub sketch: Sketch,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            count: 0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            nan: 0,
            positive_infinity: 0,
            negative_infinity: 0,
            first_non_finite_step: None,
            sketch: Sketch::default(),
        }
    }
}

impl Statistics {
    /// Take a sample in. `step` is remembered if it is the first that is not finite.
    pub fn add(&mut self, step: u64, sample: f64) {
        if !sample.is_finite() {
            self.first_non_finite_step.get_or_insert(step);
            if sample.is_nan() {
                self.nan += 1;
            } else if sample > 0.0 {
                self.positive_infinity += 1;
            } else {
                self.negative_infinity += 1;
            }
            return;
        }
        self.count += 1;
        let before = sample - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (sample - self.mean);
        self.note_extremes(sample, sample);
        self.last = sample;
        self.sketch.add(sample);
    }

    /// Take in what another stream saw after this one.
    pub fn merge(&mut self, later: &Self) {
        if later.count > 0 {
            let (own, other) = (self.count as f64, later.count as f64);
            let both = own + other;
            let apart = later.mean - self.mean;
            self.mean += apart * other / both;
            self.squares += later.squares + apart * apart * own * other / both;
            self.count += later.count;
            self.note_extremes(later.min, later.max);
            self.last = later.last;
            self.sketch.merge(&later.sketch);
        }
        self.nan += later.nan;
        self.positive_infinity += later.positive_infinity;
        self.negative_infinity += later.negative_infinity;
        self.first_non_finite_step = self.first_non_finite_step.or(later.first_non_finite_step);
    }

    /// Not `f64::min` and `f64::max`: which zero they take of −0 and +0 differs between processors, and the
    /// bytes must not.
    fn note_extremes(&mut self, low: f64, high: f64) {
        if low < self.min {
            self.min = low;
        }
        if high > self.max {
            self.max = high;
        }
    }

    /// The sample standard deviation (n − 1); 0 for fewer than two samples.
    pub fn std(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (self.squares / (self.count - 1) as f64).sqrt() }
    }

    /// The number below which this fraction (0 to 1) of the samples lies, as exactly as the sketch tells;
    /// 0 without samples.
    pub fn percentile(&self, fraction: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.sketch.percentile(fraction).clamp(self.min, self.max)
    }

    /// Samples that were not finite.
    pub fn non_finite(&self) -> u64 {
        self.nan + self.positive_infinity + self.negative_infinity
    }
}

/// The most buckets that a sketch holds: 6 KiB of them.
const BUCKETS: usize = 512;

/// A histogram of bounded size. Each power of two is cut into 128 equal buckets, so that a bucket's middle
/// is within 0.4 % of its samples. When the samples spread over more buckets than it may hold (more
/// than 4 powers of two), pairs of them become one and the error doubles.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sketch {
    /// How many of the 7 mantissa bits, and then of the exponent's, have been given up.
    coarseness: u32,
    /// Buckets in rising order.
    keys: Vec<i32>,
    counts: Vec<u64>,
    hints: Hints,
}

/// How many places of buckets are remembered.
const HINTS: usize = 64;

/// Where buckets were found, by the lower bits of their keys: samples keep coming back to the same few, and
/// a search goes wrong at every branch. A hint that no longer holds is merely of no use.
#[derive(Clone, Debug)]
struct Hints([u16; HINTS]);

impl Default for Hints {
    fn default() -> Self {
        Self([0; HINTS])
    }
}

/// They say nothing of the samples.
impl PartialEq for Hints {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Sketch {
    /// The bucket of a finite number: sign, exponent and the upper mantissa bits, in rising order.
    fn key(&self, sample: f64) -> i32 {
        /// 52 bits of mantissa less the 7 that are kept.
        const DROPPED: u32 = 45;
        let magnitude = (sample.abs().to_bits() >> DROPPED) as i32;
        let magnitude = magnitude >> self.coarseness;
        // −0 and +0 share bucket 0 with the smallest positive numbers; negatives count down from −1.
        if sample < 0.0 { -1 - magnitude } else { magnitude }
    }

    /// The coarseness, and each bucket with its count.
    pub(crate) fn parts(&self) -> (u32, Vec<(i32, u64)>) {
        (self.coarseness, self.keys.iter().copied().zip(self.counts.iter().copied()).collect())
    }

    /// A sketch of its parts; none if they are not a sketch's.
    pub(crate) fn from_parts(coarseness: u32, buckets: &[(i32, u64)]) -> Option<Self> {
        let rising = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        // 18 bits of exponent and mantissa can be given up before nothing is left.
        if coarseness > 18 || buckets.len() > BUCKETS || !rising {
            return None;
        }
        let (keys, counts) = buckets.iter().copied().unzip();
        Some(Self { coarseness, keys, counts, hints: Hints::default() })
    }

    /// The middle of a bucket.
    fn middle(&self, key: i32) -> f64 {
        let magnitude = if key < 0 { -1 - key } else { key };
        let low = (magnitude as u64) << self.coarseness << 45;
        if low == 0 {
            return 0.0;
        }
        let high = ((magnitude as u64 + 1) << self.coarseness << 45).min(f64::MAX.to_bits());
        let middle = f64::from_bits(low) / 2.0 + f64::from_bits(high) / 2.0;
        if key < 0 { -middle } else { middle }
    }

    fn add(&mut self, sample: f64) {
        let key = self.key(sample);
        let hint = usize::from(self.hints.0[key as usize % HINTS]);
        if self.keys.get(hint) == Some(&key) {
            self.counts[hint] += 1;
            return;
        }
        self.add_to(key, 1);
    }

    fn add_to(&mut self, key: i32, count: u64) {
        let at = match self.keys.binary_search(&key) {
            Ok(at) => {
                self.counts[at] += count;
                at
            }
            Err(at) => {
                self.keys.insert(at, key);
                self.counts.insert(at, count);
                at
            }
        };
        // There are no more than BUCKETS + 1 places.
        self.hints.0[key as usize % HINTS] = at as u16;
        if self.keys.len() > BUCKETS {
            self.coarsen();
        }
    }

    /// Make pairs of buckets one.
    fn coarsen(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let counts = std::mem::take(&mut self.counts);
        for (key, count) in keys.into_iter().zip(counts) {
            let key = if key < 0 { -1 - ((-1 - key) >> 1) } else { key >> 1 };
            if self.keys.last() == Some(&key) {
                if let Some(last) = self.counts.last_mut() {
                    *last += count;
                }
            } else {
                self.keys.push(key);
                self.counts.push(count);
            }
        }
        self.coarseness += 1;
    }

    fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while other.coarseness < self.coarseness {
            other.coarsen();
        }
        while self.coarseness < other.coarseness {
            self.coarsen();
        }
        for (key, count) in other.keys.into_iter().zip(other.counts) {
            // Adding may have made this sketch coarser than the other's keys are.
            let finer = self.coarseness - other.coarseness;
            let key = if key < 0 { -1 - ((-1 - key) >> finer) } else { key >> finer };
            self.add_to(key, count);
        }
    }

    fn percentile(&self, fraction: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        // The nearest rank: the sample at ⌈fraction · n⌉, counted from 1.
        let rank = ((fraction * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (&key, &count) in self.keys.iter().zip(&self.counts) {
            seen += count;
            if seen >= rank {
                return self.middle(key);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: &[f64]) -> Statistics {
        let mut statistics = Statistics::default();
        for (step, &sample) in samples.iter().enumerate() {
            statistics.add(step as u64, sample);
        }
        statistics
    }

    #[test]
    fn a_known_sample() {
        let statistics = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(statistics.mean, 5.0);
        assert!((statistics.std() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!((statistics.min, statistics.max, statistics.last), (2.0, 9.0, 9.0));
    }

    #[test]
    fn one_sample_has_no_deviation_and_none_has_no_percentile() {
        assert_eq!(of(&[3.5]).std(), 0.0);
        assert_eq!(of(&[3.5]).percentile(0.5), 3.5);
        assert_eq!(of(&[]).percentile(0.5), 0.0);
    }

    #[test]
    fn non_finite_samples_are_counted_apart() {
        let statistics = of(&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0]);
        assert_eq!((statistics.count, statistics.mean), (2, 2.0));
        assert_eq!(
            (statistics.nan, statistics.positive_infinity, statistics.negative_infinity),
            (1, 1, 1)
        );
        assert_eq!(statistics.non_finite(), 3);
        assert_eq!(statistics.first_non_finite_step, Some(1));
    }

    #[test]
    fn a_wide_spread_stays_bounded() {
        let samples: Vec<f64> =
            (0..200_000).map(|n| (f64::from(n) - 100_000.0) * 1.37e-3_f64.powi(n % 90)).collect();
        let statistics = of(&samples);
        assert!(statistics.sketch.keys.len() <= BUCKETS);
        let mut merged = of(&samples[..1000]);
        merged.merge(&of(&samples[1000..]));
        assert!(merged.sketch.keys.len() <= BUCKETS);
        assert_eq!(merged.count, statistics.count);
        let mut narrow = of(&[1.0]);
        narrow.merge(&statistics);
        assert_eq!(narrow.count, statistics.count + 1);
    }

    proptest! {
        #[test]
        fn mean_and_deviation_agree_with_two_passes(samples in prop::collection::vec(-1e6..1e6_f64, 1..200)) {
            let statistics = of(&samples);
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
            let std = if samples.len() < 2 { 0.0 } else { (squares / (samples.len() - 1) as f64).sqrt() };
            prop_assert!((statistics.mean - mean).abs() < 1e-6);
            prop_assert!((statistics.std() - std).abs() < 1e-6 * (1.0 + std));
        }

        #[test]
        fn parts_merge_to_the_whole(samples in prop::collection::vec(-1e3..1e3_f64, 2..100), cut in 0..100_usize) {
            let cut = cut % samples.len();
            let whole = of(&samples);
            let mut parts = of(&samples[..cut]);
            parts.merge(&of(&samples[cut..]));
            prop_assert_eq!(parts.count, whole.count);
            prop_assert_eq!((parts.min, parts.max, parts.last), (whole.min, whole.max, whole.last));
            prop_assert!((parts.mean - whole.mean).abs() < 1e-9);
            prop_assert!((parts.std() - whole.std()).abs() < 1e-9 * (1.0 + whole.std()));
            prop_assert_eq!(parts.percentile(0.5), whole.percentile(0.5));
        }

        #[test]
        fn a_percentile_is_within_its_error(mut samples in prop::collection::vec(1.0..15.9_f64, 1..300), fraction in 0.0..1.0_f64) {
            let told = of(&samples).percentile(fraction);
            samples.sort_by(f64::total_cmp);
            let rank = ((fraction * samples.len() as f64).ceil() as usize).clamp(1, samples.len());
            let true_one = samples[rank - 1];
            prop_assert!((told - true_one).abs() <= 0.004 * true_one, "{told} for {true_one}");
        }
    }
}
