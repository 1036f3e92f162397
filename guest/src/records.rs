//! Records given as JSON text, by trainers in languages without bindings: one object a record.

use model_foundry_types::{ErrorRecord, MessageRecord, ParsedRecord, StepRecord, SummaryRecord};
use serde_json::{Map, Value as Json};

use crate::value::{Field, Value};
use crate::{Error, Level, Result};

/// Prefix that marks NaN and the infinities while they travel through serde_json as strings.
const MARK: &str = "\u{1}model-foundry:";

/// The words for NaN and the infinities, as Python writes them. A word that begins with another one comes first.
const NON_FINITE: [(&str, f64); 3] =
    [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

/// Parse one record: the metrics of a step, the summary of an epoch, a message, or an error. The keys decide which
/// it is. NaN, Infinity and -Infinity are read as numbers.
///
/// # Errors
///
/// [`Error::Invalid`] with one sentence that says what is wrong.
pub fn parse(line: &str) -> Result<ParsedRecord> {
    let mut record = Record(object(line)?);
    let parsed = if record.0.contains_key("metrics") {
        record.step()?
    } else if record.0.contains_key("summary") {
        record.summary()?
    } else if record.0.contains_key("message") {
        record.message()?
    } else if record.0.contains_key("error_type") {
        record.error()?
    } else {
        return Err(invalid("a record needs `metrics`, `summary`, `message` or `error_type`"));
    };
    // Ignoring a key would lose what it holds.
    match record.0.keys().next() {
        None => Ok(parsed),
        Some(key) => Err(invalid(format!("unknown key {key:?} in this kind of record"))),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}

/// A record whose keys are taken out as they are read.
struct Record(Map<String, Json>);

impl Record {
    fn step(&mut self) -> Result<ParsedRecord> {
        let step = self.0.remove("step").ok_or_else(|| invalid("`metrics` needs a `step`"))?;
        let step = step.as_u64().ok_or_else(|| {
            invalid(format!("`step` must be a non-negative integer, got {}", shown(&step)))
        })?;
        let epoch = match self.0.remove("epoch") {
            None | Some(Json::Null) => None,
            Some(epoch) => Some(epoch_of(&epoch)?),
        };
        Ok(ParsedRecord::Step(StepRecord { step, epoch, metrics: self.fields("metrics")? }))
    }

    fn summary(&mut self) -> Result<ParsedRecord> {
        let epoch = self.0.remove("epoch").ok_or_else(|| invalid("`summary` needs an `epoch`"))?;
        let epoch = epoch_of(&epoch)?;
        Ok(ParsedRecord::Summary(SummaryRecord { epoch, summary: self.fields("summary")? }))
    }

    fn message(&mut self) -> Result<ParsedRecord> {
        let level = match self.0.remove("level") {
            None => Level::Info,
            Some(level) => {
                let known = level.as_str().and_then(|level| level.to_uppercase().parse().ok());
                known.ok_or_else(|| {
                    invalid(format!(
                        "`level` must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, got {}",
                        shown(&level)
                    ))
                })?
            }
        };
        let message = self.text("message")?;
        Ok(ParsedRecord::Message(MessageRecord { level, message, fields: self.fields("fields")? }))
    }

    fn error(&mut self) -> Result<ParsedRecord> {
        Ok(ParsedRecord::Error(ErrorRecord {
            error_type: self.text("error_type")?,
            error_message: self.text("error_message")?,
            traceback: self.text("traceback")?,
            context: self.fields("context")?,
        }))
    }

    fn text(&mut self, key: &str) -> Result<String> {
        match self.0.remove(key) {
            None | Some(Json::Null) => Ok(String::new()),
            Some(Json::String(text)) if !text.starts_with(MARK) => Ok(text),
            Some(other) => Err(invalid(format!("`{key}` must be a string, got {}", shown(&other)))),
        }
    }

    fn fields(&mut self, key: &str) -> Result<Vec<Field>> {
        match self.0.remove(key) {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Object(object)) => Ok(object
                .into_iter()
                .map(|(name, value)| Field { name, value: value_of(value) })
                .collect()),
            Some(other) => {
                Err(invalid(format!("`{key}` must be an object, got {}", shown(&other))))
            }
        }
    }
}

/// A value as it is shown in an error.
fn shown(value: &Json) -> String {
    unmarked(value.clone()).to_string()
}

fn epoch_of(value: &Json) -> Result<f64> {
    number(value).ok_or_else(|| invalid(format!("`epoch` must be a number, got {}", shown(value))))
}

fn value_of(value: Json) -> Value {
    match number(&value) {
        Some(float) if !float.is_finite() => Value::Float(float),
        _ => Value::from(unmarked(value)),
    }
}

/// A number, which may be NaN or an infinity.
fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => {
            let word = text.strip_prefix(MARK)?;
            NON_FINITE.iter().find(|(known, _)| *known == word).map(|(_, number)| *number)
        }
        _ => None,
    }
}

/// A value whose marked words are text again: inside an array or an object they can only be text.
fn unmarked(value: Json) -> Json {
    match value {
        Json::String(text) => match text.strip_prefix(MARK) {
            Some(word) => word.into(),
            None => Json::String(text),
        },
        Json::Array(values) => values.into_iter().map(unmarked).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(name, value)| (name, unmarked(value))).collect()
        }
        other => other,
    }
}

/// Parse an object. NaN and the infinities, which strict JSON cannot represent, become marked strings.
fn object(text: &str) -> Result<Map<String, Json>> {
    let text = text.trim_end();
    serde_json::from_str(text).or_else(|error| {
        serde_json::from_str(&mark_non_finite(text)).map_err(|_| {
            // The text is one line: of the place only the column is of use.
            let problem = error.to_string();
            let what = problem.split(" at line ").next().unwrap_or(&problem);
            invalid(format!("not a JSON object: {what} at column {}", error.column().max(1)))
        })
    })
}

fn mark_non_finite(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + 32);
    let (mut in_string, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let word = NON_FINITE.iter().map(|(word, _)| *word).find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            marked.push_str(&format!("\"\\u0001{}{word}\"", &MARK[1..]));
            rest = &rest[word.len()..];
            continue;
        }
        let mut length = c.len_utf8();
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        marked.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_python_for_non_finite_numbers_are_read() {
        let record =
            object(r#"{"a":NaN,"b":[-Infinity],"c":"NaN","d":Infinity,"e\"NaN":1}"#).unwrap();
        assert!(number(&record["a"]).unwrap().is_nan());
        assert_eq!(record["c"], Json::String("NaN".into()));
        assert_eq!(number(&record["c"]), None);
        assert_eq!(number(&record["d"]), Some(f64::INFINITY));
        assert_eq!(record["e\"NaN"], Json::from(1));
        assert!(object("{\"a\":NaN").is_err());
    }

    #[test]
    fn each_kind_of_record_is_told_apart_by_its_keys() {
        let step = parse(r#"{"step":1,"epoch":0.5,"metrics":{"loss":NaN,"seen":8500}}"#).unwrap();
        let ParsedRecord::Step(step) = step else { panic!("{step:?}") };
        assert_eq!((step.step, step.epoch), (1, Some(0.5)));
        assert!(matches!(step.metrics[0].value, Value::Float(loss) if loss.is_nan()));
        assert_eq!(step.metrics[1], Field::new("seen", 8500));

        let message = parse(r#"{"level":"warning","message":"low","fields":{"a":[1]}}"#).unwrap();
        let fields = vec![Field { name: "a".into(), value: Value::Json("[1]".into()) }];
        let (level, text) = (Level::Warning, "low".to_owned());
        assert_eq!(message, ParsedRecord::Message(MessageRecord { level, message: text, fields }));

        assert!(matches!(parse(r#"{"epoch":1,"summary":{}}"#), Ok(ParsedRecord::Summary(_))));
        assert!(matches!(parse(r#"{"error_type":"E"}"#), Ok(ParsedRecord::Error(_))));
    }

    #[test]
    fn a_wrong_record_is_refused_with_what_is_allowed() {
        for (line, expected) in [
            (r#"{"step":-1,"metrics":{}}"#, "`step` must be a non-negative integer, got -1"),
            (r#"{"metrics":{}}"#, "`metrics` needs a `step`"),
            (r#"{"summary":{}}"#, "`summary` needs an `epoch`"),
            (r#"{"step":1,"metrics":3}"#, "`metrics` must be an object, got 3"),
            (r#"{"message":NaN}"#, "`message` must be a string, got \"NaN\""),
            (r#"{"message":"","x":1}"#, "unknown key \"x\" in this kind of record"),
            ("{}", "a record needs `metrics`, `summary`, `message` or `error_type`"),
            ("[1]", "not a JSON object: invalid type: sequence, expected a map at column 1"),
        ] {
            assert_eq!(parse(line), Err(invalid(expected)), "{line}");
        }
    }
}
