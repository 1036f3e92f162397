//! Recognizes pairs in free text: `step=10 loss=0.5`, `iter 10: loss 2.3`, `| lm loss: 6.5E+00 |`.
//!
//! Many lines contain numbers that are not metrics. A pair is `name=number`; `name: number`, unless a sentence
//! continues after the number; or a bare `name number`, if the line also has a training metric. [`Reading::judge`]
//! decides whether the pairs of a line are metrics: by what the line counts, and by what its other words are.

use std::borrow::Cow;

use super::names::{self, Class, Role};
use super::numbers::{self, Number};
use super::observation::{Count, MAX_METRICS, Metrics, Observation, Phase, PrintedStep};
use super::phase;
use super::tokens::{self, Token, Tokens};
use crate::value::Value;

/// How many pairs a line usually has.
const USUAL: usize = 8;

/// A step with the word that names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marker {
    rank: u8,
    value: u64,
    total: Option<u64>,
    /// Nothing stands between the word and the number.
    bare: bool,
}

/// How a number follows its name, from the least to the most certain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Bare,
    Colon,
    Equals,
}

/// A name and its value.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Value,
    pub(super) class: Class,
    form: Form,
    has_unit: bool,
}

impl Pair<'_> {
    /// Whether `=` or `:` stands between the name and the value.
    pub(super) fn is_connected(&self) -> bool {
        self.form != Form::Bare
    }
}

/// What was found in free text.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    pub(super) step: Option<Marker>,
    /// A position without a name: `[100/500]`.
    pub(super) progress: Option<(u64, Option<u64>)>,
    pub(super) epoch: Option<f64>,
    pub(super) epoch_total: Option<u64>,
    pub(super) pairs: Vec<Pair<'a>>,
    pub(super) phase: Option<Phase>,
    /// How many words are not part of a pair, and mean nothing to this reader.
    pub(super) leftover: u32,
    /// How many names have a text as their value.
    pub(super) texts: u32,
    /// A word says that the line lists settings.
    pub(super) settings: bool,
    /// The step or the epoch comes first.
    pub(super) begins_with_count: bool,
    /// Nothing follows the step or the epoch.
    pub(super) ends_with_count: bool,
}

/// What the lines before say, as far as it decides whether pairs are metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// A training has printed a step or an epoch.
    pub(super) training: bool,
}

impl Reading<'_> {
    /// What the names have in them.
    pub(super) fn classes(&self) -> Class {
        self.pairs.iter().fold(Class::default(), |all, Pair { class, .. }| Class {
            metric: all.metric || class.metric,
            outcome: all.outcome || class.outcome,
            setting: all.setting || class.setting,
        })
    }

    /// The printed step.
    pub(super) fn printed_step(&self) -> Option<PrintedStep> {
        if let Some(Marker { rank, value, total, .. }) = self.step
            && (rank >= names::SURE || self.classes().outcome)
        {
            return Some(PrintedStep::of_rank(rank, value, total));
        }
        self.progress.map(|(value, total)| PrintedStep { value, total, count: Count::Progress })
    }

    /// Whether a step is named by a word that means nothing else.
    pub(super) fn names_step(&self) -> bool {
        self.step.is_some_and(|step| step.rank >= names::SURE)
    }

    /// The printed step, also if its word could mean other things.
    pub(super) fn step_of_any_word(&self) -> Option<PrintedStep> {
        self.step.map(|Marker { value, total, .. }| PrintedStep {
            value,
            total,
            count: Count::Marker,
        })
    }

    /// Whether the line says where the training is, and nothing else: `Epoch 1/5`, `Learning iteration 17/1500`.
    pub(super) fn announces(&self) -> bool {
        if !self.pairs.is_empty() || self.texts > 0 || self.settings {
            return false;
        }
        // `Step 2/5` is a numbered stage of a preparation.
        let stage = self.step.is_some_and(|step| {
            step.rank < names::RUN && step.total.is_some_and(|total| total <= 20)
        });
        let epoch = self.epoch.is_some() && self.leftover <= 1;
        let step = self.step.is_some() && !stage && self.leftover == 0 && self.ends_with_count;
        step || epoch && self.step.is_none()
    }

    /// The metrics of the line, or why it has none. Of which phase they are is left to the caller, who also knows the
    /// prefix and the lines before.
    pub(super) fn judge(self, context: Context) -> Result<Observation, &'static str> {
        if self.pairs.is_empty() {
            return Err("no number has a name");
        }
        let Class { metric, outcome, setting } = self.classes();
        let weak = self.step.is_some_and(|step| step.rank < names::SURE);
        // `Episode 30  Last length: 123  Average length: 45`
        let is_row = self.begins_with_count
            && self.leftover == 0
            && self.pairs.len() > 1
            && self.pairs.iter().all(Pair::is_connected)
            && self.step.is_some_and(|step| step.bare || self.epoch.is_some());
        let marked = self.step.is_some() && (!weak || outcome || is_row) || self.epoch.is_some();
        if self.settings || setting && !outcome {
            return Err("it lists settings");
        }
        let mut bare = metric;
        let stands_alone = !marked && self.progress.is_none();
        if marked {
            let stage = self.step.is_some_and(|step| step.total.is_some_and(|total| total <= 20));
            if stage && !outcome && self.epoch.is_none() {
                return Err("a numbered stage, not a step of the training");
            }
            if !metric && self.leftover > 0 {
                return Err("a sentence, and none of its numbers is a training metric");
            }
            let strict = self.begins_with_count && self.leftover == 0;
            bare |= strict && (self.pairs.len() > 2 || self.pairs.iter().all(|pair| pair.has_unit));
        } else if self.progress.is_some() {
            // A ratio may be anything: `[3/10] Compiling`.
            if !metric {
                return Err("a progress, and none of the numbers is a training metric");
            }
        } else {
            if !outcome {
                return Err("no step, no epoch, and no training result");
            }
            if self.leftover > 0 || self.texts > 0 {
                return Err("no step, no epoch, and words that belong to no number");
            }
            if !context.training && self.phase.is_none() {
                return Err("no step or epoch, here or before");
            }
        }
        let step = self.printed_step().or_else(|| self.step_of_any_word().filter(|_| is_row));
        let mut metrics = Metrics::with_capacity(self.pairs.len());
        for pair in self.pairs {
            // Of two pairs with the same name, the first belongs to the line's own heading.
            let counts = match pair.form {
                Form::Bare if stands_alone => pair.class.metric,
                Form::Bare => bare,
                Form::Colon | Form::Equals => true,
            };
            if counts {
                metrics.add_new(&pair.name, pair.value);
            }
        }
        if metrics.is_empty() {
            return Err("numbers without a connector, and none has the name of a training metric");
        }
        Ok(Observation {
            step,
            epoch: self.epoch,
            epoch_total: self.epoch_total,
            metrics,
            ..Observation::default()
        })
    }

    /// The phase of `val Loss: 0.21 Acc: 0.90`: that of the first name, if no other name says something else.
    pub(super) fn phase_of_names(&self) -> Option<Phase> {
        let mut phases = self.pairs.iter().map(|pair| {
            let (first, _) = pair.name.split_once(' ')?;
            phase::of_word(first)
        });
        let first = phases.next()??;
        phases.flatten().all(|other| other == first).then_some(first)
    }
}

/// A pair that may still turn out to be prose, depending on what follows.
struct Candidate<'a> {
    name: Cow<'a, str>,
    number: Number<'a>,
    form: Form,
}

/// Reads one text.
struct Reader<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    /// Start and end of the words that may become a name.
    name: Option<(usize, usize)>,
    /// The last of these words.
    last_word: &'a str,
    /// The connector after the name, if one was read.
    connector: Option<Form>,
    /// The connector directly follows a word, so only that word is the name.
    glued: bool,
    /// A separator came directly before the name, so that all of its words are the name.
    separated: bool,
    /// A bracket opened after the name: a number counts only if it is all of the bracket's content.
    bracketed: bool,
    candidate: Option<Candidate<'a>>,
    /// The last token was a number, and a unit may follow.
    after_number: bool,
    /// The next number says how far the one before varies.
    deviation: bool,
    /// The name of the group that is open: `tot_loss[loss=…`, and whether its names have to have it.
    group: Option<(&'a str, bool)>,
    found: Reading<'a>,
}

/// The step, the epoch and the pairs of a text.
pub(super) fn read(text: &str) -> Reading<'_> {
    // Without a digit or a number in words there is no pair.
    let has_number = text.bytes().any(|byte| byte.is_ascii_digit())
        || text.contains("nan")
        || text.contains("inf")
        || text.contains("NaN");
    if !has_number {
        return Reading::default();
    }
    let mut reader = Reader {
        text,
        tokens: Tokens::new(text),
        name: None,
        last_word: "",
        connector: None,
        glued: false,
        separated: true,
        bracketed: false,
        candidate: None,
        after_number: false,
        deviation: false,
        group: None,
        found: Reading::default(),
    };
    while let Some(token) = reader.tokens.next() {
        let is_number = matches!(token, Token::Number(_));
        reader.token(token);
        reader.after_number = is_number;
    }
    reader.separator();
    reader.found
}

impl<'a> Reader<'a> {
    fn token(&mut self, token: Token<'a>) {
        match token {
            Token::Word(word) => self.word(word),
            Token::NameUnit(_) => {
                if let (Some((_, end)), None) = (&mut self.name, self.connector) {
                    *end = self.tokens.position();
                }
            }
            Token::Equals { glued } => self.connect(Form::Equals, glued),
            Token::Colon { glued } => self.connect(Form::Colon, glued),
            Token::Number(number) => self.number(number),
            Token::Quantity => {
                self.commit();
                self.forget_name();
            }
            Token::List(values) => self.list(&values),
            Token::Ratio { done, total, bracketed } => self.ratio(done, total, bracketed),
            Token::Fraction { done, total } => self.fraction(done, total),
            Token::Epoch(epoch) => {
                self.separator();
                self.take_epoch(Some(epoch as f64), None);
            }
            Token::BatchRange(last) => {
                self.separator();
                self.take_step(1, last, None);
            }
            Token::Phase(word) => {
                self.separator();
                self.note_words(word);
            }
            Token::Hash => {}
            Token::PlusMinus => {
                self.deviation = self.candidate.is_some() && self.name.is_none();
            }
            Token::Separator => self.separator(),
            Token::Close => {
                self.separator();
                self.group = None;
            }
            Token::Open { glued } => self.open(glued),
            Token::Parenthesis { glued } => self.parenthesis(glued),
            Token::Junk => {
                self.sentence_continues();
                if self.connector.is_some() && self.name.is_some() {
                    self.found.texts += u32::from(self.connector == Some(Form::Equals));
                    self.forget_name();
                } else {
                    self.drop_words();
                }
            }
        }
    }

    fn word(&mut self, word: &'a str) {
        let end = self.tokens.position();
        let start = end - word.len();
        if self.after_number
            && self.name.is_none()
            && names::is_unit(word.trim_end_matches('.'))
            && match self.tokens.next_character() {
                Some('=' | ':') => false,
                // `800.12 samples/sec 2000 tokens/sec`, but `0.5 d 3`
                Some('0'..='9') => word.contains('/'),
                _ => true,
            }
        {
            // `12.3 GB`, `2193.04 words/s`
            if let Some(candidate) = &mut self.candidate
                && candidate.number.unit.is_empty()
            {
                candidate.number.unit = word;
            }
            self.separated = word.ends_with('.');
            return;
        }
        match self.connector {
            // `phase=train`: the word is a value, and no name begins here.
            Some(Form::Equals) => {
                self.found.texts += 1;
                if matches!(self.last_word, "phase" | "split" | "mode" | "stage" | "subset") {
                    self.found.phase = self.found.phase.or_else(|| phase::of_word(word));
                }
                return self.forget_name();
            }
            // `train: step 10`: a heading.
            Some(_) => self.drop_words(),
            None => {}
        }
        self.name = Some((self.name.map_or(start, |(start, _)| start), end));
        self.last_word = word;
    }

    fn connect(&mut self, form: Form, glued: bool) {
        if self.name.is_some() && self.connector.is_none() {
            self.connector = Some(form);
            self.glued = glued;
            return;
        }
        if form == Form::Colon
            && let Some(candidate) = &self.candidate
            && candidate.form == Form::Bare
            && !names::is_metric(&candidate.name)
        {
            // `GPU 0:`, `Validation DataLoader 0:`: a heading.
            let name = self.candidate.take().map(|candidate| candidate.name);
            self.note_words(&name.unwrap_or_default());
        }
        if self.name.is_none() {
            // `Cost 2.79 : Time 817.42s`: a separator.
            self.separated = true;
        }
        self.drop_words();
    }

    fn open(&mut self, glued: bool) {
        let waits = self.connector.is_some() || self.role() != Role::Other;
        if self.name.is_some() && waits && !self.bracketed {
            self.bracketed = true;
        } else if glued && self.name.is_some() && self.connector.is_none() && self.group.is_none() {
            // `tot_loss[loss=0.5, …]`: the names in the brackets belong to it.
            let group = self.last_word;
            let own = self.tokens.next_word();
            self.settle();
            self.forget_name();
            self.separated = true;
            self.group = Some((group, own != group));
        } else {
            self.separator();
        }
    }

    fn parenthesis(&mut self, glued: bool) {
        if self.candidate.is_some() && self.name.is_none() {
            // `loss: 2.3 (2.5)`: the average so far, or another remark.
            self.tokens.skip_parenthesis();
        } else if glued && self.name.is_some() {
            // `Namespace(lr=0.1)`: a call, whose arguments are not metrics.
            self.tokens.skip_parenthesis();
            self.found.texts += 1;
            self.forget_name();
        } else if self.name.is_some() && self.connector.is_none() && self.qualifies() {
            // `f1-score (micro avg) 0.55`: a part of the name.
            let (start, _) = self.name.unwrap_or_default();
            self.tokens.skip_parenthesis();
            self.name = Some((start, self.tokens.position()));
        } else {
            self.separator();
            self.separated = false;
        }
    }

    /// Whether the parenthesis just opened contains a few words and nothing else.
    fn qualifies(&self) -> bool {
        let rest = &self.text[self.tokens.position()..];
        let rest = &rest[..rest.floor_char_boundary(32)];
        rest.split_once(')').is_some_and(|(inside, _)| {
            !inside.is_empty()
                && inside.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '_' | '-' | '%'))
        })
    }

    fn number(&mut self, number: Number<'a>) {
        if std::mem::take(&mut self.deviation) {
            return;
        }
        let Some((start, end)) = self.name else {
            // `Train loss 10 0.512`: which of the two is the value?
            let unclear =
                self.after_number && number.unit.is_empty() && !self.tokens.unit_follows();
            if unclear && self.candidate.as_ref().is_some_and(|it| it.form == Form::Bare) {
                self.candidate = None;
            }
            return;
        };
        let words = self.text[start..end].trim_end();
        let is_word = number.value.as_ref().as_number().is_some_and(|number| !number.is_finite());
        if self.connector.is_none() && is_word && !self.stands_for_a_value() {
            // `number of nan iterations`: a word, not a number.
            return self.name = Some((start, self.tokens.position()));
        }
        // `Time taken for 1 epoch 45.2 secs`
        let measured = !number.unit.is_empty() || self.tokens.unit_follows();
        let filled = !self.bracketed || self.tokens.next_character() == Some(']');
        match self.role() {
            // `Episode: 10 | Steps: 200`: how many steps the episode had.
            Role::Step(rank) if rank < names::SURE && self.found.step.is_some() && filled => {
                self.pair(words, number);
            }
            Role::Step(rank) => {
                if let Some(step) = numbers::as_step(&number.value).filter(|_| !measured) {
                    self.note_prefix(words);
                    self.take_step(rank, step, None);
                }
                self.settle();
            }
            Role::Epoch => {
                if !measured {
                    self.note_prefix(words);
                    self.take_epoch(numbers::as_epoch(&number.value), None);
                }
                self.settle();
            }
            Role::Other if filled => self.pair(words, number),
            Role::Other => self.settle(),
        }
        self.forget_name();
    }

    /// Whether a NaN or an infinity without a connector is a value: nothing or another name follows it.
    fn stands_for_a_value(&self) -> bool {
        names::is_metric(self.last_word)
            || !names::is_prose(self.last_word)
                && matches!(
                    self.tokens.next_character(),
                    None | Some(',' | '|' | ';' | '\t' | ')' | ']')
                )
    }

    /// Reads a number after words that mean neither a step nor an epoch.
    fn pair(&mut self, words: &'a str, number: Number<'a>) {
        let form = self.connector.unwrap_or(Form::Bare);
        let mut name = words;
        if form == Form::Bare
            && let Some(before) = words.strip_suffix(" is")
            && names::is_metric(before)
        {
            // MindSpore prints `loss is 2.3`.
            name = before;
        } else if form == Form::Bare {
            let many = words.split(' ').filter(|word| !word.is_empty()).count() > 3;
            if many || tokens::is_prose(words) {
                // A sentence, and the number before it was part of it.
                self.found.leftover += 1;
                self.sentence_continues();
                return self.settle();
            }
        } else if form == Form::Equals && self.glued && !self.is_whole_name(words) {
            name = words.rsplit(' ').next().unwrap_or(words);
            self.note_words(&words[..words.len() - name.len()]);
        } else {
            name = after_prose(words);
            self.note_words(&words[..words.len() - name.len()]);
        }
        self.commit();
        // `train.py:123`, `10.0.0.1:29500`: a line of a file, a port.
        let location = self.glued
            && form == Form::Colon
            && self.last_word.contains('.')
            && !names::is_metric(self.last_word);
        if !location
            && !name.is_empty()
            && name.len() <= names::MAX_NAME
            && !names::is_ignored(name)
        {
            let name = match self.group {
                Some((group, true)) => Cow::Owned(format!("{group}/{name}")),
                _ => Cow::Borrowed(name),
            };
            self.candidate = Some(Candidate { name, number, form });
        }
    }

    /// Whether all words before a glued `=` are the name, as in `, train_step_timing in s=1.9`.
    fn is_whole_name(&self, words: &str) -> bool {
        self.separated
            && words.split(' ').count() <= 4
            && !words.split(' ').next().is_some_and(names::is_prose)
            && phase::of_word(words.split(' ').next().unwrap_or("")).is_none()
    }

    /// Reads numbers in brackets after a name: `lr=[0.1, 0.2]`, `Step [100]`.
    fn list(&mut self, values: &[Value]) {
        let Some((start, end)) = self.name else {
            return self.separator();
        };
        let words = self.text[start..end].trim_end();
        if let [value] = values {
            let number = Number { value: value.clone(), unit: "" };
            match self.role() {
                Role::Other => {
                    self.pair(words, number);
                    self.forget_name();
                }
                _ => self.number(number),
            }
            self.separated = true;
            return;
        }
        if self.role() != Role::Other {
            return self.separator();
        }
        self.settle();
        let name =
            if self.glued && self.connector == Some(Form::Equals) && !self.is_whole_name(words) {
                self.last_word
            } else {
                after_prose(words)
            };
        let form = self.connector.unwrap_or(Form::Bare);
        if !name.is_empty() && name.len() < names::MAX_NAME - 3 && !names::is_ignored(name) {
            let same = values.iter().all(|value| *value == values[0]);
            let count = if same { 1 } else { values.len() };
            for (index, value) in values[..count].iter().enumerate() {
                let name = if same { name.to_owned() } else { format!("{name}_{index}") };
                self.push(Cow::Owned(name), value.clone(), form, false);
            }
        }
        self.forget_name();
    }

    fn ratio(&mut self, done: u64, total: u64, bracketed: bool) {
        let words = self.name.map_or("", |(start, end)| self.text[start..end].trim_end());
        match self.role() {
            Role::Step(rank) if rank == 1 && !bracketed && names_wenet(words) => {
                // WeNet prints `TRAIN Batch 4/203700`: the epoch and the batch.
                self.note_prefix(words);
                self.take_epoch(Some(done as f64), None);
                self.take_step(names::STEP, total, None);
            }
            Role::Step(rank) => {
                self.note_prefix(words);
                self.take_step(rank, done, Some(total));
            }
            Role::Epoch => {
                self.note_prefix(words);
                self.take_epoch(Some(done as f64), Some(total));
            }
            Role::Other if names::is_epoch_and_step(self.last_word) => {
                // `epoch/iter: 0/199`
                self.take_epoch(Some(done as f64), None);
                self.take_step(names::STEP, total, None);
            }
            Role::Other => {
                if bracketed
                    && let Some(Candidate { name, number, .. }) = &self.candidate
                    && phase::of_word(name).is_some()
                {
                    // timm prints `Train: 3 [  50/1251 (  4%)]`; the 3 is the epoch.
                    let epoch = numbers::as_epoch(&number.value);
                    self.found.phase = self.found.phase.or_else(|| phase::of_word(name));
                    self.take_epoch(epoch, None);
                    self.candidate = None;
                }
                if bracketed
                    && self.name.is_none()
                    && self.candidate.is_none()
                    && self.found.pairs.is_empty()
                    && let Some((epoch, epochs)) = self.found.progress
                    && self.found.epoch.is_none()
                {
                    // `[0/5][50/1583]`: the epoch and the batch.
                    self.take_epoch(Some(epoch as f64), epochs);
                    self.found.progress = None;
                }
                let named = self.name.is_some() && self.connector.is_some();
                let first =
                    self.name.is_none() && self.candidate.is_none() && self.found.pairs.is_empty();
                let counts = bracketed
                    || first && (self.found.epoch.is_some() || self.found.step.is_none())
                    || self.counts_batches();
                if counts && (bracketed || !named) && self.found.progress.is_none() {
                    self.found.progress = Some((done, Some(total)));
                }
            }
        }
        if bracketed {
            self.commit();
            if self.role() == Role::Other {
                self.drop_words();
            }
        } else {
            self.settle();
        }
        self.forget_name();
        self.separated = bracketed;
    }

    /// Reads `(1/10)`.
    fn fraction(&mut self, done: u64, total: u64) {
        let words = self.name.map_or("", |(start, end)| self.text[start..end].trim_end());
        if self.connector.is_none() && phase::of_word(words).is_some() && self.found.epoch.is_none()
        {
            // Catalyst prints `train (1/10) | loss: 0.4`: the epoch.
            self.found.phase = self.found.phase.or_else(|| phase::of_word(words));
            self.take_epoch(Some(done as f64), Some(total));
            return self.forget_name();
        }
        self.ratio(done, total, true);
    }

    /// Whether a unit of progress follows, as in `200/ 2983 batches`, the format of PyTorch's language model
    /// example.
    fn counts_batches(&self) -> bool {
        let word = self.tokens.next_word();
        ["batches", "steps", "iterations", "iters"].iter().any(|unit| word.starts_with(unit))
    }

    fn take_step(&mut self, rank: u8, value: u64, total: Option<u64>) {
        self.begin_count();
        if self.found.step.is_none_or(|taken| rank > taken.rank) {
            let bare = self.connector.is_none() && !self.bracketed;
            self.found.step = Some(Marker { rank, value, total, bare });
        }
    }

    fn take_epoch(&mut self, epoch: Option<f64>, total: Option<u64>) {
        self.begin_count();
        if self.found.epoch.is_none() {
            self.found.epoch = epoch;
            self.found.epoch_total = total;
        }
    }

    fn begin_count(&mut self) {
        let nothing =
            self.found.pairs.is_empty() && self.candidate.is_none() && self.found.texts == 0;
        if self.found.step.is_none() && self.found.epoch.is_none() {
            self.found.begins_with_count = nothing && self.found.leftover == 0;
        }
        let rest = &self.text[self.tokens.position()..];
        self.found.ends_with_count = rest.chars().all(|c| !c.is_alphanumeric());
    }

    fn role(&self) -> Role {
        self.name.map_or(Role::Other, |(start, end)| {
            if self.glued && self.connector == Some(Form::Equals) {
                names::key_role(self.last_word)
            } else {
                names::text_role(self.text[start..end].trim_end())
            }
        })
    }

    /// Words follow the candidate's number. They do not matter after `=`. After `:` they show that the pair is
    /// prose, as in `took: 3 people`, unless the name is that of a training metric.
    fn sentence_continues(&mut self) {
        if let Some(candidate) = &self.candidate {
            let sure = match candidate.form {
                Form::Equals => true,
                Form::Colon => names::is_metric(&candidate.name),
                Form::Bare => false,
            };
            if !sure {
                self.candidate = None;
                self.found.leftover += 1;
            }
        }
    }

    /// Accepts or rejects the candidate, depending on the words after its number.
    fn settle(&mut self) {
        if let Some((start, end)) = self.name
            && self.connector.is_none()
        {
            let words = self.text[start..end].trim();
            if !names::is_unit(words) {
                self.sentence_continues();
            }
        }
        self.commit();
    }

    fn commit(&mut self) {
        if let Some(Candidate { name, number, form }) = self.candidate.take() {
            self.push(name, number.value, form, !number.unit.is_empty());
        }
    }

    fn push(&mut self, name: Cow<'a, str>, value: Value, form: Form, has_unit: bool) {
        if self.found.pairs.is_empty() {
            self.found.pairs.reserve(USUAL);
        }
        if self.found.pairs.len() < MAX_METRICS {
            let class = names::class(&name);
            self.found.pairs.push(Pair { name, value, class, form, has_unit });
        }
    }

    fn separator(&mut self) {
        self.settle();
        if self.connector.is_some() {
            self.found.texts += u32::from(self.connector == Some(Form::Equals) && !self.bracketed);
        }
        self.drop_words();
        self.separated = true;
    }

    /// Forgets words that did not become a name; they may still say something about the line.
    fn drop_words(&mut self) {
        if let Some((start, end)) = self.name {
            let words = self.text[start..end].trim();
            if names::is_unit(words) {
                // `12.3 GB |`
            } else {
                self.note_words(words);
            }
        }
        let separated = self.separated && self.name.is_none();
        self.forget_name();
        self.separated = separated;
    }

    /// Notes the words before the last one, which names a count: `Train Epoch`.
    fn note_prefix(&mut self, words: &str) {
        if let Some((before, _)) = words.trim_end().rsplit_once(' ') {
            self.note_words(before);
        }
        // `Epoch(val)`
        if let Some((_, inside)) = words.split_once('(')
            && self.found.phase.is_none()
        {
            self.found.phase = phase::of_words(inside);
        }
    }

    fn note_words(&mut self, words: &str) {
        if words.is_empty() {
            return;
        }
        for word in words.split([' ', '\t']).filter(|word| !word.is_empty()) {
            if let Some(found) = phase::of_words(word) {
                // Behind a value it is the name of something without one: `loss train: 1.6, val: n/a`.
                if self.found.pairs.is_empty() && self.candidate.is_none() {
                    self.found.phase = self.found.phase.or(Some(found));
                }
                continue;
            }
            match names::loose(word) {
                names::Loose::Settings => self.found.settings = true,
                names::Loose::Unknown if word.chars().any(char::is_alphabetic) => {
                    self.found.leftover += 1;
                }
                _ => {}
            }
        }
    }

    fn forget_name(&mut self) {
        self.name = None;
        self.last_word = "";
        self.connector = None;
        self.glued = false;
        self.bracketed = false;
        self.separated = false;
    }
}

/// Whether the words are those that WeNet prints before the epoch and the batch.
fn names_wenet(words: &str) -> bool {
    words.ends_with("TRAIN Batch") || words.ends_with("CV Batch")
}

/// The words after the last one that connects a sentence: of `with final loss`, `final loss`. Empty if they are
/// too many for a name.
fn after_prose(words: &str) -> &str {
    // These words also occur inside names: `number of skipped iterations`.
    let links = |word: &str| names::is_prose(word) && !matches!(word, "of" | "over" | "in" | "to");
    if memchr::memchr(b' ', words.as_bytes()).is_none() {
        return if links(words) { "" } else { words };
    }
    let mut start = 0;
    for (at, _) in words.match_indices(' ') {
        let word = words[..at].rsplit(' ').next().unwrap_or("");
        if links(word) {
            start = at + 1;
        }
    }
    let name = words[start..].trim_start();
    let many = name.split(' ').filter(|word| !word.is_empty()).count() > 6;
    if many || links(name) { "" } else { name }
}
