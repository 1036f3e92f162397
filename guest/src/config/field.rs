//! What a field of the configuration is, and what each type of field allows.

use serde_json::{Map, Value, json};

use super::{Durability, LoggingConfig};
use crate::level::Level;

/// One field of the configuration.
pub(super) struct Field {
    /// The key in a document.
    pub(super) name: &'static str,
    /// What it means, in one sentence.
    pub(super) description: &'static str,
    /// The field in a configuration.
    pub(super) setting: fn(&mut LoggingConfig) -> &mut dyn Setting,
}

/// A value that a field can have.
pub(super) trait Setting {
    /// The value as JSON.
    fn value(&self) -> Value;
    /// Take a value from a document; false, and nothing changes, where it is not allowed.
    fn set(&mut self, found: &Value) -> bool;
    /// What is allowed.
    fn rule(&self) -> Rule;
}

/// What a field allows.
pub(super) enum Rule {
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A boolean; nothing else counts as one.
    Flag,
    /// A whole number from 1 to [`u32::MAX`], written as one.
    Count,
}

impl Rule {
    /// What is allowed, and what `found` was perhaps meant to be.
    pub(super) fn message(&self, found: &Value) -> String {
        let allowed = match self {
            Self::OneOf(names) => format!("must be one of {}", names.join(", ")),
            Self::Flag => "must be true or false".to_owned(),
            Self::Count => format!("must be a whole number above 0 (at most {})", u32::MAX),
        };
        match self.meant(found) {
            Some(meant) => format!("{allowed}; did you mean {meant}?"),
            None => allowed,
        }
    }

    /// What is allowed, in the words of JSON Schema.
    pub(super) fn schema(&self) -> Map<String, Value> {
        let keywords = match self {
            Self::OneOf(names) => json!({ "type": "string", "enum": names }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Count => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        };
        keywords.as_object().cloned().unwrap_or_default()
    }

    /// The allowed value nearest to one that is not allowed, if any is near.
    fn meant(&self, found: &Value) -> Option<String> {
        match self {
            Self::OneOf(names) => nearest(found.as_str()?, names).map(str::to_owned),
            Self::Flag => nearest(found.as_str()?, &["true", "false"]).map(str::to_owned),
            Self::Count => {
                let number = found.as_f64().or_else(|| found.as_str()?.parse().ok())?;
                let whole = number as u32;
                (whole > 0 && f64::from(whole) == number).then(|| whole.to_string())
            }
        }
    }
}

/// The name most like `text`, if any is like it. Case does not count, and `-` is `_`.
pub(super) fn nearest(text: &str, names: &[&'static str]) -> Option<&'static str> {
    /// 1 is the same text. Below this a suggestion is more often wrong than right.
    const ALIKE: f64 = 0.5;
    /// Twice the longest name; the measures' cost grows with the length.
    const LONGEST: usize = 70;
    if text.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let text = plain(text);
    // Swapped letters are near in the one measure, left out words in the other.
    let alike = |name: &str| {
        let name = plain(name);
        strsim::normalized_damerau_levenshtein(&text, &name)
            .max(strsim::sorensen_dice(&text, &name))
    };
    names
        .iter()
        .map(|name| (alike(name), *name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// A value that is one of a few names.
trait Choice: Copy + 'static {
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
}

impl Choice for Level {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Choice for Durability {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl<T: Choice> Setting for T {
    fn value(&self) -> Value {
        self.name().into()
    }

    fn set(&mut self, found: &Value) -> bool {
        let choice = T::ALL.iter().find(|choice| found.as_str() == Some(choice.name()));
        choice.map(|choice| *self = *choice).is_some()
    }

    fn rule(&self) -> Rule {
        Rule::OneOf(T::ALL.iter().map(|choice| choice.name()).collect())
    }
}

impl Setting for bool {
    fn value(&self) -> Value {
        (*self).into()
    }

    fn set(&mut self, found: &Value) -> bool {
        found.as_bool().map(|flag| *self = flag).is_some()
    }

    fn rule(&self) -> Rule {
        Rule::Flag
    }
}

impl Setting for u32 {
    fn value(&self) -> Value {
        (*self).into()
    }

    fn set(&mut self, found: &Value) -> bool {
        let count = found.as_u64().and_then(|count| Self::try_from(count).ok());
        count.filter(|count| *count > 0).map(|count| *self = count).is_some()
    }

    fn rule(&self) -> Rule {
        Rule::Count
    }
}
