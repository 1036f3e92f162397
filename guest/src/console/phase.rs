//! Which words say that a line reports an evaluation, and how the metrics of an evaluation are named.

use std::collections::BTreeSet;

use super::names;
use super::observation::Phase;

/// How many names of the training are remembered, to keep those of evaluations apart.
const MAX_NAMES: usize = 4_096;

/// The phase that a word names, if it names one. The prefix is the trainer's own word.
pub(super) fn of_word(word: &str) -> Option<Phase> {
    let word = names::trimmed(word);
    let begins = word.as_bytes().first().map(u8::to_ascii_lowercase);
    // Nearly no word is one.
    if !(2..=12).contains(&word.len())
        || !matches!(begins, Some(b't' | b'l' | b'v' | b'e' | b'd' | b'c'))
    {
        return None;
    }
    let mut lower = [0; names::LONGEST_WORD];
    Some(match names::lowercase(word, &mut lower).as_ref() {
        b"train" | b"training" | b"trn" | b"trainer" | b"learn" => Phase::Training,
        b"val" => Phase::Evaluation("val"),
        b"valid" => Phase::Evaluation("valid"),
        b"validation" | b"validating" | b"validate" => Phase::Evaluation("validation"),
        b"eval" | b"evaluation" | b"evaluating" | b"evaluate" | b"evaluator" => {
            Phase::Evaluation("eval")
        }
        b"dev" => Phase::Evaluation("dev"),
        b"cv" => Phase::Evaluation("cv"),
        b"test" | b"testing" => Phase::Evaluation("test"),
        _ => return None,
    })
}

/// The first phase that one of the words names.
pub(super) fn of_words(words: &str) -> Option<Phase> {
    if words.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return of_word(words);
    }
    words.split(|c: char| !c.is_alphanumeric()).find_map(of_word)
}

/// Whether a name says by itself of which phase it is: `val_loss`, `eval/accuracy`, `best_valid_acc`, `train_loss`.
fn names_phase(name: &str) -> bool {
    name.split(|c: char| !c.is_alphanumeric()).any(|word| of_word(word).is_some())
}

/// Keeps the metrics of trainings and evaluations under different names.
#[derive(Default)]
pub(super) struct Names {
    // Few names and short ones: comparing them is faster than hashing.
    training: BTreeSet<String>,
    evaluation: BTreeSet<String>,
}

impl Names {
    /// Another name under which a metric has to be recorded. A name that a training and an evaluation share, or are
    /// likely to share, gets the evaluation's prefix.
    pub(super) fn rename(&mut self, phase: Phase, name: &str) -> Option<String> {
        match phase {
            Phase::Training => {
                if !self.evaluation.is_empty() && self.evaluation.contains(name) {
                    return Some(format!("train_{name}"));
                }
                remember(&mut self.training, name);
                None
            }
            Phase::Evaluation(_) if names_phase(name) => None,
            Phase::Evaluation(prefix) => {
                if self.training.contains(name) || is_shared(name) {
                    return Some(format!("{prefix}_{name}"));
                }
                remember(&mut self.evaluation, name);
                None
            }
        }
    }
}

fn remember(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < MAX_NAMES && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

/// Whether trainings and evaluations both print this name nearly always.
fn is_shared(name: &str) -> bool {
    names::contains_word(
        name,
        &[
            "loss",
            "total_loss",
            "mean_loss",
            "avg_loss",
            "nll_loss",
            "acc",
            "accuracy",
            "ppl",
            "top1",
            "top5",
            "f1",
            "error",
            "reward",
            "time",
            "data",
            "data_time",
            "batch_time",
            "lr",
            "learning_rate",
        ],
    )
}
