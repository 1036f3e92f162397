//! Whole runs: a real training with every logger, several processes, crashes, full disks, and the program.

mod disks;
mod heartbeat;
mod processes;
mod trainer;

mod concurrency;
mod durability;
mod forks;
mod format_version;
mod full_disk;
mod healing;
mod kills;
mod model_based;
mod program;
mod ranks;
mod resume;
mod rotation;
mod training;
mod wandb;

/// For steps outside any epoch.
const NO_EPOCH: Option<f64> = None;
