//! Recognizes rows that begin with a count and no word for it: `[10]` (XGBoost, LightGBM, CLU), `0:` (CatBoost),
//! `490 |` (llama2.c), `1|55|` (torchtune), `333 154 Loss=0.04`, `1875/1875 - 4s` (Keras), `[1,  2000]` (PyTorch's
//! tutorial), `120: 2.3, 2.4 avg loss` (darknet).
//!
//! Many lines begin with a number. One is a row of a training only if everything behind it is pairs, and one of them has
//! the name of a training result or all of them are connected.

use super::names::{self, Class};
use super::numbers;
use super::observation::{Metrics, Observation, PrintedStep};
use super::pairs;
use super::tokens;

/// The counts before a row.
#[derive(Debug, PartialEq)]
struct Counts<'a> {
    epoch: Option<u64>,
    step: PrintedStep,
    rest: &'a str,
    /// `1875/1875`: a position, which also stands before things that are no training.
    is_ratio: bool,
}

/// The row, or why it is none. None if the line does not begin with a count.
pub(super) fn read(text: &str) -> Option<Result<Observation, &'static str>> {
    let Counts { epoch, step, rest, is_ratio } = counts(text)?;
    if rest.is_empty() {
        return None;
    }
    let reading = pairs::read(rest);
    // `(0/4) Epoch 1, batch 40`: a rank.
    let names_count = text.starts_with('(') && (reading.step.is_some() || reading.epoch.is_some());
    if names_count || reading.names_step() {
        // The line names its step by a word.
        return None;
    }
    if reading.pairs.is_empty() {
        let metrics = reversed(rest)?;
        return Some(Ok(Observation { step: Some(step), metrics, ..Observation::default() }));
    }
    let Class { metric, outcome, setting } = reading.classes();
    if setting && !outcome || reading.settings {
        return Some(Err("it lists settings"));
    }
    let connected =
        reading.leftover == 0 && reading.texts == 0 && reading.pairs.len() > 1 && !is_ratio;
    let counts =
        outcome || metric || connected && reading.pairs.iter().all(pairs::Pair::is_connected);
    if !counts {
        return Some(Err(
            "it begins with a number, and none of the others has the name of a training metric",
        ));
    }
    if reading.leftover > 1 {
        return Some(Err("a sentence that begins with a number"));
    }
    let mut metrics = Metrics::default();
    for pair in reading.pairs {
        metrics.add_new(&pair.name, pair.value);
    }
    let epoch = epoch.map(|epoch| epoch as f64).or(reading.epoch);
    (!metrics.is_empty()).then(|| {
        Ok(Observation {
            phase: reading.phase.unwrap_or_default(),
            step: Some(step),
            epoch,
            epoch_total: reading.epoch_total,
            metrics,
            ..Observation::default()
        })
    })
}

/// The step in `[200, 0.0001]`, as RVC prints it below the epoch: with the learning rate.
pub(super) fn bare_step(text: &str) -> Option<PrintedStep> {
    let (step, rate) = text.trim().strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
    let rate = numbers::exact(rate.trim())?.as_ref().as_number()?;
    let value = number(step.trim())?;
    (0.0..1.0).contains(&rate).then_some(PrintedStep::marker(value))
}

fn counts(text: &str) -> Option<Counts<'_>> {
    match text.as_bytes().first()? {
        b'[' => {
            let (inside, rest) = text[1..].split_once(']')?;
            let rest = rest.trim_start_matches([' ', '\t', ':']);
            let Some((epoch, batch)) = inside.split_once(',') else {
                return Some(Counts::row(None, number(inside.trim())?, rest));
            };
            // `[1,  2000] loss: 2.173`
            let (epoch, batch) = (number(epoch.trim())?, number(batch.trim())?);
            rest.contains("loss").then(|| Counts::row(Some(epoch), batch, rest))
        }
        b'(' => {
            let (inside, rest) = text[1..].split_once(')')?;
            let ratio = tokens::ratio(inside).filter(|ratio| ratio.length == inside.len())?;
            Some(Counts::ratio(&ratio, rest.trim_start_matches([' ', ':'])))
        }
        b'0'..=b'9' => {
            if let Some(ratio) = tokens::ratio(text) {
                let rest = text[ratio.length..].trim_start_matches([' ', ':', '-', '|', '\t']);
                return Some(Counts::ratio(&ratio, rest));
            }
            let (first, rest) = digits(text)?;
            if let Some(rest) = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(":\t")) {
                return Some(Counts::row(None, first, rest.trim_start()));
            }
            if let Some(rest) = rest.strip_prefix('|') {
                // `1|55|Loss: 2.2`
                let (second, rest) = digits(rest)?;
                return Some(Counts::row(Some(first), second, rest.strip_prefix('|')?));
            }
            let spaced = rest.strip_prefix([' ', '\t'])?.trim_start();
            if let Some(rest) = spaced.strip_prefix("| ").or_else(|| spaced.strip_prefix("- ")) {
                return Some(Counts::row(None, first, rest.trim_start()));
            }
            // `333 154 Loss=0.04`
            let (second, rest) = digits(spaced)?;
            let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
            let named = rest.starts_with(|c: char| c.is_alphabetic()) && rest.contains('=');
            named.then(|| Counts::row(Some(first), second, rest))
        }
        _ => None,
    }
}

impl<'a> Counts<'a> {
    fn row(epoch: Option<u64>, value: u64, rest: &'a str) -> Self {
        Self { epoch, step: PrintedStep::marker(value), rest, is_ratio: false }
    }

    fn ratio(ratio: &tokens::Ratio, rest: &'a str) -> Self {
        let step = PrintedStep::progress(ratio.done, Some(ratio.total));
        Self { epoch: None, step, rest, is_ratio: true }
    }
}

/// Values before their names: `2.345, 3.456 avg loss, 0.001 rate, 3.2 seconds`.
fn reversed(text: &str) -> Option<Metrics> {
    let mut metrics = Metrics::default();
    let mut segments = 0;
    for segment in text.trim_end_matches(['.', ',']).split(", ") {
        let (value, name) = numbers::leading(segment.trim())?;
        let name = name.trim();
        segments += 1;
        if segments > 32
            || name.split(' ').count() > 3
            || name.contains(|c: char| c.is_ascii_digit())
        {
            return None;
        }
        if !name.is_empty() && !names::is_prose(name) {
            metrics.add(name, value);
        }
    }
    (segments > 2 && metrics.any(names::is_outcome)).then_some(metrics)
}

fn number(text: &str) -> Option<u64> {
    let (number, rest) = digits(text)?;
    rest.is_empty().then_some(number)
}

fn digits(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}
