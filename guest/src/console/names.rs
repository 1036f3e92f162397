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

/// The longest word for which no allocation is needed, in bytes.
pub(super) const LONGEST_WORD: usize = 24;

/// A word in lower case, without an allocation if it is short and ASCII.
pub(super) fn lowercase<'a>(word: &str, buffer: &'a mut [u8; LONGEST_WORD]) -> Cow<'a, str> {
    if word.len() > LONGEST_WORD || !word.is_ascii() {
        return Cow::Owned(word.to_lowercase());
    }
    let lower = &mut buffer[..word.len()];
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    // It is ASCII.
    Cow::Borrowed(std::str::from_utf8(lower).unwrap_or_default())
}

fn role_of_word(word: &str) -> Role {
    let mut lower = [0; LONGEST_WORD];
    let word = lowercase(word, &mut lower);
    match word.as_ref() {
        "global_step" | "global step" | "globalstep" | "global_steps" | "num_updates"
        | "trainer_step" => Role::Step(RUN),
        "step" | "_step" | "current_step" | "current_steps" | "train_step" | "training_step" => {
            Role::Step(STEP)
        }
        "iteration" | "iter" | "it" | "itr" | "n_iter" | "global_iter" | "iteration_number"
        | "training_iteration" | "up" | "num_timesteps" | "total_timesteps" | "训练次数"
        | "步数" | "步" | "迭代" | "迭代次数" | "ステップ" | "шаг" | "paso" | "schritt"
        | "étape" => Role::Step(SURE),
        "steps" | "iters" | "iterations" | "update" | "updates" | "nupdates" | "timesteps"
        | "timestep" => Role::Step(2),
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
    if letters == chunk.len() || !(4..=9).contains(&letters) {
        return None;
    }
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

/// Whether a word, in lower case and without the digits at its end, makes a name a metric: `acc1`, `rmse`.
fn is_metric_stem(stem: &str) -> bool {
    matches!(
        stem,
        "acc"
            | "accu"
            | "error"
            | "ppl"
            | "lr"
            | "cost"
            | "rew"
            | "return"
            | "returns"
            | "averagereturn"
            | "meanreturn"
            | "episodereturn"
            | "avgreturn"
            | "ce"
            | "bce"
            | "hmean"
            | "xent"
            | "kimg"
            | "ap"
            | "ar"
            | "logloss"
            | "norm"
            | "bleu"
            | "rouge"
            | "rougel"
            | "wer"
            | "cer"
            | "auc"
            | "auroc"
            | "mae"
            | "mse"
            | "rmse"
            | "psnr"
            | "ssim"
            | "fid"
            | "iou"
            | "miou"
            | "map"
            | "map50"
            | "bpb"
            | "bpc"
            | "mfu"
            | "kl"
            | "entropy"
            | "precision"
            | "recall"
            | "dice"
            | "gnorm"
            | "gradnorm"
            | "nll"
            | "elbo"
            | "score"
            | "wps"
            | "ndcg"
            | "mrr"
            | "meteor"
            | "chrf"
            | "hits"
            | "em"
    )
}

/// Whether two words make a name a metric: `learning_rate`, `grad norm`, `samples_per_second`. Both in lower case.
fn is_metric_pair(first: &str, second: &str) -> bool {
    matches!(
        (first, second),
        ("learning", "rate")
            | ("grad" | "gradient", "norm")
            | ("per", "second" | "sec")
            | ("exact", "match")
    )
}

/// Whether a name is that of a training metric.
pub(super) fn is_metric(name: &str) -> bool {
    let mut buffers = [[0; LONGEST_WORD]; 2];
    let [buffer, before_buffer] = &mut buffers;
    let mut before = "";
    words(name).any(|word| {
        let lower = lowercase(word, buffer);
        let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
        is_metric_stem(stem)
            // These mean a metric only with a digit: `f1`, `r2` and `top5`.
            || matches!(stem, "f" | "r" | "l" | "top") && stem.len() < lower.len()
            || METRIC_PARTS.iter().any(|part| lower.starts_with(part) || lower.ends_with(part))
            || matches!(&*lower, "rate" | "norm" | "second" | "sec" | "match")
                && is_metric_pair(&lowercase(std::mem::replace(&mut before, word), before_buffer), &lower)
            || {
                before = word;
                false
            }
    })
}

/// What a name is the name of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    /// Of a training metric.
    pub(super) metric: bool,
    /// Of a training result.
    pub(super) outcome: bool,
    /// Of a setting.
    pub(super) setting: bool,
}

/// What a name is the name of. The weight of a loss is a setting.
pub(super) fn class(name: &str) -> Class {
    let metric = is_metric(name);
    let setting = is_setting(name);
    Class { metric, setting, outcome: metric && !setting && !is_learning_rate(name) }
}

/// Whether a name is that of a training result, and not of something that is configured, such as the learning
/// rate or the weight of a loss.
pub(super) fn is_outcome(name: &str) -> bool {
    class(name).outcome
}

fn is_learning_rate(name: &str) -> bool {
    let mut buffer = [0; LONGEST_WORD];
    matches!(
        lowercase(name, &mut buffer).as_ref(),
        "lr" | "learning_rate" | "learning rate" | "base_lr" | "current learning rate" | "lr0"
    )
}

/// Whether a name is typical of a configuration. A line of settings often has a learning rate, but is not
/// metrics.
pub(super) fn is_setting(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut buffer = [0; LONGEST_WORD];
    let known = matches!(
        lowercase(name, &mut buffer).as_ref(),
        "batch_size"
            | "train_batch_size"
            | "eval_batch_size"
            | "seed"
            | "num_epochs"
            | "epochs"
            | "n_epochs"
            | "max_epochs"
            | "num_train_epochs"
            | "max_steps"
            | "max_iters"
            | "num_steps"
            | "total_steps"
            | "hidden_size"
            | "hidden_dim"
            | "num_layers"
            | "n_layers"
            | "n_layer"
            | "n_head"
            | "n_heads"
            | "num_heads"
            | "n_embd"
            | "d_model"
            | "dropout"
            | "weight_decay"
            | "warmup_steps"
            | "warmup"
            | "num_workers"
            | "vocab_size"
            | "block_size"
            | "seq_len"
            | "max_length"
            | "momentum"
            | "gamma"
            | "beta1"
            | "beta2"
            | "weight decay"
            | "wd"
            | "hidden"
            | "layers"
            | "imgsz"
            | "base_lr"
            | "step_size"
            | "label_smoothing"
            | "milestones"
            | "patience"
            | "stride"
            | "workers"
    );
    known
        || contains_word(name, &["per_device_train_batch_size", "gradient_accumulation_steps"])
        || ["_weight", "_coef", "_coeff", "_lambda", "_alpha"].iter().any(|end| name.ends_with(end))
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
    word.len() <= 8
        && contains_word(
            word,
            &[
                "from", "to", "with", "is", "was", "are", "in", "improved", "than", "after",
                "before", "took", "at", "for", "by", "and", "the", "a", "an", "has", "have", "got",
                "did", "not", "on", "of", "or", "until", "since", "over", "under", "into", "about",
                "only", "still", "as", "reached", "reducing",
            ],
        )
}

/// Whether a call of this name wraps one number, as printed by PyTorch, NumPy, JAX and the `decimal` module.
pub(super) fn is_number_class(call: &str) -> bool {
    let class = call.rsplit('.').next().unwrap_or(call);
    matches!(class, "tensor" | "array" | "Array" | "Decimal" | "Tensor")
        || ["float", "int", "uint", "bfloat"].iter().any(|prefix| class.starts_with(prefix))
}

/// What a word says that stands beside names and numbers, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loose {
    /// It begins a list of settings, such as `Config:` or `Args:`.
    Settings,
    /// No more than that something is reported.
    Filler,
    /// The level of a log record.
    Level,
    /// Something that no recognizer knows.
    Unknown,
}

/// What a loose word says.
pub(super) fn loose(word: &str) -> Loose {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    if is_level(word) {
        return Loose::Level;
    }
    let mut buffer = [0; LONGEST_WORD];
    match lowercase(word, &mut buffer).as_ref() {
        "config" | "configs" | "configuration" | "args" | "arguments" | "params" | "parameters"
        | "hyperparameters" | "hyperparams" | "hparams" | "settings" | "setting" | "options"
        | "namespace" | "kwargs" | "optimizer" | "scheduler" | "lr_schedule" | "lr_scheduler"
        | "schedule" | "flags" | "defaults" | "setup" | "using" => Loose::Settings,
        "average" | "avg" | "completed" | "cur" | "current" | "done" | "global" | "info"
        | "learning" | "log" | "logs" | "mean" | "metric" | "metrics" | "net" | "output"
        | "performance" | "rank" | "report" | "result" | "results" | "set" | "stats"
        | "summary" => Loose::Filler,
        _ => Loose::Unknown,
    }
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

/// Whether a word after a number is a unit: `12.3 GB`, `1000 tokens/s`.
pub(super) fn is_unit(word: &str) -> bool {
    let known = matches!(
        word,
        "%" | "s"
            | "sec"
            | "secs"
            | "second"
            | "seconds"
            | "Seconds"
            | "ms"
            | "us"
            | "µs"
            | "μs"
            | "ns"
            | "m"
            | "min"
            | "mins"
            | "minute"
            | "minutes"
            | "h"
            | "hr"
            | "hrs"
            | "hour"
            | "hours"
            | "d"
            | "day"
            | "days"
            | "B"
            | "b"
            | "KB"
            | "kB"
            | "MB"
            | "GB"
            | "TB"
            | "Mb"
            | "Gb"
            | "mb"
            | "gb"
            | "KiB"
            | "MiB"
            | "GiB"
            | "TiB"
            | "Ki"
            | "Mi"
            | "Gi"
            | "bytes"
            | "it"
            | "samples"
            | "tokens"
            | "frames"
            | "images"
            | "steps"
            | "TFLOPs"
            | "TFLOPS"
            | "TFLOP"
            | "GFLOPs"
            | "GFLOPS"
            | "MFLOPs"
            | "FLOPs"
            | "Hz"
            | "kHz"
            | "MHz"
            | "GHz"
            | "W"
            | "kW"
            | "kWh"
            | "Wh"
            | "C"
            | "°C"
            | "dB"
            | "bits"
            | "nats"
            | "px"
            | "deg"
            | "rad"
    );
    known
        || word.len() > 2
            && memchr::memchr(b'/', word.as_bytes()).is_some_and(|at| word[at..].starts_with("/s"))
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
