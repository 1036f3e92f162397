//! Shared by all tests: an experiment in a temporary run folder, the program as a process, and the reading of
//! what either left on the disk.

mod experiment;
mod logging;
mod process;
mod reading;
mod workplace;

pub use experiment::{Experiment, START, START_TEXT};
pub use logging::{ConsoleLines, NO_EPOCH, log_step, log_steps, without_wandb};
pub use nvml_stand_in::StandInDriver;
pub use process::{
    PATIENCE, command, eventually, fed, model_foundry, model_foundry_fed, printed, printed_json,
    program, sentence, text, with_closed_pipe,
};
pub use reading::{EVERYTHING, each, steps_of, steps_read};
pub use workplace::{Workplace, logged_experiment, model_foundry_on};
