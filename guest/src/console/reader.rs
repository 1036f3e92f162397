//! Reads the lines of one stream: asks the recognizers in their order, and keeps what goes over several lines.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::bar::{self, Bar, Owner};
use super::block::{self, Block};
use super::counted_row;
use super::lines::{self, Line};
use super::numbers::{self, DecimalMark};
use super::observation::{Count, Observation, Phase, PrintedStep};
use super::pairs::{self, Context};
use super::pattern::Patterns;
use super::phase::Names;
use super::position::Tracker;
use super::prefix::{self, Body};
use super::record;
use super::table::{self, Frame, Table};
use super::tracebacks::{Offer, Tracebacks};
use super::{Event, MetricsLine};

/// How many bars of one line are read.
const MAX_BARS: u32 = 8;

/// What both streams of a command share.
#[derive(Default)]
pub(super) struct Shared {
    tracker: Tracker,
    names: Names,
    mark: DecimalMark,
    patterns: Patterns,
}

impl Shared {
    pub(super) fn new(last_step: Option<u64>, patterns: Patterns) -> Self {
        Self { tracker: Tracker::new(last_step), patterns, ..Self::default() }
    }
}

/// Where the lines of a stream go.
pub(super) struct Out<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) events: &'a mut Vec<Event>,
}

/// What was done with a line, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Empty if no recognizer took the line.
    pub(super) recognizer: &'static str,
    pub(super) reason: &'static str,
}

const fn by(recognizer: &'static str, reason: &'static str) -> Note {
    Note { recognizer, reason }
}

const fn nothing(reason: &'static str) -> Note {
    Note { recognizer: "", reason }
}

/// What goes over several lines; one at a time.
#[derive(Default)]
enum Region {
    #[default]
    None,
    Record(record::Open),
    Table(Table),
    Frame(Frame),
    Block(Block),
}

/// What a redrawn line has shown.
#[derive(Clone, Copy, PartialEq)]
struct Drawn {
    phase: Phase,
    step: Option<PrintedStep>,
    epoch: Option<f64>,
    /// The fingerprint of its metrics.
    metrics: u64,
}

/// Reads the lines of one stream.
#[derive(Default)]
pub(super) struct Reader {
    tracebacks: Tracebacks,
    region: Region,
    /// The last state of a bar or another line that is redrawn.
    held: Option<Observation>,
    /// The last observation that was redrawn.
    last: Option<Drawn>,
    /// The phase of the last observation.
    phase: Phase,
}

/// Where a line stands.
#[derive(Clone, Copy)]
struct Drawing {
    written_over: bool,
    redrawn: bool,
}

/// What is known of a line beside its text.
#[derive(Clone, Copy)]
struct Around {
    /// The phase that a prefix named.
    phase: Option<Phase>,
    /// It began with spaces.
    indented: bool,
    drawing: Drawing,
    /// How many bars were read before this part of the line.
    bars: u32,
}

/// How an observation is placed.
#[derive(Clone, Copy, PartialEq)]
enum Epoch {
    /// Only a printed epoch counts.
    Printed,
    /// Without one, the epoch that was announced.
    Announced,
}

impl Reader {
    pub(super) fn line(&mut self, line: &Line<'_>, out: &mut Out<'_>) -> Note {
        let text = lines::clean(line.bytes);
        let redrawn = line.over_another || line.written_over;
        let drawing = Drawing { written_over: line.written_over, redrawn };
        let traceback = by("traceback", "a line of an error");
        match self.tracebacks.offer(&text, redrawn, out.events) {
            Offer::Taken => {
                self.release(out);
                traceback
            }
            // The traceback began on the line of a progress bar.
            Offer::TakenAfter(length) => {
                if !line.cut {
                    self.metrics(
                        &text[..length],
                        Drawing { written_over: true, redrawn: true },
                        out,
                    );
                    self.release(out);
                }
                traceback
            }
            Offer::Free if line.cut => nothing("it is longer than 4 MiB"),
            Offer::Free => self.metrics(&text, drawing, out),
            // A message may contain any line, but a line with metrics shows that the trainer continues.
            Offer::Message(index) => {
                if !line.cut && continues(&text) {
                    self.tracebacks.close(index, out.events);
                    self.metrics(&text, drawing, out)
                } else {
                    self.tracebacks.take_message(index, &text, out.events);
                    traceback
                }
            }
        }
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        self.release(out);
        match std::mem::take(&mut self.region) {
            Region::Record(open) => self.replay(open.into_lines(), out),
            region => self.close(region, out),
        }
        self.release(out);
        self.tracebacks.finish(out.events);
    }

    fn metrics(&mut self, raw: &str, drawing: Drawing, out: &mut Out<'_>) -> Note {
        let raw = lines::half_width(raw);
        if raw.trim().is_empty() {
            return self.blank(out);
        }
        let Body { text, phase } = prefix::strip(&raw);
        let mut text = Cow::Borrowed(text);
        if !text.starts_with('{') {
            out.shared.mark = out.shared.mark.seen_in(&text);
            if out.shared.mark == DecimalMark::Comma
                && memchr::memchr(b',', text.as_bytes()).is_some()
            {
                text = Cow::Owned(numbers::with_points(&text));
            }
        }
        let indented = raw.starts_with("  ") || raw.starts_with('\t');
        self.body(&text, Around { phase, indented, drawing, bars: 0 }, out)
    }

    /// Reads a line without its prefix.
    fn body(&mut self, text: &str, around: Around, out: &mut Out<'_>) -> Note {
        let Around { phase, indented, drawing, bars } = around;
        if out.shared.patterns.ignores(text) {
            return nothing("--ignore excludes it");
        }
        if let Some(mut observation) = out.shared.patterns.read(text) {
            self.release(out);
            self.end_region(out);
            observation.phase = phase.unwrap_or(observation.phase);
            self.emit(observation, Epoch::Announced, out);
            return by("pattern", "a pattern of the configuration matches");
        }
        if text.starts_with("wandb:") {
            return nothing("a summary of W&B, which repeats what was logged");
        }
        if let Some(total) = announced_total(text) {
            out.shared.tracker.announce_total(total);
        }
        if bars < MAX_BARS
            && let Some(bar) = bar::find(text)
        {
            let note = self.bar(&bar, phase, drawing, out);
            if !bar.after.trim().is_empty() {
                self.release(out);
                return self.body(
                    bar.after.trim(),
                    Around { indented: false, bars: around.bars + 1, ..around },
                    out,
                );
            }
            return note;
        }
        if !drawing.redrawn {
            self.release(out);
        }
        if let Some(note) = self.inside(text, indented, out) {
            return note;
        }
        self.whole_line(text, phase, drawing, out)
    }

    /// Reads a blank line, which ends what has ended with it.
    fn blank(&mut self, out: &mut Out<'_>) -> Note {
        match &mut self.region {
            Region::Block(block) => {
                if block.line("", false) == block::Inside::Outside {
                    self.end_region(out);
                }
            }
            Region::Record(_) | Region::Table(_) | Region::None => {}
            Region::Frame(_) => self.end_region(out),
        }
        nothing("it is blank")
    }

    /// Offers a line to what goes over several lines. None if the line does not belong to it.
    fn inside(&mut self, text: &str, indented: bool, out: &mut Out<'_>) -> Option<Note> {
        match &mut self.region {
            Region::None => None,
            Region::Record(open) => match open.line(text) {
                record::Next::Continues => {
                    Some(by("record", "a line of a record over several lines"))
                }
                record::Next::Complete(text) => {
                    self.region = Region::None;
                    let whole = Drawing { written_over: false, redrawn: false };
                    Some(self.whole_line(&text, None, whole, out))
                }
                record::Next::Broken(lines) => {
                    self.region = Region::None;
                    self.replay(lines, out);
                    None
                }
            },
            Region::Table(table) => match table.row(text, None) {
                Some(table::Row::Metrics(mut observation)) => {
                    if observation.phase == Phase::Training {
                        observation.phase = self.phase;
                    }
                    self.emit(*observation, Epoch::Announced, out);
                    Some(by("table", "a row of numbers below a row of names"))
                }
                Some(table::Row::Skipped) => Some(by("table", "a rule, or the row of one class")),
                None => {
                    self.region = Region::None;
                    None
                }
            },
            Region::Frame(frame) => match frame.line(text) {
                table::Inside::Row => Some(by("table", "a line of a box")),
                table::Inside::Closes => {
                    self.end_region(out);
                    Some(by("table", "the end of a box"))
                }
                table::Inside::Outside => {
                    self.end_region(out);
                    None
                }
            },
            Region::Block(block) => match block.line(text, indented) {
                block::Inside::Value => {
                    Some(by("block", "a value below the line that says where the training is"))
                }
                block::Inside::Other => Some(nothing("between the values of a block")),
                block::Inside::Outside => {
                    if let Some(step) = counted_row::bare_step(text)
                        && block.is_empty()
                    {
                        // `[200, 0.0001]` below the epoch: the step and the learning rate.
                        out.shared.tracker.advance(step, None, true);
                        return Some(by("block", "the step, below the line with the epoch"));
                    }
                    self.end_region(out);
                    None
                }
            },
        }
    }

    /// Reads a line that belongs to no other.
    fn whole_line(
        &mut self,
        text: &str,
        phase: Option<Phase>,
        drawing: Drawing,
        out: &mut Out<'_>,
    ) -> Note {
        if !drawing.redrawn {
            if let Some(table) = Table::begin(text) {
                self.region = Region::Table(table);
                return by("table", "a row of names, with a step, an epoch or a training metric");
            }
            if Block::heads_listing(text) {
                self.region = Region::Block(Block::listing());
                return by("block", "the heading of a result");
            }
            if let Some(frame) = Frame::begin(text) {
                self.region = Region::Frame(frame);
                return by("table", "a line that may begin a box");
            }
        }
        if memchr::memchr(b'{', text.as_bytes()).is_some() {
            match record::read(text, phase) {
                Some(Ok(observations)) => {
                    for observation in observations {
                        self.take(observation, Epoch::Printed, drawing, out);
                    }
                    return by("record", "a record with the name of a training metric or a step");
                }
                Some(Err(reason)) => return nothing(reason),
                None => {}
            }
            if !drawing.redrawn
                && let Some(open) = record::Open::begin(text)
            {
                self.region = Region::Record(open);
                return by("record", "the first line of a record over several lines");
            }
        }
        if let Some(read) = counted_row::read(text) {
            match read {
                Ok(mut observation) => {
                    observation.phase = phase.unwrap_or(observation.phase);
                    self.take(observation, Epoch::Announced, drawing, out);
                    return by("counted row", "a count, and then nothing but numbers with names");
                }
                Err(reason) => return nothing(reason),
            }
        }
        let reading = pairs::read(text);
        if reading.announces() && !drawing.written_over {
            let phase = phase.or(reading.phase).unwrap_or_default();
            if let Some(epoch) = reading.epoch {
                out.shared.tracker.announce_epoch(epoch, reading.epoch_total);
            }
            let step = reading.printed_step().or(reading.step_of_any_word());
            if let (Some(step), Phase::Training) = (step, phase) {
                out.shared.tracker.advance(step, reading.epoch, true);
            }
            self.phase = phase;
            self.region = Region::Block(Block::begin(phase, step, reading.epoch));
            return by("block", "it says where the training is");
        }
        let stands_alone =
            reading.step.is_none() && reading.epoch.is_none() && reading.progress.is_none();
        let own_phase = phase.or(reading.phase).or_else(|| reading.phase_of_names());
        let context = Context { training: out.shared.tracker.is_training() };
        match reading.judge(context) {
            Ok(mut observation) => {
                observation.phase =
                    own_phase.unwrap_or(if stands_alone { self.phase } else { Phase::Training });
                // A position within the epoch that was announced.
                let counts = observation.step.is_some_and(|step| step.count == Count::Progress);
                let epoch = if counts { Epoch::Announced } else { Epoch::Printed };
                observation.stands_alone = stands_alone;
                self.take(observation, epoch, drawing, out);
                by("pairs", "names and numbers on a line that belongs to the training")
            }
            Err(reason) => {
                if let Some(phase) = Block::heading(text)
                    && context.training
                {
                    self.phase = phase;
                    self.region = Region::Block(Block::begin(phase, None, None));
                    return by("block", "a heading that names a phase");
                }
                nothing(reason)
            }
        }
    }

    /// Reads a progress bar.
    fn bar(
        &mut self,
        bar: &Bar<'_>,
        phase: Option<Phase>,
        drawing: Drawing,
        out: &mut Out<'_>,
    ) -> Note {
        // Ultralytics draws its bars behind the rows of a table.
        if bar.description.contains("  ") {
            if let Some(table) = Table::begin(bar.description) {
                self.release(out);
                self.end_region(out);
                self.region = Region::Table(table);
                return by("table", "a row of names, and a bar");
            }
            if let Region::Table(table) = &mut self.region
                && let Some(table::Row::Metrics(observation)) =
                    table.row(bar.description, bar.position())
            {
                self.hold(*observation, drawing, out);
                return by("table", "a row of numbers below a row of names, and a bar");
            }
        }
        if let Region::Block(_) | Region::Frame(_) = self.region {
            self.end_region(out);
        }
        let (mut observation, owner) = bar.read();
        if let Some(phase) = phase {
            observation.phase = phase;
        }
        if observation.metrics.is_empty() {
            let moves = self.held.as_ref().is_some_and(|held| held.step != observation.step);
            if moves {
                self.release(out);
            }
            return match owner {
                Owner::Training | Owner::Unknown => {
                    if let (Some(step), Phase::Training) = (observation.step, observation.phase) {
                        out.shared.tracker.advance(
                            step,
                            observation.epoch,
                            owner == Owner::Training,
                        );
                    }
                    by("bar", "a bar without metrics: where the training is")
                }
                Owner::Epochs => {
                    if let Some(epoch) = observation.epoch {
                        out.shared
                            .tracker
                            .announce_epoch(epoch, observation.step.and_then(|step| step.total));
                    }
                    by("bar", "a bar that counts epochs")
                }
                Owner::Evaluation => nothing("the bar of an evaluation, without metrics"),
                Owner::Other => nothing("a bar of something that is no training"),
            };
        }
        if owner == Owner::Other {
            return nothing("a bar of something that is no training");
        }
        self.hold(observation, drawing, out);
        by("bar", "a bar with metrics")
    }

    /// Takes an observation from a line that may be redrawn.
    fn take(
        &mut self,
        observation: Observation,
        epoch: Epoch,
        drawing: Drawing,
        out: &mut Out<'_>,
    ) {
        if drawing.redrawn && observation.step.is_some() {
            return self.hold(observation, drawing, out);
        }
        self.release(out);
        // An overwritten line shows an intermediate state, and without a step it is unknown of what.
        if !drawing.written_over {
            self.emit(observation, epoch, out);
        }
    }

    /// Holds the state of a redrawn line until the next one: of several states of one step, the last counts. Of an
    /// evaluation's bar only the last state counts.
    fn hold(&mut self, new: Observation, drawing: Drawing, out: &mut Out<'_>) {
        let replaces = self.held.as_ref().is_some_and(|held| {
            let same_total = held.step.map(|step| step.total) == new.step.map(|step| step.total);
            let evaluates = matches!(new.phase, Phase::Evaluation(_))
                && same_total
                && held.step.map(|step| step.value) <= new.step.map(|step| step.value);
            held.phase == new.phase
                && held.epoch == new.epoch
                && (held.step == new.step || evaluates)
        });
        if !replaces {
            self.release(out);
        }
        if let (Some(step), Phase::Training) = (new.step, new.phase) {
            // The other stream may print what belongs to this step.
            out.shared.tracker.advance(step, new.epoch, true);
        }
        self.held = Some(new);
        if !drawing.written_over {
            self.release_as(drawing.redrawn, out);
        }
    }

    /// Emits the state that is held.
    fn release(&mut self, out: &mut Out<'_>) {
        self.release_as(true, out);
    }

    fn release_as(&mut self, redrawn: bool, out: &mut Out<'_>) {
        let Some(observation) = self.held.take() else { return };
        // Bars are also redrawn when nothing but the time has changed.
        let drawn = Drawn {
            phase: observation.phase,
            step: observation.step,
            epoch: observation.epoch,
            metrics: observation.metrics.fingerprint(),
        };
        if redrawn && self.last == Some(drawn) {
            return;
        }
        self.last = Some(drawn);
        self.emit(observation, Epoch::Announced, out);
    }

    fn emit(&mut self, mut observation: Observation, epoch: Epoch, out: &mut Out<'_>) {
        out.shared.patterns.take_step(&mut observation);
        if observation.phase == Phase::Training && out.shared.tracker.has_ended(&observation) {
            observation.phase = Phase::Evaluation("eval");
        }
        let place = out.shared.tracker.place(&observation, epoch == Epoch::Announced);
        let phase = observation.phase;
        self.phase = phase;
        let metrics = observation.metrics.renamed(|name| out.shared.names.rename(phase, name));
        if metrics.is_empty() {
            return;
        }
        out.events.push(Event::Metrics(MetricsLine {
            step: place.step,
            step_inferred: place.inferred,
            epoch_step: place.epoch_step,
            epoch: place.epoch,
            final_step: out.shared.tracker.final_step(),
            metrics,
        }));
    }

    fn end_region(&mut self, out: &mut Out<'_>) {
        let region = std::mem::take(&mut self.region);
        self.close(region, out);
    }

    fn close(&mut self, region: Region, out: &mut Out<'_>) {
        let (observation, inherits) = match region {
            Region::Block(block) => (block.finish(), false),
            Region::Frame(frame) => (frame.finish(), true),
            Region::None | Region::Table(_) | Region::Record(_) => (None, false),
        };
        if let Some(mut observation) = observation {
            if inherits && observation.phase == Phase::Training && observation.step.is_none() {
                observation.phase = self.phase;
            }
            self.emit(observation, Epoch::Announced, out);
        }
    }

    /// Reads lines that were held back for a record that is none.
    fn replay(&mut self, held: Vec<String>, out: &mut Out<'_>) {
        let whole = Drawing { written_over: false, redrawn: false };
        for line in held {
            if memchr::memchr(b'{', line.as_bytes())
                .is_none_or(|_| record::Open::begin(&line).is_none())
            {
                self.whole_line(&line, None, whole, out);
            }
        }
    }
}

/// Whether a line has metrics by itself, and so shows that an error's message has ended.
fn continues(text: &str) -> bool {
    let Body { text, .. } = prefix::strip(text);
    if let Some(bar) = bar::find(text) {
        return !bar.read().0.metrics.is_empty();
    }
    if memchr::memchr(b'{', text.as_bytes()).is_some()
        && let Some(Ok(_)) = record::read(text, None)
    {
        return true;
    }
    matches!(counted_row::read(text), Some(Ok(_)))
        || pairs::read(text).judge(Context::default()).is_ok()
}

/// The number of steps that a line announces: `Total optimization steps = 564`.
fn announced_total(text: &str) -> Option<u64> {
    const PHRASES: [&str; 8] = [
        "total optimization steps",
        "total steps",
        "total training steps",
        "total train steps",
        "max_steps",
        "max steps",
        "num_training_steps",
        "total_steps",
    ];
    static STEPS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("steps"));
    if text.len() > 400 || STEPS.find(text.as_bytes()).is_none() {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let end = PHRASES.iter().find_map(|phrase| lower.find(phrase).map(|at| at + phrase.len()))?;
    let rest = lower[end..].trim_start_matches([' ', '=', ':', '\'', '"']);
    let length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b',').count();
    let total = rest[..length].replace(',', "").parse().ok()?;
    (total > 0).then_some(total)
}
