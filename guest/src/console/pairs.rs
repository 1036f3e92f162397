//! Pairs in free text: `step=10 loss=0.5`, `iter 10: loss 2.3`, `| lm loss: 6.5E+00 |`, progress bars.
//!
//! Text says many things with numbers in them. A pair counts only beside a step, an epoch or a progress bar,
//! and only in one of three forms: `name=number`, `name: number` where no sentence goes on behind the number,
//! and a bare `name number` on a line that speaks of training.

use super::found::{Found, MAX_METRICS};
use super::names::{self, Role};
use super::numbers::{self, Number};
use super::tokens::{self, Token, Tokens};
use crate::value::Value;

/// What free text holds.
#[derive(Default)]
pub(super) struct Reading {
    /// The step, the epoch and the pairs.
    pub(super) found: Found,
    /// The step stands in a progress bar.
    pub(super) bar: bool,
}

/// How a number stands beside its name; the later, the surer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Bare,
    Colon,
    Equals,
}

/// A pair that what follows may still show to be prose.
struct Candidate<'a> {
    name: &'a str,
    number: Number<'a>,
    form: Form,
}

/// What reads one text.
struct Reader<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    /// Where the words are that may become a name.
    name: Option<(usize, usize)>,
    /// The last of these words.
    last_word: &'a str,
    /// What stands between the name and what comes.
    connector: Option<Form>,
    /// The name is only the word before the connector.
    glued: bool,
    /// A bracket opened behind the name: only a number that fills it counts.
    bracketed: bool,
    candidate: Option<Candidate<'a>>,
    /// The pairs, and whether they are bare: those count only if the line speaks of training.
    pairs: Vec<(&'a str, Value, bool)>,
    step: Option<(u8, u64)>,
    progress: Option<u64>,
    bar: bool,
    /// A bar was drawn: how far it is may follow.
    drawn: bool,
    has_description: bool,
    epoch: Option<f64>,
}

/// The step, the epoch and the pairs of a text; no pairs where there is neither step nor epoch.
pub(super) fn read(text: &str) -> Reading {
    // A line without a digit has no step.
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
    /// `[1,  2000] loss: 2.173`, the epoch and the batch as PyTorch's tutorial prints them.
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
            // `Epoch 1/5 ━━━━`: the bar is the epoch's, how far it is stands elsewhere.
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
                    // `loss: 2.3 (2.5)`: the average so far, or another aside.
                    self.tokens.skip_parenthesis();
                } else {
                    self.separator();
                }
            }
            Token::Junk => {
                self.sentence_goes_on();
                self.forget_name();
            }
        }
    }

    fn word(&mut self, word: &'a str) {
        let end = self.tokens.position();
        let start = end - word.len();
        match self.connector {
            // `phase=train`: a value, which no name begins with.
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

    /// A number beside words that mark neither step nor epoch.
    fn pair(&mut self, words: &'a str, number: Number<'a>) {
        let form = self.connector.unwrap_or(Form::Bare);
        let mut name = words;
        if form == Form::Bare {
            let many = words.split(' ').filter(|word| !word.is_empty()).count() > 3;
            if many || tokens::is_prose(words) {
                // A sentence: the number before was part of it too.
                self.sentence_goes_on();
                return self.settle();
            }
        } else if form == Form::Equals && self.glued {
            name = words.rsplit(' ').next().unwrap_or(words);
        } else {
            name = behind_prose(words);
        }
        self.commit();
        // `train.py:123`, `10.0.0.1:29500`: a place.
        let place = self.glued
            && form == Form::Colon
            && self.last_word.contains('.')
            && !names::is_metric(self.last_word);
        if !place && !name.is_empty() && name.len() <= names::MAX_NAME && !names::is_ignored(name) {
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
                    // `Train: 3 [  50/1251 (  4%)]`, as timm prints.
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

    /// `200/ 2983 batches`, as PyTorch's language model prints.
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

    /// What came so far describes a bar: `Map (num_proc=4)` is no metric, `loss: 0.5` is.
    fn described(&mut self) {
        self.commit();
        // Once is enough, and on a line of nothing but bars all that linear time allows.
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

    /// Words stand behind the candidate's number. Beside `=` they do not matter, and beside `:` only where
    /// the name does not speak of training: `took: 3 people`.
    fn sentence_goes_on(&mut self) {
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

    /// Judges the candidate by the words behind its number.
    fn settle(&mut self) {
        if let Some((start, end)) = self.name
            && self.connector.is_none()
        {
            let words = self.text[start..end].trim();
            if !names::is_unit(words) {
                self.sentence_goes_on();
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
        let speaks_of_training = any(names::is_metric);
        let mut found = Found::default();
        found.step = self.step.map(|(_, step)| step).or(self.progress);
        found.epoch = self.epoch;
        let marked = self.step.is_some() || self.epoch.is_some() || self.bar;
        // Progress that is no bar may be of anything: `[3/10] Compiling`.
        let counts = marked || self.progress.is_some() && speaks_of_training;
        // `epoch=10 lr=0.1 batch_size=32` is how a run is set up, not how it goes.
        let set_up =
            self.step.is_none() && !self.bar && any(names::is_setting) && !any(names::is_outcome);
        if counts && !set_up {
            for (name, value, bare) in self.pairs {
                // Of two with one name the first is the one whose heading is the line's.
                if (!bare || speaks_of_training) && !found.has(name) {
                    found.add(name, value);
                }
            }
        }
        Reading { found, bar: self.bar }
    }
}

/// The words behind the last one that links a sentence: `with final loss` is `final loss`. None where there
/// are too many for a name.
fn behind_prose(words: &str) -> &str {
    // `number of skipped iterations`: within a name these link words too.
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
