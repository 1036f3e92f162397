//! Work in a plain loop, for callgrind to count what a noisy machine cannot time:
//!
//!     cargo bench --bench instructions --no-run
//!     valgrind --tool=callgrind target/release/deps/instructions-… component step 20000
//!
//! The difference between two counts, by the difference of their calls, is one call's.

use anyhow::{Context as _, Result, bail};
use model_foundry_bench::workloads::{BATCH, Batches, Records, Steps};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(build), Some(work), Some(calls)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: instructions component|native step|batch|record CALLS");
        return Ok(());
    };
    let calls: u64 = calls.parse().context("CALLS is a number")?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    match (&*build, &*work) {
        ("component", "step") => {
            let steps = Steps::new(folder, "steps", true)?;
            (0..calls).try_for_each(|step| steps.component(step))
        }
        ("native", "step") => {
            let mut steps = Steps::new(folder, "steps", true)?;
            (0..calls).try_for_each(|step| steps.native(step))
        }
        ("component", "batch") => {
            let batches = Batches::new(folder, true)?;
            (0..calls / BATCH as u64).try_for_each(|_| batches.component())
        }
        ("native", "batch") => {
            let mut batches = Batches::new(folder, true)?;
            (0..calls / BATCH as u64).try_for_each(|_| batches.native())
        }
        ("component", "record") => {
            let records = Records::new(folder)?;
            (0..calls).try_for_each(|step| records.component(step))
        }
        ("native", "record") => {
            let mut records = Records::new(folder)?;
            (0..calls).try_for_each(|step| records.native(step))
        }
        _ => bail!("there is no {work:?} of {build:?}"),
    }
}
