//! The parts of a run file and their names, and why a storage refuses.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use std::fmt::Write as _;

/// A part of a run file. All parts together are the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Part {
    /// The rank whose shard it is; `None` for the file that all ranks share.
    pub rank: Option<u32>,
    /// How often the part has been rotated. 0 is the part that is appended to, 1 the newest rotated one.
    pub rotated: u32,
}

/// Why the storage refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(variant))]
pub enum StorageError {
    /// The file does not exist.
    #[error("the file does not exist")]
    #[cfg_attr(feature = "wasmtime", component(name = "not-found"))]
    NotFound,
    /// The disk or a quota is full, or the file reached its size limit.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "full"))]
    Full(String),
    /// The folder or the file is read-only.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "read-only"))]
    ReadOnly(String),
    /// Any other failure, as the system describes it.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "other"))]
    Other(String),
}

/// Split a run file's name into what precedes and what follows the rank: `metrics` and `.jsonl`.
fn split(file: &str) -> (&str, &str) {
    file.find('.').map_or((file, ""), |dot| file.split_at(dot))
}

/// The name of a part of a run file: `main.log`, `main.log.2`, `main.rank-00003.log`.
pub fn part_name(file: &str, part: Part) -> String {
    let (stem, ending) = split(file);
    let mut name = stem.to_owned();
    if let Some(rank) = part.rank {
        let _ = write!(name, ".rank-{rank:05}");
    }
    name.push_str(ending);
    if part.rotated > 0 {
        let _ = write!(name, ".{}", part.rotated);
    }
    name
}

/// The part of a run file that has this name, if any.
pub fn part_of_name(file: &str, name: &str) -> Option<Part> {
    let (stem, ending) = split(file);
    let rest = name.strip_prefix(stem)?;
    let (rank, rest) = match rest.strip_prefix(".rank-") {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (Some(rest[..digits].parse().ok()?), &rest[digits..])
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix(ending)?;
    let rotated = match rest.strip_prefix('.') {
        Some(age) => age.parse().ok().filter(|age| *age > 0)?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    let part = Part { rank, rotated };
    // Other spellings of the same numbers, like `main.log.02`, name no part.
    (part_name(file, part) == name).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_part() {
        for (rank, rotated) in [(None, 0), (None, 12), (Some(3), 0), (Some(123_456), 1)] {
            let expected = Part { rank, rotated };
            for file in ["main.log", "metrics.jsonl", "console.log"] {
                assert_eq!(part_of_name(file, &part_name(file, expected)), Some(expected));
            }
        }
        assert_eq!(
            part_name("metrics.jsonl", Part { rank: Some(3), rotated: 0 }),
            "metrics.rank-00003.jsonl"
        );
    }

    #[test]
    fn other_names_are_no_part() {
        for other in ["main.log.0", "main.log.02", "main.log.torn", "main.logs", "metrics.idx"] {
            assert_eq!(part_of_name("main.log", other), None, "{other}");
        }
        assert_eq!(part_of_name("metrics.jsonl", "metrics.rank-3.jsonl"), None);
    }
}
