//! The job of which this process is a part: what the launcher and the scheduler say in the environment.
//!
//! The ranks of one job log to one run. Two starts of the same script are two runs, also inside one allocation of a
//! scheduler: there a rank that logs already is started again, and nothing says that the scheduler restarted it.
//! Processes for which no launcher set a rank are starts of their own.

use std::path::Path;

/// The variable by which a user names the run that a process logs to.
pub(crate) const RUN_ID_VARIABLE: &str = "MODEL_FOUNDRY_RUN_ID";

/// A process's place among those that log to one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// What is the same in every process of the job, and in no other job.
    pub(crate) key: String,
    /// How often the scheduler and the launcher have restarted the job. Each restart is an attempt.
    pub(crate) restarts: String,
    /// Whether another job may have the same key at another time.
    pub(crate) is_reused: bool,
    /// The run's id, if the user has given one. Its processes log to that run and to no other.
    pub(crate) run_id: Option<String>,
}

/// Reads the environment. A test passes its own.
pub(crate) trait Environment {
    /// A variable's value; none if it is empty.
    fn get(&self, name: &str) -> Option<String>;
    /// The process that started this one, as a text that no other process has.
    fn parent(&self) -> Option<String>;
}

/// This process's environment.
pub(crate) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|it| !it.is_empty())
    }

    fn parent(&self) -> Option<String> {
        let parent = std::os::unix::process::parent_id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let started = started(parent)?;
        Some(format!("{}-{parent}-{started}", boot.trim()))
    }
}

/// When a process was started, in clock ticks since the machine was; see proc_pid_stat(5).
fn started(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    // The program's name is in parentheses and may contain anything.
    let stat = stat.ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// The variables in which launchers set a process's rank: torchrun and DeepSpeed, Slurm, Open MPI, PMIx, MPICH,
/// MVAPICH, Cray PALS, Flux, and PBS' pbsdsh.
const RANKS: [&str; 9] = [
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "MV2_COMM_WORLD_RANK",
    "PALS_RANKID",
    "FLUX_TASK_RANK",
    "PBS_VNODENUM",
];

/// The variables in which they set the number of processes.
const WORLD_SIZES: [&str; 6] = [
    "WORLD_SIZE",
    "SLURM_NTASKS",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "FLUX_JOB_SIZE",
];

/// The variables that identify a job, with the names by which run.json has them. TORCHELASTIC_RUN_ID is "none" unless
/// the user gives one.
const JOBS: [(&str, &str); 7] = [
    ("SLURM_JOB_ID", "slurm"),
    ("PBS_JOBID", "pbs"),
    ("LSB_JOBID", "lsf"),
    ("FLUX_JOB_ID", "flux"),
    ("TORCHELASTIC_RUN_ID", "torchelastic"),
    ("PMIX_NAMESPACE", "pmix"),
    ("OMPI_MCA_ess_base_jobid", "openmpi"),
];

/// An array of jobs has one id at PBS and LSF; the index differs.
const ARRAY_INDICES: [&str; 3] = ["SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "LSB_JOBINDEX"];

/// The rank that the launcher set, if it set one.
pub(crate) fn rank(environment: &impl Environment) -> Option<u32> {
    RANKS.iter().find_map(|name| environment.get(name)?.parse().ok())
}

/// The number of processes that the launcher set, if it set one.
pub(crate) fn world_size(environment: &impl Environment) -> Option<u32> {
    WORLD_SIZES.iter().find_map(|name| environment.get(name)?.parse().ok())
}

fn restarts(environment: &impl Environment) -> String {
    ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"]
        .map(|name| environment.get(name).unwrap_or_else(|| "0".into()))
        .join(".")
}

impl Job {
    /// The job of which this process is a part; none if it was started by itself.
    pub(crate) fn of(environment: &impl Environment, rank: Option<u32>) -> Option<Self> {
        if let Some(id) = environment.get(RUN_ID_VARIABLE) {
            return Some(Self::of_run(environment, id));
        }
        let restarts = restarts(environment);
        let known: Vec<String> = JOBS
            .iter()
            .filter_map(|(variable, name)| Some((name, environment.get(variable)?)))
            .filter(|(name, id)| **name != "torchelastic" || id != "none")
            .map(|(name, id)| format!("{name}={id}"))
            .collect();
        if !known.is_empty() {
            let index = ARRAY_INDICES.iter().find_map(|name| environment.get(name));
            let index = index.map(|index| format!("index={index}"));
            let key = known.into_iter().chain(index).collect::<Vec<_>>().join(",");
            return Some(Self { key, restarts, is_reused: false, run_id: None });
        }
        // Ranks that a launcher without a job id started.
        rank?;
        let size = world_size(environment).map(|size| size.to_string()).unwrap_or_default();
        let local = environment.get("LOCAL_WORLD_SIZE").unwrap_or_else(|| size.clone());
        let (key, is_reused) = match environment.get("MASTER_ADDR") {
            Some(master) if local != size => {
                let port = environment.get("MASTER_PORT").unwrap_or_default();
                (format!("master={master}:{port},size={size}"), true)
            }
            _ => (format!("launcher={}", environment.parent()?), false),
        };
        Some(Self { key, restarts, is_reused, run_id: None })
    }

    /// The processes that log to the run with this id.
    pub(crate) fn of_run(environment: &impl Environment, id: String) -> Self {
        let (key, restarts) = (format!("id={id}"), restarts(environment));
        Self { key, restarts, is_reused: false, run_id: Some(id) }
    }

    /// Whether the scheduler or the launcher has restarted the job.
    pub(crate) fn is_restarted(&self) -> bool {
        self.restarts != "0.0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(&'static [(&'static str, &'static str)]);

    impl Environment for Given {
        fn get(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }

        fn parent(&self) -> Option<String> {
            Some("parent".into())
        }
    }

    fn key(given: &'static [(&'static str, &'static str)]) -> Option<String> {
        let given = Given(given);
        Job::of(&given, rank(&given)).map(|job| job.key)
    }

    #[test]
    fn a_job_is_identified_by_its_scheduler_or_its_launcher() {
        for (given, expected) in [
            (&[("SLURM_JOB_ID", "7"), ("SLURM_PROCID", "3")][..], Some("slurm=7")),
            (&[("PBS_JOBID", "7.head"), ("PBS_ARRAY_INDEX", "2")], Some("pbs=7.head,index=2")),
            (&[("LSB_JOBID", "7")], Some("lsf=7")),
            (&[("TORCHELASTIC_RUN_ID", "a"), ("RANK", "0")], Some("torchelastic=a")),
            (
                &[("SLURM_JOB_ID", "7"), ("TORCHELASTIC_RUN_ID", "a"), ("RANK", "0")],
                Some("slurm=7,torchelastic=a"),
            ),
            (&[("TORCHELASTIC_RUN_ID", "none"), ("RANK", "0")], Some("launcher=parent")),
            (
                &[
                    ("TORCHELASTIC_RUN_ID", "none"),
                    ("RANK", "9"),
                    ("WORLD_SIZE", "16"),
                    ("LOCAL_WORLD_SIZE", "8"),
                    ("MASTER_ADDR", "node1"),
                    ("MASTER_PORT", "29500"),
                ],
                Some("master=node1:29500,size=16"),
            ),
            (&[("RANK", "0")], Some("launcher=parent")),
            (&[("MODEL_FOUNDRY_RUN_ID", "mine"), ("SLURM_JOB_ID", "7")], Some("id=mine")),
            (&[("WORLD_SIZE", "2")], None),
            (&[], None),
        ] {
            assert_eq!(key(given).as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_restart_is_counted_by_the_scheduler_and_by_the_launcher() {
        let given = Given(&[("SLURM_JOB_ID", "7"), ("SLURM_RESTART_COUNT", "2")]);
        let job = Job::of(&given, None).unwrap();
        assert!(job.is_restarted());
        assert_eq!(job.restarts, "2.0");
        assert!(!Job::of(&Given(&[("SLURM_JOB_ID", "7")]), None).unwrap().is_restarted());
    }

    #[test]
    fn the_start_of_this_process_is_known() {
        let own = started(std::process::id()).expect("its start");
        assert!(own.bytes().all(|byte| byte.is_ascii_digit()), "{own}");
        assert!(ProcessEnvironment.parent().is_some());
    }
}
