//! The structured log: one line a record, with a base context that every record carries.

use model_foundry_types::is_terminal_control;

use crate::Level;
use crate::config::LoggingConfig;
use crate::imports::{Imports, RunFile};
use crate::json;
use crate::line_buffer::{Fragment, LineBuffer};
use crate::rotation::RotatingLog;
use crate::timestamp::Timestamps;
use crate::value::{Field, Fields, NameFilter, Value, ValueRef};
use crate::{Error, Result};

/// The largest record, in bytes of its line.
pub const LARGEST_RECORD: usize = 16 << 20;

/// How much memory a logger keeps for its next line, at most, in bytes.
pub(crate) const LARGEST_KEPT: usize = 64 << 10;

/// A field of the base context, encoded once: `"name":value`.
struct Encoded {
    name: String,
    member: Fragment,
    value: Value,
}

/// A logger with a base context.
pub struct StructuredLogger<I> {
    log: RotatingLog<I>,
    name: String,
    /// `","logger":"<name>","message":`, which every record contains.
    name_member: Fragment,
    file_level: Level,
    json: bool,
    context: Vec<Encoded>,
    timestamps: Timestamps,
    line: LineBuffer,
}

impl<I: Imports> StructuredLogger<I> {
    /// A logger with this name and this base context.
    pub fn new(imports: &I, name: &str, config: &LoggingConfig, context: Vec<Field>) -> Self {
        let mut name_member = LineBuffer::from("\",\"logger\":");
        json::write_string(&mut name_member, name);
        name_member.push_str(",\"message\":");
        let mut logger = Self {
            log: RotatingLog::new(imports, RunFile::MAIN_LOG, config),
            name: name.to_owned(),
            name_member: Fragment::new(&name_member),
            file_level: config.file_level,
            json: config.use_structured_logging,
            context: Vec::new(),
            timestamps: Timestamps::default(),
            line: LineBuffer::new(),
        };
        logger.add_context(context);
        logger
    }

    /// Log one record, if its level reaches that of the file. The time is in microseconds since
    /// 1970-01-01T00:00:00Z.
    pub fn log<'a>(
        &mut self,
        now: u64,
        level: Level,
        message: &str,
        fields: impl Fields<'a>,
    ) -> Result<()> {
        if level < self.file_level {
            return Ok(());
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if self.json {
            self.write_json(&mut line, now, level, message, fields);
        } else {
            self.write_text(&mut line, now, level, message, fields, true);
        }
        line.push('\n');
        let kept = if line.len() > LARGEST_RECORD {
            Err(Error::TooLarge(format!(
                "a record of {} MiB is too large: at most 16 MiB",
                line.len() >> 20
            )))
        } else {
            self.log.append(&line, level >= Level::Error)
        };
        // Free the memory that one huge record needed.
        line.clear_to(LARGEST_KEPT);
        self.line = line;
        kept
    }

    /// The record as a line of text, for a console.
    pub fn text<'a>(
        &mut self,
        now: u64,
        level: Level,
        message: &str,
        fields: impl Fields<'a>,
    ) -> String {
        let mut line = LineBuffer::new();
        self.write_text(&mut line, now, level, message, fields, false);
        line.into()
    }

    /// `{"message":…,"context":{…}}`, for a host that has a log of its own.
    pub fn format<'a>(&self, message: &str, fields: impl Fields<'a>) -> String {
        let mut line = LineBuffer::from("{\"message\":");
        json::write_string(&mut line, message);
        self.write_context(&mut line, fields);
        line.push('}');
        line.into()
    }

    /// Add fields to the base context. Of several fields with the same name the last one counts.
    fn add_context(&mut self, fields: Vec<Field>) {
        for Field { name, value } in fields {
            let mut member = LineBuffer::new();
            json::write_string(&mut member, &name);
            member.push(':');
            json::write_value(&mut member, value.as_ref());
            let member = Fragment::new(&member);
            match self.context.iter_mut().find(|field| field.name == name) {
                Some(field) => (field.member, field.value) = (member, value),
                None => self.context.push(Encoded { name, member, value }),
            }
        }
    }

    fn write_json<'a>(
        &mut self,
        line: &mut LineBuffer,
        now: u64,
        level: Level,
        message: &str,
        fields: impl Fields<'a>,
    ) {
        line.push_str("{\"timestamp\":\"");
        self.timestamps.write(line, now);
        line.push_str("\",\"level\":\"");
        line.push_str(level.name());
        line.push_fragment(&self.name_member);
        json::write_string(line, message);
        self.write_context(line, fields);
        line.push('}');
    }

    /// `,"context":{…}`, and `,"non_finite":{…}` where JSON cannot hold a number.
    fn write_context<'a>(&self, line: &mut LineBuffer, fields: impl Fields<'a>) {
        line.push_str(",\"context\":{");
        let mut comma = Comma::default();
        let mut non_finite: Vec<(&str, f64)> = Vec::new();
        let mut note = |name, value| {
            if let ValueRef::Float(float) = value
                && !float.is_finite()
            {
                non_finite.push((name, float));
            }
        };
        let names = NameFilter::of(fields.clone());
        for field in &self.context {
            let is_replaced = names.may_contain(&field.name)
                && fields.clone().any(|(name, _)| name == field.name);
            if !is_replaced {
                comma.write(line);
                line.push_fragment(&field.member);
                note(&field.name, field.value.as_ref());
            }
        }
        for (name, value) in names.last_of_each(fields) {
            comma.write(line);
            json::write_string(line, name);
            line.push(':');
            json::write_value(line, value);
            note(name, value);
        }
        line.push('}');
        if !non_finite.is_empty() {
            line.push_str(",\"non_finite\":{");
            let mut comma = Comma::default();
            for (name, float) in non_finite {
                comma.write(line);
                json::write_string(line, name);
                line.push(':');
                json::write_string(line, json::non_finite_name(float).unwrap_or_default());
            }
            line.push('}');
        }
    }

    /// `<timestamp> <level> <logger>: <message> name=value …`, on one line. The base context is only in
    /// the file: on a console it would be the same on every line.
    fn write_text<'a>(
        &mut self,
        line: &mut LineBuffer,
        now: u64,
        level: Level,
        message: &str,
        fields: impl Fields<'a>,
        with_context: bool,
    ) {
        self.timestamps.write(line, now);
        line.push(' ');
        line.push_str(level.name());
        line.push(' ');
        push_one_line(line, &self.name);
        line.push_str(": ");
        push_one_line(line, message);
        if with_context {
            for field in &self.context {
                if !fields.clone().any(|(name, _)| name == field.name) {
                    push_text_member(line, &field.name, field.value.as_ref());
                }
            }
        }
        for (name, value) in fields {
            push_text_member(line, name, value);
        }
    }
}

/// ` name=value`.
fn push_text_member(line: &mut LineBuffer, name: &str, value: ValueRef<'_>) {
    line.push(' ');
    push_one_line(line, name);
    line.push('=');
    match value {
        ValueRef::Text(text) if is_plain(text) => line.push_str(text),
        ValueRef::Float(float) if !float.is_finite() => {
            line.push_str(json::non_finite_name(float).unwrap_or_default());
        }
        other => {
            // JSON leaves some control characters as they are.
            let mut json = LineBuffer::new();
            json::write_value(&mut json, other);
            push_one_line(line, &json);
        }
    }
}

/// Whether a text needs no quotes after `name=`.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || is_terminal_control(c) || c == '"')
}

/// Text with its control characters escaped, so that a record stays on its line and cannot send escape
/// sequences to a terminal.
fn push_one_line(line: &mut LineBuffer, text: &str) {
    for c in text.chars() {
        if is_terminal_control(c) {
            c.escape_default().for_each(|c| line.push(c));
        } else {
            line.push(c);
        }
    }
}

/// A comma before every member but the first.
#[derive(Default)]
struct Comma {
    started: bool,
}

impl Comma {
    fn write(&mut self, line: &mut LineBuffer) {
        if self.started {
            line.push(',');
        }
        self.started = true;
    }
}
