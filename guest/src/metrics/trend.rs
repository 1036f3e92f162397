//! Every metric's samples in a limited number of buckets, from which plots are drawn.
//!
//! A bucket has the extremes of its samples, so that no spike is lost at any number of pixels.

/// How many buckets a metric has, at most; from half as many on while it is long.
const MOST_BUCKETS: usize = 1_024;

/// How many all metrics of a run have together, at most: 9 MiB of them. Each gets an equal share.
const ALL_BUCKETS: usize = 1 << 17;

/// A share of a metric's samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The step of its first sample.
    pub first_step: u64,
    /// The step of its latest sample.
    pub last_step: u64,
    /// How many of its samples are finite.
    pub count: u64,
    /// How many are not.
    pub non_finite: u64,
    /// The first finite sample; 0 where there is none, like all that follow.
    pub first: f64,
    /// The latest.
    pub last: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The sum of the differences from `first`. Only rounding is lost if the samples are large and close to each
    /// other, and nothing if they are equal.
    pub(super) differences: f64,
}

impl Bucket {
    fn of(step: u64, sample: f64) -> Self {
        let is_finite = sample.is_finite();
        let number = if is_finite { sample } else { 0.0 };
        Self {
            first_step: step,
            last_step: step,
            count: is_finite.into(),
            non_finite: (!is_finite).into(),
            first: number,
            last: number,
            min: number,
            max: number,
            differences: 0.0,
        }
    }

    /// The mean of the finite samples; none where there are none.
    pub fn mean(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let mean = self.first + self.differences / self.count as f64;
        // Differences of the largest numbers may be too large for a number.
        let mean = if mean.is_finite() { mean } else { self.min / 2.0 + self.max / 2.0 };
        Some(mean.clamp(self.min, self.max))
    }

    /// How many samples it has.
    fn samples(&self) -> u64 {
        self.count + self.non_finite
    }

    #[inline]
    fn add(&mut self, step: u64, sample: f64) {
        if !sample.is_finite() || self.count == 0 {
            return self.merge(&Self::of(step, sample));
        }
        self.last_step = step;
        self.count += 1;
        self.last = sample;
        if sample < self.min {
            self.min = sample;
        }
        if sample > self.max {
            self.max = sample;
        }
        self.differences += sample - self.first;
    }

    /// Merge the bucket that follows.
    #[cold]
    fn merge(&mut self, later: &Self) {
        let (first_step, non_finite) = (self.first_step, self.non_finite + later.non_finite);
        if self.count == 0 {
            *self = *later;
        } else if later.count > 0 {
            self.count += later.count;
            self.last = later.last;
            self.min = if later.min < self.min { later.min } else { self.min };
            self.max = if later.max > self.max { later.max } else { self.max };
            self.differences += (later.first - self.first) * later.count as f64 + later.differences;
        }
        (self.first_step, self.last_step) = (first_step, later.last_step);
        self.non_finite = non_finite;
    }
}

/// One metric's buckets, oldest first: each of as many samples, except for the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trend {
    /// How many samples a bucket has: a power of two, or 0 while there is none.
    width: u64,
    buckets: Vec<Bucket>,
    /// How many more samples the last bucket takes.
    room: u64,
}

impl Trend {
    /// A trend of its parts.
    pub(super) fn new(width: u64, buckets: Vec<Bucket>) -> Self {
        let filled = buckets.last().map_or(width, Bucket::samples);
        Self { width, buckets, room: width.saturating_sub(filled) }
    }

    /// How many samples a bucket has, and the buckets.
    pub(super) fn parts(&self) -> (u64, &[Bucket]) {
        (self.width, &self.buckets)
    }

    #[inline]
    fn add(&mut self, step: u64, sample: f64, most: usize) {
        match self.buckets.last_mut() {
            Some(bucket) if self.room > 0 => {
                self.room -= 1;
                bucket.add(step, sample);
            }
            _ => self.begin(Bucket::of(step, sample), most),
        }
    }

    fn begin(&mut self, bucket: Bucket, most: usize) {
        self.width = self.width.max(1);
        self.buckets.push(bucket);
        self.room = self.width - 1;
        self.keep_to(most);
    }

    /// Merge pairs of buckets until there are at most `most`.
    fn keep_to(&mut self, most: usize) {
        while self.buckets.len() > most {
            *self = Self::new(self.width.saturating_mul(2), self.merged(2));
        }
    }

    /// The buckets, `count` of them merged into one.
    fn merged(&self, count: usize) -> Vec<Bucket> {
        let merge = |buckets: &[Bucket]| {
            let mut merged = buckets[0];
            buckets[1..].iter().for_each(|later| merged.merge(later));
            merged
        };
        self.buckets.chunks(count).map(merge).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The buckets merged into at most `most` of equal width.
    pub(super) fn at_most(&self, most: usize) -> Vec<Bucket> {
        self.merged(self.buckets.len().div_ceil(most.max(1)).max(1))
    }
}

/// The trends of all metrics, by their ids.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trends {
    all: Vec<Trend>,
    /// How many buckets each may have.
    most: usize,
}

impl Default for Trends {
    fn default() -> Self {
        Self { all: Vec::new(), most: MOST_BUCKETS }
    }
}

impl Trends {
    /// Add a metric's next sample, finite or not.
    #[inline]
    pub(super) fn add(&mut self, number: u32, step: u64, sample: f64) {
        let number = number as usize;
        if number >= self.all.len() {
            self.add_up_to(number);
        }
        self.all[number].add(step, sample, self.most);
    }

    #[cold]
    fn add_up_to(&mut self, number: usize) {
        while number >= self.all.len() {
            self.push(Trend::default());
        }
    }

    /// Add the trend of another metric.
    pub(super) fn push(&mut self, trend: Trend) {
        self.all.push(trend);
        let most = (ALL_BUCKETS / self.all.len().next_power_of_two()).min(MOST_BUCKETS);
        if most < self.most {
            self.most = most;
            self.all.iter_mut().for_each(|trend| trend.keep_to(most));
        }
    }

    /// The trend of each metric, in the order of their ids.
    pub(super) fn all(&self) -> &[Trend] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(samples: &[f64]) -> Trend {
        let mut trends = Trends::default();
        for (step, sample) in samples.iter().enumerate() {
            trends.add(0, step as u64, *sample);
        }
        trends.all[0].clone()
    }

    #[test]
    fn equal_samples_have_exactly_their_mean() {
        for sample in [0.1, -1e300, f64::MAX, 5e-324, 1.0 / 3.0] {
            let trend = of(&vec![sample; 100_000]);
            assert!(trend.buckets.iter().all(|bucket| bucket.mean() == Some(sample)), "{sample}");
            assert_eq!(trend.at_most(1)[0].mean(), Some(sample));
        }
    }

    #[test]
    fn samples_too_far_apart_for_a_difference_still_have_a_mean() {
        let mean = of(&[f64::MAX, f64::MIN, f64::MAX]).at_most(1)[0].mean();
        assert!(mean.is_some_and(f64::is_finite), "{mean:?}");
    }

    #[test]
    fn samples_that_are_not_finite_are_counted_where_they_were() {
        let [one, two] = of(&[f64::NAN, 1.0, 2.0, f64::INFINITY]).at_most(2)[..] else {
            panic!("two buckets")
        };
        assert_eq!((one.count, one.non_finite, one.mean()), (1, 1, Some(1.0)));
        assert_eq!((two.count, two.non_finite, two.last), (1, 1, 2.0));
        assert_eq!((one.first_step, one.last_step, two.last_step), (0, 1, 3));
        assert_eq!(of(&[f64::NAN]).at_most(5)[0].mean(), None);
    }

    #[test]
    fn many_metrics_have_fewer_buckets_each() {
        let mut trends = Trends::default();
        for step in 0..1_000 {
            trends.add(0, step, step as f64);
        }
        assert_eq!(trends.all[0].buckets.len(), 1_000);
        trends.add(8_191, 0, 1.0);
        assert_eq!((trends.all[0].buckets.len(), trends.all[0].width), (16, 64));
        let all: u64 = trends.all[0].buckets.iter().map(|bucket| bucket.count).sum();
        assert_eq!(all, 1_000);
    }

    proptest! {
        #[test]
        fn buckets_have_what_their_samples_have(
            samples in prop::collection::vec(
                prop_oneof![9 => -1e3..1e3_f64, 1 => prop::sample::select(&[f64::NAN, f64::INFINITY][..])],
                1..5_000,
            ),
            most in 1..50_usize,
        ) {
            let trend = of(&samples);
            prop_assert!(trend.buckets.len() <= MOST_BUCKETS);
            let buckets = trend.at_most(most);
            prop_assert!(buckets.len() <= most);
            let width = trend.width as usize * trend.buckets.len().div_ceil(most);
            prop_assert_eq!(buckets.len(), samples.len().div_ceil(width));
            for (bucket, of) in buckets.iter().zip(samples.chunks(width)) {
                let finite: Vec<f64> = of.iter().copied().filter(|s| s.is_finite()).collect();
                prop_assert_eq!(bucket.count as usize, finite.len());
                prop_assert_eq!(bucket.non_finite as usize, of.len() - finite.len());
                let Some(mean) = bucket.mean() else { continue };
                let exactly = finite.iter().sum::<f64>() / finite.len() as f64;
                prop_assert!((mean - exactly).abs() < 1e-9, "{} for {}", mean, exactly);
                prop_assert_eq!((bucket.first, bucket.last), (finite[0], finite[finite.len() - 1]));
                let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
                let most = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!((bucket.min, bucket.max), (least, most));
            }
        }
    }
}
