//! The messages of `wandb_internal.proto` that an offline run needs, with the names and field numbers of
//! wandb 0.31.0. Readers skip unknown fields, and every field that is omitted here is optional.

/// One entry of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The entry's number: 1, 2, 3 and so on.
    #[prost(int64, tag = "1")]
    pub num: i64,
    /// The entry's content.
    #[prost(oneof = "RecordType", tags = "2, 3, 17, 18, 21")]
    pub record_type: Option<RecordType>,
}

/// An entry's content.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RecordType {
    /// The metrics of one step.
    #[prost(message, tag = "2")]
    History(HistoryRecord),
    /// The latest values of the metrics.
    #[prost(message, tag = "3")]
    Summary(SummaryRecord),
    /// The run's id, name and configuration.
    #[prost(message, tag = "17")]
    Run(RunRecord),
    /// The end of the run.
    #[prost(message, tag = "18")]
    Exit(RunExitRecord),
    /// The program that wrote the file.
    #[prost(message, tag = "21")]
    Header(HeaderRecord),
}

/// The program that wrote the file; the first entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderRecord {
    /// The writer's version.
    #[prost(message, optional, tag = "1")]
    pub version_info: Option<VersionInfo>,
}

/// The writer's version.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionInfo {
    /// The program that wrote the file, with its version.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The lowest version of a self-hosted W&B server that accepts the whole file.
    #[prost(string, tag = "2")]
    pub min_consumer: String,
}

/// The run's id, name and configuration; the second entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunRecord {
    /// The run's id, unique in the project.
    #[prost(string, tag = "1")]
    pub run_id: String,
    /// The project to which the run belongs.
    #[prost(string, tag = "3")]
    pub project: String,
    /// The configuration.
    #[prost(message, optional, tag = "4")]
    pub config: Option<ConfigRecord>,
    /// The displayed name.
    #[prost(string, tag = "8")]
    pub display_name: String,
    /// The machine's name.
    #[prost(string, tag = "13")]
    pub host: String,
    /// When the run started.
    #[prost(message, optional, tag = "17")]
    pub start_time: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Changes to the configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigRecord {
    /// Keys with new values.
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
}

/// The metrics of one step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryRecord {
    /// The metrics, including `_step`, `_timestamp` and `_runtime`.
    #[prost(message, repeated, tag = "1")]
    pub item: Vec<Item>,
    /// The step again; equal to `_step`.
    #[prost(message, optional, tag = "2")]
    pub step: Option<HistoryStep>,
}

/// A step.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct HistoryStep {
    /// The step's number.
    #[prost(int64, tag = "1")]
    pub num: i64,
}

/// Changes to the latest values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryRecord {
    /// Names with new values.
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
}

/// A name with a value. `ConfigItem`, `HistoryItem` and `SummaryItem` have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Item {
    /// The name; readers use it only if `nested_key` is empty.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The name as a path. A path of one part is a flat name, whatever characters the part has.
    #[prost(string, repeated, tag = "2")]
    pub nested_key: Vec<String>,
    /// The value as JSON, extended by `NaN`, `Infinity` and `-Infinity`.
    #[prost(string, tag = "16")]
    pub value_json: String,
}

/// The end of the run.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RunExitRecord {
    /// 0 if the run finished. W&B shows a run with 254 as crashed, and with any other code as failed.
    #[prost(int32, tag = "1")]
    pub exit_code: i32,
    /// The seconds from the start of the run to its end.
    #[prost(int32, tag = "2")]
    pub runtime: i32,
}
