//! Which processes of a job take part in an attempt, recorded in `.members` in the run folder.
//!
//! A line is `<attempt> <job> <restarts> <rank>`, with `-` for no rank. It decides whether a process that opens the
//! run joins the latest attempt: a rank that took part already was started again. The file is read and written under
//! the folder's lock.

use std::io::Write as _;

use cap_std::fs::{Dir, OpenOptions};

use crate::process::job::Job;

const NAME: &str = ".members";

/// What a process that opens a run of its job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// No process of this start of the job has opened the run yet: it begins an attempt.
    First,
    /// Others of this start of the job have; this rank has not: it joins their attempt.
    New,
    /// This rank, or another process without a rank, takes part already.
    Again,
}

/// What a process of a job does in a folder whose latest attempt has this number.
pub(crate) fn membership(dir: &Dir, attempt: u32, job: &Job, rank: Option<u32>) -> Membership {
    let text = dir.read_to_string(NAME).unwrap_or_default();
    let start = format!("{attempt} {} {} ", plain(&job.key), job.restarts);
    let ranks: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&start)).collect();
    match &*ranks {
        [] => Membership::First,
        ranks if ranks.contains(&&*shown(rank)) => Membership::Again,
        _ => Membership::New,
    }
}

/// Record that a process takes part in an attempt. If that cannot be written, another start of the same rank may join
/// the attempt.
pub(crate) fn join(dir: &Dir, attempt: u32, job: &Job, rank: Option<u32>) {
    let line = format!("{attempt} {} {} {}\n", plain(&job.key), job.restarts, shown(rank));
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let _ = dir.open_with(NAME, &options).and_then(|mut file| file.write_all(line.as_bytes()));
}

fn shown(rank: Option<u32>) -> String {
    rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string())
}

/// A key on one word.
fn plain(key: &str) -> String {
    key.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect()
}
