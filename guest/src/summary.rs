//! What is reported of streaming statistics.

use model_foundry_types as types;

use crate::statistics::Statistics;

impl Statistics {
    /// The figures that are reported. Without finite samples they are 0.
    pub fn summary(&self) -> types::Statistics {
        let any = self.count > 0;
        let [p50, p95, p99] = self.percentiles([0.5, 0.95, 0.99]);
        types::Statistics {
            count: self.count,
            mean: self.mean(),
            min: if any { self.min } else { 0.0 },
            max: if any { self.max } else { 0.0 },
            std: self.std(),
            last: self.last,
            p50,
            p95,
            p99,
            percentiles_exact: self.percentiles_exact(),
            nan: self.nan,
            positive_infinity: self.positive_infinity,
            negative_infinity: self.negative_infinity,
            first_non_finite_step: self.first_non_finite_step,
        }
    }
}
