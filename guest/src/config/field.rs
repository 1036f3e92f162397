//! What a field of the configuration is, and what each type of field allows.

use serde_json::{Map, Value, json};

use super::Durability;
use crate::Level;
use model_foundry_types::FieldMut;

/// A field's value as JSON.
pub(super) fn value(field: &FieldMut<'_>) -> Value {
    match field {
        FieldMut::Level(level) => level.name().into(),
        FieldMut::Durability(durability) => durability.name().into(),
        FieldMut::Flag(flag) => (**flag).into(),
        FieldMut::Count(count) => (**count).into(),
    }
}

/// What a field allows.
pub(super) fn rule(field: &FieldMut<'_>) -> Rule {
    match field {
        FieldMut::Level(_) => Rule::OneOf(Level::ALL.map(Level::name).to_vec()),
        FieldMut::Durability(_) => Rule::OneOf(Durability::ALL.map(Durability::name).to_vec()),
        FieldMut::Flag(_) => Rule::Flag,
        FieldMut::Count(_) => Rule::Count,
    }
}

/// Set a field to a value from a document. If the value is not allowed the field stays as it is, and its rule is
/// returned.
pub(super) fn set(field: FieldMut<'_>, found: &Value) -> Result<(), Rule> {
    let rule = rule(&field);
    let set = match field {
        FieldMut::Level(level) => {
            let known = Level::ALL.into_iter().find(|known| found == known.name());
            known.map(|known| *level = known)
        }
        FieldMut::Durability(durability) => {
            let known = Durability::ALL.into_iter().find(|known| found == known.name());
            known.map(|known| *durability = known)
        }
        FieldMut::Flag(flag) => found.as_bool().map(|found| *flag = found),
        FieldMut::Count(count) => {
            let found = found.as_u64().and_then(|found| u32::try_from(found).ok());
            found.filter(|found| *found > 0).map(|found| *count = found)
        }
    };
    set.ok_or(rule)
}

/// What a field allows.
pub(super) enum Rule {
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A boolean; nothing else counts as one.
    Flag,
    /// An integer from 1 to [`u32::MAX`], written without a decimal point.
    Count,
}

impl Rule {
    /// What is allowed, and what `found` may have been meant to be.
    pub(super) fn message(&self, found: &Value) -> String {
        let allowed = match self {
            Self::OneOf(names) => format!("must be one of {}", names.join(", ")),
            Self::Flag => "must be true or false".to_owned(),
            Self::Count => format!("must be a positive integer (at most {})", u32::MAX),
        };
        match self.meant(found) {
            Some(meant) => format!("{allowed}; did you mean {meant}?"),
            None => allowed,
        }
    }

    /// What is allowed, as JSON Schema.
    pub(super) fn schema(&self) -> Map<String, Value> {
        let keywords = match self {
            Self::OneOf(names) => json!({ "type": "string", "enum": names }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Count => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        };
        keywords.as_object().cloned().unwrap_or_default()
    }

    /// The allowed value nearest to a value that is not allowed, if any is near.
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

/// The name most similar to `text`, if any is similar. Case is ignored, and `-` counts as `_`.
pub(super) fn nearest(text: &str, names: &[&'static str]) -> Option<&'static str> {
    /// The least similarity of a suggestion; 1 is the same text. Below this, suggestions are mostly wrong.
    const ALIKE: f64 = 0.5;
    /// Twice the longest name. The measures' cost grows with the length.
    const LONGEST: usize = 70;
    if text.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let text = plain(text);
    // One measure tolerates swapped letters, the other omitted words.
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
