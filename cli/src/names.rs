//! The names of metrics, as they are given on the command line: exactly, or as a pattern such as `train/*`.

use anyhow::{Result, bail};
use glob::Pattern;

/// How similar a name must be to be suggested; 1 is the same name.
const SIMILAR: f64 = 0.75;

/// The known names that the wanted ones are or match, in the order in which they are wanted, each once.
pub(crate) fn select(known: &[String], wanted: &[String]) -> Result<Vec<String>> {
    let mut selected: Vec<String> = Vec::new();
    for name in wanted {
        let mut found = known.iter().filter(|known| matches(name, known)).peekable();
        if found.peek().is_none() {
            bail!("no metric {name:?}{}", hint(known, name));
        }
        for found in found {
            if !selected.contains(found) {
                selected.push(found.clone());
            }
        }
    }
    Ok(selected)
}

/// Whether a name is the wanted one, or matches it as a pattern.
pub(crate) fn matches(wanted: &str, name: &str) -> bool {
    wanted == name || is_pattern(wanted) && Pattern::new(wanted).is_ok_and(|it| it.matches(name))
}

/// Whether a wanted name may stand for several.
pub(crate) fn is_pattern(wanted: &str) -> bool {
    wanted.contains(['*', '?', '['])
}

/// The most similar names, or all if there are few.
fn hint(known: &[String], name: &str) -> String {
    let lower = name.to_lowercase();
    let mut similar: Vec<(f64, &String)> = known
        .iter()
        .map(|known| {
            let other = known.to_lowercase();
            let part = other.split(['/', '_', '.', '-']).any(|part| part == lower);
            let likeness = strsim::jaro_winkler(&lower, &other);
            (if part || other.contains(&lower) { likeness.max(0.9) } else { likeness }, known)
        })
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .collect();
    similar.sort_by(|left, right| right.0.total_cmp(&left.0));
    let names: Vec<&str> = similar.iter().take(3).map(|(_, name)| name.as_str()).collect();
    if !names.is_empty() {
        return format!("; did you mean {}?", names.join(", "));
    }
    match known {
        [] => "; no metrics were logged".to_owned(),
        few if few.len() <= 8 => format!("; there are {}", few.join(", ")),
        _ => "; `model-foundry stats` lists all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_of(wanted: &[&str]) -> Result<Vec<String>> {
        let known = ["train/loss", "train/acc", "val/loss", "lr[0]"].map(str::to_owned);
        select(&known, &wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_exact_or_a_pattern() {
        assert_eq!(select_of(&["train/*"]).unwrap(), ["train/loss", "train/acc"]);
        assert_eq!(select_of(&["*loss", "train/loss"]).unwrap(), ["train/loss", "val/loss"]);
        assert_eq!(select_of(&["lr[0]"]).unwrap(), ["lr[0]"]);
    }

    #[test]
    fn an_unknown_name_has_suggestions() {
        let problem = |wanted| select_of(&[wanted]).unwrap_err().to_string();
        assert_eq!(
            problem("train/los"),
            "no metric \"train/los\"; did you mean train/loss, train/acc?"
        );
        assert_eq!(problem("acc"), "no metric \"acc\"; did you mean train/acc?");
        assert_eq!(
            problem("x*"),
            "no metric \"x*\"; there are train/loss, train/acc, val/loss, lr[0]"
        );
    }
}
