//! The program, command by command, as a person at a terminal and a script use it.

mod component;
mod config;
mod copies;
mod errors;
mod general;
mod gpu;
mod history;
mod log;
mod parse;
mod pseudo_terminal;
mod run;
mod runs;
mod show;
mod signals;
mod stats;
mod tail;
mod terminal;
mod timings;
mod verify;

/// Every command that reads a run folder.
const READERS: [&str; 12] = [
    "show",
    "show --json",
    "history",
    "history --json",
    "stats",
    "stats --json",
    "errors",
    "errors --json",
    "timings",
    "tail",
    "verify",
    "verify --json",
];
