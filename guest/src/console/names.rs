//! Classifies names: which mean a step, which are training metrics, and how a name is normalized.

use std::borrow::Cow;

/// The longest name, in bytes; anything longer is prose.
pub(super) const MAX_NAME: usize = 128;

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A step, with a priority: of several steps in a line, the one with the highest priority counts.
    Step(u8),
    /// An epoch.
    Epoch,
    /// Anything else.
    Other,
}

/// What a key of a record means. Some libraries add a prefix, as in `train/global_step`; but `ms/step` is a
/// rate.
pub(super) fn key_role(key: &str) -> Role {
    let last = match key.rsplit_once('/') {
        Some((prefix, last))
            if contains_word(prefix, &["train", "trainer", "training", "global"]) =>
        {
            last
        }
        Some(_) => return Role::Other,
        None => key,
    };
    match last.to_ascii_lowercase().as_str() {
        "global_step" | "global step" | "globalstep" => Role::Step(4),
        "step" | "_step" | "num_updates" | "current_step" | "current_steps" | "train_step"
        | "training_step" => Role::Step(3),
        "iteration" | "iter" | "it" | "global_iter" | "iteration_number" => Role::Step(2),
        "epoch" | "current_epoch" => Role::Epoch,
        _ => Role::Other,
    }
}

/// What a name in free text means, according to its last words: `Train Epoch`, `INFO step`.
pub(super) fn text_role(name: &str) -> Role {
    // MMEngine prints `Epoch(train)`.
    let name = name.split('(').next().unwrap_or(name).trim_end();
    let mut words = name.rsplit(char::is_whitespace).filter(|word| !word.is_empty());
    let last = words.next().unwrap_or("");
    let role = key_role(last);
    // `per iteration` and `max step` are measurements or bounds, not counts.
    let measures = words.next().is_some_and(|before| {
        contains_word(
            before,
            &["per", "max", "total", "warmup", "best", "every", "last", "each", "num", "of"],
        )
    });
    if last == "it" || measures { Role::Other } else { role }
}

fn contains_word(word: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| word.eq_ignore_ascii_case(entry))
}

/// A word that begins or ends with one of these makes a name a metric: `eval_loss`, `nll_loss`, `losses`.
const METRIC_PARTS: [&str; 6] =
    ["loss", "accuracy", "perplexity", "reward", "throughput", "runtime"];

/// Each of these words, without trailing digits, makes a name a metric: `acc1`, `top5`, `f1`.
const METRIC_WORDS: &[&str] = &[
    "acc",
    "ppl",
    "lr",
    "f",
    "bleu",
    "rouge",
    "rougel",
    "wer",
    "cer",
    "auc",
    "auroc",
    "mae",
    "mse",
    "rmse",
    "psnr",
    "ssim",
    "fid",
    "iou",
    "miou",
    "map",
    "map50",
    "r",
    "bpb",
    "bpc",
    "mfu",
    "kl",
    "entropy",
    "precision",
    "recall",
    "dice",
    "top",
    "gnorm",
    "gradnorm",
    "nll",
    "elbo",
    "score",
    "wps",
    "ndcg",
    "mrr",
    "meteor",
    "chrf",
    "hits",
    "em",
];

/// Each of these pairs of words makes a name a metric: `learning_rate`, `grad norm`, `samples_per_second`.
const METRIC_PAIRS: &[(&str, &str)] = &[
    ("learning", "rate"),
    ("grad", "norm"),
    ("gradient", "norm"),
    ("per", "second"),
    ("per", "sec"),
    ("exact", "match"),
];

/// Whether a name is that of a training metric.
pub(super) fn is_metric(name: &str) -> bool {
    let mut before = "";
    words(name).any(|word| {
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let found = METRIC_PARTS.iter().any(|part| starts_or_ends(word, part))
            || METRIC_WORDS.iter().any(|entry| {
                // These mean a metric only with a digit: `f1`, `r2` and `top5`.
                let needs_digit = matches!(*entry, "f" | "r" | "top");
                stem.eq_ignore_ascii_case(entry) && (!needs_digit || stem.len() < word.len())
            })
            || METRIC_PAIRS.iter().any(|(first, second)| {
                before.eq_ignore_ascii_case(first) && word.eq_ignore_ascii_case(second)
            });
        before = word;
        found
    })
}

/// Whether a name is that of a training result, and not of something that is configured, such as the learning
/// rate.
pub(super) fn is_outcome(name: &str) -> bool {
    is_metric(name)
        && !matches!(name.to_ascii_lowercase().as_str(), "lr" | "learning_rate" | "learning rate")
}

/// Whether a name is typical of a configuration. A line of settings often has a learning rate, but is not
/// metrics.
pub(super) fn is_setting(name: &str) -> bool {
    const SETTINGS: &[&str] = &[
        "batch_size",
        "per_device_train_batch_size",
        "train_batch_size",
        "eval_batch_size",
        "seed",
        "num_epochs",
        "epochs",
        "n_epochs",
        "max_epochs",
        "num_train_epochs",
        "max_steps",
        "max_iters",
        "num_steps",
        "total_steps",
        "hidden_size",
        "hidden_dim",
        "num_layers",
        "n_layers",
        "n_layer",
        "n_head",
        "n_heads",
        "num_heads",
        "n_embd",
        "d_model",
        "dropout",
        "weight_decay",
        "warmup_steps",
        "warmup",
        "num_workers",
        "vocab_size",
        "block_size",
        "seq_len",
        "max_length",
        "momentum",
        "gamma",
        "gradient_accumulation_steps",
        "beta1",
        "beta2",
    ];
    let name = name.rsplit('/').next().unwrap_or(name);
    contains_word(name, SETTINGS)
}

/// Whether a name is common in log records of any kind, such as a timestamp.
pub(super) fn is_bookkeeping(name: &str) -> bool {
    contains_word(
        name,
        &[
            "timestamp",
            "_timestamp",
            "ts",
            "time",
            "_runtime",
            "pid",
            "process",
            "thread",
            "created",
            "msecs",
            "lineno",
            "line",
            "levelno",
            "level",
            "rank",
            "local_rank",
            "world_size",
            "version",
        ],
    )
}

/// Whether a name's last word is common before a number in logs, but is not a measurement.
pub(super) fn is_ignored(name: &str) -> bool {
    let last = name.rsplit(char::is_whitespace).next().unwrap_or(name);
    contains_word(
        last,
        &[
            "v_num",
            "eta",
            "rank",
            "local_rank",
            "pid",
            "port",
            "localhost",
            "worker",
            "node",
            "line",
            "cuda",
            "cpu",
            "gpu",
            "xpu",
            "npu",
            "mps",
            "version",
            "dataloader",
        ],
    )
}

/// Whether a word is one that connects a sentence: numbers next to it are prose.
pub(super) fn is_prose(word: &str) -> bool {
    contains_word(
        word,
        &[
            "from", "to", "with", "is", "was", "are", "in", "improved", "than", "after", "before",
            "took", "at", "for", "by", "and", "the", "a", "an", "has", "have", "got", "did", "not",
            "on", "of", "or", "until", "since", "over", "under", "into", "about", "only", "still",
            "as", "reached", "reducing",
        ],
    )
}

/// Whether a word after a number is a unit: `12.3 GB`, `1000 tokens/s`.
pub(super) fn is_unit(word: &str) -> bool {
    word.contains("/s")
        || contains_word(
            word,
            &[
                "%", "s", "sec", "secs", "seconds", "ms", "us", "µs", "ns", "min", "mins",
                "minutes", "h", "hours", "B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB",
                "it", "samples", "tokens", "TFLOPs", "TFLOP/s", "GFLOPs", "Hz", "MHz", "W", "C",
                "dB", "ppl", "bits",
            ],
        )
}

fn starts_or_ends(word: &str, part: &str) -> bool {
    let (word, part) = (word.as_bytes(), part.as_bytes());
    word.len() >= part.len()
        && (word[..part.len()].eq_ignore_ascii_case(part)
            || word[word.len() - part.len()..].eq_ignore_ascii_case(part))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Normalizes a name. Spaces become `_`; quotes, brackets and punctuation at either end are removed; case stays
/// as printed. `elapsed time per iteration (ms)` becomes `elapsed_time_per_iteration_ms`.
///
/// Empty if the result does not begin with a letter or `_`, has no letter, or is too long for a name.
pub(super) fn field_name(printed: &str) -> Cow<'_, str> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    let trimmed =
        printed.trim_start_matches(|c: char| is_end(c) && c != '/').trim_end_matches(is_end);
    let begins = trimmed.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if !begins || trimmed.len() > MAX_NAME || !trimmed.contains(char::is_alphabetic) {
        return Cow::Borrowed("");
    }
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '@' | '-' | '+' | ':');
    if trimmed.chars().all(is_plain) {
        return Cow::Borrowed(trimmed);
    }
    let mut name = String::with_capacity(trimmed.len());
    for c in trimmed.chars() {
        if c.is_whitespace() || c == '(' {
            if !name.ends_with('_') {
                name.push('_');
            }
        } else if !matches!(c, ')' | '[' | ']' | '{' | '}' | '"' | '\'' | '`' | '*') {
            name.push(c);
        }
    }
    Cow::Owned(name)
}
