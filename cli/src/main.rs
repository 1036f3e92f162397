//! The `model-foundry` program.

mod arguments;
mod commands;
mod lines;
mod names;
mod output;
mod page;
mod parameters;
mod patterns;
mod supervise;
mod terminal;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;

/// Parse the arguments, run the command, and report what failed.
fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervise::WITNESS) {
        return supervise::witness().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervise::IN_SESSION) {
        let Err(error) = supervise::in_session(std::env::args_os().skip(2)) else {
            return ExitCode::SUCCESS;
        };
        terminal::print_error(format_args!("{error:#}"));
        return exit_code_of(&error);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap reports `--help` and `--version` as errors that go to standard output.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if !arguments.command.is_quiet() {
        terminal::announce_compilation();
    }
    match arguments.command.run() {
        Ok(code) => code,
        // The reader of our output closed it: `model-foundry history DIR | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}");
            // Only a list of violations has several lines.
            let is_list = error.chain().any(|cause| {
                matches!(cause.downcast_ref(), Some(model_foundry::Error::Config { .. }))
            });
            let text =
                if is_list { terminal::plain_lines(&text) } else { terminal::plain(&text).into() };
            terminal::print_error(format_args!(
                "{}error:{} {text}",
                terminal::BAD,
                terminal::PLAIN
            ));
            exit_code_of(&error)
        }
    }
}

fn exit_code_of(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<supervise::NotStarted>() {
        Some(not_started) => ExitCode::from(not_started.code),
        None => ExitCode::FAILURE,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(closed)
            || cause
                .downcast_ref::<serde_json::Error>()
                .and_then(serde_json::Error::io_error_kind)
                .is_some_and(|kind| kind == io::ErrorKind::BrokenPipe)
    })
}
