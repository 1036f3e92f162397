//! A run: the library's front door.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_guest::config::{self as logic, Durability, LoggingConfig};
use model_foundry_guest::timestamp::Timestamps;
use model_foundry_guest::{Field, Level, Value};
use parking_lot::Mutex;

use crate::attempt::Attempted;
use crate::bindings::exports::model_foundry::logging::metrics as component;
use crate::bindings::model_foundry::logging::files;
use crate::config::{ConfigReader, ExperimentConfig, Format};
use crate::errors::ErrorTracker;
use crate::imports::clocks::Clock;
use crate::imports::files::{Disk, Files, Healed, StorageTally};
use crate::imports::gpu::{Gpu, visible};
use crate::imports::system::{MachineMemory, descendants};
use crate::imports::{MemorySample, Powers};
use crate::locks::{self, Company};
use crate::manifest::{self, Host, Manifest, Status};
use crate::metrics::MetricsLogger;
use crate::performance::PerformanceLogger;
use crate::queue::{Queue, Told};
use crate::rank;
use crate::recorder::Recorder;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::structured::StructuredLogger;
use crate::termination::{Flush, flush_on_termination};
use crate::{Error, Result};

/// The variable by which `model-foundry run` tells a library in its command which run folder to join.
pub const RUN_DIR_VARIABLE: &str = "MODEL_FOUNDRY_RUN_DIR";

/// What happens when a record cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is counted, said once on standard error, and training goes on: the call returns `Ok`.
    #[default]
    Report,
    /// The call returns the error as well.
    Return,
}

/// Where lines for the console go.
#[derive(Clone, Default)]
pub enum Console {
    /// Standard error.
    #[default]
    Stderr,
    /// Nowhere.
    Silent,
    /// Whoever wants them, without a newline.
    Custom(Arc<dyn Fn(&str) + Send + Sync>),
}

/// How a run is opened. Made by [`Run::builder`].
pub struct RunBuilder {
    experiment: String,
    folder: Option<PathBuf>,
    runs_dir: PathBuf,
    logging: Option<LoggingConfig>,
    whole: serde_json::Map<String, serde_json::Value>,
    command: Vec<String>,
    rank: Option<u32>,
    shards: Option<bool>,
    on_error: OnError,
    console: Console,
    clock: Clock,
    disk: Option<Box<dyn Disk>>,
    runtime: Option<Runtime>,
    nvml: Option<PathBuf>,
    watches_command: bool,
}

impl RunBuilder {
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

    /// Open the run: make its folder, heal what a crash left, begin an attempt or join the present one.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder cannot be made or written, or holds another experiment's run;
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
        let mut gpu = Gpu::new(self.nvml);
        let visible_devices = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let seen = gpu
            .devices(&[])
            .ok()
            .map(|inventory| visible(inventory.devices, visible_devices.as_deref()));
        let first = seen.as_ref().and_then(|seen| seen.first());
        let device = first.map_or_else(|| "cpu".into(), |gpu| format!("cuda:0 {}", gpu.name));
        let seen = seen.map(|seen| seen.into_iter().map(|device| device.uuid).collect());
        let git_hash = manifest::git_hash(Path::new("."));
        let host = Host::this();

        let dir = open_folder(&folder)?;
        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let changing = locks::change(&dir).map_err(in_folder)?;
        let (company, live) = locks::join(&dir).map_err(in_folder)?;
        let known = Manifest::read(&dir)
            .map_err(|error| Error::path(folder.join(manifest::MANIFEST), error))?;
        if let Some(known) = &known
            && known.experiment != self.experiment
        {
            return Err(Error::path(
                &folder,
                format!(
                    "this is the run of experiment {:?}; choose another folder",
                    known.experiment
                ),
            ));
        }

        let rank = self.rank.or_else(rank::from_environment);
        let network = || rank::on_network_file_system(&dir);
        let shard = rank.filter(|_| self.shards.unwrap_or_else(network));
        // Where there are no locks to tell, the first rank begins an attempt and the others join it.
        let begins = match company {
            Company::Alone => true,
            Company::Others => false,
            Company::Unknown => rank.unwrap_or(0) == 0,
        };
        let now = self.clock.now();
        let manifest = Manifest {
            experiment: self.experiment.clone(),
            git_hash,
            device,
            host,
            command: self.command,
            configuration: self.whole,
            attempts: known.map(|known| known.attempts).unwrap_or_default(),
        };
        let (manifest, attempt) =
            Attempted::begin(&dir, manifest, begins, timestamp(now), now, &config, &folder)?;

        let synced = config.durability == Durability::Synced;
        let alone = company == Company::Alone;
        let mut files = Files::new(dir.try_clone().map_err(in_folder)?, shard, synced, alone);
        files.set_keep(config.max_log_files);
        if let Some(disk) = self.disk {
            files.set_disk(disk);
        }
        if alone {
            // As long as the lock is held nobody joins: a torn end is nobody's record.
            files.heal_all();
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
        sandbox.powers()?.files = files;
        let recorder = Recorder::new(sandbox, &config, options, rank.or(shard));
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
            let report = move |told: Told<'_>| match told {
                Told::Line(line) => reporter.say(line),
                Told::Failed(error, records) => reporter.report(error, records),
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
                gpu: Mutex::new(Sampler { gpu, seen, memory: MachineMemory::default() }),
                watched: Mutex::new(Vec::new()),
                folder,
                dir,
                manifest: Mutex::new(manifest),
                attempt: Mutex::new(attempt),
                config,
                least,
                clock: self.clock,
                rank,
                _live: live,
            }),
        };
        if run.inner.queue.is_some() {
            let inner: Arc<dyn Flush> = run.inner.clone();
            flush_on_termination(Arc::downgrade(&inner));
        }
        run.tell_healed()?;
        if joins {
            run.inner.attempt.lock().mark_library(&run.inner.dir);
        }
        Ok(run)
    }
}

/// A run that is being logged. Clones are the same run; threads may share it.
///
/// The attempt ends when the last clone is dropped: well, or failed if that happens during a panic; or when
/// [`Run::finish`] says how.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where records wait under `buffered`.
    queue: Option<Queue>,
    reporter: Arc<Reporter>,
    recorder: Arc<Mutex<Recorder>>,
    gpu: Mutex<Sampler>,
    watched: Mutex<Vec<u32>>,
    folder: PathBuf,
    dir: Dir,
    manifest: Mutex<Manifest>,
    attempt: Mutex<Attempted>,
    config: LoggingConfig,
    /// The least grave level that goes anywhere.
    least: Level,
    clock: Clock,
    rank: Option<u32>,
    _live: locks::Lock,
}

/// What samples memory, outside the component's lock: a driver may take its time.
struct Sampler {
    gpu: Gpu,
    /// The devices that this process may use; none where the driver did not tell.
    seen: Option<Vec<String>>,
    memory: MachineMemory,
}

impl Run {
    /// Open the run of an experiment in a folder of runs, with the default configuration.
    ///
    /// # Errors
    ///
    /// As [`RunBuilder::open`].
    pub fn open(runs_dir: impl Into<PathBuf>, experiment: &str) -> Result<Self> {
        Self::builder(experiment).runs_dir(runs_dir).open()
    }

    /// A run of an experiment, to be configured and opened.
    ///
    /// Under `model-foundry run`, which names its folder in `MODEL_FOUNDRY_RUN_DIR`, the process joins that
    /// run, whatever the experiment's name here, with that run's configuration unless another is given; the
    /// program then takes no metrics from its output. [`RunBuilder::folder`] opens a run of one's own
    /// there too.
    pub fn builder(experiment: &str) -> RunBuilder {
        RunBuilder {
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
        }
    }

    /// A structured logger. Its base context is the run's: experiment, git_hash and device.
    pub fn logger(&self, name: &str) -> StructuredLogger {
        let manifest = self.inner.manifest.lock();
        let mut context = vec![
            ("experiment".into(), Value::Text(manifest.experiment.clone())),
            ("git_hash".into(), Value::Text(manifest.git_hash.clone())),
            ("device".into(), Value::Text(manifest.device.clone())),
        ];
        if let Some(rank) = self.inner.rank {
            context.push(("rank".into(), rank.into()));
        }
        drop(manifest);
        StructuredLogger::new(self.clone(), name, context)
    }

    /// The metrics logger.
    pub fn metrics(&self) -> MetricsLogger {
        MetricsLogger::new(self.clone())
    }

    /// The performance logger.
    pub fn performance(&self) -> PerformanceLogger {
        PerformanceLogger::new(self.clone())
    }

    /// The error tracker.
    pub fn errors(&self) -> ErrorTracker {
        ErrorTracker::new(self.clone())
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The logging configuration.
    pub fn config(&self) -> &LoggingConfig {
        &self.inner.config
    }

    /// The manifest, as it was when the run was opened.
    pub fn manifest(&self) -> Manifest {
        self.inner.manifest.lock().clone()
    }

    /// Which attempt at the experiment this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt.lock().number()
    }

    /// This process' rank, where there are several.
    pub fn rank(&self) -> Option<u32> {
        self.inner.rank
    }

    /// What became of records that the storage did not take at once.
    pub fn storage(&self) -> StorageTally {
        self.after_all(|recorder| Ok(recorder.sandbox().powers()?.files.tally()))
            .unwrap_or_default()
    }

    /// How often the component failed and was started anew.
    pub fn component_failures(&self) -> u64 {
        self.inner.recorder.lock().sandbox().traps()
    }

    /// Memory samples count these processes, and what they started, instead of this one.
    pub fn watch(&self, process: u32) {
        self.inner.watched.lock().push(process);
    }

    /// Bring everything that was logged to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.after_all(|recorder| {
            recorder
                .metrics(|logger, store, metrics| logger.call_checkpoint(store, metrics, None))?;
            let synced = recorder.sandbox().powers()?.files.sync();
            synced.map_err(|error| Error::Storage(error.to_string()))
        })
    }

    /// End the attempt as failed by this error: it goes into errors.jsonl and, at ERROR, into main.log.
    ///
    /// # Errors
    ///
    /// Under [`OnError::Return`]: if the error could not be kept.
    pub fn fail<E: std::error::Error + ?Sized>(&self, error: &E, context: &[Field]) -> Result<()> {
        let tracked = self.errors().log_error(error, context);
        let logged = self.logger("model_foundry").exception("training failed", error, context);
        self.finish(Status::Failed, None);
        tracked.and(logged)
    }

    /// End the attempt. The first end counts.
    pub fn finish(&self, status: Status, exit_code: Option<i32>) {
        self.inner.finish(status, exit_code);
    }

    /// Whether a library inside the watched command logs to this run too.
    pub fn has_library_inside(&self) -> bool {
        let manifest = Manifest::read(&self.inner.dir).ok().flatten();
        manifest.is_some_and(|manifest| {
            manifest.latest().is_some_and(|attempt| attempt.logged_by_library)
        })
    }

    /// Whether a record of this level goes anywhere.
    #[inline]
    pub(crate) fn wants(&self, level: Level) -> bool {
        level >= self.inner.least
    }

    /// Work with the component's loggers.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Recorder) -> Result<R>) -> Result<R> {
        work(&mut self.inner.recorder.lock())
    }

    /// Work with them after all that was logged before.
    pub(crate) fn after_all<R>(&self, work: impl FnOnce(&mut Recorder) -> Result<R>) -> Result<R> {
        self.flush();
        self.with(work)
    }

    /// Keep a record now: what goes wrong is counted, said once, and returned only if that was asked for
    /// or it is the caller's own fault.
    pub(crate) fn keep<R: Default>(
        &self,
        work: impl FnOnce(&mut Recorder) -> Result<R>,
    ) -> Result<R> {
        self.inner.reporter.judge(self.with(work))
    }

    /// The queue under `buffered`, and the time now: a record that goes into it carries when it was
    /// logged.
    #[inline]
    pub(crate) fn queue(&self) -> Option<(&Queue, u64)> {
        self.inner.queue.as_ref().map(|queue| (queue, self.inner.clock.now()))
    }

    /// Nanoseconds of the monotonic clock.
    pub(crate) fn monotonic(&self) -> u64 {
        self.inner.clock.monotonic()
    }

    /// How often a call had to wait because the queue of `buffered` was full.
    pub fn queue_waits(&self) -> u64 {
        self.inner.queue.as_ref().map_or(0, Queue::waits)
    }

    /// Write what is buffered. Under the other durabilities nothing is.
    pub fn flush(&self) {
        self.inner.flush();
    }

    /// Put a line on the console, if there is one.
    pub(crate) fn say_line(&self, line: Option<String>) {
        if let Some(line) = line {
            self.inner.reporter.say(&line);
        }
    }

    /// Sample memory, outside the component's lock.
    pub(crate) fn sample(&self) -> MemorySample {
        let watched = self.inner.watched.lock().clone();
        let mut sampler = self.inner.gpu.lock();
        let family = if watched.is_empty() { Vec::new() } else { descendants(&watched) };
        let seen = sampler.seen.clone();
        let gpu = sampler.gpu.devices(&family).map(|mut inventory| {
            // Devices that this process may not use are none of its business.
            if let Some(seen) = &seen {
                inventory.devices.retain(|device| seen.contains(&device.uuid));
            }
            inventory
        });
        MemorySample { system: sampler.memory.read(&watched), gpu }
    }

    /// Say in the log which torn ends, that a crash left, were healed.
    fn tell_healed(&self) -> Result<()> {
        let healed: Vec<Healed> =
            self.with(|recorder| Ok(recorder.sandbox().powers()?.files.take_healed()))?;
        let logger = self.logger("model_foundry");
        for Healed { name, bytes } in healed {
            logger.warning(
                "a torn last line was moved aside",
                &crate::fields! { file: name.clone(), bytes, moved_to: format!("{name}.torn") },
            )?;
        }
        Ok(())
    }
}

/// Says what belongs on the console, and once that records could not be kept.
struct Reporter {
    console: Console,
    on_error: OnError,
    said: AtomicBool,
    /// Records that were lost for another reason than the storage: too large, or the component failed on
    /// them twice.
    lost: AtomicU64,
}

impl Reporter {
    /// Put a line on the console. Nobody may be there to read it any more; that ends no training.
    fn say(&self, line: &str) {
        match &self.console {
            Console::Stderr => {
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
            Console::Silent => {}
            Console::Custom(say) => say(line),
        }
    }

    fn judge<R: Default>(&self, result: Result<R>) -> Result<R> {
        match result {
            Err(error) if !matches!(error, Error::Invalid(_)) => {
                self.report(&error, 1);
                match self.on_error {
                    OnError::Report => Ok(R::default()),
                    OnError::Return => Err(error),
                }
            }
            result => result,
        }
    }

    /// Note that records could not be kept. What the storage refused is counted where it is held.
    fn report(&self, error: &Error, records: u64) {
        if matches!(error, Error::Trap(_) | Error::TooLarge(_)) {
            self.lost.fetch_add(records, Ordering::Relaxed);
        }
        if !self.said.swap(true, Ordering::Relaxed) {
            self.say(&format!(
                "model-foundry: a record could not be kept at once ({error}); further failures are \
                 counted in run.json"
            ));
        }
    }
}

impl Flush for Inner {
    fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }
}

impl Inner {
    fn finish(&self, status: Status, exit_code: Option<i32>) {
        // Before any lock is taken: the writer runs the console's code, which may ask for anything.
        if let Some(queue) = &self.queue {
            queue.close();
        }
        let mut attempt = self.attempt.lock();
        if attempt.has_ended() {
            return;
        }
        let mut recorder = self.recorder.lock();
        let code = exit_code.unwrap_or(i32::from(status != Status::Completed));
        let closed = recorder
            .metrics(|logger, store, metrics| logger.call_checkpoint(store, metrics, Some(code)));
        // A report of nothing is none, and reading back what earlier attempts timed takes its time.
        let reported = if recorder.has_timed() {
            recorder.performance(|logger, store, performance| {
                logger.call_export_report(store, performance)
            })
        } else {
            Ok(())
        };
        let traps = recorder.sandbox().traps();
        let tally = recorder.sandbox().powers().map(|powers| {
            powers.files.close();
            powers.files.tally()
        });
        drop(recorder);
        let mut tally = tally.unwrap_or_default();
        tally.refused += self.reporter.lost.load(Ordering::Relaxed);
        let written =
            attempt.end(&self.dir, status, exit_code, timestamp(self.clock.now()), &tally, traps);
        if let Err(error) = &written {
            let manifest = self.folder.join(manifest::MANIFEST);
            self.reporter.say(&format!("model-foundry: {}: {error}", manifest.display()));
        }
        // Both are derived from what is kept elsewhere; the tally has what the storage said.
        drop((closed, reported));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let status = if std::thread::panicking() { Status::Failed } else { Status::Completed };
        self.finish(status, None);
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

/// A timestamp's text.
fn timestamp(time: u64) -> String {
    let mut text = String::new();
    Timestamps::default().write(&mut text, time);
    text
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

/// Fields with a further one in front.
pub(crate) fn with_field(name: &str, value: impl Into<Value>, fields: &[Field]) -> Vec<Field> {
    let mut all = Vec::with_capacity(fields.len() + 1);
    all.push((name.to_owned(), value.into()));
    all.extend_from_slice(fields);
    all
}
