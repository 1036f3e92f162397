//! Whole runs: a real training with every logger, several processes, crashes and full disks.

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
mod locks;
mod model_based;
mod names;
mod ranks;
mod resume;
mod rotation;
mod termination;
mod training;
mod wandb;
