//! Random programs of logging, crashing, reopening and repairing, compared with a simple model of what must be on
//! the disk.

use std::io::Write as _;

use anyhow::Result;
use model_foundry::{Durability, LoggingConfig, Query, Run, RunReader, Status, fields};
use model_foundry_tests::{EVERYTHING, Experiment, NO_EPOCH, without_wandb};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

/// One action of a program.
#[derive(Clone, Debug)]
enum Action {
    /// Log the metrics of the next step, with this much padding.
    Step { padding: usize },
    /// Log a record with this much padding. Large ones make main.log rotate.
    Record { padding: usize },
    /// Log an error.
    Error,
    /// Go back this many steps, and log two.
    Rewind { steps: u64 },
    /// Die in the middle of a write to each file: a share of the next record is on the disk.
    Crash { metrics: f64, main: f64 },
    /// End the run and open it again.
    Reopen,
    /// Open the run a second time, as another process does, log a step and close it.
    Visit,
    /// End the run, repair its files, and open it again.
    Repair,
}

/// What must be on the disk.
#[derive(Default)]
struct Model {
    /// The attempt, step and number of each line of metrics.jsonl, in order.
    metrics: Vec<(u64, u64, u64)>,
    /// The numbers of the records of main.log and of errors.jsonl, in order.
    records: Vec<u64>,
    errors: Vec<u64>,
    /// How each earlier attempt ended.
    ended: Vec<Status>,
    step: u64,
    number: u64,
}

/// The run under test, and its model.
struct World {
    experiment: Experiment,
    config: LoggingConfig,
    run: Option<Run>,
    /// Another process logged too since the run was opened. Its step is missing in the statistics of the run.
    visited: bool,
    model: Model,
}

impl World {
    fn new(durability: Durability) -> Result<Self> {
        let config = LoggingConfig {
            max_log_size_mb: 1,
            max_log_files: 1000,
            durability,
            flush_interval_ms: 3_600_000,
            ..without_wandb()
        };
        let mut world = Self {
            experiment: Experiment::new(),
            config,
            run: None,
            visited: false,
            model: Model::default(),
        };
        world.open()?;
        Ok(world)
    }

    fn open(&mut self) -> Result<()> {
        self.run = Some(self.experiment.builder().config(self.config.clone()).open()?);
        self.visited = false;
        Ok(())
    }

    fn run(&self) -> &Run {
        self.run.as_ref().expect("a run is open between actions")
    }

    fn attempt(&self) -> u64 {
        self.model.ended.len() as u64 + 1
    }

    fn end(&mut self) {
        self.run = None;
        self.model.ended.push(Status::Completed);
    }

    fn log_step(&mut self, padding: usize) -> Result<()> {
        self.model.number += 1;
        let (step, number) = (self.model.step, self.model.number);
        let fields = fields! { number, padding: "x".repeat(padding) };
        self.run().metrics().log_step(step, NO_EPOCH, &fields)?;
        let attempt = self.attempt();
        self.model.metrics.push((attempt, step, number));
        self.model.step += 1;
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match *action {
            Action::Step { padding } => self.log_step(padding)?,
            Action::Rewind { steps } => {
                self.model.step = self.model.step.saturating_sub(steps);
                for _ in 0..2 {
                    self.log_step(0)?;
                }
            }
            Action::Record { padding } => {
                self.model.number += 1;
                let number = self.model.number;
                let fields = fields! { number, padding: "x".repeat(padding) };
                self.run().logger("trainer").info("a record", &fields)?;
                self.model.records.push(number);
            }
            Action::Error => {
                self.model.number += 1;
                let number = self.model.number;
                self.run().errors().log("ValueError", "", "", &fields! { number })?;
                self.model.errors.push(number);
            }
            Action::Crash { metrics, main } => self.crash(metrics, main)?,
            Action::Reopen => {
                self.end();
                self.open()?;
            }
            Action::Visit => {
                // The buffered records come before the visitor's.
                self.run().flush();
                let visitor = self.experiment.builder().config(self.config.clone()).open()?;
                let before = self.run.replace(visitor);
                self.log_step(0)?;
                self.run = before;
                self.visited = true;
            }
            Action::Repair => {
                self.end();
                RunReader::open(self.experiment.folder())?.repair()?;
                self.open()?;
            }
        }
        Ok(())
    }

    /// Leave what `kill -9` leaves: the acknowledged records, a share of the record being written, and a manifest
    /// with the attempt still running.
    fn crash(&mut self, metrics: f64, main: f64) -> Result<()> {
        // The model has every record on the disk, so nothing may be lost in the queue of `buffered`.
        self.run().flush();
        let path = self.experiment.path("run.json");
        let manifest = std::fs::read(&path)?;
        self.run = None;
        std::fs::write(&path, manifest)?;
        for (file, share) in [("metrics.jsonl", metrics), ("main.log", main)] {
            let path = self.experiment.path(file);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let next = text.lines().last().unwrap_or("{\"timestamp\":\"").as_bytes();
            let torn = &next[..(next.len() as f64 * share) as usize];
            // Only the newline is missing: it is a record.
            if let Ok(record) = serde_json::from_slice::<Value>(torn) {
                let number = |value: &Value| value.as_u64();
                if file == "main.log" {
                    self.model.records.extend(number(&record["context"]["number"]));
                } else {
                    let attempt = number(&record["attempt"]).unwrap_or(1);
                    let step = number(&record["step"]).expect("a step");
                    let number = number(&record["metrics"]["number"]).expect("a number");
                    self.model.metrics.push((attempt, step, number));
                }
            }
            let mut bytes = torn.to_vec();
            if !torn.is_empty() && !text.is_empty() && !text.ends_with('\n') {
                // As every record after a line that lacks its newline.
                bytes.insert(0, b'\n');
            }
            std::fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(&bytes)?;
        }
        self.model.ended.push(Status::Died);
        // Before the next attempt repairs the files, readers skip the torn ends.
        self.reads_what_it_must()?;
        self.open()
    }

    /// The step and number of each entry that a reader returns.
    fn entries(&self, all_attempts: bool) -> Result<Vec<(u64, u64)>> {
        if !self.experiment.path("metrics.jsonl").exists() {
            return Ok(Vec::new());
        }
        let query = Query { all_attempts, ..EVERYTHING };
        let entries = RunReader::open(self.experiment.folder())?.entries(query)?;
        let number = |value: &Value| value.as_u64().expect("a number");
        let entry = |entry: &serde_json::Map<String, Value>| {
            (number(&entry["step"]), number(&entry["metrics"]["number"]))
        };
        Ok(entries.iter().map(entry).collect())
    }

    fn reads_what_it_must(&self) -> Result<()> {
        let all: Vec<_> = self.model.metrics.iter().map(|&(_, step, n)| (step, n)).collect();
        assert_eq!(self.entries(true)?, all);
        // Without the entries whose step a later attempt logged again.
        let latest: Vec<_> = self
            .model
            .metrics
            .iter()
            .filter(|(attempt, step, _)| {
                let mut later = self.model.metrics.iter().filter(|(other, ..)| other > attempt);
                later.all(|(_, other, _)| other != step)
            })
            .map(|&(_, step, number)| (step, number))
            .collect();
        assert_eq!(self.entries(false)?, latest);
        Ok(())
    }

    /// The numbers in a file and its rotated files, oldest first.
    fn numbers(&self, file: &str) -> Vec<u64> {
        let files = self.experiment.with_rotated(file);
        let records = files.iter().flat_map(|file| self.experiment.records(file));
        records.filter_map(|record| record["context"]["number"].as_u64()).collect()
    }

    /// End the run: everything is there, once, in order, and undamaged.
    fn holds_what_it_must(mut self) -> Result<()> {
        self.run().flush();
        self.reads_what_it_must()?;
        if !self.visited {
            let live = self.run().metrics().statistics("number")?;
            let logged: Vec<_> = self.entries(false)?.into_iter().map(|(_, n)| n as f64).collect();
            assert_eq!(live.count, logged.len() as u64, "the logger counts what is in the file");
            let mean = logged.iter().sum::<f64>() / logged.len() as f64;
            assert!(logged.is_empty() || (live.mean - mean).abs() < 1e-6, "{live:?}, not {mean}");
        }
        self.end();

        assert_eq!(self.numbers("main.log"), self.model.records);
        assert_eq!(self.numbers("errors.jsonl"), self.model.errors);
        self.experiment.assert_undamaged();
        let manifest = self.experiment.manifest();
        let ended: Vec<_> =
            manifest.attempts.iter().map(|attempt| attempt.status.clone()).collect();
        assert_eq!(ended, self.model.ended);
        Ok(())
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let padding = prop_oneof![4 => 0_usize..200, 1 => 100_000_usize..400_000];
    let share = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
    let action = prop_oneof![
        6 => padding.clone().prop_map(|padding| Action::Step { padding }),
        6 => padding.prop_map(|padding| Action::Record { padding }),
        1 => Just(Action::Error),
        2 => (1_u64..6).prop_map(|steps| Action::Rewind { steps }),
        3 => (share(), share()).prop_map(|(metrics, main)| Action::Crash { metrics, main }),
        1 => Just(Action::Reopen),
        1 => Just(Action::Visit),
        1 => Just(Action::Repair),
    ];
    prop::collection::vec(action, 1..40)
}

fn programs_do_what_the_model_does(durability: Durability, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let result = runner.run(&actions(), |actions| {
        let mut world = World::new(durability).expect("a run");
        for action in &actions {
            world.act(action).expect("every action succeeds");
        }
        world.holds_what_it_must().expect("everything is read");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn programs_of_immediate_logging_and_crashes_do_what_the_model_does() {
    programs_do_what_the_model_does(Durability::Immediate, 48);
}

#[test]
fn programs_of_buffered_logging_and_crashes_do_what_the_model_does() {
    programs_do_what_the_model_does(Durability::Buffered, 24);
}
