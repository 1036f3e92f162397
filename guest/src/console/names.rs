//! Classifies names: which mean a step, which are training metrics, and how a name is normalized.

use std::borrow::Cow;

/// The longest name, in bytes; anything longer is prose.
pub(super) const MAX_NAME: usize = 128;

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A step, with a rank: of several steps in a line, the one with the highest rank counts.
    Step(u8),
    /// An epoch.
    Epoch,
    /// Anything else.
    Other,
}

/// The rank of steps of the whole run.
pub(super) const RUN: u8 = 5;

/// The rank of what trainers call a step.
pub(super) const STEP: u8 = 4;

/// Steps of a lower rank are words that also mean other things. They count only beside a training result.
pub(super) const SURE: u8 = 3;

/// What a key of a record means. Some libraries add a prefix, as in `train/global_step`; but `ms/step` is a
/// rate.
pub(super) fn key_role(key: &str) -> Role {
    let last = match key.rsplit_once('/') {
        Some((prefix, last))
            if contains_word(prefix, &["train", "trainer", "training", "global", "timers"]) =>
        {
            last
        }
        // The composite key of ms-swift.
        Some(("global_step", "max_steps")) => return Role::Step(RUN),
        Some(_) => return Role::Other,
        None => key,
    };
    role_of_word(last)
}

fn role_of_word(word: &str) -> Role {
    // Nearly all names are longer than these, or begin with another letter.
    if word.len() > 24 {
        return Role::Other;
    }
    match word.to_lowercase().as_str() {
        "global_step" | "global step" | "globalstep" | "global_steps" | "num_updates"
        | "trainer_step" => Role::Step(RUN),
        "step" | "_step" | "current_step" | "current_steps" | "train_step" | "training_step" => {
            Role::Step(STEP)
        }
        "iteration" | "iter" | "it" | "itr" | "n_iter" | "global_iter" | "iteration_number"
        | "training_iteration" | "up" | "num_timesteps" | "total_timesteps" | "训练次数"
        | "步数" | "步" | "迭代" | "迭代次数" | "ステップ" | "shag" | "шаг" | "paso"
        | "schritt" | "étape" => Role::Step(SURE),
        "steps" | "iters" | "iterations" | "update" | "updates" | "timesteps" | "timestep" => {
            Role::Step(2)
        }
        "batch" | "minibatch" | "episode" | "episodes" | "tick" | "round" | "generation" => {
            Role::Step(1)
        }
        "epoch" | "current_epoch" | "epochs" | "epoch_num" | "epch" | "轮次" | "轮" | "époque"
        | "epoca" | "época" | "эпоха" | "epoche" | "エポック" => Role::Epoch,
        _ => Role::Other,
    }
}

/// What a name in free text means, according to its last words: `Train Epoch`, `INFO step`.
pub(super) fn text_role(name: &str) -> Role {
    // MMEngine prints `Epoch(train)`.
    let name = name.split('(').next().unwrap_or(name).trim_end();
    let mut words = name.rsplit(char::is_whitespace).filter(|word| !word.is_empty());
    let last = words.next().unwrap_or("");
    let role = match last.strip_suffix('.') {
        // Marian abbreviates: `Ep. 1 : Up. 82000`.
        Some("Ep" | "ep") => Role::Epoch,
        Some(word) => role_of_word(word),
        None => key_role(last),
    };
    if role == Role::Other {
        return role;
    }
    let before = words.next();
    if before.is_some_and(|before| before.eq_ignore_ascii_case("global")) {
        return if matches!(role, Role::Step(_)) { Role::Step(RUN) } else { role };
    }
    // `number of skipped iterations`: how many there were of a kind.
    let allowed = ["train", "training", "current", "completed", "finished", "after", "at", "done"];
    if matches!(role, Role::Step(2))
        && before.is_some_and(|before| !contains_word(before, &allowed))
    {
        return Role::Other;
    }
    // `per iteration`, `max step` and `fps step` are measurements or bounds, not counts.
    let measures = before.is_some_and(|before| {
        contains_word(
            before,
            &[
                "per",
                "max",
                "total",
                "warmup",
                "best",
                "every",
                "last",
                "each",
                "num",
                "of",
                "fps",
                "time",
                "samples",
                "tokens",
                "optimizer",
                "mean",
                "avg",
                "average",
                "decay",
                "from",
                "save",
                "eval_every",
                "next",
                "number",
                "init",
                "start",
                "end",
                "until",
                "-",
            ],
        ) && !(matches!(role, Role::Epoch) && contains_word(before, &["of", "end"]))
    });
    if measures { Role::Other } else { role }
}

/// A word with its number: `step10`, `step_10`, `Step-10`, `Epoch1`, `1epoch`. Returns the word and where the number
/// begins.
pub(super) fn counted_word(chunk: &str) -> Option<(&str, usize)> {
    let letters = chunk.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = &chunk[..letters];
    if !contains_word(word, &["step", "epoch", "iter", "iteration", "batch"]) {
        return None;
    }
    let at =
        letters + usize::from(matches!(chunk.as_bytes().get(letters), Some(b'_' | b'-' | b'#')));
    let digits = chunk[at..].bytes().take_while(u8::is_ascii_digit).count();
    let ends = chunk[at + digits..].bytes().all(|byte| matches!(byte, b':' | b'.' | b'/'))
        || chunk[at + digits..].starts_with('/');
    (digits > 0 && ends).then_some((word, at))
}

pub(super) fn contains_word(word: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| word.eq_ignore_ascii_case(entry))
}

/// A word that begins or ends with one of these makes a name a metric: `eval_loss`, `nll_loss`, `losses`.
const METRIC_PARTS: &[&str] = &[
    "loss",
    "losses",
    "accuracy",
    "perplexity",
    "reward",
    "rewards",
    "throughput",
    "runtime",
    "precision",
    "recall",
    "fid",
    "损失",
    "正确率",
    "准确率",
    "精度",
    "perte",
    "verlust",
    "perdida",
    "pérdida",
    "ошибка",
    "損失",
];

/// Each of these words, without trailing digits, makes a name a metric: `acc1`, `top5`, `f1`.
const METRIC_WORDS: &[&str] = &[
    "acc",
    "accu",
    "error",
    "ppl",
    "lr",
    "cost",
    "rew",
    "return",
    "returns",
    "l",
    "ce",
    "bce",
    "hmean",
    "xent",
    "kimg",
    "ap",
    "ar",
    "logloss",
    "norm",
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
                let needs_digit = matches!(*entry, "f" | "r" | "l" | "top");
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
        && !matches!(
            name.to_ascii_lowercase().as_str(),
            "lr" | "learning_rate" | "learning rate" | "base_lr" | "current learning rate" | "lr0"
        )
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
        "weight decay",
        "wd",
        "hidden",
        "layers",
        "imgsz",
        "base_lr",
        "step_size",
        "label_smoothing",
        "milestones",
        "patience",
        "stride",
        "workers",
        "bsz_per_gpu",
    ];
    const ENDS: &[&str] = &["_weight", "_coef", "_coeff", "_lambda", "_ratio_cfg", "_alpha"];
    let name = name.rsplit('/').next().unwrap_or(name);
    contains_word(name, SETTINGS) || ENDS.iter().any(|end| name.ends_with(end))
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
    is_level(last)
        || contains_word(
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

/// Whether a call of this name wraps one number, as printed by PyTorch, NumPy, JAX and the `decimal` module.
pub(super) fn is_number_class(call: &str) -> bool {
    let class = call.rsplit('.').next().unwrap_or(call);
    matches!(class, "tensor" | "array" | "Array" | "Decimal" | "Tensor")
        || ["float", "int", "uint", "bfloat"].iter().any(|prefix| class.starts_with(prefix))
}

/// Whether a word begins a line of settings, such as `Config:` or `Args:`.
pub(super) fn heads_settings(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    contains_word(
        word,
        &[
            "config",
            "configs",
            "configuration",
            "args",
            "arguments",
            "params",
            "parameters",
            "hyperparameters",
            "hyperparams",
            "hparams",
            "settings",
            "setting",
            "options",
            "namespace",
            "kwargs",
            "optimizer",
            "scheduler",
            "lr_schedule",
            "lr_scheduler",
            "schedule",
            "flags",
            "defaults",
            "setup",
            "using",
        ],
    )
}

/// Whether a word is the level of a log record.
pub(super) fn is_level(word: &str) -> bool {
    matches!(
        word.trim_matches(|c: char| !c.is_alphanumeric()),
        "DEBUG" | "INFO" | "WARNING" | "WARN" | "ERROR" | "CRITICAL" | "SUCCESS" | "I"
    )
}

/// Whether a name stands for an epoch and a step: `epoch/iter`.
pub(super) fn is_epoch_and_step(name: &str) -> bool {
    name.split_once('/').is_some_and(|(epoch, step)| {
        role_of_word(epoch) == Role::Epoch && matches!(role_of_word(step), Role::Step(_))
    })
}

/// Whether a word beside a count says no more than that something is reported.
pub(super) fn is_filler(word: &str) -> bool {
    contains_word(
        word.trim_matches(|c: char| !c.is_alphanumeric()),
        &[
            "global",
            "done",
            "results",
            "result",
            "set",
            "metrics",
            "metric",
            "info",
            "completed",
            "learning",
            "stats",
            "log",
            "logs",
            "current",
            "summary",
            "avg",
            "average",
            "mean",
            "rank",
            "report",
            "net",
            "output",
            "performance",
            "cur",
        ],
    )
}

/// Whether a word after a number is a unit: `12.3 GB`, `1000 tokens/s`.
pub(super) fn is_unit(word: &str) -> bool {
    const UNITS: &[&str] = &[
        "%", "s", "sec", "secs", "second", "seconds", "Seconds", "ms", "us", "µs", "μs", "ns", "m",
        "min", "mins", "minute", "minutes", "h", "hr", "hrs", "hour", "hours", "d", "day", "days",
        "B", "b", "KB", "kB", "MB", "GB", "TB", "Mb", "Gb", "mb", "gb", "KiB", "MiB", "GiB", "TiB",
        "Ki", "Mi", "Gi", "bytes", "it", "samples", "tokens", "frames", "images", "steps",
        "TFLOPs", "TFLOPS", "TFLOP", "GFLOPs", "GFLOPS", "MFLOPs", "FLOPs", "Hz", "kHz", "MHz",
        "GHz", "W", "kW", "kWh", "Wh", "C", "°C", "dB", "bits", "nats", "px", "deg", "rad",
    ];
    word.contains("/s") || UNITS.contains(&word)
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
        if c.is_whitespace() || matches!(c, '(' | '\'' | '"' | '`') {
            if !name.ends_with('_') {
                name.push('_');
            }
        } else if !matches!(c, ')' | '[' | ']' | '{' | '}' | '*') {
            name.push(c);
        }
    }
    Cow::Owned(name)
}
