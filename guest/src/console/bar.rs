//! Recognizes progress bars: those of tqdm, Keras, rich and Lightning, drawn with any characters.
//!
//! A bar's position is a step only if the bar is the training's. Downloads, preparations and evaluations draw bars
//! too, so a bar is taken for the training's by its description or by the metrics behind it, and otherwise moves
//! nothing.

use super::counted_row;
use super::names::{self, Role};
use super::observation::{Count, Metrics, Observation, Phase, PrintedStep};
use super::pairs::{self, Reading};
use super::tokens::{self, DRAWN};
use super::{numbers, phase};

/// A bar on a line, with the text around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar<'a> {
    /// The text before it: `Epoch 3`, `Validation DataLoader 0`.
    pub(super) description: &'a str,
    /// The position; none if it is counted in something that is no step, such as bytes.
    done: Option<u64>,
    total: Option<u64>,
    /// What its rate counts: `examples/s`. Empty for iterations.
    unit: &'a str,
    /// The text behind it that belongs to it.
    postfix: &'a str,
    /// Other output on the same line.
    pub(super) after: &'a str,
}

/// Whose progress a bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The steps of a training.
    Training,
    /// The epochs of a training.
    Epochs,
    /// An evaluation.
    Evaluation,
    /// Nothing that says so.
    Unknown,
    /// Something else: a download, a preparation.
    Other,
}

/// The first bar of a line.
pub(super) fn find(text: &str) -> Option<Bar<'_>> {
    // Most lines are none, which one look at their bytes shows.
    let (mut percent, mut bracket, mut dashes, mut drawing) = (false, false, false, false);
    let mut before = 0;
    for &byte in text.as_bytes() {
        match byte {
            b'|' => percent |= before == b'%',
            b'[' => bracket |= before == b' ',
            b'-' => dashes |= before == b'-',
            // The first byte of the characters that bars are drawn with.
            0xe2 => drawing = true,
            _ => {}
        }
        before = byte;
    }
    let mut bar = None;
    if percent {
        bar = tqdm(text);
    }
    if bracket && bar.is_none() {
        bar = unbounded(text);
    }
    if drawing && bar.is_none() {
        bar = drawn(text);
    }
    if bracket && bar.is_none() {
        bar = keras(text);
    }
    if dashes && bar.is_none() {
        bar = ascii(text);
    }
    bar
}

/// `desc:  45%|███ | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34]`
fn tqdm(text: &str) -> Option<Bar<'_>> {
    let percent = memchr::memmem::find(text.as_bytes(), b"%|")?;
    let digits =
        text[..percent].bytes().rev().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    if digits == 0 {
        return None;
    }
    let description =
        text[..percent - digits].trim_end().trim_end_matches(':').trim_end_matches('|').trim();
    let rest = &text[percent + 2..];
    let end = memchr::memchr(b'|', rest.as_bytes())?;
    let rest = rest[end + 1..].trim_start();
    let (done, total, rest) = match amounts(rest) {
        Some((done, total, rest)) => (done, total, rest),
        None => {
            // Bytes, or an amount that cannot be read.
            let after = rest.find(']').map_or("", |end| &rest[end + 1..]);
            return Some(Bar {
                description,
                done: None,
                total: None,
                unit: "B",
                postfix: "",
                after,
            });
        }
    };
    let (unit, postfix, after) = brackets(rest);
    Some(Bar { description, done: Some(done), total, unit, postfix, after })
}

/// `450/1000`, `120it/850it`, `1.50k/10.0k`; returns the rest too.
fn amounts(text: &str) -> Option<(u64, Option<u64>, &str)> {
    let end = text.find(['[', ' ']).unwrap_or(text.len());
    let (amounts, rest) = text.split_at(end);
    let (done, total) = amounts.split_once('/')?;
    let amount = |text: &str| {
        let text = text.strip_suffix("it").or_else(|| text.strip_suffix("steps")).unwrap_or(text);
        let number = numbers::with_unit(text).filter(|number| number.unit.is_empty())?;
        numbers::as_step(&number.value)
    };
    // `4.5M/10M` are bytes unless the rate says otherwise.
    let scaled = |text: &str| text.ends_with(['M', 'G', 'T']);
    if scaled(done) || scaled(total) {
        return None;
    }
    let total = if total == "?" { None } else { Some(amount(total)?) };
    Some((amount(done)?, total, rest.trim_start()))
}

/// `50001it [00:40, 1244.54it/s, loss=0.5]`
fn unbounded(text: &str) -> Option<Bar<'_>> {
    let at = memchr::memmem::find(text.as_bytes(), b"it [")?;
    let digits = text[..at].bytes().rev().take_while(u8::is_ascii_digit).count();
    let rest = &text[at + 3..];
    if digits == 0 || !begins_with_time(&rest[1..]) {
        return None;
    }
    let done = text[at - digits..at].parse().ok()?;
    let description = text[..at - digits].trim_end().trim_end_matches(':').trim();
    let (unit, postfix, after) = brackets(rest);
    Some(Bar { description, done: Some(done), total: None, unit, postfix, after })
}

/// The unit of the rate, the postfix, and the text after tqdm's brackets.
fn brackets(rest: &str) -> (&str, &str, &str) {
    let Some(inside) = rest.strip_prefix('[') else { return ("", rest, "") };
    if !begins_with_time(inside) {
        return ("", rest, "");
    }
    let mut depth = 1_u32;
    let close = inside.bytes().position(|byte| {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let (inside, after) = match close {
        Some(close) => (&inside[..close], &inside[close + 1..]),
        None => (inside, ""),
    };
    let Some((_, items)) = inside.split_once(',') else { return ("", "", after) };
    let items = items.trim_start();
    let (first, others) = items.split_once(',').unwrap_or((items, ""));
    let is_rate = !first.contains(['=', ':']) && (first.contains("/s") || first.contains("s/"));
    if !is_rate {
        return ("", items, after);
    }
    let unit = first
        .trim()
        .trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '?' | ' '));
    let unit = match unit {
        "it/s" | "s/it" | "steps/s" | "s/step" | "batch/s" | "s/batch" | "batches/s"
        | "epoch/s" | "s/epoch" => "",
        unit => unit,
    };
    (unit, others.trim_start(), after)
}

/// Whether tqdm's time follows: `00:12<`, `1:02:10<`, `?`.
fn begins_with_time(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[digits..];
    digits > 0
        && rest.starts_with(':')
        && rest.bytes().skip(1).take(2).filter(u8::is_ascii_digit).count() == 2
        && matches!(rest.as_bytes().get(3), Some(b'<' | b':' | b',' | b']'))
}

/// `Epoch 4/9 ━━━━━━━ 120/120 0:00:05 • 0:00:00 22.50it/s loss: 0.4`, and Keras' `100/100 ━━━━━ 1s 6ms/step - loss: 0.5`
fn drawn(text: &str) -> Option<Bar<'_>> {
    let start = text.find(DRAWN)?;
    let rest = text[start..].trim_start_matches(|c: char| DRAWN.contains(&c) || c == ' ');
    let before = text[..start].trim_end();
    // Keras prints the position first.
    if let Some((description, ratio)) = position_at_end(before)
        && names::text_role(description) == Role::Other
        && tokens::ratio(rest).is_none()
    {
        return Some(whole(description, ratio.done, ratio.total, rest));
    }
    let ratio = tokens::ratio(rest)?;
    let after = rest[ratio.length..].trim_start();
    Some(whole(before.trim_end_matches(':'), ratio.done, ratio.total, after))
}

/// `1/100 [....] - ETA: 9s - loss: 0.5`
fn keras(text: &str) -> Option<Bar<'_>> {
    let open = memchr::memmem::find(text.as_bytes(), b" [")?;
    let inside = &text[open + 2..];
    let drawn =
        inside.bytes().take_while(|b| matches!(b, b'=' | b'>' | b'.' | b'#' | b'-')).count();
    if drawn < 3 || inside.as_bytes().get(drawn) != Some(&b']') {
        return None;
    }
    let (description, ratio) = position_at_end(text[..open].trim_end())?;
    Some(whole(description, ratio.done, ratio.total, inside[drawn + 1..].trim_start()))
}

/// The position at the end of the text before a bar, and the description before it.
fn position_at_end(text: &str) -> Option<(&str, tokens::Ratio)> {
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '/' | ' '));
    let own = text[before.len()..].trim_start();
    let ratio = tokens::ratio(own).filter(|ratio| ratio.length == own.len())?;
    Some((before, ratio))
}

/// `Epoch 4    --------------- ---- 232/291 0:00:33 • 0:00:09 7.00it/s loss: 0.398`, as rich draws without Unicode.
fn ascii(text: &str) -> Option<Bar<'_>> {
    let start = memchr::memmem::find(text.as_bytes(), b" -----")? + 1;
    let rest = text[start..].trim_start_matches(['-', ' ']);
    let ratio = tokens::ratio(rest)?;
    let after = rest[ratio.length..].trim_start();
    // The elapsed time follows, as in every bar of rich.
    let time = after.split(' ').next().unwrap_or("");
    if time.matches(':').count() != 2
        || !time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'-'))
    {
        return None;
    }
    Some(whole(text[..start].trim_end(), ratio.done, ratio.total, after))
}

fn whole<'a>(description: &'a str, done: u64, total: u64, postfix: &'a str) -> Bar<'a> {
    // pip: `━━━━ 10/10 MB 5.0 MB/s eta 0:00:00`
    let word = postfix.split(' ').next().unwrap_or("");
    let is_bytes =
        matches!(word, "B" | "kB" | "KB" | "MB" | "GB" | "bytes" | "KiB" | "MiB" | "GiB");
    // A record behind a bar is not its postfix.
    let (postfix, after) = match postfix.find('{') {
        Some(at) => postfix.split_at(at),
        None => (postfix, ""),
    };
    Bar {
        description,
        done: (!is_bytes).then_some(done),
        total: Some(total),
        unit: if is_bytes { word } else { "" },
        postfix,
        after,
    }
}

impl<'a> Bar<'a> {
    /// Where it stands, if that can be a step.
    pub(super) fn position(&self) -> Option<PrintedStep> {
        self.done.map(|done| PrintedStep::progress(done, self.total))
    }

    /// What the bar says, and whose it is.
    pub(super) fn read(&self) -> (Observation, Owner) {
        let description: Reading<'a> = pairs::read(self.description);
        let postfix = pairs::read(self.postfix);
        let mut metrics = Metrics::default();
        let mut step = None;
        let mut epoch = description.epoch;
        if let Some(Ok(row)) = counted_row::read(self.description) {
            // torchtune: `1|55|Loss: 1.23:   0%|`
            epoch = epoch.or(row.epoch);
        }
        if self.unit.is_empty() {
            // `Map (num_proc=4)` is not a metric, `loss: 0.342` is.
            for pair in description.pairs.iter().filter(|pair| pair.class.metric) {
                metrics.add(&pair.name, pair.value.clone());
            }
            step = postfix.printed_step().filter(|step| step.count == Count::Run);
            epoch = epoch.or(postfix.epoch);
            for pair in postfix.pairs {
                metrics.add(&pair.name, pair.value);
            }
        }
        let named = self.description.trim_end_matches(|c: char| !c.is_alphanumeric());
        let phase = description.phase.or_else(|| phase::of_words(named)).unwrap_or_default();
        let first =
            named.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).unwrap_or("");
        let counts_epochs = epoch.is_none() && names::text_role(named) == Role::Epoch;
        let owner = if self.done.is_none() || !self.unit.is_empty() {
            Owner::Other
        } else if counts_epochs {
            Owner::Epochs
        } else if matches!(phase, Phase::Evaluation(_)) {
            Owner::Evaluation
        } else if description.epoch.is_some()
            || is_training(first)
            || metrics.any(names::is_outcome)
        {
            Owner::Training
        } else if named.is_empty() {
            Owner::Unknown
        } else {
            Owner::Other
        };
        let printed = self.position().filter(|_| owner != Owner::Epochs);
        if owner == Owner::Epochs {
            epoch = self.done.map(|done| done as f64);
        }
        let observation = Observation {
            phase: if owner == Owner::Evaluation { phase } else { Phase::Training },
            step: step.or(printed),
            epoch,
            epoch_total: description.epoch_total,
            metrics,
            ..Observation::default()
        };
        (observation, owner)
    }
}

/// Whether a bar's description begins as that of a training.
fn is_training(word: &str) -> bool {
    names::contains_word(
        word,
        &[
            "train",
            "training",
            "trainer",
            "step",
            "steps",
            "epoch",
            "iter",
            "iters",
            "iteration",
            "iterations",
            "it",
            "global",
            "fit",
            "fitting",
            "optimizing",
            "optimization",
            "progress",
            "batch",
            "batches",
            "loss",
        ],
    )
}
