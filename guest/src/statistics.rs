//! Streaming statistics, in one pass and bounded memory.
//!
//! Mean and variance are Welford's (B. P. Welford, "Note on a method for calculating corrected sums of
//! squares and products", Technometrics 4, 1962). Partial results are merged by the formula of Chan, Golub and LeVeque
//! (Stanford STAN-CS-79-773, 1979). See [`Percentiles`] for percentiles.

use std::ops::{Deref, DerefMut};

use crate::percentiles::{Percentiles, Share};

/// Statistics of a stream of numbers. Numbers that are not finite are counted, and are not part of the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Finite samples.
    pub count: u64,
    /// Their mean, multiplied by `scale`.
    pub scaled_mean: f64,
    /// The sum of squared deviations from the mean, multiplied by the square of `scale`.
    pub scaled_squares: f64,
    /// 1, unless a sample is so large that the squares of such numbers are not finite.
    pub scale: f64,
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
    /// How the samples are distributed.
    pub percentiles: Percentiles,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            count: 0,
            scaled_mean: 0.0,
            scaled_squares: 0.0,
            scale: 1.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            nan: 0,
            positive_infinity: 0,
            negative_infinity: 0,
            first_non_finite_step: None,
            percentiles: Percentiles::default(),
        }
    }
}

/// From here on samples are scaled: the square of a smaller number, times any number of samples, is finite.
const LARGE: f64 = 1e140;

/// The scale of large samples: 2^-600. It makes the largest finite number about 4e127.
const SMALLER: f64 = f64::from_bits((1023 - 600) << 52);

impl Statistics {
    /// Add a sample. `step` is recorded if the sample is the first that is not finite.
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
        let mut scaled = sample * self.scale;
        if scaled.abs() >= LARGE {
            self.rescale();
            scaled = sample * self.scale;
        }
        let before = scaled - self.scaled_mean;
        // A signed integer becomes a float in one instruction, and this is the hot path.
        self.scaled_mean += before / self.count as i64 as f64;
        self.scaled_squares += before * (scaled - self.scaled_mean);
        self.note_extremes(sample, sample);
        self.last = sample;
        self.percentiles.add(sample);
    }

    /// Merge the statistics of later samples.
    pub fn merge(&mut self, later: &Self) {
        if later.count > 0 {
            let mut later_scaled = (later.scaled_mean, later.scaled_squares);
            if later.scale < self.scale {
                self.rescale();
            } else if self.scale < later.scale {
                later_scaled =
                    (later.scaled_mean * SMALLER, later.scaled_squares * SMALLER * SMALLER);
            }
            let (own, other) = (self.count as f64, later.count as f64);
            let both = own + other;
            let apart = later_scaled.0 - self.scaled_mean;
            self.scaled_mean += apart * other / both;
            self.scaled_squares += later_scaled.1 + apart * apart * own * other / both;
            self.count += later.count;
            self.note_extremes(later.min, later.max);
            self.last = later.last;
            self.percentiles.merge(&later.percentiles);
        }
        self.nan += later.nan;
        self.positive_infinity += later.positive_infinity;
        self.negative_infinity += later.negative_infinity;
        self.first_non_finite_step = self.first_non_finite_step.or(later.first_non_finite_step);
    }

    /// Not `f64::min` and `f64::max`: whether they return −0 or +0 differs between processors, and the output
    /// must not.
    fn note_extremes(&mut self, low: f64, high: f64) {
        if low < self.min {
            self.min = low;
        }
        if high > self.max {
            self.max = high;
        }
    }

    /// Make room for large samples.
    #[cold]
    fn rescale(&mut self) {
        if self.scale == 1.0 {
            self.scale = SMALLER;
            self.scaled_mean *= SMALLER;
            self.scaled_squares *= SMALLER * SMALLER;
        }
    }

    /// The mean of the finite samples; 0 if there are none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            (self.scaled_mean / self.scale).clamp(self.min, self.max)
        }
    }

    /// The sample standard deviation (n − 1); 0 for fewer than two samples. If it is larger than every finite number,
    /// which only samples near the largest can cause, it is the largest.
    pub fn std(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let scaled = (self.scaled_squares / (self.count - 1) as f64).sqrt();
        (scaled / self.scale).min(f64::MAX)
    }

    /// For each fraction (0 to 1) the sample below which that part of them lies: one of the samples, or a
    /// number whose relative distance from it is at most [`percentiles::ERROR`](crate::percentiles::ERROR).
    /// 0 without samples; NaN where one of very many metrics takes too much memory for them.
    pub fn percentiles<const N: usize>(&self, fractions: [f64; N]) -> [f64; N] {
        if self.count == 0 {
            return [0.0; N];
        }
        self.percentiles.at(fractions).map(|found| found.clamp(self.min, self.max))
    }

    /// One percentile.
    pub fn percentile(&self, fraction: f64) -> f64 {
        let [found] = self.percentiles([fraction]);
        found
    }

    /// Whether percentiles are samples themselves: all were retained, or all are equal.
    pub fn percentiles_exact(&self) -> bool {
        self.percentiles.are_exact() || self.min == self.max
    }

    /// Samples that were not finite.
    pub fn non_finite(&self) -> u64 {
        self.nan + self.positive_infinity + self.negative_infinity
    }
}

/// The statistics of several streams, which share the memory for percentiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    all: Vec<Statistics>,
    share: Share,
}

impl Streams {
    /// Add a stream; the shares of the others may become smaller.
    pub(crate) fn push(&mut self, mut statistics: Statistics) {
        let share = Share::of(self.all.len() + 1);
        if share != self.share {
            self.share = share;
            self.all.iter_mut().for_each(|stream| stream.percentiles.set_share(share));
        }
        statistics.percentiles.set_share(share);
        self.all.push(statistics);
    }
}

impl Deref for Streams {
    type Target = [Statistics];

    fn deref(&self) -> &[Statistics] {
        &self.all
    }
}

impl DerefMut for Streams {
    fn deref_mut(&mut self) -> &mut [Statistics] {
        &mut self.all
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
        assert_eq!(statistics.mean(), 5.0);
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
        assert_eq!((statistics.count, statistics.mean()), (2, 2.0));
        assert_eq!(
            (statistics.nan, statistics.positive_infinity, statistics.negative_infinity),
            (1, 1, 1)
        );
        assert_eq!(statistics.non_finite(), 3);
        assert_eq!(statistics.first_non_finite_step, Some(1));
    }

    #[test]
    fn percentiles_of_equal_samples_are_exact_however_many() {
        let statistics = of(&[0.1; 5_000]);
        assert!(statistics.percentiles_exact());
        assert_eq!(statistics.percentiles([0.0, 0.5, 0.99]), [0.1; 3]);
        let other = of(&(0..5_000).map(f64::from).collect::<Vec<_>>());
        assert!(!other.percentiles_exact());
    }

    #[test]
    fn streams_share_the_memory_for_percentiles() {
        let mut streams = Streams::default();
        let thousand = of(&(0..1_000).map(f64::from).collect::<Vec<_>>());
        for _ in 0..1_024 {
            streams.push(Statistics::default());
        }
        streams.push(thousand.clone());
        assert!(!streams[1_024].percentiles_exact());
        streams[3].merge(&thousand);
        assert!(!streams[3].percentiles_exact());
        streams[4].merge(&of(&[1.0, 2.0]));
        assert!(streams[4].percentiles_exact());
    }

    proptest! {
        #[test]
        fn mean_and_deviation_agree_with_two_passes(samples in prop::collection::vec(-1e6..1e6_f64, 1..200)) {
            let statistics = of(&samples);
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
            let std = if samples.len() < 2 { 0.0 } else { (squares / (samples.len() - 1) as f64).sqrt() };
            prop_assert!((statistics.mean() - mean).abs() < 1e-6);
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
            prop_assert!((parts.mean() - whole.mean()).abs() < 1e-9);
            prop_assert!((parts.std() - whole.std()).abs() < 1e-9 * (1.0 + whole.std()));
            prop_assert_eq!(parts.percentile(0.5), whole.percentile(0.5));
        }

        #[test]
        fn a_percentile_is_within_its_error(mut samples in prop::collection::vec(1.0..15.9_f64, 1..3_000), fraction in 0.0..1.0_f64) {
            let statistics = of(&samples);
            let found = statistics.percentile(fraction);
            samples.sort_by(f64::total_cmp);
            let rank = ((fraction * samples.len() as f64).ceil() as usize).clamp(1, samples.len());
            let true_one = samples[rank - 1];
            prop_assert!((found - true_one).abs() <= 0.008 * true_one, "{found} for {true_one}");
            prop_assert_eq!(statistics.percentiles_exact(), samples.len() <= 1_000);
            prop_assert!(found == true_one || !statistics.percentiles_exact());
        }
    }
}
