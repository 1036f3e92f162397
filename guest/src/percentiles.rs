//! Percentiles of a stream of numbers, in bounded memory.
//!
//! The first [`EXACT`] samples are retained as they are. From then on the samples are counted in a histogram
//! whose buckets are equal parts of a power of two, as in Gil Tene's HdrHistogram, over the whole range of
//! f64: from the smallest subnormal number to the largest finite one, on both sides of zero.
//!
//! # The error
//!
//! A bucket holds the numbers from `low` to `high`, where `high − low` is 1/64 of a power of two that is at
//! most `low`. The number that represents them, 2·low·high / (low + high), differs from each of them by at most
//! (high − low) / (high + low) ≤ 1/129 of it. That is 0.78 %; with the rounding of the division it stays below
//! [`ERROR`]. It does not depend on the order of the samples nor on how partial results are merged, since a
//! sample's bucket depends on nothing but the sample.

use std::collections::BTreeMap;

/// How many samples of a stream are retained, at most: up to then its percentiles are exact.
pub const EXACT: usize = 1_000;

/// The same where more than [`MANY`] streams share the memory.
const EXACT_OF_MANY: usize = 125;

/// From how many streams on each retains fewer samples.
const MANY: usize = 1_024;

/// The largest relative error of a percentile that is not exact.
pub const ERROR: f64 = 0.008;

/// Into how many buckets a power of two is divided.
const PARTS: usize = 64;

/// How many powers of two have samples, over all the streams that share the memory: 64 MiB of counts. All of
/// f64 are 4,196 of them, so that up to 64 streams may have any samples at all.
const MOST_OCTAVES: usize = 1 << 19;

/// How much of the memory for percentiles a stream may take: an equal share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    samples: u16,
    octaves: u16,
}

impl Share {
    /// The share of one of this many streams.
    pub fn of(streams: usize) -> Self {
        let samples = if streams > MANY { EXACT_OF_MANY } else { EXACT };
        let octaves = MOST_OCTAVES / streams.max(1).next_power_of_two();
        Self { samples: samples as u16, octaves: u16::try_from(octaves).unwrap_or(u16::MAX) }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::of(1)
    }
}

/// How the samples of a stream are distributed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Percentiles {
    share: Share,
    samples: Samples,
}

#[derive(Clone, Debug, PartialEq)]
enum Samples {
    /// In the order in which they came, with the empty histogram that they will be counted in: memory for both
    /// is taken at the first sample, and none for those that follow.
    Retained(Vec<f64>, Histogram),
    Counted(Histogram),
    /// The samples are in more powers of two than the stream's share allows.
    TooWide,
}

impl Default for Samples {
    fn default() -> Self {
        Self::Retained(Vec::new(), Histogram::default())
    }
}

impl Percentiles {
    /// No samples yet.
    pub fn with_share(share: Share) -> Self {
        Self { share, samples: Samples::default() }
    }

    /// Add a finite sample.
    #[inline]
    pub(crate) fn add(&mut self, sample: f64) {
        match &mut self.samples {
            Samples::Counted(histogram) => {
                if !histogram.add(sample, self.share.octaves.into()) {
                    self.samples = Samples::TooWide;
                }
            }
            Samples::Retained(samples, histogram) => {
                let most = usize::from(self.share.samples);
                if samples.len() < most {
                    if samples.len() == samples.capacity() {
                        samples.reserve_exact(most - samples.len());
                        histogram.reserve();
                    }
                    samples.push(sample);
                } else {
                    self.count();
                    self.add(sample);
                }
            }
            Samples::TooWide => {}
        }
    }

    /// Add the samples of another stream.
    pub(crate) fn merge(&mut self, other: &Self) {
        match &other.samples {
            Samples::Retained(samples, _) => samples.iter().for_each(|sample| self.add(*sample)),
            Samples::TooWide => self.samples = Samples::TooWide,
            Samples::Counted(theirs) => {
                self.count();
                if let Samples::Counted(own) = &mut self.samples
                    && !own.merge(theirs, self.share.octaves.into())
                {
                    self.samples = Samples::TooWide;
                }
            }
        }
    }

    /// Set another share, which applies from now on.
    pub(crate) fn set_share(&mut self, share: Share) {
        self.share = share;
        match &mut self.samples {
            Samples::Retained(samples, _) if samples.len() > share.samples.into() => self.count(),
            Samples::Retained(samples, _) => samples.shrink_to(share.samples.into()),
            Samples::Counted(histogram) if histogram.octaves.len() > share.octaves.into() => {
                self.samples = Samples::TooWide;
            }
            _ => {}
        }
    }

    /// True while every sample is retained.
    pub fn are_exact(&self) -> bool {
        matches!(self.samples, Samples::Retained(..))
    }

    /// For each fraction (0 to 1) the sample below which that part of them lies, by the nearest rank: the one
    /// at ⌈fraction · n⌉, counted from 1. Exact, or with a relative error of at most [`ERROR`]; NaN without
    /// samples and where they are spread too widely to be counted.
    pub fn at<const N: usize>(&self, fractions: [f64; N]) -> [f64; N] {
        let rank = |fraction: f64, count: u64| {
            ((fraction * count as f64).ceil() as u64).clamp(1, count.max(1))
        };
        match &self.samples {
            Samples::Retained(samples, _) => {
                let mut samples = samples.clone();
                samples.sort_unstable_by(f64::total_cmp);
                fractions.map(|fraction| {
                    let rank = rank(fraction, samples.len() as u64);
                    samples.get(rank as usize - 1).copied().unwrap_or(f64::NAN)
                })
            }
            Samples::Counted(histogram) => {
                let count = histogram.buckets().map(|(_, count)| count).sum();
                fractions.map(|fraction| histogram.at(rank(fraction, count)))
            }
            Samples::TooWide => [f64::NAN; N],
        }
    }

    /// Count the retained samples instead.
    #[cold]
    fn count(&mut self) {
        let Samples::Retained(samples, histogram) = &mut self.samples else { return };
        let mut histogram = std::mem::take(histogram);
        let fits = samples.iter().all(|sample| histogram.add(*sample, self.share.octaves.into()));
        self.samples = if fits { Samples::Counted(histogram) } else { Samples::TooWide };
    }

    /// What an index stores.
    pub(crate) fn parts(&self) -> Parts {
        match &self.samples {
            Samples::Retained(samples, _) => Parts::Samples(samples.clone()),
            Samples::Counted(histogram) => Parts::Buckets(histogram.buckets().collect()),
            Samples::TooWide => Parts::TooWide,
        }
    }

    /// Percentiles from what an index stored; none if no stream can have such parts.
    pub(crate) fn from_parts(parts: Parts) -> Option<Self> {
        let samples = match parts {
            Parts::Samples(samples) => {
                let are_samples = samples.len() <= EXACT && samples.iter().all(|s| s.is_finite());
                are_samples.then(|| Samples::Retained(samples, Histogram::default()))?
            }
            Parts::Buckets(buckets) => {
                let mut histogram = Histogram::default();
                for (bucket, count) in buckets {
                    if !(-BUCKETS..=BUCKETS).contains(&bucket)
                        || !histogram.add_to(bucket, count, usize::MAX)
                    {
                        return None;
                    }
                }
                Samples::Counted(histogram)
            }
            Parts::TooWide => Samples::TooWide,
        };
        Some(Self { share: Share::default(), samples })
    }
}

/// What a stream's percentiles are made of.
pub(crate) enum Parts {
    /// The samples, in the order in which they came.
    Samples(Vec<f64>),
    /// Buckets in rising order, and how many samples each has.
    Buckets(Vec<(i32, u64)>),
    /// Nothing: the samples are spread too widely.
    TooWide,
}

/// The bits of an f64's mantissa, and those of them that select the bucket within a power of two.
const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
const PART: u32 = PARTS.ilog2();

/// Subnormal numbers lie in this many powers of two below the smallest normal one.
const SUBNORMAL: i32 = MANTISSA as i32;

/// The factor that lowers a number by as many powers of two.
const LOWERED: f64 = 1.0 / (1_u64 << SUBNORMAL) as f64;

/// The highest bucket. 0 is that of zero alone, and the negative numbers have the negative ones.
const BUCKETS: i32 = (0x7fe + SUBNORMAL) * PARTS as i32 + PARTS as i32 - 1;

/// The bucket of a finite number.
fn bucket(sample: f64) -> i32 {
    let mut magnitude = sample.abs().to_bits();
    if magnitude == 0 {
        return 0;
    }
    let mut exponent = (magnitude >> MANTISSA) as i32;
    if exponent == 0 {
        // Subnormal: as if it had an exponent of its own.
        let shift = magnitude.leading_zeros() - (u64::BITS - f64::MANTISSA_DIGITS);
        magnitude <<= shift;
        exponent = 1 - shift as i32;
    }
    let part = (magnitude >> (MANTISSA - PART)) as i32 & (PARTS as i32 - 1);
    let bucket = ((exponent + SUBNORMAL) << PART) | part;
    if sample < 0.0 { -bucket } else { bucket }
}

/// The number that represents a bucket.
fn middle(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let (octave, part) = (bucket.abs() >> PART, bucket.abs() & (PARTS as i32 - 1));
    let low = 1.0 + f64::from(part) / PARTS as f64;
    let high = low + 1.0 / PARTS as f64;
    let mantissa = 2.0 * low * high / (low + high);
    // Raised by a power of two that makes every exponent a normal one, and then rounded once.
    let raised = |exponent: i32| {
        let fraction = mantissa.to_bits() & ((1 << MANTISSA) - 1);
        f64::from_bits(((exponent as u64) << MANTISSA) | fraction)
    };
    let exponent = octave - SUBNORMAL;
    let magnitude =
        if exponent > 0 { raised(exponent) } else { raised(exponent + SUBNORMAL) * LOWERED };
    if bucket < 0 { -magnitude } else { magnitude }
}

/// How many samples lie in each part of a power of two, less what `Histogram::carried` has.
type Counts = [u16; PARTS];

/// Counts of samples by bucket. Memory is taken for the powers of two that have samples.
#[derive(Clone, Debug)]
struct Histogram {
    /// The powers of two, those of negative numbers negated, in rising order; and where their counts are.
    octaves: Vec<(i16, u16)>,
    counts: Vec<Counts>,
    /// What counts of 16 bits cannot hold.
    carried: BTreeMap<i32, u64>,
    /// Where the counts of some powers of two are, by their sign and exponent: samples return to the same few.
    latest: [(u16, u16); LATEST],
}

/// How many powers of two are remembered: eight in a row of either sign.
const LATEST: usize = 16;

impl Default for Histogram {
    fn default() -> Self {
        // No finite number has this exponent.
        let latest = [(u16::MAX, 0); LATEST];
        Self { octaves: Vec::new(), counts: Vec::new(), carried: BTreeMap::new(), latest }
    }
}

/// Equal if they count the same, whatever came last.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.buckets().eq(other.buckets())
    }
}

impl Histogram {
    /// Take memory for the counts of a few powers of two.
    fn reserve(&mut self) {
        self.octaves.reserve(4);
        self.counts.reserve_exact(2);
    }

    /// Count a sample; false if it needs more powers of two than `most`.
    #[inline]
    fn add(&mut self, sample: f64, most: usize) -> bool {
        let bits = sample.to_bits();
        let top = (bits >> MANTISSA) as u16;
        let slot = usize::from((top >> 11 << 3) | (top & 7));
        let (known, at) = self.latest[slot];
        if top == known {
            let part = (bits >> (MANTISSA - PART)) as usize % PARTS;
            let count = &mut self.counts[usize::from(at)][part];
            if *count < u16::MAX {
                *count += 1;
                return true;
            }
        }
        let bucket = bucket(sample);
        let Some(at) = self.place(bucket, most) else { return false };
        if sample.is_normal() {
            self.latest[slot] = (top, at as u16);
        }
        self.count(at, bucket, 1);
        true
    }

    /// Count samples of one bucket; false if it needs more powers of two than `most`.
    fn add_to(&mut self, bucket: i32, count: u64, most: usize) -> bool {
        self.place(bucket, most).map(|at| self.count(at, bucket, count)).is_some()
    }

    /// Where the counts of a bucket's power of two are; none if it would be one more than `most`.
    fn place(&mut self, bucket: i32, most: usize) -> Option<usize> {
        let (octave, _) = split(bucket);
        match self.octaves.binary_search_by_key(&octave, |(octave, _)| *octave) {
            Ok(at) => Some(self.octaves[at].1.into()),
            Err(_) if self.octaves.len() >= most => None,
            Err(at) => {
                self.octaves.insert(at, (octave, self.counts.len() as u16));
                // Twice as much as there is would be a lot where there are many streams.
                if self.counts.len() == self.counts.capacity() {
                    self.counts.reserve_exact(1 + self.counts.len() / 4);
                }
                self.counts.push([0; PARTS]);
                Some(self.counts.len() - 1)
            }
        }
    }

    fn count(&mut self, at: usize, bucket: i32, count: u64) {
        let (_, part) = split(bucket);
        let sum = u64::from(self.counts[at][part]) + count;
        self.counts[at][part] = sum as u16;
        if sum > u64::from(u16::MAX) {
            *self.carried.entry(bucket).or_default() += sum & !u64::from(u16::MAX);
        }
    }

    fn merge(&mut self, other: &Self, most: usize) -> bool {
        other.buckets().all(|(bucket, count)| self.add_to(bucket, count, most))
    }

    /// The buckets that have samples, in rising order, and how many each has.
    fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        self.octaves.iter().flat_map(move |(octave, at)| {
            let counts = &self.counts[usize::from(*at)];
            (0..PARTS).filter_map(move |part| {
                // The negative numbers of larger magnitude come first.
                let part = if *octave < 0 { PARTS - 1 - part } else { part };
                let bucket = join(*octave, part);
                let carried = self.carried.get(&bucket).copied().unwrap_or(0);
                let count = u64::from(counts[part]) + carried;
                (count > 0).then_some((bucket, count))
            })
        })
    }

    /// The number that represents the sample of this rank.
    fn at(&self, rank: u64) -> f64 {
        let mut seen = 0;
        let bucket = self.buckets().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(f64::NAN, |(bucket, _)| middle(bucket))
    }
}

/// A bucket's power of two, negated for negative numbers, and which part of it the bucket is.
fn split(bucket: i32) -> (i16, usize) {
    let octave = (bucket.abs() >> PART) as i16;
    (if bucket < 0 { -octave } else { octave }, bucket.unsigned_abs() as usize % PARTS)
}

/// The bucket that is this part of a power of two.
fn join(octave: i16, part: usize) -> i32 {
    let bucket = (i32::from(octave.abs()) << PART) | part as i32;
    if octave < 0 { -bucket } else { bucket }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: &[f64]) -> Percentiles {
        let mut percentiles = Percentiles::default();
        samples.iter().for_each(|sample| percentiles.add(*sample));
        percentiles
    }

    /// As many samples as are counted, not retained, made of these.
    fn many(samples: &[f64]) -> Vec<f64> {
        samples.iter().copied().cycle().take(samples.len().max(EXACT) + samples.len()).collect()
    }

    /// The sample at the nearest rank.
    fn exactly(samples: &[f64], fraction: f64) -> f64 {
        let mut samples = samples.to_vec();
        samples.sort_by(f64::total_cmp);
        samples[((fraction * samples.len() as f64).ceil() as usize).clamp(1, samples.len()) - 1]
    }

    fn is_within_the_bound(found: f64, exact: f64) -> bool {
        // The bound times a subnormal number would be rounded.
        found == exact || ((found - exact) / exact).abs() <= ERROR
    }

    const FRACTIONS: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.95, 0.99, 1.0];

    fn assert_within_the_bound(percentiles: &Percentiles, samples: &[f64]) {
        for (fraction, found) in FRACTIONS.into_iter().zip(percentiles.at(FRACTIONS)) {
            let exact = exactly(samples, fraction);
            assert!(is_within_the_bound(found, exact), "{found:e} for {exact:e}");
        }
    }

    #[test]
    fn the_first_and_the_last_number_of_every_bucket_are_within_the_bound() {
        let found = |bits: u64| bucket(f64::from_bits(bits));
        for wanted in 0..=BUCKETS {
            // Some buckets of subnormal numbers are empty.
            let (mut below, mut above) = (0, f64::MAX.to_bits() + 1);
            while above > below + 1 {
                let middle = u64::midpoint(below, above);
                if found(middle) <= wanted {
                    below = middle;
                } else {
                    above = middle;
                }
            }
            for number in [below, above.min(f64::MAX.to_bits())] {
                let number = f64::from_bits(number);
                assert!(is_within_the_bound(middle(bucket(number)), number), "{number:e}");
                assert!(is_within_the_bound(middle(bucket(-number)), -number), "{number:e}");
            }
        }
        assert_eq!((bucket(f64::MAX), bucket(f64::MIN)), (BUCKETS, -BUCKETS));
    }

    #[test]
    fn a_thousand_samples_are_exact_and_one_more_is_not() {
        let samples: Vec<f64> = (0..1_001).map(|n| f64::from(n).mul_add(0.37, -100.0)).collect();
        let exact = of(&samples[..EXACT]);
        assert!(exact.are_exact());
        for (fraction, found) in FRACTIONS.into_iter().zip(exact.at(FRACTIONS)) {
            assert_eq!(found, exactly(&samples[..EXACT], fraction));
        }
        assert!(!of(&samples).are_exact());
    }

    #[test]
    fn counts_of_more_than_16_bits_are_not_lost() {
        let mut percentiles = of(&[1.0; 300_000]);
        (0..200_000).for_each(|_| percentiles.add(-3.0));
        percentiles.merge(&of(&[1.0; 300_000]));
        let Samples::Counted(histogram) = &percentiles.samples else { panic!("it is counted") };
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [200_000, 600_000]);
        let [low, high] = percentiles.at([0.25, 0.26]);
        assert!(is_within_the_bound(low, -3.0) && is_within_the_bound(high, 1.0));
    }

    #[test]
    fn samples_of_the_whole_range_take_bounded_memory() {
        let percentiles = of(&(0..200_000)
            .map(|n| f64::from_bits(u64::MAX / 200_000 * n))
            .filter(|n| n.is_finite())
            .collect::<Vec<_>>());
        let Samples::Counted(histogram) = &percentiles.samples else { panic!("it is counted") };
        assert!(histogram.counts.len() <= 4_197, "{}", histogram.counts.len());
        assert!(histogram.counts.capacity() <= 5_300);
    }

    #[test]
    fn many_streams_take_a_smaller_share_each() {
        let mut percentiles = of(&[2.0; 500]);
        percentiles.set_share(Share::of(1_024));
        assert!(percentiles.are_exact());
        percentiles.set_share(Share::of(1_025));
        assert!(!percentiles.are_exact());

        // 8,192 streams may have 64 powers of two each.
        let mut wide = Percentiles::with_share(Share::of(8_192));
        let sample = |power: i32| 2.0_f64.powi(power);
        (0..64).cycle().take(1_000).for_each(|power| wide.add(sample(power)));
        assert!(!wide.at([0.5])[0].is_nan());
        wide.add(sample(64));
        assert!(wide.at([0.5])[0].is_nan() && !wide.are_exact());
        let mut merged = of(&[1.0]);
        merged.merge(&wide);
        assert!(merged.at([0.5])[0].is_nan(), "what is unknown of a part is unknown of the whole");
        wide.set_share(Share::of(1));
        wide.add(1.0);
        assert!(wide.at([0.5])[0].is_nan());
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |number| number.is_finite()),
            // A learning rate over six decades, of either sign.
            (-6.0..0.0_f64, any::<bool>())
                .prop_map(|(power, minus)| 10_f64.powf(power) * if minus { -1.0 } else { 1.0 }),
            -1e3..1e3_f64,
            prop::num::f64::SUBNORMAL,
            prop::sample::select(
                &[0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e-308, 1e308][..]
            ),
        ]
    }

    fn streams() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![
            prop::collection::vec(any_number(), 1..400),
            prop::collection::vec((-6.0..0.0_f64).prop_map(|power| 10_f64.powf(power)), 1..400),
            prop::collection::vec(-15.0..16.0_f64, 1..400),
            (any_number(), 1..10_usize).prop_map(|(number, count)| vec![number; count]),
        ]
    }

    #[derive(Clone, Copy, Debug)]
    enum Order {
        AsItIs,
        Rising,
        Falling,
        /// The extremes first, then ever closer to the median.
        Inwards,
    }

    fn ordered(mut samples: Vec<f64>, order: Order) -> Vec<f64> {
        if !matches!(order, Order::AsItIs) {
            samples.sort_by(f64::total_cmp);
        }
        match order {
            Order::AsItIs | Order::Rising => samples,
            Order::Falling => samples.into_iter().rev().collect(),
            Order::Inwards => {
                let falling = samples.clone().into_iter().rev();
                let both = samples.iter().copied().zip(falling).flat_map(|(low, high)| [low, high]);
                both.take(samples.len()).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn percentiles_keep_their_bound_whatever_comes_in_any_order(
            samples in streams(),
            order in prop::sample::select(&[Order::AsItIs, Order::Rising, Order::Falling, Order::Inwards][..]),
        ) {
            let many = ordered(many(&samples), order);
            let percentiles = of(&many);
            prop_assert!(!percentiles.are_exact());
            assert_within_the_bound(&percentiles, &many);
            let few = ordered(samples, order);
            for (fraction, found) in FRACTIONS.into_iter().zip(of(&few).at(FRACTIONS)) {
                prop_assert_eq!(found, exactly(&few, fraction));
            }
        }

        #[test]
        fn merged_parts_count_as_the_whole(
            samples in streams(), more in streams(), both_many: bool, cut in 0.0..1.0_f64,
        ) {
            let first = many(&samples);
            let second = if both_many { many(&more) } else { more };
            let whole = [first, second].concat();
            let (one, other) = whole.split_at((cut * whole.len() as f64) as usize);
            for (mut merged, other) in [(of(one), of(other)), (of(other), of(one))] {
                merged.merge(&other);
                prop_assert_eq!(&merged, &of(&whole));
                assert_within_the_bound(&merged, &whole);
            }
        }

        #[test]
        fn parts_read_back_are_the_same(samples in streams(), are_many: bool) {
            let percentiles = of(&if are_many { many(&samples) } else { samples });
            prop_assert_eq!(Percentiles::from_parts(percentiles.parts()), Some(percentiles));
        }
    }
}
