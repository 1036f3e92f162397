//! The logging component: the logic, exported through the component model. There is nothing here but glue. The types
//! of the world are the hand-written ones of `model_foundry_types`, so that nothing is converted.
#![cfg(target_family = "wasm")]

#[expect(unsafe_code, reason = "generated; the documentation is in wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/clocks", "../../wit/host", "../../wit/logging"],
        world: "model-foundry:logging/logging",
        generate_all,
        with: {
            "model-foundry:host/gpu@0.1.0/device": model_foundry_types::GpuDevice,
            "model-foundry:host/gpu@0.1.0/inventory": model_foundry_types::GpuInventory,
            "model-foundry:host/run-files@0.1.0/error": model_foundry_types::StorageError,
            "model-foundry:host/run-files@0.1.0/part": model_foundry_types::Part,
            "model-foundry:host/system@0.1.0/memory": model_foundry_types::SystemMemory,
            "model-foundry:logging/types@0.1.0/column": model_foundry_types::Column,
            "model-foundry:logging/types@0.1.0/damage": model_foundry_types::Damage,
            "model-foundry:logging/types@0.1.0/omitted": model_foundry_types::Omitted,
            "model-foundry:logging/types@0.1.0/damaged-line": model_foundry_types::DamagedLine,
            "model-foundry:logging/types@0.1.0/error": model_foundry_types::Error,
            "model-foundry:logging/types@0.1.0/error-entry": model_foundry_types::ErrorEntry,
            "model-foundry:logging/types@0.1.0/error-record": model_foundry_types::ErrorRecord,
            "model-foundry:logging/types@0.1.0/error-report": model_foundry_types::ErrorReport,
            "model-foundry:logging/types@0.1.0/event": model_foundry_types::Event,
            "model-foundry:logging/types@0.1.0/field": model_foundry_types::Field,
            "model-foundry:logging/types@0.1.0/finding": model_foundry_types::Finding,
            "model-foundry:logging/types@0.1.0/finished": model_foundry_types::Finished,
            "model-foundry:logging/types@0.1.0/gpu-device": model_foundry_types::GpuDevice,
            "model-foundry:logging/types@0.1.0/gpu-inventory": model_foundry_types::GpuInventory,
            "model-foundry:logging/types@0.1.0/gpu-peak": model_foundry_types::GpuPeak,
            "model-foundry:logging/types@0.1.0/kind": model_foundry_types::Kind,
            "model-foundry:logging/types@0.1.0/level": model_foundry_types::Level,
            "model-foundry:logging/types@0.1.0/memory-sample": model_foundry_types::MemorySample,
            "model-foundry:logging/types@0.1.0/message-record": model_foundry_types::MessageRecord,
            "model-foundry:logging/types@0.1.0/line-reading": model_foundry_types::LineReading,
            "model-foundry:logging/types@0.1.0/metrics-line": model_foundry_types::MetricsLine,
            "model-foundry:logging/types@0.1.0/named-statistics": model_foundry_types::NamedStatistics,
            "model-foundry:logging/types@0.1.0/options": model_foundry_types::Options,
            "model-foundry:logging/types@0.1.0/output": model_foundry_types::Output,
            "model-foundry:logging/types@0.1.0/given-record": model_foundry_types::GivenRecord,
            "model-foundry:logging/types@0.1.0/parsed-record": model_foundry_types::ParsedRecord,
            "model-foundry:logging/types@0.1.0/part": model_foundry_types::Part,
            "model-foundry:logging/types@0.1.0/peaks": model_foundry_types::Peaks,
            "model-foundry:logging/types@0.1.0/position": model_foundry_types::Position,
            "model-foundry:logging/types@0.1.0/purpose": model_foundry_types::Purpose,
            "model-foundry:logging/types@0.1.0/query": model_foundry_types::Query,
            "model-foundry:logging/types@0.1.0/row": model_foundry_types::Row,
            "model-foundry:logging/types@0.1.0/run-info": model_foundry_types::RunInfo,
            "model-foundry:logging/types@0.1.0/series": model_foundry_types::Series,
            "model-foundry:logging/types@0.1.0/statistics": model_foundry_types::Statistics,
            "model-foundry:logging/types@0.1.0/step-origin": model_foundry_types::StepOrigin,
            "model-foundry:logging/types@0.1.0/step-record": model_foundry_types::StepRecord,
            "model-foundry:logging/types@0.1.0/summary-record": model_foundry_types::SummaryRecord,
            "model-foundry:logging/types@0.1.0/system-memory": model_foundry_types::SystemMemory,
            "model-foundry:logging/types@0.1.0/timing": model_foundry_types::Timing,
            "model-foundry:logging/types@0.1.0/traceback": model_foundry_types::Traceback,
            "model-foundry:logging/types@0.1.0/type-count": model_foundry_types::TypeCount,
            "model-foundry:logging/types@0.1.0/value": model_foundry_types::Value,
            "model-foundry:logging/types@0.1.0/verification-report": model_foundry_types::VerificationReport,
            "model-foundry:logging/types@0.1.0/violation": model_foundry_types::Violation,
        },
    });
    use super::Component;
    export!(Component);
}

mod console;
mod errors;
mod host;
mod hot_path;
mod metrics;
mod performance;
mod structured;

use bindings::exports::model_foundry::logging::{config, records, verification};
use model_foundry_types::{Error, GivenRecord, Part, Position, VerificationReport, Violation};

use host::Host;

/// The component's memory has its full size from the start (`cargo xtask component` sets it), so that an engine
/// that checks accesses by comparing can compare with a constant. The standard library's allocator only uses memory
/// by which it grew the component's; this later version of it uses what is there.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Implements the exported interfaces.
struct Component;

impl config::Guest for Component {
    fn defaults() -> String {
        model_foundry_guest::config::defaults()
    }

    fn check(config: String) -> Result<String, Vec<Violation>> {
        model_foundry_guest::config::check(&config)
    }

    fn schema() -> String {
        model_foundry_guest::config::schema()
    }
}

impl records::Guest for Component {
    fn parse(line: String) -> Result<GivenRecord, Error> {
        model_foundry_guest::records::parse(&line)
    }
}

impl verification::Guest for Component {
    fn check(
        file: String,
        part: Part,
        start: Position,
        max_bytes: u64,
    ) -> Result<VerificationReport, Error> {
        model_foundry_guest::verification::check(&Host, &file, part, start, max_bytes)
    }
}
