//! The native twin of the component, and the work that benchmarks time. The twin is the same logic, linked without
//! a sandbox over the same host services: it is the baseline of every benchmark, and must write the same bytes.

pub mod native;
pub mod workloads;
