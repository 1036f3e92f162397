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
pub(super) fn lowercase<'a>(word: &str, buffer: &'a mut [u8; LONGEST_WORD]) -> Cow<'a, [u8]> {
    if word.len() > LONGEST_WORD || !word.is_ascii() {
        return Cow::Owned(word.to_lowercase().into_bytes());
    }
    let lower = &mut buffer[..word.len()];
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    Cow::Borrowed(lower)
}

/// A word without what is neither a letter nor a digit at its ends.
pub(super) fn trimmed(word: &str) -> &str {
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if is_plain(word.as_bytes().first()) && is_plain(word.as_bytes().last()) {
        return word;
    }
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn role_of_word(word: &str) -> Role {
    if !word.is_ascii() {
        return role_of_foreign_word(&word.to_lowercase());
    }
    let mut lower = [0; LONGEST_WORD];
    let word = lowercase(word, &mut lower);
    match word.as_ref() {
        b"global_step" | b"global step" | b"globalstep" | b"global_steps" | b"num_updates"
        | b"trainer_step" => Role::Step(RUN),
        b"step" | b"_step" | b"current_step" | b"current_steps" | b"train_step"
        | b"training_step" => Role::Step(STEP),
        b"iteration"
        | b"iter"
        | b"it"
        | b"itr"
        | b"n_iter"
        | b"global_iter"
        | b"iteration_number"
        | b"training_iteration"
        | b"up"
        | b"num_timesteps"
        | b"total_timesteps"
        | b"paso"
        | b"schritt" => Role::Step(SURE),
        b"steps" | b"iters" | b"iterations" | b"update" | b"updates" | b"nupdates"
        | b"timesteps" | b"timestep" => Role::Step(2),
        b"batch" | b"minibatch" | b"episode" | b"episodes" | b"tick" | b"round" | b"generation" => {
            Role::Step(1)
        }
        b"epoch" | b"current_epoch" | b"epochs" | b"epoch_num" | b"epch" | b"epoca" | b"epoche" => {
            Role::Epoch
        }
        _ => Role::Other,
    }
}

/// The words of other scripts, in lower case.
fn role_of_foreign_word(word: &str) -> Role {
    match word {
        "训练次数" | "步数" | "步" | "迭代" | "迭代次数" | "ステップ" | "шаг" | "étape" => {
            Role::Step(SURE)
        }
        "轮次" | "轮" | "époque" | "época" | "эпоха" | "エポック" => Role::Epoch,
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
fn is_metric_stem(stem: &[u8]) -> bool {
    matches!(
        stem,
        b"acc"
            | b"accu"
            | b"error"
            | b"ppl"
            | b"lr"
            | b"cost"
            | b"rew"
            | b"return"
            | b"returns"
            | b"averagereturn"
            | b"meanreturn"
            | b"episodereturn"
            | b"avgreturn"
            | b"ce"
            | b"bce"
            | b"hmean"
            | b"xent"
            | b"kimg"
            | b"ap"
            | b"ar"
            | b"logloss"
            | b"norm"
            | b"bleu"
            | b"rouge"
            | b"rougel"
            | b"wer"
            | b"cer"
            | b"auc"
            | b"auroc"
            | b"mae"
            | b"mse"
            | b"rmse"
            | b"psnr"
            | b"ssim"
            | b"fid"
            | b"iou"
            | b"miou"
            | b"map"
            | b"map50"
            | b"bpb"
            | b"bpc"
            | b"mfu"
            | b"kl"
            | b"entropy"
            | b"precision"
            | b"recall"
            | b"dice"
            | b"gnorm"
            | b"gradnorm"
            | b"nll"
            | b"elbo"
            | b"score"
            | b"wps"
            | b"ndcg"
            | b"mrr"
            | b"meteor"
            | b"chrf"
            | b"hits"
            | b"em"
    )
}

/// Whether two words make a name a metric: `learning_rate`, `grad norm`, `samples_per_second`. Both in lower case.
fn is_metric_pair(first: &[u8], second: &[u8]) -> bool {
    matches!(
        (first, second),
        (b"learning", b"rate")
            | (b"grad" | b"gradient", b"norm")
            | (b"per", b"second" | b"sec")
            | (b"exact", b"match")
    )
}

/// Whether a name is that of a training metric.
pub(super) fn is_metric(name: &str) -> bool {
    let mut buffers = [[0; LONGEST_WORD]; 2];
    let [buffer, before_buffer] = &mut buffers;
    let mut before = "";
    words(name).any(|word| {
        let lower = lowercase(word, buffer);
        let digits = lower.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let stem = &lower[..lower.len() - digits];
        let found = is_metric_stem(stem)
            // These mean a metric only with a digit: `f1`, `r2` and `top5`.
            || digits > 0 && matches!(stem, b"f" | b"r" | b"l" | b"top")
            || METRIC_PARTS.iter().any(|part| begins_or_ends_with(&lower, part.as_bytes()))
            || matches!(&*lower, b"rate" | b"norm" | b"second" | b"sec" | b"match")
                && is_metric_pair(&lowercase(before, before_buffer), &lower);
        before = word;
        found
    })
}

/// Nearly no word has a part's first or last byte in the same place, so few bytes are compared.
fn begins_or_ends_with(word: &[u8], part: &[u8]) -> bool {
    word.first() == part.first() && word.starts_with(part)
        || word.last() == part.last() && word.ends_with(part)
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
        b"lr"
            | b"learning_rate"
            | b"learning rate"
            | b"base_lr"
            | b"current learning rate"
            | b"lr0"
    )
}

/// Whether a name is typical of a configuration. A line of settings often has a learning rate, but is not
/// metrics.
pub(super) fn is_setting(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut buffer = [0; LONGEST_WORD];
    let known = matches!(
        lowercase(name, &mut buffer).as_ref(),
        b"batch_size"
            | b"train_batch_size"
            | b"eval_batch_size"
            | b"seed"
            | b"num_epochs"
            | b"epochs"
            | b"n_epochs"
            | b"max_epochs"
            | b"num_train_epochs"
            | b"max_steps"
            | b"max_iters"
            | b"num_steps"
            | b"total_steps"
            | b"hidden_size"
            | b"hidden_dim"
            | b"num_layers"
            | b"n_layers"
            | b"n_layer"
            | b"n_head"
            | b"n_heads"
            | b"num_heads"
            | b"n_embd"
            | b"d_model"
            | b"dropout"
            | b"weight_decay"
            | b"warmup_steps"
            | b"warmup"
            | b"num_workers"
            | b"vocab_size"
            | b"block_size"
            | b"seq_len"
            | b"max_length"
            | b"momentum"
            | b"gamma"
            | b"beta1"
            | b"beta2"
            | b"weight decay"
            | b"wd"
            | b"hidden"
            | b"layers"
            | b"imgsz"
            | b"base_lr"
            | b"step_size"
            | b"label_smoothing"
            | b"milestones"
            | b"patience"
            | b"stride"
            | b"workers"
    );
    known
        || contains_word(name, &["per_device_train_batch_size", "gradient_accumulation_steps"])
        || memchr::memrchr(b'_', name.as_bytes()).is_some_and(|at| {
            matches!(&name[at..], "_weight" | "_coef" | "_coeff" | "_lambda" | "_alpha")
        })
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
    let mut buffer = [0; LONGEST_WORD];
    is_level(last)
        || matches!(
            lowercase(last, &mut buffer).as_ref(),
            b"v_num"
                | b"eta"
                | b"rank"
                | b"local_rank"
                | b"pid"
                | b"port"
                | b"localhost"
                | b"worker"
                | b"node"
                | b"line"
                | b"cuda"
                | b"cpu"
                | b"gpu"
                | b"xpu"
                | b"npu"
                | b"mps"
                | b"version"
                | b"dataloader"
        )
}

/// Whether a word is one that connects a sentence: numbers next to it are prose.
pub(super) fn is_prose(word: &str) -> bool {
    let mut buffer = [0; LONGEST_WORD];
    word.len() <= 8
        && matches!(
            lowercase(word, &mut buffer).as_ref(),
            b"from"
                | b"to"
                | b"with"
                | b"is"
                | b"was"
                | b"are"
                | b"in"
                | b"improved"
                | b"than"
                | b"after"
                | b"before"
                | b"took"
                | b"at"
                | b"for"
                | b"by"
                | b"and"
                | b"the"
                | b"a"
                | b"an"
                | b"has"
                | b"have"
                | b"got"
                | b"did"
                | b"not"
                | b"on"
                | b"of"
                | b"or"
                | b"until"
                | b"since"
                | b"over"
                | b"under"
                | b"into"
                | b"about"
                | b"only"
                | b"still"
                | b"as"
                | b"reached"
                | b"reducing"
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
    let word = trimmed(word);
    if is_level(word) {
        return Loose::Level;
    }
    let mut buffer = [0; LONGEST_WORD];
    match lowercase(word, &mut buffer).as_ref() {
        b"config" | b"configs" | b"configuration" | b"args" | b"arguments" | b"params"
        | b"parameters" | b"hyperparameters" | b"hyperparams" | b"hparams" | b"settings"
        | b"setting" | b"options" | b"namespace" | b"kwargs" | b"optimizer" | b"scheduler"
        | b"lr_schedule" | b"lr_scheduler" | b"schedule" | b"flags" | b"defaults" | b"setup"
        | b"using" => Loose::Settings,
        b"average" | b"avg" | b"completed" | b"cur" | b"current" | b"done" | b"global"
        | b"info" | b"learning" | b"log" | b"logs" | b"mean" | b"metric" | b"metrics" | b"net"
        | b"output" | b"performance" | b"rank" | b"report" | b"result" | b"results" | b"set"
        | b"stats" | b"summary" => Loose::Filler,
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
    let bytes = printed.as_bytes();
    let is_simple = printed.len() <= MAX_NAME
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/'));
    if is_simple {
        return Cow::Borrowed(printed);
    }
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
