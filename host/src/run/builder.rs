//! How a run is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_guest::config::{self as logic, Durability, LoggingConfig};
use model_foundry_guest::{Field, Value};

use super::{Console, Heritage, Inner, OnError, RUN_DIR_VARIABLE, Reporter, Run, timestamp};
use crate::attempt::Attempted;
use crate::bindings::exports::model_foundry::logging::metrics as component;
use crate::bindings::model_foundry::logging::files;
use crate::config::{ConfigReader, ExperimentConfig, Format};
use crate::imports::Powers;
use crate::imports::clocks::Clock;
use crate::imports::files::{Disk, Files};
use crate::locks::{self, Occupancy};
use crate::manifest::{self, Host, Manifest};
use crate::queue::{Message, Queue};
use crate::rank;
use crate::recorder::Recorder;
use crate::runtime::Runtime;
use crate::sampler::Sampler;
use crate::sandbox::Sandbox;
use crate::sync::Mutex;
use crate::termination::{Flush, flush_on_termination};
use crate::{Error, Result};

/// How a run is opened. Made by [`Run::builder`].
pub struct RunBuilder {
    experiment: String,
    folder: Option<PathBuf>,
    runs_dir: PathBuf,
    logging: Option<LoggingConfig>,
    whole: serde_json::Map<String, serde_json::Value>,
    command: Vec<String>,
    pub(super) rank: Option<u32>,
    shards: Option<bool>,
    on_error: OnError,
    console: Console,
    clock: Clock,
    disk: Option<Box<dyn Disk>>,
    runtime: Option<Runtime>,
    pub(super) nvml: Option<PathBuf>,
    watches_command: bool,
    pub(super) heritage: Option<Heritage>,
}

impl RunBuilder {
    pub(super) fn new(experiment: &str) -> Self {
        Self {
            experiment: experiment.to_owned(),
            folder: None,
            runs_dir: PathBuf::from("runs"),
            logging: None,
            whole: serde_json::Map::new(),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            rank: None,
            shards: None,
            on_error: OnError::default(),
            console: Console::default(),
            clock: Clock::default(),
            disk: None,
            runtime: None,
            nvml: None,
            watches_command: false,
            heritage: None,
        }
    }

    /// The folder that holds a folder for each experiment. Default: `runs`.
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

    /// The experiment's whole configuration, kept in run.json.
    #[must_use]
    pub fn experiment_config(mut self, config: ExperimentConfig) -> Self {
        self.logging = Some(config.logging);
        self.whole = config.whole;
        self
    }

    /// A section of the experiment's configuration, kept in run.json: `model`, `training`, whatever a
    /// reader will want to know.
    #[must_use]
    pub fn section(mut self, name: &str, fields: &[Field]) -> Self {
        let fields = fields.iter().map(|(name, value)| (name.clone(), as_json(value)));
        self.whole.insert(name.to_owned(), serde_json::Value::Object(fields.collect()));
        self
    }

    /// The command that run.json names. Default: this process' own.
    #[must_use]
    pub fn command(mut self, command: Vec<String>) -> Self {
        self.command = command;
        self
    }

    /// This process' rank among several. Default: what RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK says.
    #[must_use]
    pub fn rank(mut self, rank: u32) -> Self {
        self.rank = Some(rank);
        self
    }

    /// Whether each rank appends to files of its own (`metrics.rank-00003.jsonl`). Default: where the
    /// folder is on a network file system, on which the appends of several machines may mix.
    #[must_use]
    pub fn shards(mut self, shards: bool) -> Self {
        self.shards = Some(shards);
        self
    }

    /// What happens when a record cannot be kept. Default: it is counted and said once.
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

    /// What writes to the disk: a test may put one there that fails.
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

    /// This process only watches a command that trains: it is named by [`Run::watch`], and its output is
    /// the source of what is logged.
    #[must_use]
    pub fn watches_command(mut self, watches: bool) -> Self {
        self.watches_command = watches;
        self
    }

    /// Open the run: make its folder, repair what a crash left, begin an attempt or join the present one.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder cannot be made or written, holds another experiment's run, or has a
    /// newer format than [`FORMAT_VERSION`](crate::FORMAT_VERSION);
    /// [`Error::Invalid`] if the experiment's name cannot name a folder; [`Error::Component`] if the
    /// component cannot be started. Nothing is left half written.
    pub fn open(mut self) -> Result<Run> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Runtime::shared()?,
        };
        let surrounding = if self.watches_command || self.folder.is_some() {
            None
        } else {
            surrounding(&runtime)
        };
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
        let config = self.logging.unwrap_or_default();
        // A configuration that was made in code keeps to the same rules. Whatever the component is, it is
        // not asked: training does not die of it.
        let text = logic::render(&config, logic::Format::Json);
        logic::parse(&text, logic::Format::Json).map_err(|violations| Error::Config {
            origin: "the logging configuration".into(),
            violations,
        })?;

        // What may take its time, or fail, comes before the folder is touched and its lock taken.
        let mut sandbox =
            Sandbox::start(&runtime, Powers::new(Files::nowhere(), self.clock.clone()))?;
        let (sampler, device, git_hash) = match &self.heritage {
            Some(Heritage { seen, device, git_hash, .. }) => {
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
                        "this is the run of experiment {:?}; choose another folder",
                        known.experiment
                    ),
                ));
            }
        }

        let rank = self.rank.or_else(rank::from_environment);
        let network = || rank::on_network_file_system(&dir);
        let shard = rank.filter(|_| self.shards.unwrap_or_else(network));
        // Where there are no locks to tell, the first rank begins an attempt and the others join it.
        let begins = match occupancy {
            // Its parent began one, and may have ended since.
            _ if self.heritage.is_some() => false,
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
            configuration: self.whole,
            attempts,
            extra,
        };
        let (manifest, attempt) =
            Attempted::begin(&dir, manifest, begins, timestamp(now), now, &config, &folder)?;

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
        let wandb = attempt.wandb(&manifest, &config, now, joins && rank.unwrap_or(0) == 0);
        if let Some((path, _)) = &wandb {
            files.set_wandb(path.clone());
        }
        let options = component::Options {
            attempt: attempt.number(),
            part: files::Part { rank: shard, rotated: 0 },
            wandb: wandb.map(|(_, run)| run),
        };
        *sandbox.powers()?.files() = files;
        let recorder = Recorder::new(sandbox, &config, options, rank);
        let least = config.file_level.min(config.console_level);
        let recorder = Arc::new(Mutex::new(recorder));
        let reporter = Arc::new(Reporter {
            console: self.console,
            on_error: self.on_error,
            said: false.into(),
            lost: 0.into(),
        });
        let queue = if config.durability == Durability::Buffered {
            let interval = Duration::from_millis(config.flush_interval_ms.into());
            let reporter = reporter.clone();
            let report = move |message: Message<'_>| match message {
                Message::Line(line) => reporter.say(line),
                Message::Failed(error, records) => reporter.report(error, records),
            };
            Some(Queue::start(recorder.clone(), interval, report)?)
        } else {
            None
        };
        let run = Run {
            inner: Arc::new(Inner {
                queue,
                reporter,
                recorder,
                sampler: Mutex::new(sampler),
                nvml: self.nvml,
                watched: Mutex::new(Vec::new()),
                folder,
                dir,
                manifest: Mutex::new(manifest),
                shapes: Mutex::default(),
                attempt: Mutex::new(attempt),
                config,
                least,
                clock: self.clock,
                rank,
                shards: shard.is_some(),
                live: Mutex::new(Some(live)),
            }),
        };
        if run.inner.queue.is_some() {
            let inner: Arc<dyn Flush> = run.inner.clone();
            flush_on_termination(Arc::downgrade(&inner));
        }
        run.log_repaired_tails()?;
        if joins {
            run.inner.attempt.lock().mark_library(&run.inner.dir);
        }
        Ok(run)
    }
}

/// The run that `model-foundry run` began around this process: its folder, experiment and logging
/// configuration.
fn surrounding(runtime: &Runtime) -> Option<(PathBuf, String, LoggingConfig)> {
    let folder = PathBuf::from(std::env::var_os(RUN_DIR_VARIABLE)?);
    let dir = Dir::open_ambient_dir(&folder, ambient_authority()).ok()?;
    let manifest = Manifest::read(&dir).ok()??;
    let text = serde_json::to_string(&manifest.configuration).ok()?;
    let config = ConfigReader::new(runtime).ok()?.read(&text, Format::Json, "run.json").ok()?;
    Some((folder, manifest.experiment, config.logging))
}

/// A field's value as JSON; what JSON has no number for becomes its text.
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

/// Open a folder, made if it is missing.
fn open_folder(folder: &Path) -> Result<Dir> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::path(folder, format!("the run folder cannot be made: {error}")))?;
    Dir::open_ambient_dir(folder, ambient_authority())
        .map_err(|error| Error::path(folder, format!("the run folder cannot be opened: {error}")))
}

/// The folder of an experiment: its name, if that can name one.
fn folder_name(experiment: &str) -> Result<&str> {
    let usable = !experiment.is_empty()
        && experiment.len() <= 200
        && !experiment.starts_with('.')
        && !experiment.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if usable {
        Ok(experiment)
    } else {
        Err(Error::Invalid(format!(
            "the experiment's name {experiment:?} cannot name a folder: use 1 to 200 bytes, no \
             slashes, no leading dot"
        )))
    }
}
