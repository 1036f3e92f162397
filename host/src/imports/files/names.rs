//! The closed set of file names in a run folder.

use model_foundry_guest::imports::{File, Part};

/// How a file is called: what stands before and after the rank.
fn halves(file: File) -> (&'static str, &'static str) {
    match file {
        File::MainLog => ("main", ".log"),
        File::Metrics => ("metrics", ".jsonl"),
        File::Errors => ("errors", ".jsonl"),
        File::Performance => ("performance", ".jsonl"),
        File::Console => ("console", ".log"),
        File::TimingReport => ("timing_report", ".json"),
        File::MetricsIndex => ("metrics", ".idx"),
        // Named by the attempt, and never asked for here.
        File::Wandb => ("run", ".wandb"),
    }
}

/// The name of a part of a file: `main.log`, `main.log.2`, `main.rank-00003.log`.
pub(crate) fn name(file: File, part: Part) -> String {
    let (stem, ending) = halves(file);
    let mut name = stem.to_owned();
    if let Some(rank) = part.rank {
        name.push_str(&format!(".rank-{rank:05}"));
    }
    name.push_str(ending);
    if part.rotated > 0 {
        name.push_str(&format!(".{}", part.rotated));
    }
    name
}

/// Which part of a file a name stands for, if any.
pub(crate) fn part(file: File, name: &str) -> Option<Part> {
    let (stem, ending) = halves(file);
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
    // Other spellings of the same numbers (`main.log.02`) are none of our files.
    (self::name(file, part) == name).then_some(part)
}

/// Whether a file rotates by size. The others are data, or written whole.
pub(crate) fn rotates(file: File) -> bool {
    matches!(file, File::MainLog | File::Performance | File::Console)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_part() {
        for (rank, rotated) in [(None, 0), (None, 12), (Some(3), 0), (Some(123_456), 1)] {
            let expected = Part { rank, rotated };
            for file in [File::MainLog, File::Metrics, File::Console] {
                assert_eq!(part(file, &name(file, expected)), Some(expected));
            }
        }
        assert_eq!(
            name(File::Metrics, Part { rank: Some(3), rotated: 0 }),
            "metrics.rank-00003.jsonl"
        );
    }

    #[test]
    fn other_names_are_no_part() {
        for other in ["main.log.0", "main.log.02", "main.log.torn", "main.logs", "metrics.idx"] {
            assert_eq!(part(File::MainLog, other), None, "{other}");
        }
        assert_eq!(part(File::Metrics, "metrics.rank-3.jsonl"), None);
    }
}
