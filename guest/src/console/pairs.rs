//! Reads pairs in free text: `step=10 loss=0.5`, `iter 10: loss 2.3`, `| lm loss: 6.5E+00 |`, progress bars.
//!
//! Many lines contain numbers that are not metrics. So a pair counts only on a line with a step, an epoch or a
//! progress bar, and only in one of three forms: `name=number`; `name: number`, unless a sentence continues
//! after the number; and a bare `name number`, if the line also has a training metric.

use super::found::{MAX_METRICS, RecordMatch};
use super::names::{self, Role};
use super::numbers::{self, Number};
use super::tokens::{self, Token, Tokens};
use crate::value::Value;

/// What was found in free text.
#[derive(Default)]
pub(super) struct Reading {
    /// The step, the epoch and the pairs.
    pub(super) found: RecordMatch,
    /// Whether the step is the position of a progress bar.
    pub(super) bar: bool,
}

/// How a number follows its name, from the least to the most certain form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Bare,
    Colon,
    Equals,
}

/// A pair that may still turn out to be prose, depending on what follows.
struct Candidate<'a> {
    name: &'a str,
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
    /// A bracket opened after the name: a number counts only if it is all of the bracket's content.
    bracketed: bool,
    candidate: Option<Candidate<'a>>,
    /// The pairs, and whether each is bare. Bare pairs count only if the line has a training metric.
    pairs: Vec<(&'a str, Value, bool)>,
    step: Option<(u8, u64)>,
    progress: Option<u64>,
    bar: bool,
    /// A bar was drawn, and its position may follow.
    drawn: bool,
    has_description: bool,
    epoch: Option<f64>,
}

/// The step, the epoch and the pairs of a text. There are no pairs without a step or an epoch.
pub(super) fn read(text: &str) -> Reading {
    // Without a digit there is no step.
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Reading::default();
    }
    let mut reader = Reader {
        text,
        tokens: Tokens::new(text),
        name: None,
        last_word: "",
        connector: None,
        glued: false,
        bracketed: false,
        candidate: None,
        pairs: Vec::new(),
        step: None,
        progress: None,
        bar: false,
        drawn: false,
        has_description: false,
        epoch: None,
    };
    reader.leading_brackets();
    while let Some(token) = reader.tokens.next() {
        reader.token(token);
    }
    reader.separator();
    reader.reading()
}

impl<'a> Reader<'a> {
    /// Reads the epoch and the batch of `[1,  2000] loss: 2.173`, the format of PyTorch's tutorial.
    fn leading_brackets(&mut self) {
        let Some(inside) = self.text.trim_start().strip_prefix('[') else { return };
        let Some((inside, _)) = inside.split_once(']') else { return };
        let Some((epoch, batch)) = inside.split_once(',') else { return };
        let whole = |text: &str| match numbers::exact(text.trim()) {
            Some(Value::Integer(integer)) => u64::try_from(integer).ok(),
            _ => None,
        };
        if let (Some(epoch), Some(batch)) = (whole(epoch), whole(batch))
            && self.text.contains("loss")
        {
            self.epoch = Some(epoch as f64);
            self.progress = Some(batch);
        }
    }

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
            // `Epoch 1/5 ━━━━`: the ratio is the epoch, and the bar's position comes later.
            Token::Bar(done) if self.role() != Role::Other => self.ratio(done, false),
            Token::Drawing => {
                self.drawn = true;
                self.separator();
            }
            Token::Bar(done) => {
                self.separator();
                self.described();
                self.bar = true;
                self.progress = Some(done);
            }
            Token::Ratio { done, bracketed } => self.ratio(done, bracketed),
            Token::Percentage => {
                self.forget_name();
                self.described();
            }
            Token::Separator => self.separator(),
            Token::Open => {
                let waits = self.connector.is_some() || self.role() != Role::Other;
                if self.name.is_some() && waits && !self.bracketed {
                    self.bracketed = true;
                } else {
                    self.separator();
                }
            }
            Token::Parenthesis => {
                if self.candidate.is_some() && self.name.is_none() {
                    // `loss: 2.3 (2.5)`: the average so far, or another remark.
                    self.tokens.skip_parenthesis();
                } else {
                    self.separator();
                }
            }
            Token::Junk => {
                self.sentence_continues();
                self.forget_name();
            }
        }
    }

    fn word(&mut self, word: &'a str) {
        let end = self.tokens.position();
        let start = end - word.len();
        match self.connector {
            // `phase=train`: the word is a value, and no name begins here.
            Some(Form::Equals) => return self.forget_name(),
            // `train: step 10`: a heading.
            Some(_) => self.forget_name(),
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
            && !names::is_metric(candidate.name)
        {
            // `GPU 0:`, `Validation DataLoader 0:`: a heading.
            self.candidate = None;
        }
        self.forget_name();
    }

    fn number(&mut self, number: Number<'a>) {
        let Some((start, end)) = self.name else { return };
        let words = self.text[start..end].trim_end();
        let is_word = number.value.as_ref().as_number().is_some_and(|number| !number.is_finite());
        if self.connector.is_none() && is_word && !names::is_metric(self.last_word) {
            // `number of nan iterations`: a word, not a number.
            return self.name = Some((start, self.tokens.position()));
        }
        let filled = !self.bracketed || self.tokens.next_character() == Some(']');
        match self.role() {
            Role::Step(rank) => {
                if let Some(step) =
                    numbers::as_step(&number.value).filter(|_| number.unit.is_empty())
                {
                    self.take_step(rank, step);
                }
                self.settle();
            }
            Role::Epoch => {
                if number.unit.is_empty() {
                    self.take_epoch(numbers::as_epoch(&number.value));
                }
                self.settle();
            }
            Role::Other if filled => self.pair(words, number),
            Role::Other => self.settle(),
        }
        self.forget_name();
    }

    /// Reads a number after words that mean neither a step nor an epoch.
    fn pair(&mut self, words: &'a str, number: Number<'a>) {
        let form = self.connector.unwrap_or(Form::Bare);
        let mut name = words;
        if form == Form::Bare {
            let many = words.split(' ').filter(|word| !word.is_empty()).count() > 3;
            if many || tokens::is_prose(words) {
                // A sentence, and the number before it was part of it.
                self.sentence_continues();
                return self.settle();
            }
        } else if form == Form::Equals && self.glued {
            name = words.rsplit(' ').next().unwrap_or(words);
        } else {
            name = after_prose(words);
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
            self.candidate = Some(Candidate { name, number, form });
        }
    }

    fn ratio(&mut self, done: u64, bracketed: bool) {
        match self.role() {
            Role::Step(rank) => self.take_step(rank, done),
            Role::Epoch => self.take_epoch(Some(done as f64)),
            Role::Other => {
                if bracketed
                    && let Some(Candidate { name, number, .. }) = &self.candidate
                    && ["train", "test", "val", "valid", "validation", "eval"]
                        .iter()
                        .any(|phase| name.eq_ignore_ascii_case(phase))
                {
                    // timm prints `Train: 3 [  50/1251 (  4%)]`; the 3 is the epoch.
                    let epoch = numbers::as_epoch(&number.value);
                    self.take_epoch(epoch);
                    self.candidate = None;
                }
                self.bar |= self.drawn && self.name.is_none();
                let counts = bracketed
                    || self.bar
                    || matches!(
                        self.last_word.to_ascii_lowercase().as_str(),
                        "batch" | "minibatch"
                    ) && self.name.is_some()
                    || self.counts_batches();
                if counts && self.progress.is_none() {
                    self.progress = Some(done);
                }
            }
        }
        if bracketed {
            self.commit();
        } else {
            self.settle();
        }
        self.forget_name();
    }

    /// Whether a unit of progress follows, as in `200/ 2983 batches`, the format of PyTorch's language model
    /// example.
    fn counts_batches(&self) -> bool {
        let rest = self.text[self.tokens.position()..].trim_start_matches(' ');
        ["batches", "steps", "iterations", "iters"].iter().any(|unit| rest.starts_with(unit))
    }

    fn take_step(&mut self, rank: u8, step: u64) {
        if self.step.is_none_or(|(taken, _)| rank > taken) {
            self.step = Some((rank, step));
        }
    }

    fn take_epoch(&mut self, epoch: Option<f64>) {
        self.epoch = self.epoch.or(epoch);
    }

    /// A bar follows, so the pairs so far are its description: `Map (num_proc=4)` is not a metric, `loss: 0.5`
    /// is.
    fn described(&mut self) {
        self.commit();
        // Only for the first bar: on a line of many bars, doing this for each would take quadratic time.
        if !self.has_description {
            self.has_description = true;
            self.pairs.retain(|(name, ..)| names::is_metric(name));
        }
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
                Form::Colon => names::is_metric(candidate.name),
                Form::Bare => false,
            };
            if !sure {
                self.candidate = None;
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
        if let Some(Candidate { name, number, form }) = self.candidate.take()
            && self.pairs.len() < MAX_METRICS
        {
            self.pairs.push((name, number.value, form == Form::Bare));
        }
    }

    fn separator(&mut self) {
        self.settle();
        self.forget_name();
    }

    fn forget_name(&mut self) {
        self.name = None;
        self.last_word = "";
        self.connector = None;
        self.glued = false;
        self.bracketed = false;
    }

    fn reading(self) -> Reading {
        let any = |test: fn(&str) -> bool| self.pairs.iter().any(|(name, ..)| test(name));
        let has_metric = any(names::is_metric);
        let mut found = RecordMatch::default();
        found.step = self.step.map(|(_, step)| step).or(self.progress);
        found.epoch = self.epoch;
        let marked = self.step.is_some() || self.epoch.is_some() || self.bar;
        // Progress without a bar may be anything: `[3/10] Compiling`.
        let counts = marked || self.progress.is_some() && has_metric;
        // `epoch=10 lr=0.1 batch_size=32` is a configuration.
        let is_configuration =
            self.step.is_none() && !self.bar && any(names::is_setting) && !any(names::is_outcome);
        if counts && !is_configuration {
            for (name, value, bare) in self.pairs {
                // Of two pairs with the same name, the first belongs to the line's own heading.
                if (!bare || has_metric) && !found.has(name) {
                    found.add(name, value);
                }
            }
        }
        Reading { found, bar: self.bar }
    }
}

/// The words after the last one that connects a sentence: of `with final loss`, `final loss`. Empty if they are
/// too many for a name.
fn after_prose(words: &str) -> &str {
    // These words also occur inside names: `number of skipped iterations`.
    let links = |word: &str| names::is_prose(word) && !matches!(word, "of" | "over" | "in" | "to");
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
