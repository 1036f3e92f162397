//! How a run is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_types::{Durability, Field, LoggingConfig, Options, Value, rfc3339};

use super::{ForkState, RUN_DIR_VARIABLE, Run};
use crate::api::config::{self, ConfigReader, ExperimentConfig, Format};
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::folder::locks::{self, Occupancy};
use crate::folder::manifest::{self, Host, Manifest};
use crate::folder::rank;
use crate::process::mutex::Mutex;
use crate::process::termination::{Flush, flush_on_termination};
use crate::recording::attempt::{AttemptWriter, for_component};
use crate::recording::core::RunCore;
use crate::recording::error_policy::{Console, ErrorPolicy, OnError};
use crate::recording::guest_loggers::GuestLoggers;
use crate::recording::queue::{Message, Queue};
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::{Disk, Files};
use crate::services::sampler::Sampler;
use crate::{Error, Result};

/// How a run is opened. Made by [`Run::builder`].
pub struct RunBuilder {
    experiment: String,
    folder: Option<PathBuf>,
    runs_dir: PathBuf,
    logging: Option<LoggingConfig>,
    sections: serde_json::Map<String, serde_json::Value>,
    command: Vec<String>,
    pub(super) rank: Option<u32>,
    shards: Option<bool>,
    on_error: OnError,
    console: Console,
    clock: Clock,
    disk: Option<Box<dyn Disk>>,
    runtime: Option<Runtime>,
    pub(super) nvml: Option<PathBuf>,
    supervises: bool,
    pub(super) fork_state: Option<ForkState>,
}

impl std::fmt::Debug for RunBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunBuilder").field("experiment", &self.experiment).finish_non_exhaustive()
    }
}

impl RunBuilder {
    pub(super) fn new(experiment: &str) -> Self {
        Self {
            experiment: experiment.to_owned(),
            folder: None,
            runs_dir: PathBuf::from("runs"),
            logging: None,
            sections: serde_json::Map::new(),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            rank: None,
            shards: None,
            on_error: OnError::default(),
            console: Console::default(),
            clock: Clock::default(),
            disk: None,
            runtime: None,
            nvml: None,
            supervises: false,
            fork_state: None,
        }
    }

    /// The folder in which each experiment has a folder. Default: `runs`.
    #[must_use]
    pub fn runs_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.runs_dir = folder.into();
        self
    }

    /// The run folder itself, instead of `<runs-dir>/<experiment>`.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The logging configuration. Default: [`LoggingConfig::default`].
    #[must_use]
    pub fn config(mut self, config: LoggingConfig) -> Self {
        self.logging = Some(config);
        self
    }

    /// The experiment's whole configuration, which is recorded in run.json.
    #[must_use]
    pub fn experiment_config(mut self, config: ExperimentConfig) -> Self {
        self.logging = Some(config.logging);
        self.sections = config.whole;
        self
    }

    /// A section of the experiment's configuration, which is recorded in run.json: `model`, `training`, anything that
    /// a reader will want to know.
    #[must_use]
    pub fn section(mut self, name: &str, fields: &[Field]) -> Self {
        let fields = fields.iter().map(|field| (field.name.clone(), as_json(&field.value)));
        self.sections.insert(name.to_owned(), serde_json::Value::Object(fields.collect()));
        self
    }

    /// The command that run.json names. Default: this process's own.
    #[must_use]
    pub fn command(mut self, command: Vec<String>) -> Self {
        self.command = command;
        self
    }

    /// This process's rank among several. Default: the value of RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK.
    #[must_use]
    pub fn rank(mut self, rank: u32) -> Self {
        self.rank = Some(rank);
        self
    }

    /// Whether each rank appends to files of its own (`metrics.rank-00003.jsonl`). Default: only on a network file
    /// system, on which the appends of several machines may mix.
    #[must_use]
    pub fn shards(mut self, shards: bool) -> Self {
        self.shards = Some(shards);
        self
    }

    /// What happens when a record cannot be written. Default: it is counted and reported once.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Where lines for the console go. Default: standard error.
    #[must_use]
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    /// Where times come from. Default: the machine's clocks.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The functions that write to the disk. A test can pass some that fail.
    #[must_use]
    pub fn disk(mut self, disk: Box<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The compiled component. Default: [`Runtime::shared`].
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The NVML library to load instead of the system's.
    #[must_use]
    pub fn nvml(mut self, library: impl Into<PathBuf>) -> Self {
        self.nvml = Some(library.into());
        self
    }

    /// This process supervises a command that trains, whose output is the source of what is logged.
    #[doc(hidden)]
    #[must_use]
    pub fn supervises(mut self, supervises: bool) -> Self {
        self.supervises = supervises;
        self
    }

    /// Open the run: create its folder, repair what a crash left, begin an attempt or join the current one.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder cannot be created or written, holds another experiment's run, or has a newer
    /// format than [`FORMAT_VERSION`](crate::FORMAT_VERSION); [`Error::Invalid`] if the experiment's name cannot name
    /// a folder; [`Error::Config`] if the configuration breaks a rule; [`Error::Component`] if the component cannot be
    /// started. Nothing is left half written.
    pub fn open(mut self) -> Result<Run> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Runtime::shared()?,
        };
        let surrounding =
            if self.supervises || self.folder.is_some() { None } else { surrounding_run(&runtime) };
        let joins = surrounding.is_some();
        if let Some((folder, experiment, logging)) = surrounding {
            self.folder = Some(folder);
            self.experiment = experiment;
            self.logging.get_or_insert(logging);
        }
        let folder = match self.folder {
            Some(folder) => folder,
            None => self.runs_dir.join(folder_name(&self.experiment)?),
        };
        // What may take time, or fail, comes before the folder is touched and its lock taken.
        let services = HostServices::new(Files::nowhere(), self.clock.clone());
        let mut sandbox = Sandbox::start(&runtime, services)?;
        let config = self.logging.unwrap_or_default();
        let logging = serde_json::to_value(&config).unwrap_or_default();
        self.sections.insert("logging".to_owned(), logging);
        // A configuration built in code has to keep the rules too.
        match config::check(&mut sandbox, &self.sections, "the logging configuration") {
            // A component that fails does not stop training.
            Ok(_) | Err(Error::Trap(_)) => {}
            Err(error) => return Err(error),
        }
        let (sampler, device, git_hash) = match &self.fork_state {
            Some(ForkState { seen, device, git_hash, .. }) => {
                let sampler = Sampler::inherited(self.nvml.clone(), seen.clone());
                (sampler, device.clone(), git_hash.clone())
            }
            None => {
                let (sampler, device) = Sampler::new(self.nvml.clone());
                (sampler, device, manifest::git_hash(Path::new(".")))
            }
        };
        let host = Host::this();

        let dir = open_folder(&folder)?;
        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let changing = locks::change(&dir).map_err(in_folder)?;
        let (occupancy, live) = locks::join(&dir).map_err(in_folder)?;
        let known = Manifest::read(&dir)
            .map_err(|error| Error::path(folder.join(manifest::MANIFEST), error))?;
        if let Some(known) = &known {
            known
                .check_appendable()
                .map_err(|problem| Error::path(folder.join(manifest::MANIFEST), problem))?;
            if known.experiment != self.experiment {
                return Err(Error::path(
                    &folder,
                    format!(
                        "this folder holds a run of experiment {:?}; choose another folder",
                        known.experiment
                    ),
                ));
            }
        }

        let rank = self.rank.or_else(rank::from_environment);
        let network = || rank::on_network_file_system(&dir);
        let shard = rank.filter(|_| self.shards.unwrap_or_else(network));
        // Without locks the first rank begins an attempt, and the others join it.
        let begins = match occupancy {
            // The parent began an attempt, and may have ended since.
            _ if self.fork_state.is_some() => false,
            Occupancy::Alone => true,
            Occupancy::Others => false,
            Occupancy::Unknown => rank.unwrap_or(0) == 0,
        };
        let now = self.clock.now();
        let (attempts, extra) =
            known.map(|known| (known.attempts, known.extra)).unwrap_or_default();
        let manifest = Manifest {
            format_version: manifest::FORMAT_VERSION,
            experiment: self.experiment.clone(),
            git_hash,
            device,
            host,
            command: self.command,
            configuration: self.sections,
            attempts,
            extra,
        };
        let (manifest, attempt) =
            AttemptWriter::begin(&dir, manifest, begins, rfc3339(now), now, &config, &folder)?;

        let synced = config.durability == Durability::Synced;
        let alone = occupancy == Occupancy::Alone;
        let mut files = Files::new(dir.try_clone().map_err(in_folder)?, shard, synced, alone);
        files.set_retained_files(config.max_log_files);
        if let Some(disk) = self.disk {
            files.set_disk(disk);
        }
        if alone {
            // No process can join while the lock is held, so a torn line is not a record in progress.
            files.repair_all();
        }
        drop(changing);
        let writes_copies = joins && rank.unwrap_or(0) == 0;
        let copies = attempt.copies(&manifest, &config, now, writes_copies);
        let copies = copies.map(|(names, info)| {
            files.set_copies(names);
            info
        });
        let options =
            Options { attempt: attempt.number(), rank: shard, copies, ..Options::default() };
        *sandbox.services()?.files() = files;
        let guest = GuestLoggers::new(sandbox, &for_component(&config), options, rank);
        let guest = Arc::new(Mutex::new(guest));
        let policy = Arc::new(ErrorPolicy::new(self.console, self.on_error));
        let queue = if config.durability == Durability::Buffered {
            let interval = Duration::from_millis(config.flush_interval_ms.into());
            let policy = policy.clone();
            let report = move |message: Message<'_>| match message {
                Message::Line(line) => policy.print(line),
                Message::Failed(error, records) => policy.count(error, records),
            };
            Some(Queue::start(guest.clone(), interval, report)?)
        } else {
            None
        };
        let minimum_level = config.file_level.min(config.console_level);
        let core = Arc::new(RunCore {
            queue,
            policy,
            guest,
            sampler: Mutex::new(sampler),
            nvml: self.nvml,
            monitored: Mutex::new(Vec::new()),
            folder,
            dir,
            manifest: Mutex::new(manifest),
            column_sets: Mutex::default(),
            attempt: Mutex::new(attempt),
            config,
            minimum_level,
            clock: self.clock,
            rank,
            shards: shard.is_some(),
            live: Mutex::new(Some(live)),
        });
        if core.queue.is_some() {
            let core: Arc<dyn Flush> = core.clone();
            flush_on_termination(Arc::downgrade(&core));
        }
        let run = Run { core };
        run.log_repaired_tails()?;
        if joins {
            run.core.attempt.lock().mark_library(&run.core.dir);
        }
        Ok(run)
    }
}

/// The run that `model-foundry run` began for this process: its folder, experiment and logging configuration.
fn surrounding_run(runtime: &Runtime) -> Option<(PathBuf, String, LoggingConfig)> {
    let folder = PathBuf::from(std::env::var_os(RUN_DIR_VARIABLE)?);
    let dir = Dir::open_ambient_dir(&folder, ambient_authority()).ok()?;
    let manifest = Manifest::read(&dir).ok()??;
    let text = serde_json::to_string(&manifest.configuration).ok()?;
    let config = ConfigReader::new(runtime).ok()?.read(&text, Format::Json, "run.json").ok()?;
    Some((folder, manifest.experiment, config.logging))
}

/// A field's value as JSON. A number that JSON cannot represent becomes its text.
fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(boolean) => (*boolean).into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Float(float) => serde_json::Number::from_f64(*float)
            .map_or_else(|| float.to_string().into(), serde_json::Value::Number),
        Value::Text(text) => text.as_str().into(),
        Value::Json(json) => serde_json::from_str(json).unwrap_or_else(|_| json.as_str().into()),
    }
}

/// Open a folder, which is created if it is missing.
fn open_folder(folder: &Path) -> Result<Dir> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::path(folder, format!("cannot create the run folder: {error}")))?;
    Dir::open_ambient_dir(folder, ambient_authority())
        .map_err(|error| Error::path(folder, format!("cannot open the run folder: {error}")))
}

/// The folder of an experiment: its name, if it can name a folder.
fn folder_name(experiment: &str) -> Result<&str> {
    let usable = !experiment.is_empty()
        && experiment.len() <= 200
        && !experiment.starts_with('.')
        && !experiment.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if usable {
        Ok(experiment)
    } else {
        Err(Error::Invalid(format!(
            "the experiment name {experiment:?} cannot name a folder: use 1 to 200 bytes, no slashes, no \
             leading dot"
        )))
    }
}
