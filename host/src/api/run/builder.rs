//! How a run is opened.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use model_foundry_types::{
    Durability, Field, LoggingConfig, Options, Part, Value, large_integers, part_name, rfc3339,
};

use super::{ForkState, RUN_DIR_VARIABLE, Run, SUPERVISED_VARIABLE};
use crate::api::config::{self, ConfigReader, ExperimentConfig, Format};
use crate::api::structured::warn;
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::folder::locks::{self, Occupancy};
use crate::folder::manifest::{self, Host, Manifest, Origin};
use crate::folder::members::{self, Membership};
use crate::folder::network;
use crate::folder::replace::replace;
use crate::folder::runs::{JobRun, RunsDir, folder_name};
use crate::process::job::{self, Job, ProcessEnvironment};
use crate::process::mutex::Mutex;
use crate::process::origin::{self, Commit, quoted};
use crate::process::secrets::masked_command;
use crate::process::termination::{EndedBySignal, end_on_termination};
use crate::recording::attempt::{AttemptWriter, Beginning, for_component, new_id};
use crate::recording::copies::{self, keep_complete};
use crate::recording::core::RunCore;
use crate::recording::error_policy::{Console, ErrorPolicy, OnError};
use crate::recording::guest_loggers::GuestLoggers;
use crate::recording::queue::{Message, Queue};
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::{Disk, Files};
use crate::services::sampler::Sampler;
use crate::{Error, Result};

/// Whether an earlier run is continued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// No: each start is a new run.
    #[default]
    No,
    /// The newest run of the experiment is continued, in a new attempt; a new run is begun if there is none.
    Newest,
    /// This run is continued, in a new attempt: the name of a folder in the folder of runs, a path, or a run's id.
    Run(String),
}

/// The permissions of a run folder that is created, unless configured otherwise: only for this user.
const PRIVATE: u32 = 0o700;

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
    resume: Resume,
    versions: serde_json::Map<String, serde_json::Value>,
    parameters: serde_json::Map<String, serde_json::Value>,
    records_diff: bool,
    folder_mode: u32,
    pub(super) fork_state: Option<ForkState>,
    id: Option<String>,
    job: Option<Job>,
    /// This process is a command that `model-foundry run` has started.
    joins: bool,
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
            resume: Resume::No,
            versions: serde_json::Map::new(),
            parameters: serde_json::Map::new(),
            records_diff: false,
            folder_mode: PRIVATE,
            fork_state: None,
            id: None,
            job: None,
            joins: false,
        }
    }

    /// Continue an earlier run. Default: each start is a new run, in `<runs-dir>/<experiment>`, then
    /// `<experiment>-2`, and so on.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// A parameter of the experiment, such as a learning rate, which is recorded in run.json.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: serde_json::Value) -> Self {
        self.parameters.insert(name.to_owned(), value);
        self
    }

    /// The version of something that the training uses, which is recorded in run.json.
    #[must_use]
    pub fn version(mut self, name: &str, version: &str) -> Self {
        self.versions.insert(name.to_owned(), version.into());
        self
    }

    /// Whether the changes of tracked files since the commit are recorded, as a patch in the run folder. Default:
    /// false.
    #[must_use]
    pub fn record_diff(mut self, records_diff: bool) -> Self {
        self.records_diff = records_diff;
        self
    }

    /// The permissions of the run folder, if it is created. Default: 0o700, only for this user.
    #[must_use]
    pub fn folder_mode(mut self, mode: u32) -> Self {
        self.folder_mode = mode & 0o777;
        self
    }

    /// The folder of runs. Default: `runs`.
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

    /// The run's id, by which its processes find it: those that are open at the same time share it, and a later one
    /// begins another attempt. Default: the value of MODEL_FOUNDRY_RUN_ID.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// This process's rank among several. Default: the value of RANK, SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMIX_RANK or
    /// PMI_RANK.
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

    /// Open the run: create its folder, or repair what a crash left in it; begin an attempt, or join the current one.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the folder cannot be created, holds another experiment's run, has a newer format than
    /// [`FORMAT_VERSION`](crate::FORMAT_VERSION), or if one of its files is not a regular file; [`Error::Invalid`] if
    /// the experiment's name cannot name a folder, or if there is no such run to resume; [`Error::Config`] if the
    /// configuration breaks a rule; [`Error::Component`] if the component cannot be started. Nothing is left half
    /// written.
    pub fn open(mut self) -> Result<Run> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Runtime::shared()?,
        };
        let place = self.place(&runtime)?;
        // What may take time, or fail, comes before the folder is touched and its lock taken.
        let services = HostServices::new(Files::nowhere(), self.clock.clone());
        let mut sandbox = Sandbox::start(&runtime, services)?;
        let is_given = self.logging.is_some();
        let config = self.logging.take().unwrap_or_default();
        let logging = serde_json::to_value(&config).unwrap_or_default();
        self.sections.insert("logging".to_owned(), logging);
        // A configuration built in code has to keep the rules too.
        match config::check(&mut sandbox, &self.sections, "the logging configuration") {
            // A component that fails does not stop training.
            Ok(_) | Err(Error::Trap(_)) => {}
            Err(error) => return Err(error),
        }
        let (sampler, device, commit) = match &self.fork_state {
            Some(ForkState { seen, device, commit, .. }) => {
                let sampler = Sampler::inherited(self.nvml.clone(), seen.clone());
                (sampler, device.clone(), commit.clone())
            }
            None => {
                let (sampler, device) = Sampler::new(self.nvml.clone());
                (sampler, device, Commit::of(Path::new(".")))
            }
        };
        let rank = self.rank.or_else(|| job::rank(&ProcessEnvironment));
        let Opened { folder, dir, changing, live, occupancy, begins, is_restart, known, notes } =
            self.open_place(place, rank)?;

        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let network = || network::is_network_file_system(&dir);
        let shard = rank.filter(|_| self.shards.unwrap_or_else(network));
        let now = self.clock.now();
        let origin = self.origin(&device, &commit, rank, &dir);
        let (id, attempts, extra) =
            known.map(|known| (known.id, known.attempts, known.extra)).unwrap_or_default();
        let given_id = self.job.as_ref().and_then(|job| job.run_id.clone());
        let mut manifest = Manifest {
            format_version: manifest::FORMAT_VERSION,
            id: id.or(given_id).or_else(|| Some(new_id(now, std::process::id()))),
            experiment: self.experiment.clone(),
            git_hash: commit.hash.clone(),
            device,
            host: Host::this(),
            command: masked_command(&self.command),
            parameters: self.parameters.clone(),
            configuration: self.sections.clone(),
            attempts,
            extra,
        };
        let for_the_component = for_component(&config, is_given);
        let begins = begins || manifest.attempts.is_empty();
        let before = manifest.attempts.last().filter(|_| begins).cloned();
        let (attempt, written) = if begins {
            let start = rfc3339(now);
            let beginning =
                Beginning { origin, start, now, config: &for_the_component, is_restart };
            AttemptWriter::begin(&dir, &mut manifest, beginning)
        } else {
            (AttemptWriter::join(&manifest, self.fork_state.is_some()), Ok(()))
        };
        if let Some(job) = &self.job {
            members::join(&dir, attempt.number(), job, rank);
        }

        let synced = config.durability == Durability::Synced;
        let alone = occupancy == Occupancy::Alone;
        let mut files = Files::new(dir.try_clone().map_err(in_folder)?, shard, synced, alone);
        files.recreate_at(std::path::absolute(&folder).ok());
        files.set_retained_files(config.max_log_files);
        files.check_kinds().map_err(|(name, problem)| Error::path(folder.join(name), problem))?;
        if let Some(disk) = self.disk.take() {
            files.set_disk(disk);
        }
        if alone {
            // No process can join while the lock is held, so a torn line is not a record in progress.
            files.repair_all();
        }
        drop(changing);
        let writes_copies = self.joins && rank.unwrap_or(0) == 0;
        let copies = attempt.copies(&manifest, &for_the_component, now, writes_copies);
        let copies = copies.map(|(names, mut info)| {
            files.set_copies(names);
            // A copy of the same W&B run goes on where that of a killed attempt ended.
            let before = before.filter(|before| before.wandb_id.as_ref() == Some(&info.id));
            let file = part_name("metrics.jsonl", Part { rank: shard, rotated: 0 });
            info.unsent = before.map(|it| copies::unsent(&dir, &it, &file)).unwrap_or_default();
            info
        });
        // A job of one process has a rank too.
        let is_alone = job::world_size(&ProcessEnvironment) == Some(1);
        let options = Options {
            attempt: attempt.number(),
            rank: rank.filter(|_| !is_alone),
            shard,
            copies,
            ..Options::default()
        };
        *sandbox.services()?.files() = files;
        let has_copies = options.copies.is_some();
        let guest = GuestLoggers::new(sandbox, &for_the_component, options, rank);
        let guest = Arc::new(Mutex::new(guest));
        if has_copies {
            // Without the thread a copy is complete with the next row.
            let _ = keep_complete(&guest);
        }
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
            commit,
            manifest: Mutex::new(manifest),
            column_sets: Mutex::default(),
            attempt: Mutex::new(attempt),
            config,
            minimum_level,
            clock: self.clock,
            rank,
            shards: shard.is_some(),
            live: Mutex::new(Some(live)),
            has_gone_back: false.into(),
        });
        end_on_termination(&(core.clone() as Arc<dyn EndedBySignal>));
        if let Err(error) = written {
            let manifest = core.folder.join(manifest::MANIFEST);
            let problem = format!("cannot write {}: {error}", manifest.display());
            core.policy.report(&format!("{problem}; it will be retried when the attempt ends"));
        }
        let run = Run { core };
        for note in notes {
            warn(&run.core, &note);
        }
        run.log_repaired_tails()?;
        if self.joins {
            run.core.attempt.lock().mark_library(&run.core.dir, &self.versions);
        }
        Ok(run)
    }

    /// Where the run is. Takes the experiment's name and the configuration from a run that this process joins.
    fn place(&mut self, runtime: &Runtime) -> Result<Place> {
        if self.fork_state.is_none() {
            let rank = self.rank.or_else(|| job::rank(&ProcessEnvironment));
            self.job = match self.id.take() {
                Some(id) => Some(Job::of_run(&ProcessEnvironment, id)),
                None => Job::of(&ProcessEnvironment, rank),
            };
        }
        if let Some(folder) = &self.folder {
            return Ok(Place::Folder(folder.clone()));
        }
        // A command inside `run` that is `run` again would log the same output twice.
        let is_inner = self.supervises && std::env::var_os(SUPERVISED_VARIABLE).is_some();
        if let Some(folder) = std::env::var_os(RUN_DIR_VARIABLE).filter(|_| !is_inner) {
            let folder = PathBuf::from(folder);
            if let Some((experiment, logging)) = recorded(&folder, runtime) {
                self.joins = !self.supervises && std::env::var_os(SUPERVISED_VARIABLE).is_some();
                self.experiment = experiment;
                self.logging.get_or_insert(logging);
            }
            return Ok(Place::Folder(folder));
        }
        folder_name(&self.experiment)?;
        let runs = RunsDir::new(&self.runs_dir, self.folder_mode);
        Ok(match &self.resume {
            Resume::No if self.job.is_some() => Place::Job(runs),
            Resume::No => Place::New(runs),
            Resume::Newest => match runs.newest(&self.experiment) {
                Some(folder) => Place::Resumed(runs, folder),
                None => Place::New(runs),
            },
            Resume::Run(run) => match runs.find(run) {
                Some(folder) => {
                    if let Some((experiment, _)) = recorded(&folder, runtime) {
                        self.experiment = experiment;
                    }
                    Place::Resumed(runs, folder)
                }
                None => {
                    return Err(Error::Invalid(format!(
                        "there is no run {run:?} in {}: give the name of a folder there, a path, or a run's id",
                        self.runs_dir.display()
                    )));
                }
            },
        })
    }

    /// Open the folder of a run, and decide whether this process begins an attempt.
    fn open_place(&self, place: Place, rank: Option<u32>) -> Result<Opened> {
        match place {
            Place::Folder(folder) => {
                let mut opened = self.open_folder(folder)?;
                opened.begins = match (&self.job, opened.membership(self.job.as_ref(), rank)) {
                    // The parent began an attempt, and may have ended since.
                    _ if self.fork_state.is_some() => false,
                    (Some(_), Membership::New) => false,
                    // Without locks the first rank begins an attempt, and the others join it.
                    _ => match opened.occupancy {
                        Occupancy::Alone => true,
                        Occupancy::Others => false,
                        Occupancy::Unknown => rank.unwrap_or(0) == 0,
                    },
                };
                opened.is_restart = self.is_restart(&opened);
                Ok(opened)
            }
            Place::New(runs) => self.open_folder(runs.create_run(&self.experiment)?),
            Place::Job(runs) => {
                let Some(job) = &self.job else { return self.open_place(Place::New(runs), rank) };
                let _looking = runs.lock_jobs();
                let JobRun { mut folder, mut next } = runs.of_job(&self.experiment, &job.key);
                loop {
                    if let Some(folder) = folder
                        && let Some(opened) = self.open_as_member(folder, job, rank)?
                    {
                        return Ok(opened);
                    }
                    let created = runs.create_run(&self.experiment)?;
                    folder = Some(runs.claim_for_job(&self.experiment, &job.key, next, created)?);
                    next += 1;
                }
            }
            Place::Resumed(runs, folder) => {
                let shown = folder.display().to_string();
                let problem = match self.open_folder(folder) {
                    Ok(mut opened) => {
                        let membership = opened.membership(self.job.as_ref(), rank);
                        match (opened.occupancy, membership) {
                            (_, Membership::New) => return Ok(opened.joining()),
                            (Occupancy::Others, _) => "it is still being logged".to_owned(),
                            _ => {
                                opened.is_restart = self.is_restart(&opened);
                                return Ok(opened);
                            }
                        }
                    }
                    Err(error) => error.to_string(),
                };
                // The training starts all the same.
                let mut opened = self.open_place(Place::New(runs), rank)?;
                let new = opened.folder.display();
                let note = format!("cannot resume {shown}: {problem}; logging to {new} instead");
                opened.notes.push(note);
                Ok(opened)
            }
        }
    }

    /// Open the run of a job, unless this process does not belong to it.
    fn open_as_member(
        &self,
        folder: PathBuf,
        job: &Job,
        rank: Option<u32>,
    ) -> Result<Option<Opened>> {
        let Ok(mut opened) = self.open_folder(folder) else { return Ok(None) };
        let is_alive = opened.occupancy == Occupancy::Others;
        let is_new = opened.known.as_ref().is_none_or(|known| known.attempts.is_empty());
        Ok(match opened.membership(Some(job), rank) {
            Membership::First => {
                opened.is_restart = job.is_restarted();
                let belongs = is_new || job.run_id.is_some() || job.is_restarted();
                belongs.then_some(opened)
            }
            // A key that other jobs have too says something only of a job that is running.
            Membership::New if job.is_reused && !is_alive => None,
            Membership::New => Some(opened.joining()),
            // The user has named this run.
            Membership::Again if job.run_id.is_some() => {
                Some(if is_alive { opened.joining() } else { opened })
            }
            Membership::Again => None,
        })
    }

    /// Whether the scheduler has restarted the job that the latest attempt was a part of.
    fn is_restart(&self, opened: &Opened) -> bool {
        let latest = opened.known.as_ref().and_then(Manifest::latest);
        let job = latest.and_then(|attempt| attempt.origin.job.as_deref());
        self.job.as_ref().is_some_and(|own| own.is_restarted() && job == Some(&own.key))
    }

    /// Open a run folder, which is created if it is missing, and lock it.
    fn open_folder(&self, folder: PathBuf) -> Result<Opened> {
        let dir = open_folder(&folder, self.folder_mode)?;
        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let mut notes = Vec::new();
        let changing = locks::change(&dir, locks::PATIENCE).map_err(in_folder)?;
        if let locks::Change::Busy(holder) = &changing {
            let holder = holder.as_ref().map_or_else(|| "a process".into(), ToString::to_string);
            notes.push(format!(
                "{}: {holder} has held the folder's lock for {} s; the run is opened without it",
                folder.display(),
                locks::PATIENCE.as_secs()
            ));
        }
        let (occupancy, live) = locks::join(&dir).map_err(in_folder)?;
        let known = match Manifest::read(&dir) {
            Ok(known) => known,
            Err(error) if manifest::newer_version(&dir).is_some() => {
                return Err(Error::path(folder.join(manifest::MANIFEST), error));
            }
            Err(error) => {
                let (rebuilt, aside) =
                    manifest::rebuild(&dir, &self.experiment).map_err(in_folder)?;
                notes.push(format!(
                    "{}: run.json cannot be used ({error}); it was moved to {aside}, and a new one was made",
                    folder.display()
                ));
                Some(rebuilt)
            }
        };
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
        Ok(Opened {
            folder,
            dir,
            changing,
            live,
            occupancy,
            begins: true,
            is_restart: false,
            known,
            notes,
        })
    }

    /// What an attempt that this process begins is started with.
    fn origin(&self, device: &str, commit: &Commit, rank: Option<u32>, dir: &Dir) -> Origin {
        let mut versions = serde_json::Map::new();
        versions.insert("model_foundry".into(), env!("CARGO_PKG_VERSION").into());
        versions.extend(self.versions.clone());
        let git_diff = if self.records_diff && commit.is_dirty == Some(true) {
            let diff = origin::diff(Path::new("."));
            let number = |n: u32| format!("git-{n}.diff");
            let name = (1..).map(number).find(|name| !dir.exists(name)).unwrap_or_default();
            // Without it the attempt is still known to differ from its commit.
            diff.filter(|diff| replace(dir, &name, diff.as_bytes()).is_ok()).map(|_| name)
        } else {
            None
        };
        let directory = std::env::current_dir().ok();
        Origin {
            command: Some(quoted(&masked_command(&self.command))),
            directory: directory.map(|directory| directory.to_string_lossy().into_owned()),
            git_hash: Some(commit.hash.clone()),
            git_dirty: commit.is_dirty,
            git_diff,
            host: Some(Host::this().name),
            device: Some(device.to_owned()),
            rank,
            world_size: job::world_size(&ProcessEnvironment),
            job: self.job.as_ref().map(|job| job.key.clone()),
            versions,
            environment: origin::environment(),
            parameters: self.parameters.clone(),
            configuration: self.sections.clone(),
        }
    }
}

/// Where a run is.
enum Place {
    /// In this folder, which may hold a run already.
    Folder(PathBuf),
    /// In a folder of its own.
    New(RunsDir),
    /// In the folder that the processes of this job share.
    Job(RunsDir),
    /// In the folder of an earlier run.
    Resumed(RunsDir, PathBuf),
}

/// A run folder that is open and locked.
struct Opened {
    folder: PathBuf,
    dir: Dir,
    changing: locks::Change,
    live: locks::Lock,
    occupancy: Occupancy,
    /// Whether this process begins an attempt.
    begins: bool,
    /// Whether the scheduler has restarted the latest attempt's job.
    is_restart: bool,
    known: Option<Manifest>,
    /// What was wrong in the folder.
    notes: Vec<String>,
}

impl Opened {
    fn joining(self) -> Self {
        Self { begins: false, ..self }
    }

    fn membership(&self, job: Option<&Job>, rank: Option<u32>) -> Membership {
        let latest = self.known.as_ref().and_then(Manifest::latest);
        match (job, latest) {
            (Some(job), Some(latest)) => members::membership(&self.dir, latest.attempt, job, rank),
            _ => Membership::First,
        }
    }
}

/// The experiment and the logging configuration of the run in a folder.
fn recorded(folder: &Path, runtime: &Runtime) -> Option<(String, LoggingConfig)> {
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).ok()?;
    let manifest = Manifest::read(&dir).ok()??;
    let text = serde_json::to_string(&manifest.configuration).ok()?;
    let config = ConfigReader::new(runtime).ok()?.read(&text, Format::Json, "run.json").ok()?;
    Some((manifest.experiment, config.logging))
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
        Value::Json(json) => serde_json::from_str(&large_integers::quoted(json))
            .unwrap_or_else(|_| json.as_str().into()),
    }
}

/// Open a folder, which is created with this mode if it is missing.
fn open_folder(folder: &Path, mode: u32) -> Result<Dir> {
    let failed = |error| Error::path(folder, format!("cannot create the run folder: {error}"));
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        created => created.map_err(failed)?,
    }
    Dir::open_ambient_dir(folder, ambient_authority())
        .map_err(|error| Error::path(folder, format!("cannot open the run folder: {error}")))
}
