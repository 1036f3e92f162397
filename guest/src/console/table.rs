//! Recognizes tables: a row of names over rows of numbers (Ultralytics, spaCy, fastai, skorch, scikit-learn, nerfstudio,
//! Markdown), and boxes of names and values (Stable-Baselines3, Ray, Lightning).
//!
//! A header counts only if one of its names is a step, an epoch or a training metric, so summaries of models, memory
//! and packages are none. A box counts only if it has a training result.

use super::names::{self, Role};
use super::numbers;
use super::observation::{Count, Metrics, Observation, Phase, PrintedStep};
use super::phase;
use super::tokens;

/// The most columns of a table.
const MAX_COLUMNS: usize = 64;

/// The longest name of a column, in bytes.
const MAX_COLUMN: usize = 40;

/// The most rows of a box.
const MAX_ROWS: usize = 256;

/// Rows that stand for all classes. `mean` is none: pandas describes columns with it.
const OVERALL: [&str; 3] = ["all", "overall", "total"];

/// The cells of a line: between `|` or `│`, else between tabs or at least two spaces.
pub(super) fn cells(text: &str) -> Vec<&str> {
    let text = text.trim();
    let bars = |c: char| matches!(c, '|' | '│' | '┃');
    if text.contains(bars) {
        let inside = text.strip_prefix(bars).unwrap_or(text);
        let inside = inside.strip_suffix(bars).unwrap_or(inside);
        return inside.split(bars).map(str::trim).take(MAX_COLUMNS + 1).collect();
    }
    let mut cells = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && cells.len() <= MAX_COLUMNS {
        let end = rest.find("  ").unwrap_or(rest.len()).min(rest.find('\t').unwrap_or(rest.len()));
        cells.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
    cells
}

/// Whether a line has nothing but what rules are drawn with.
pub(super) fn is_rule(text: &str) -> bool {
    let text = text.trim();
    text.len() > 2
        && text.chars().all(|c| {
            matches!(c, '-' | '=' | '+' | '|' | ':' | ' ' | '_' | '~' | '*')
                || ('\u{2500}'..='\u{257f}').contains(&c)
        })
}

/// What a column has.
#[derive(Clone, Debug, PartialEq)]
enum Column {
    Step,
    Epoch,
    Metric(String),
    /// The name of the row.
    Label,
    /// The values of this phase: the rows have the names.
    Phase(Phase),
}

/// A table whose header was read.
#[derive(Debug)]
pub(super) struct Table {
    header: String,
    columns: Vec<Column>,
    phase: Option<Phase>,
    rows: u32,
}

/// A row.
#[derive(Debug)]
pub(super) enum Row {
    Metrics(Box<Observation>),
    /// It belongs to the table, and has nothing to record.
    Skipped,
}

impl Table {
    /// The table that a line of names begins.
    pub(super) fn begin(text: &str) -> Option<Self> {
        // NequIP and DeePMD mark the names as a comment: `# Epoch batch  loss`. For spaCy `#` is a name.
        let text = match text.strip_prefix("# ") {
            Some(names) if !names.starts_with(' ') || !names.trim_start().starts_with("LOSS") => {
                names.trim_start()
            }
            _ => text,
        };
        // A header has no values: hardly any digits, and neither `=` nor a sentence.
        if text.len() > 2_000 {
            return None;
        }
        let mut divided = false;
        let mut before = b' ';
        for &byte in text.as_bytes() {
            match byte {
                b'=' | b'{' | b'"' => return None,
                // The values of a row, or of `loss: 0.5`.
                b'0'..=b'9' if before == b' ' => return None,
                b' ' if before == b':' => return None,
                b' ' => divided |= before == b' ',
                // `│` and `┃` begin with this byte.
                b'|' | b'\t' | 0xe2 => divided = true,
                _ => {}
            }
            before = byte;
        }
        if !divided {
            return None;
        }
        Self::of_names(text, &cells(text))
    }

    fn of_names(text: &str, cells: &[&str]) -> Option<Self> {
        let plausible = (2..=MAX_COLUMNS).contains(&cells.len())
            && cells.iter().all(|cell| {
                cell.len() <= MAX_COLUMN
                    && (cell.starts_with(|c: char| c.is_alphabetic() || c == '#') || *cell == "%")
                    && !cell.contains(": ")
                    && !cell.split(' ').any(|word| numbers::exact(word).is_some())
                    && cell.split(' ').count() <= 4
            });
        if !plausible {
            return None;
        }
        let header = text.to_owned();
        let phases: Vec<Option<Phase>> = cells.iter().map(|cell| phase::of_word(cell)).collect();
        if phases.iter().all(Option::is_some) {
            let columns = phases.into_iter().flatten().map(Column::Phase).collect();
            return Some(Self { header, columns, phase: None, rows: 0 });
        }
        let has_number_sign = cells.contains(&"#");
        let mut marks = 0;
        let mut metrics = 0;
        let mut columns: Vec<Column> = Vec::with_capacity(cells.len());
        for (index, cell) in cells.iter().enumerate() {
            let column = match names::text_role(cell) {
                _ if *cell == "#" => Column::Step,
                _ if *cell == "E" && has_number_sign => Column::Epoch,
                Role::Step(_) if !columns.contains(&Column::Step) => Column::Step,
                Role::Epoch => Column::Epoch,
                Role::Other
                    if index == 0
                        && names::contains_word(
                            cell,
                            &["class", "name", "label", "split", "category"],
                        ) =>
                {
                    Column::Label
                }
                Role::Step(_) | Role::Other => Column::Metric((*cell).to_owned()),
            };
            match &column {
                Column::Step | Column::Epoch => marks += 1,
                Column::Metric(name) if names::is_outcome(name) => metrics += 1,
                _ => {}
            }
            columns.push(column);
        }
        let enough =
            marks > 0 && columns.len() > marks || metrics > 1 || metrics == 1 && columns.len() > 2;
        let phase = (columns[0] == Column::Label).then_some(Phase::Evaluation("val"));
        enough.then_some(Self { header, columns, phase, rows: 0 })
    }

    /// The same table with a column for each word of the header: names may have one space between them.
    fn with_words(&self, columns: usize) -> Option<Self> {
        let words: Vec<&str> = self.header.split_whitespace().collect();
        (words.len() == columns).then(|| Self::of_names(&self.header, &words))?
    }

    /// Reads a row; none if the line is none, which ends the table. `bar` is the position of a bar on the same line.
    pub(super) fn row(&mut self, text: &str, bar: Option<PrintedStep>) -> Option<Row> {
        if is_rule(text) && self.rows == 0 {
            return Some(Row::Skipped);
        }
        let cells = cells(text);
        if cells.len() > self.columns.len()
            && self.rows == 0
            && let Some(table) = self.with_words(cells.len())
        {
            *self = table;
        }
        let has_label = self.columns.contains(&Column::Label);
        let (label, cells) = match cells.len().checked_sub(self.columns.len())? {
            0 => (None, &cells[..]),
            1 if !cells[0].is_empty() && !has_label => (Some(cells[0]), &cells[1..]),
            _ => return None,
        };
        let mut observation = Observation {
            phase: self.phase.unwrap_or_default(),
            step: bar,
            ..Observation::default()
        };
        let mut numbers = 0;
        let mut label = label;
        let mut of_phases = Vec::new();
        for (column, cell) in self.columns.iter().zip(cells) {
            let ratio = tokens::ratio(cell);
            let value = match &ratio {
                Some(_) => None,
                None => numbers::cell(cell),
            };
            numbers += u32::from(value.is_some() || ratio.is_some());
            match column {
                Column::Step => {
                    let total = ratio.as_ref().map(|ratio| ratio.total);
                    let value =
                        ratio.map(|ratio| ratio.done).or_else(|| numbers::as_step(&value?))?;
                    observation.step = Some(PrintedStep { value, total, count: Count::Marker });
                }
                Column::Epoch => {
                    observation.epoch_total = ratio.as_ref().map(|ratio| ratio.total);
                    let done = ratio.map(|ratio| ratio.done as f64);
                    observation.epoch = Some(done.or_else(|| numbers::as_epoch(&value?))?);
                }
                Column::Metric(name) => {
                    if let Some(value) = value {
                        observation.metrics.add(name, value);
                    }
                }
                Column::Label => label = Some(cell),
                Column::Phase(phase) => of_phases.extend(value.map(|value| (*phase, value))),
            }
        }
        if numbers == 0 || (numbers as usize) * 2 < self.columns.len() {
            return None;
        }
        self.rows += 1;
        if let Some(label) = label {
            if !of_phases.is_empty() {
                for (phase, value) in of_phases {
                    match phase {
                        Phase::Training => observation.metrics.add(label, value),
                        Phase::Evaluation(prefix) => {
                            observation.metrics.add(&format!("{prefix}_{label}"), value)
                        }
                    };
                }
                return Some(Row::Metrics(Box::new(observation)));
            }
            if label.ends_with(" avg") {
                let prefixed = std::mem::take(&mut observation.metrics);
                for field in prefixed.iter() {
                    observation
                        .metrics
                        .add(&format!("{label}/{}", field.name), field.value.clone());
                }
            } else if !names::contains_word(label, &OVERALL) {
                // The row of one class among others.
                return Some(Row::Skipped);
            }
        }
        Some(if observation.metrics.is_empty() {
            Row::Skipped
        } else {
            Row::Metrics(Box::new(observation))
        })
    }
}

/// A box of names and values that is being read.
#[derive(Debug, Default)]
pub(super) struct Frame {
    section: String,
    metrics: Metrics,
    step: Option<(u8, u64)>,
    epoch: Option<f64>,
    phase: Option<Phase>,
    rows: usize,
    /// Its rows have no borders: two columns below a rule of two parts (garage, tabulate).
    open: bool,
}

/// What a line is to an open box.
#[derive(Debug)]
pub(super) enum Inside {
    Row,
    /// It closes the box.
    Closes,
    /// It does not belong to it.
    Outside,
}

impl Frame {
    /// Whether a line opens a box.
    pub(super) fn begin(text: &str) -> Option<Self> {
        Self::opens(text)
            .then(|| Self { open: text.split_whitespace().count() == 2, ..Self::default() })
    }

    fn opens(text: &str) -> bool {
        let text = text.trim();
        let first = text.chars().next().unwrap_or(' ');
        (matches!(first, '╭' | '┌' | '┏' | '╔')
            || text.starts_with("+-")
            || text.starts_with("-----")
            || text.starts_with("| --"))
            && is_rule(text)
    }

    pub(super) fn line(&mut self, text: &str) -> Inside {
        let text = text.trim();
        let first = text.chars().next().unwrap_or(' ');
        if matches!(first, '╰' | '└' | '┗' | '╚') {
            return Inside::Closes;
        }
        if is_rule(text) {
            // Stable-Baselines3 closes with a line of dashes, and others divide with one.
            let closes = first == '-' && self.rows > 0;
            return if closes { Inside::Closes } else { Inside::Row };
        }
        let bordered = matches!(first, '|' | '│' | '┃' | '║');
        if bordered == self.open || self.rows == MAX_ROWS {
            return Inside::Outside;
        }
        self.rows += 1;
        let inside = text.trim_matches(|c| matches!(c, '|' | '│' | '┃' | '║' | ' '));
        let indented = text.chars().nth(1) == Some(' ') && text.chars().nth(2) == Some(' ');
        let cells: Vec<&str> = cells(inside).into_iter().filter(|cell| !cell.is_empty()).collect();
        // A line of dashes also stands between the lines of a log: `| end of epoch 1 | valid loss 5.12 |`.
        let is_first = self.metrics.is_empty() && self.step.is_none();
        if self.open && cells.len() != 2 || is_first && cells.len() > 2 {
            return Inside::Outside;
        }
        match cells[..] {
            [name, value] => self.pair(name, value, indented),
            [section] if section.ends_with('/') => self.section = section.to_owned(),
            [title] => self.phase = self.phase.or_else(|| phase::of_words(title)),
            _ => {}
        }
        Inside::Row
    }

    fn pair(&mut self, name: &str, value: &str, indented: bool) {
        let Some(value) = numbers::cell(value) else { return };
        let last = name.rsplit('/').next().unwrap_or(name);
        let path = if indented { format!("{}{name}", self.section) } else { name.to_owned() };
        match names::key_role(last) {
            Role::Step(rank) => {
                if let Some(step) = numbers::as_step(&value)
                    && self.step.is_none_or(|(taken, _)| rank > taken)
                {
                    self.step = Some((rank, step));
                }
                // Of several counts only one is the step, and the others are of interest too.
                if rank <= names::SURE {
                    self.metrics.add(&path, value);
                }
            }
            Role::Epoch => self.epoch = numbers::as_epoch(&value),
            Role::Other => {
                self.metrics.add(&path, value);
            }
        }
    }

    /// What the box says, if it is about a training.
    pub(super) fn finish(self) -> Option<Observation> {
        let (outcome, settings) = self.metrics.outcome_and_settings();
        (outcome && settings < 2).then(|| Observation {
            phase: self.phase.unwrap_or_default(),
            step: self.step.map(|(_, value)| PrintedStep::marker(value)),
            epoch: self.epoch,
            metrics: self.metrics,
            ..Observation::default()
        })
    }
}
