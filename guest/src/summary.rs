//! What is reported of streaming statistics.

use model_foundry_types as types;

use crate::statistics::Statistics;

impl Statistics {
    /// The figures that are reported. Without finite samples they are 0.
    pub fn summary(&self) -> types::Statistics {
        let any = self.count > 0;
        types::Statistics {
            count: self.count,
            mean: self.mean,
            min: if any { self.min } else { 0.0 },
            max: if any { self.max } else { 0.0 },
            std: self.std(),
            last: self.last,
            p50: self.percentile(0.5),
            p95: self.percentile(0.95),
            p99: self.percentile(0.99),
            nan: self.nan,
            positive_infinity: self.positive_infinity,
            negative_infinity: self.negative_infinity,
            first_non_finite_step: self.first_non_finite_step,
        }
    }
}
