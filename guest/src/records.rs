//! Records given as JSON text, by trainers in languages without bindings: one object a record.

use model_foundry_types::{
    ErrorRecord, GivenRecord, MessageRecord, ParsedRecord, StepRecord, SummaryRecord,
    large_integers,
};
use serde_json::{Map, Value as Json};

use crate::timestamp;
use crate::value::{Field, Value};
use crate::{Error, Level, Result};

/// Prefix that marks numbers which serde_json cannot represent, while they travel through it as strings.
const MARK: &str = "\u{1}model-foundry:";

/// The words for NaN and the infinities, as Python writes them.
const NON_FINITE: [(&str, f64); 3] =
    [("-Infinity", f64::NEG_INFINITY), ("Infinity", f64::INFINITY), ("NaN", f64::NAN)];

/// Parse one record: the metrics of a step, the summary of an epoch, a message, or an error. The keys decide which
/// it is. NaN, Infinity and -Infinity are read as numbers, and integers of any size keep their digits. A line of a run's
/// own files is a record too.
///
/// # Errors
///
/// [`Error::Invalid`] with one sentence that says what is wrong.
pub fn parse(line: &str) -> Result<GivenRecord> {
    let mut record = Record(object(line)?);
    let timestamp = record.timestamp()?;
    let attempt = record.attempt()?;
    let step_inferred = record.0.remove("step_inferred") == Some(Json::Bool(true));
    let epoch_step = record.0.remove("epoch_step").and_then(|step| step.as_u64());
    // An error has its rank in its context.
    let rank = if record.0.contains_key("error_type") { None } else { record.0.remove("rank") };
    let rank = rank.and_then(|rank| rank.as_u64()?.try_into().ok());
    let mut logger = None;
    let parsed = if record.0.contains_key("metrics") {
        record.step()?
    } else if record.0.contains_key("summary") {
        record.summary()?
    } else if record.0.contains_key("message") {
        logger = record.0.contains_key("logger").then(|| record.text("logger")).transpose()?;
        record.message()?
    } else if record.0.contains_key("error_type") {
        record.error()?
    } else {
        return Err(invalid("a record needs `metrics`, `summary`, `message` or `error_type`"));
    };
    // Ignoring a key would lose what it holds.
    match record.0.keys().next() {
        None => Ok(GivenRecord {
            record: parsed,
            timestamp,
            attempt,
            rank,
            step_inferred,
            epoch_step,
            logger,
        }),
        Some(key) => Err(invalid(format!("unknown key {key:?} in this kind of record"))),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}

/// A record whose keys are taken out as they are read.
struct Record(Map<String, Json>);

impl Record {
    fn timestamp(&mut self) -> Result<Option<u64>> {
        let Some(given) = self.0.remove("timestamp") else { return Ok(None) };
        let parsed = given.as_str().and_then(timestamp::parse);
        parsed.map(Some).ok_or_else(|| {
            invalid(format!(
                "`timestamp` must be RFC 3339, such as 2026-11-22T10:16:55Z, got {}",
                shown(&given)
            ))
        })
    }

    fn attempt(&mut self) -> Result<Option<u32>> {
        let Some(given) = self.0.remove("attempt") else { return Ok(None) };
        let attempt = given.as_u64().and_then(|attempt| u32::try_from(attempt).ok());
        attempt.filter(|attempt| *attempt > 0).map(Some).ok_or_else(|| {
            invalid(format!("`attempt` must be a positive integer, got {}", shown(&given)))
        })
    }

    fn step(&mut self) -> Result<ParsedRecord> {
        let step = self.0.remove("step").ok_or_else(|| invalid("`metrics` needs a `step`"))?;
        let step = step_of(&step).ok_or_else(|| {
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
        // A line of main.log has its fields in `context`.
        let key = if self.0.contains_key("context") { "context" } else { "fields" };
        Ok(ParsedRecord::Message(MessageRecord { level, message, fields: self.fields(key)? }))
    }

    fn error(&mut self) -> Result<ParsedRecord> {
        let mut error = ErrorRecord {
            error_type: self.text("error_type")?,
            error_message: self.text("error_message")?,
            traceback: self.text("traceback")?,
            context: self.fields("context")?,
        };
        // The rank of another process than the one that logs it now.
        if let Some(rank) = self.0.remove("rank") {
            error.context.push(Field { name: "rank".into(), value: value_of(rank) });
        }
        Ok(ParsedRecord::Error(error))
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
            Some(Json::Object(object)) => {
                let non_finite = self.0.remove("non_finite");
                let named = |name: &str| non_finite.as_ref()?.get(name)?.as_str()?.parse().ok();
                let value = |name: &str, value| match value {
                    // A line of a run's own files names its numbers that are not finite.
                    Json::Null => named(name).map_or(Value::Null, Value::Float),
                    value => value_of(value),
                };
                let fields = object.into_iter();
                Ok(fields.map(|(name, json)| Field { value: value(&name, json), name }).collect())
            }
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

/// A step: a non-negative integer, which may be written as a float or as text.
fn step_of(value: &Json) -> Option<u64> {
    match value {
        Json::String(text) => text.trim().parse().ok(),
        value => value.as_u64().or_else(|| {
            let whole = value.as_f64().filter(|step| step.fract() == 0.0);
            whole
                .filter(|step| (0.0..9_007_199_254_740_992.0).contains(step))
                .map(|step| step as u64)
        }),
    }
}

fn value_of(value: Json) -> Value {
    match number(&value) {
        Some(float) if !float.is_finite() => Value::Float(float),
        _ => match &value {
            Json::String(text) if text.starts_with(MARK) => match big_integer(text) {
                Some(digits) => Value::Json(digits.to_owned()),
                None => Value::from(unmarked(value)),
            },
            Json::Array(_) | Json::Object(_) => Value::Json(nested(value)),
            _ => Value::from(unmarked(value)),
        },
    }
}

/// An integer that serde_json cannot represent; none for another marked text.
fn big_integer(text: &str) -> Option<&str> {
    text.strip_prefix(MARK)?.strip_prefix('#')
}

/// The JSON of an array or an object, with the digits of its large integers.
fn nested(value: Json) -> String {
    let marked = format!("\"\\u0001{}#", &MARK[1..]);
    let text = large_integers_marked(value).to_string();
    let mut pieces = text.split(&marked);
    let mut json = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        // The digits, a quote, and what follows.
        let (digits, rest) = piece.split_once('"').unwrap_or((piece, ""));
        json.push_str(digits);
        json.push_str(rest);
    }
    json
}

/// A value whose marked words are text again, except for large integers.
fn large_integers_marked(value: Json) -> Json {
    match value {
        Json::String(text) if big_integer(&text).is_some() => Json::String(text),
        Json::Array(values) => values.into_iter().map(large_integers_marked).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(name, value)| (name, large_integers_marked(value))).collect()
        }
        other => unmarked(other),
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
            Some(word) => word.trim_start_matches('#').into(),
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
    let plain = if large_integers::may_have_any(text) {
        // The problem is reported for the text as it was given.
        serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| None)
    } else {
        serde_json::from_str(text).map(Some)
    };
    plain
        .and_then(|parsed| match parsed {
            Some(parsed) => Ok(parsed),
            None => serde_json::from_str(&marked(text)),
        })
        .or_else(|error| {
            serde_json::from_str(&marked(text)).map_err(|_| {
                // The text is one line: of the place only the column is of use.
                let problem = error.to_string();
                let what = problem.split(" at line ").next().unwrap_or(&problem);
                invalid(format!("not a JSON object: {what} at column {}", error.column().max(1)))
            })
        })
}

/// The text with marked strings instead of the numbers that serde_json cannot represent.
fn marked(text: &str) -> String {
    let mark = |kind: &str, token: &str| format!("\"\\u0001{}{kind}{token}\"", &MARK[1..]);
    large_integers::replaced(text, |token| {
        if NON_FINITE.iter().any(|(word, _)| *word == token) {
            Some(mark("", token))
        } else {
            large_integers::is_large(token).then(|| mark("#", token))
        }
    })
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
        let ParsedRecord::Step(step) = step.record else { panic!("{step:?}") };
        assert_eq!((step.step, step.epoch), (1, Some(0.5)));
        assert!(matches!(step.metrics[0].value, Value::Float(loss) if loss.is_nan()));
        assert_eq!(step.metrics[1], Field::new("seen", 8500));

        let message = parse(r#"{"level":"warning","message":"low","fields":{"a":[1]}}"#).unwrap();
        let fields = vec![Field { name: "a".into(), value: Value::Json("[1]".into()) }];
        let (level, text) = (Level::Warning, "low".to_owned());
        assert_eq!(
            message.record,
            ParsedRecord::Message(MessageRecord { level, message: text, fields })
        );

        let record = |line| parse(line).unwrap().record;
        assert!(matches!(record(r#"{"epoch":1,"summary":{}}"#), ParsedRecord::Summary(_)));
        assert!(matches!(record(r#"{"error_type":"E"}"#), ParsedRecord::Error(_)));
    }

    #[test]
    fn a_step_may_be_a_float_or_text() {
        for line in [r#"{"step":7.0,"metrics":{}}"#, r#"{"step":"7","metrics":{}}"#] {
            let ParsedRecord::Step(step) = parse(line).unwrap().record else { panic!("{line}") };
            assert_eq!(step.step, 7);
        }
        assert!(parse(r#"{"step":7.5,"metrics":{}}"#).is_err());
    }

    #[test]
    fn integers_keep_their_digits() {
        let line = r#"{"step":1,"metrics":{"a":123456789012345678901234567890,"b":-98765432109876543210,
            "c":9223372036854775807,"d":18446744073709551615,"e":1e30,"f":[123456789012345678901,{"g":1234567890123456789012}],
            "h":"123456789012345678901","i":0.1234567890123456789}}"#;
        let ParsedRecord::Step(step) = parse(line).unwrap().record else { panic!() };
        let json = |text: &str| Value::Json(text.into());
        let values: Vec<_> = step.metrics.into_iter().map(|field| field.value).collect();
        assert_eq!(
            values,
            [
                json("123456789012345678901234567890"),
                json("-98765432109876543210"),
                Value::Integer(i64::MAX),
                json("18446744073709551615"),
                Value::Float(1e30),
                json(r#"[123456789012345678901,{"g":1234567890123456789012}]"#),
                Value::Text("123456789012345678901".into()),
                Value::Float(0.123_456_789_012_345_68),
            ]
        );
    }

    #[test]
    fn lines_of_a_run_s_own_files_are_records() {
        let line = r#"{"timestamp":"1970-01-01T00:00:00.000007Z","step":1,"attempt":2,"step_inferred":true,"epoch_step":9,
            "metrics":{"a":null,"b":null},"non_finite":{"a":"-inf"}}"#;
        let given = parse(line).unwrap();
        assert_eq!((given.timestamp, given.attempt, given.step_inferred), (Some(7), Some(2), true));
        assert_eq!(given.epoch_step, Some(9));
        let ParsedRecord::Step(step) = given.record else { panic!() };
        let values: Vec<_> = step.metrics.into_iter().map(|field| field.value).collect();
        assert_eq!(values, [Value::Float(f64::NEG_INFINITY), Value::Null]);
        let line = r#"{"timestamp":"1970-01-01T00:00:00Z","level":"INFO","logger":"train","message":"m","context":{"a":1}}"#;
        let given = parse(line).unwrap();
        assert_eq!(given.logger.as_deref(), Some("train"));
        let ParsedRecord::Message(message) = given.record else { panic!() };
        assert_eq!(message.fields, [Field::new("a", 1)]);
        assert!(parse(r#"{"timestamp":"yesterday","message":"m"}"#).is_err());
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
