//! Each logger by itself, through the component and the library's public API.

mod bad_input;
mod component;
mod console_output;
mod error_tracker;
mod hostile;
mod logging_config;
mod metrics_logger;
mod native_and_component;
mod performance_logger;
mod run_manifest;
mod structured_logger;
