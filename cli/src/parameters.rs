//! The parameters of a command: what its own options say, and what `--set` says.

use std::path::Path;

use model_foundry::{MASK, is_secret_name, masked};
use serde_json::{Map, Value};

/// The parameters that a command's options name: `--lr 3e-4`, `--lr=3e-4`, `--amp`, and `lr=3e-4` as Hydra has it. Of a
/// launcher's options none is one: those of a script begin after the script.
pub(crate) fn of_command(command: &[String]) -> Map<String, Value> {
    let script = command.iter().position(|word| word.ends_with(".py"));
    let module = command.windows(2).position(|pair| {
        pair[0] == "-m"
            && pair[1] != "torch.distributed.run"
            && pair[1] != "accelerate.commands.launch"
    });
    let is_shell = command.first().is_some_and(|program| {
        let stem = Path::new(program).file_stem().and_then(|stem| stem.to_str());
        matches!(stem, Some("sh" | "bash" | "zsh" | "dash" | "fish"))
    });
    let start = match (module, script) {
        (Some(module), Some(script)) if module < script => module + 2,
        (_, Some(script)) => script + 1,
        (Some(module), None) => module + 2,
        // What a shell is given is a script, not options.
        (None, None) if is_shell => command.len(),
        (None, None) => 1,
    };
    let words = command.get(start..).unwrap_or_default();
    let mut parameters = Map::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) else {
            if let Some((name, value)) = word.split_once('=')
                && is_name(name.trim_start_matches('+'))
            {
                let name = name.trim_start_matches('+');
                parameters.insert(name.to_owned(), value_of(name, value));
            }
            continue;
        };
        if let Some((name, value)) = option.split_once('=') {
            parameters.insert(normalized(name), value_of(name, value));
            continue;
        }
        let is_value = |word: &&String| !word.starts_with('-') || word.parse::<f64>().is_ok();
        let values: Vec<&String> = words[at..].iter().take_while(is_value).collect();
        at += values.len();
        let value = match &*values {
            [] => Value::Bool(true),
            [value] => value_of(option, value),
            values => values.iter().map(|value| value_of(option, value)).collect(),
        };
        parameters.insert(normalized(option), value);
    }
    parameters
}

/// A parameter given to `--set`: NAME=VALUE.
pub(crate) fn parse(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value_of(name, value))),
        _ => Err(format!("expected NAME=VALUE, such as lr=3e-4, got {text:?}")),
    }
}

/// The name under which argparse has an option.
fn normalized(option: &str) -> String {
    option.replace('-', "_")
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c))
}

/// A number or a boolean where the text is one, else the text. Secrets are masked.
fn value_of(name: &str, text: &str) -> Value {
    let shown = masked(name, text);
    if shown != text {
        return if is_secret_name(name) { MASK.into() } else { shown.into() };
    }
    match text {
        "true" | "True" => return true.into(),
        "false" | "False" => return false.into(),
        _ => {}
    }
    if let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    if let Ok(integer) = text.parse::<u64>() {
        return integer.into();
    }
    // A larger integer, such as a seed of 128 bits, keeps its digits as text.
    let is_integer = text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
    let number =
        text.parse().ok().filter(|_| !is_integer && text.contains(|c: char| c.is_ascii_digit()));
    match number.and_then(serde_json::Number::from_f64) {
        Some(number) => Value::Number(number),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(command: &str) -> Value {
        of_command(&command.split(' ').map(str::to_owned).collect::<Vec<_>>()).into()
    }

    #[test]
    fn the_options_of_the_script_are_parameters() {
        for (command, expected) in [
            (
                "python3 t.py --lr 3e-4 --steps=100 --amp",
                json!({"lr": 3e-4, "steps": 100, "amp": true}),
            ),
            ("python3 -m pkg.train --model-dim 64", json!({"model_dim": 64})),
            ("torchrun --nproc-per-node 8 t.py --lr 1", json!({"lr": 1})),
            ("t.py --betas 0.9 0.99 --seed -1", json!({"betas": [0.9, 0.99], "seed": -1})),
            ("python3 t.py optim.lr=0.1 +new=x", json!({"optim.lr": 0.1, "new": "x"})),
            ("./trainer --name inf --api-key abc", json!({"name": "inf", "api_key": "***"})),
            (
                "t.py --seed 1180591620717411303424 --mask 18446744073709551615",
                json!({"seed": "1180591620717411303424", "mask": u64::MAX}),
            ),
            ("sh -c lr=1", json!({})),
            ("python3 t.py data.txt -v", json!({})),
        ] {
            assert_eq!(of(command), expected, "{command}");
        }
    }

    #[test]
    fn a_parameter_has_a_name_and_a_value() {
        assert_eq!(parse("lr=3e-4"), Ok(("lr".into(), json!(3e-4))));
        assert_eq!(parse("note=a=b"), Ok(("note".into(), json!("a=b"))));
        assert_eq!(parse("token=abc"), Ok(("token".into(), json!("***"))));
        for text in ["lr", "=1", "1=2", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
