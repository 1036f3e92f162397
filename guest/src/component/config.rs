use super::Component;
use super::bindings::exports::model_foundry::logging::config as exported;
use crate::config::{self, Durability, Format, LoggingConfig, Violation};

impl exported::Guest for Component {
    fn defaults() -> exported::LoggingConfig {
        LoggingConfig::default().into()
    }

    fn parse(
        text: String,
        format: exported::Format,
    ) -> Result<exported::LoggingConfig, Vec<exported::Violation>> {
        config::parse(&text, format.into()).map(Into::into).map_err(violations)
    }

    fn normalize(
        text: String,
        format: exported::Format,
    ) -> Result<String, Vec<exported::Violation>> {
        config::normalize(&text, format.into()).map_err(violations)
    }

    fn render(config: exported::LoggingConfig, format: exported::Format) -> String {
        config::render(&config.into(), format.into())
    }

    fn schema() -> String {
        config::schema()
    }
}

fn violations(violations: Vec<Violation>) -> Vec<exported::Violation> {
    violations
        .into_iter()
        .map(|Violation { field, value, message }| exported::Violation { field, value, message })
        .collect()
}

impl From<exported::Format> for Format {
    fn from(format: exported::Format) -> Self {
        match format {
            exported::Format::Json => Self::Json,
            exported::Format::Toml => Self::Toml,
            exported::Format::Yaml => Self::Yaml,
        }
    }
}

impl From<exported::Durability> for Durability {
    fn from(durability: exported::Durability) -> Self {
        match durability {
            exported::Durability::Buffered => Self::Buffered,
            exported::Durability::Immediate => Self::Immediate,
            exported::Durability::Synced => Self::Synced,
        }
    }
}

impl From<Durability> for exported::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Buffered => Self::Buffered,
            Durability::Immediate => Self::Immediate,
            Durability::Synced => Self::Synced,
        }
    }
}

impl From<exported::LoggingConfig> for LoggingConfig {
    fn from(config: exported::LoggingConfig) -> Self {
        Self {
            console_level: config.console_level.into(),
            file_level: config.file_level.into(),
            use_structured_logging: config.use_structured_logging,
            log_to_wandb: config.log_to_wandb,
            max_log_files: config.max_log_files,
            max_log_size_mb: config.max_log_size_mb,
            log_metrics_every_n_steps: config.log_metrics_every_n_steps,
            log_detailed_metrics_every_n_steps: config.log_detailed_metrics_every_n_steps,
            profile_performance: config.profile_performance,
            log_memory_every_n_steps: config.log_memory_every_n_steps,
            max_errors_to_track: config.max_errors_to_track,
            durability: config.durability.into(),
            flush_interval_ms: config.flush_interval_ms,
        }
    }
}

impl From<LoggingConfig> for exported::LoggingConfig {
    fn from(config: LoggingConfig) -> Self {
        Self {
            console_level: config.console_level.into(),
            file_level: config.file_level.into(),
            use_structured_logging: config.use_structured_logging,
            log_to_wandb: config.log_to_wandb,
            max_log_files: config.max_log_files,
            max_log_size_mb: config.max_log_size_mb,
            log_metrics_every_n_steps: config.log_metrics_every_n_steps,
            log_detailed_metrics_every_n_steps: config.log_detailed_metrics_every_n_steps,
            profile_performance: config.profile_performance,
            log_memory_every_n_steps: config.log_memory_every_n_steps,
            max_errors_to_track: config.max_errors_to_track,
            durability: config.durability.into(),
            flush_interval_ms: config.flush_interval_ms,
        }
    }
}
