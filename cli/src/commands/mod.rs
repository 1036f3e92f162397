//! The commands: one file each. A new command is a file here and a line in the list below.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Declares each command's module, its variant of [`Command`] and its call. The doc comment is its help.
macro_rules! commands {
    ($($(#[doc = $help:literal])+ $module:ident => $name:ident,)+) => {
        $(mod $module;)+

        #[derive(Subcommand)]
        pub(crate) enum Command {
            $($(#[doc = $help])+ $name($module::Arguments),)+
        }

        impl Command {
            /// Whether nothing may be printed but what was asked for.
            pub(crate) fn is_quiet(&self) -> bool {
                matches!(self, Self::Run(arguments) if arguments.is_quiet())
            }

            /// Run the command; its exit code.
            pub(crate) fn run(self) -> Result<ExitCode> {
                match self {
                    $(Self::$name(arguments) => $module::run(arguments),)+
                }
            }
        }
    };
}

commands! {
    /// Run a command and log its training: its output, metrics, memory and errors
    run => Run,
    /// Log records given as JSON Lines on standard input
    log => Log,
    /// Show what is read in a trainer's log, line by line
    parse => Parse,
    /// Make a run of a trainer's log
    import => Import,
    /// Show what a run did: status, metrics, slowest timings, memory peaks, errors
    show => Show,
    /// Print the metrics of a run, step by step
    history => History,
    /// Print statistics of a run's metrics
    stats => Stats,
    /// List the errors of a run, the earliest first
    errors => Errors,
    /// Show how long the parts of a run took
    timings => Timings,
    /// Print the end of one of a run's files, and follow it
    tail => Tail,
    /// Check a configuration, or print the defaults or the schema
    config => Config,
    /// Print the GPUs' memory as the NVIDIA driver reports it
    gpu => Gpu,
    /// List what a component imports and exports
    component => Component,
    /// Find damaged lines in a run's files, and repair the files
    verify => Verify,
    /// Measure what logging costs on this machine
    bench => Bench,
    /// Print completions for a shell
    completions => Completions,
    /// Write the manual pages
    man => Man,
}
