//! Each start is a run of its own, the ranks of a job share one, and a restarted job resumes.

use std::fs;
use std::process::Stdio;

use anyhow::Result;
use model_foundry_tests::{Workplace, eventually, printed_json, text};
use serde_json::{Value, json};

/// Prints a step.
const STEP: &str = "echo 'step 1: loss 0.5'";

/// The names of the folders of runs, sorted.
fn folders(place: &Workplace) -> Vec<String> {
    let entries = fs::read_dir(place.path("runs")).expect("the folder of runs").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn manifest(place: &Workplace, run: &str) -> Value {
    let text = fs::read_to_string(place.path("runs").join(run).join("run.json"));
    serde_json::from_str(&text.expect("run.json")).expect("JSON")
}

fn steps(place: &Workplace, run: &str) -> usize {
    let text = fs::read_to_string(place.path("runs").join(run).join("metrics.jsonl"));
    text.unwrap_or_default().lines().count()
}

/// `run` as a part of a job, whose launcher and scheduler set these variables.
fn run_in_job(place: &Workplace, variables: &[(&str, &str)], options: &[&str], script: &str) {
    let before = ["run", "--quiet", "--experiment", "tiny"];
    let arguments = [&before, options, &["--", "sh", "-c", script]].concat();
    let mut command = place.command(&arguments);
    let output = command.envs(variables.iter().copied()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn two_starts_are_two_runs() {
    let place = Workplace::new();
    let script = format!("{STEP}; sleep 1");
    let start = || {
        let arguments = ["run", "--quiet", "--experiment", "tiny", "--", "sh", "-c", &script];
        place.command(&arguments).stdout(Stdio::null()).spawn().expect("the program starts")
    };
    // At the same time, and one after the other.
    for mut process in [start(), start()] {
        assert!(process.wait().expect("it ends").success());
    }
    place.run(&["--quiet"], STEP);

    assert_eq!(folders(&place), ["tiny", "tiny-2", "tiny-3"]);
    for run in folders(&place) {
        assert_eq!(steps(&place, &run), 1, "{run}");
        assert_eq!(manifest(&place, &run)["attempts"].as_array().map(Vec::len), Some(1));
    }
    let ids: Vec<_> =
        folders(&place).iter().map(|run| manifest(&place, run)["id"].clone()).collect();
    assert!(ids[0].is_string() && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[test]
fn a_run_is_resumed_by_its_name_its_path_or_its_id() {
    let place = Workplace::new();
    place.run(&["--quiet"], STEP);
    place.run(&["--quiet"], STEP);
    let id = manifest(&place, "tiny")["id"].as_str().expect("an id").to_owned();

    place.run(&["--quiet", "--resume"], STEP);
    assert_eq!(manifest(&place, "tiny-2")["attempts"].as_array().map(Vec::len), Some(2));
    for run in ["tiny", "runs/tiny", &id] {
        place.run(&["--quiet", "--resume", run], STEP);
    }
    assert_eq!(manifest(&place, "tiny")["attempts"].as_array().map(Vec::len), Some(4));
    assert_eq!(folders(&place), ["tiny", "tiny-2"]);

    let refused = place.run(&["--resume", "nothing"], STEP);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("there is no run \"nothing\" in runs"));
    let first = place.model_foundry(&["run", "--resume", "--experiment", "new", "--", "true"]);
    assert_eq!(first.status.code(), Some(0), "without an earlier run it is a new one");
}

#[test]
fn a_run_that_is_being_logged_is_not_resumed_and_the_command_starts() -> Result<()> {
    let place = Workplace::new();
    let arguments =
        ["run", "--quiet", "--experiment", "tiny", "--", "sh", "-c", "echo x; sleep 60"];
    let mut running = place.command(&arguments).stdout(Stdio::null()).spawn()?;
    eventually("it logs", || place.path("runs/tiny/console.log").exists());

    let output = place.run(&["--resume"], STEP);

    assert_eq!(output.status.code(), Some(0));
    let errors = text(&output.stderr);
    assert!(errors.contains("cannot resume runs/tiny: it is still being logged"), "{errors}");
    assert_eq!((steps(&place, "tiny"), steps(&place, "tiny-2")), (0, 1));
    running.kill()?;
    running.wait()?;
    Ok(())
}

#[test]
fn the_ranks_of_a_job_share_a_run() {
    for job in
        ["SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "PBS_JOBID", "LSB_JOBID", "MODEL_FOUNDRY_RUN_ID"]
    {
        let place = Workplace::new();
        let ranks: Vec<_> = (0..4)
            .map(|rank| {
                let script = format!("echo 'step {rank}: loss 0.5'; sleep 0.3");
                let arguments =
                    ["run", "--quiet", "--experiment", "tiny", "--", "sh", "-c", &script];
                let mut command = place.command(&arguments);
                command.env(job, "42").env("RANK", rank.to_string()).stdout(Stdio::null());
                command.spawn().expect("the program starts")
            })
            .collect();
        for mut rank in ranks {
            assert!(rank.wait().expect("it ends").success());
        }
        // A rank whose lifetime does not overlap with theirs.
        run_in_job(&place, &[(job, "42"), ("RANK", "4")], &[], "echo 'step 4: loss 0.5'");

        assert_eq!(folders(&place), ["tiny"], "{job}");
        let run = manifest(&place, "tiny");
        assert_eq!(run["attempts"].as_array().map(Vec::len), Some(1), "{job}");
        assert_eq!(steps(&place, "tiny"), 5, "{job}");
        let history = place.model_foundry(&["history", "--json", "runs/tiny"]);
        assert_eq!(text(&history.stdout).lines().count(), 5, "{job}: no rank hides another");
        if job == "MODEL_FOUNDRY_RUN_ID" {
            assert_eq!(run["id"], "42");
        }
    }
}

#[test]
fn a_second_start_in_one_allocation_is_a_second_run() {
    let place = Workplace::new();
    let rank = |rank| [("SLURM_JOB_ID", "42"), ("SLURM_PROCID", rank)];
    for _ in 0..2 {
        run_in_job(&place, &rank("0"), &[], STEP);
        run_in_job(&place, &rank("1"), &[], STEP);
    }
    assert_eq!(folders(&place), ["tiny", "tiny-2"]);
    assert_eq!((steps(&place, "tiny"), steps(&place, "tiny-2")), (2, 2));
}

#[test]
fn two_starts_without_a_rank_in_one_allocation_never_mix() {
    for job in ["PBS_JOBID", "LSB_JOBID", "SLURM_JOB_ID", "FLUX_JOB_ID"] {
        let place = Workplace::new();
        let starts: Vec<_> = (0..2)
            .map(|_| {
                let script = "echo 'step 1: loss 0.5'; sleep 1";
                let arguments =
                    ["run", "--quiet", "--experiment", "tiny", "--", "sh", "-c", script];
                let mut command = place.command(&arguments);
                command.env(job, "42").stdout(Stdio::null()).spawn().expect("the program starts")
            })
            .collect();
        for mut start in starts {
            assert!(start.wait().expect("it ends").success());
        }
        assert_eq!(folders(&place), ["tiny", "tiny-2"], "{job}");
        assert_eq!((steps(&place, "tiny"), steps(&place, "tiny-2")), (1, 1), "{job}");
    }
}

#[test]
fn a_restarted_job_resumes_its_run() {
    for restarts in ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"] {
        let place = Workplace::new();
        for count in ["0", "1", "2"] {
            for rank in ["0", "1"] {
                let variables = [("SLURM_JOB_ID", "42"), ("SLURM_PROCID", rank), (restarts, count)];
                run_in_job(&place, &variables, &[], STEP);
            }
            // Another job's run comes between.
            run_in_job(&place, &[("SLURM_JOB_ID", "43"), ("SLURM_PROCID", "0")], &[], STEP);
        }
        let attempts = manifest(&place, "tiny")["attempts"].clone();
        assert_eq!(attempts.as_array().map(Vec::len), Some(3), "{restarts}: {attempts}");
        assert_eq!(attempts[0]["job"], "slurm=42");
    }
}

#[test]
fn the_configuration_names_the_experiment() {
    let place = Workplace::new();
    place.write("config.toml", "experiment_name = \"named\"\n[logging]\nmax_log_files = 3\n");
    let run = |options: &[&str]| {
        place.model_foundry(
            &[&["run", "--quiet", "--config", "config.toml"], options, &["--", "true"]].concat(),
        )
    };
    assert_eq!(run(&[]).status.code(), Some(0));
    assert_eq!(run(&["--experiment", "other"]).status.code(), Some(0));
    assert_eq!(folders(&place), ["named", "other"]);
}

#[test]
fn an_attempt_records_what_was_started() -> Result<()> {
    let place = Workplace::new();
    place.write("t.py", "");
    let options = ["--lr", "3e-4", "--name", "it's", "--api-key", "hunter2", "--amp"];
    let command = ["python3", "t.py"];
    let output = place
        .command(&[&["run", "--quiet", "--set", "layers=2", "--"][..], &command, &options].concat())
        .env("RANK", "0")
        .env("WORLD_SIZE", "2")
        .env("CUDA_VISIBLE_DEVICES", "1")
        .env("NCCL_DEBUG", "INFO")
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let run = manifest(&place, "t");
    let attempt = &run["attempts"][0];
    assert_eq!(
        attempt["command"],
        r"python3 t.py --lr 3e-4 --name 'it'\''s' --api-key '***' --amp"
    );
    let parameters = json!({
        "lr": 3e-4, "name": "it's", "api_key": "***", "amp": true, "layers": 2
    });
    assert_eq!((&run["parameters"], &attempt["parameters"]), (&parameters, &parameters));
    assert_eq!((&attempt["rank"], &attempt["world_size"]), (&json!(0), &json!(2)));
    assert_eq!(attempt["environment"]["CUDA_VISIBLE_DEVICES"], "1");
    assert_eq!(attempt["environment"]["NCCL_DEBUG"], "INFO");
    for file in ["run.json", "main.log"] {
        let text = fs::read_to_string(place.path("runs/t").join(file))?;
        assert!(!text.contains("hunter2"), "{file}: {text}");
    }
    Ok(())
}

#[test]
fn a_run_folder_is_private_unless_asked_otherwise() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Workplace::new();
    place.run(&["--quiet"], STEP);
    place.run(&["--quiet", "--folder-mode", "755"], STEP);
    let mode = |run: &str| -> Result<u32> {
        Ok(fs::metadata(place.path("runs").join(run))?.permissions().mode() & 0o777)
    };
    assert_eq!((mode("tiny")?, mode("tiny-2")?), (0o700, 0o755));
    Ok(())
}

#[test]
fn what_is_wrong_with_the_folder_does_not_keep_the_command_from_starting() -> Result<()> {
    let place = Workplace::new();
    place.write("runs", "a file");
    let output = place.run(&[], STEP);
    assert_eq!(text(&output.stdout), "step 1: loss 0.5\n");
    assert_eq!(output.status.code(), Some(0));
    let errors = text(&output.stderr);
    assert!(errors.contains("cannot log this run"), "{errors}");

    let place = Workplace::new();
    place.run(&["--quiet"], STEP);
    fs::write(place.path("runs/tiny/run.json"), "{")?;
    let output = place.run(&["--quiet", "--resume", "tiny"], "echo 'step 2: loss 0.25'");
    assert_eq!(output.status.code(), Some(0));
    let errors = text(&output.stderr);
    assert!(errors.contains("run.json.unusable"), "{errors}");
    let shown = printed_json(&place.model_foundry(&["show", "--json", "runs/tiny"]))?;
    assert_eq!(shown["metrics"][0]["statistics"]["count"], 2);
    let attempts: Vec<_> = shown["run"]["attempts"].as_array().into_iter().flatten().collect();
    assert_eq!(attempts.len(), 2, "the lines of the first attempt are still its own");

    // Readers show the metrics without it.
    fs::write(place.path("runs/tiny/run.json"), "")?;
    let shown = place.model_foundry(&["show", "runs/tiny"]);
    assert!(text(&shown.stdout).contains("loss"), "{}", text(&shown.stderr));
    Ok(())
}

#[test]
fn how_a_killed_attempt_took_is_its_duration() -> Result<()> {
    let place = Workplace::new();
    place.run(&["--quiet"], "kill -SEGV $$");
    let page = text(&place.model_foundry(&["show", "runs/tiny"]).stdout);
    assert!(page.starts_with("tiny  killed by SIGSEGV after "), "{page}");

    // Its supervisor was killed; the last thing that it wrote is what is known of its end.
    let path = place.path("runs/tiny/run.json");
    let mut run = manifest(&place, "tiny");
    let attempt = run["attempts"][0].as_object_mut().expect("an attempt");
    attempt.retain(|name, _| name != "end" && name != "signal" && name != "exit_code");
    attempt.insert("status".into(), "running".into());
    fs::write(&path, run.to_string())?;
    let log = fs::File::options().append(true).open(place.path("runs/tiny/main.log"))?;
    log.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(90))?;
    let page = text(&place.model_foundry(&["show", "runs/tiny"]).stdout);
    assert!(page.starts_with("tiny  died after 1 min 30 s "), "{page}");
    Ok(())
}
