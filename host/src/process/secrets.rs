//! Which arguments and variables look like secrets, and their masking: a run folder must not hold a password.

use serde_json::{Map, Value};

/// What is recorded instead of a secret.
pub const MASK: &str = "***";

/// Words that make a name that of a secret.
const SECRET: [&str; 13] = [
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "apikey",
    "credential",
    "credentials",
    "auth",
    "bearer",
    "authorization",
    "token",
];

/// Words before `key` that make it a secret.
const KEYS: [&str; 9] =
    ["api", "access", "secret", "private", "account", "signing", "encryption", "ssh", "wandb"];

/// Words beside `token` that make it a part of a text: `--pad-token`, `--max-new-token`.
const OF_TEXT: [&str; 28] = [
    "pad", "eos", "bos", "unk", "mask", "sep", "cls", "special", "stop", "id", "ids", "per", "max",
    "min", "num", "new", "length", "type", "image", "begin", "end", "start", "add", "decoder",
    "target", "prefix", "class", "dropout",
];

/// How the values of known services begin: Hugging Face, OpenAI and Anthropic, GitHub, GitLab, Slack, AWS, Google and
/// JSON web tokens.
const PREFIXES: [&str; 14] = [
    "hf_",
    "sk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
];

/// Whether a value under this name is a secret.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let has = |word: &str| words.iter().any(|it| it == word);
    let of_key = words
        .windows(2)
        .any(|pair| KEYS.contains(&&*pair[0]) && (pair[1] == "key" || pair[1] == "keys"));
    let is_secret = words.iter().any(|word| word != "token" && SECRET.contains(&&**word));
    of_key || is_secret || (has("token") && !OF_TEXT.iter().any(|word| has(word)))
}

/// The words of a name in lower case: `--apiKey`, `API_KEY` and `api-key` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in name.chars() {
        let starts = !c.is_alphanumeric() || (c.is_uppercase() && before_is_lower);
        if starts && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase();
    }
    words
}

/// A value, masked if it looks like a secret by itself: a known service's key, or a password in a URL.
fn masked_value(value: &str) -> String {
    let is_key = PREFIXES.iter().any(|prefix| {
        value.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= 16
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
    });
    if is_key {
        return MASK.into();
    }
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        Some((user, _)) => {
            let after = &rest[authority.rfind('@').unwrap_or(0)..];
            format!("{scheme}://{user}:{MASK}{after}")
        }
        None => value.to_owned(),
    }
}

/// A value under a name, masked if the name or the value looks like a secret.
pub fn masked(name: &str, value: &str) -> String {
    if is_secret_name(name) && !value.is_empty() && !counts_tokens(name, value) {
        MASK.into()
    } else {
        masked_value(value)
    }
}

/// The members of an object, at every depth, with their secrets masked.
pub(crate) fn masked_members(members: &Map<String, Value>) -> Map<String, Value> {
    let mask = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => masked(name, text).into(),
            Value::Object(inner) => masked_members(inner).into(),
            other => other.clone(),
        };
        (name.clone(), value)
    };
    members.iter().map(mask).collect()
}

/// Whether a value is how many tokens there are.
fn counts_tokens(name: &str, value: &str) -> bool {
    value.parse::<f64>().is_ok() && words(name).iter().any(|word| word == "token")
}

/// A command with its secrets masked: `--api-key VALUE`, `--api-key=VALUE`, `API_KEY=VALUE`, and values that look like
/// secrets wherever they are.
pub fn masked_command(command: &[String]) -> Vec<String> {
    let mask = |(at, word): (usize, &String)| {
        let option = at.checked_sub(1).map(|before| &command[before]);
        let option = option.filter(|option| option.starts_with('-') && !option.contains('='));
        if let Some(option) = option.filter(|_| !word.starts_with("--")) {
            return masked(option, word);
        }
        match word.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, value)) => format!("{name}={}", masked(name, value)),
            None => masked_value(word),
        }
    };
    command.iter().enumerate().map(mask).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.+/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        masked_command(&words).join(" ")
    }

    #[test]
    fn secrets_are_masked() {
        for (command, expected) in [
            ("t.py --api-key abc --lr 1", "t.py --api-key *** --lr 1"),
            ("t.py --api_key=abc", "t.py --api_key=***"),
            ("t.py --apiKey abc", "t.py --apiKey ***"),
            ("t.py --password 12345", "t.py --password ***"),
            ("env WANDB_API_KEY=0123abc t.py", "env WANDB_API_KEY=*** t.py"),
            ("t.py --hub-token abc", "t.py --hub-token ***"),
            ("t.py --db.password x", "t.py --db.password ***"),
            ("t.py hf_abcdefghijklmnopqrst", "t.py ***"),
            ("t.py --url https://me:pass@host/a?b", "t.py --url https://me:***@host/a?b"),
            ("t.py -p --token --verbose", "t.py -p --token --verbose"),
        ] {
            assert_eq!(shown(command), expected);
        }
    }

    #[test]
    fn what_a_training_calls_token_or_key_is_not_masked() {
        for command in [
            "t.py --max-tokens 512 --tokenizer gpt2",
            "t.py --pad-token <pad> --eos_token=</s>",
            "t.py --bos-token-id 2 --token-dropout 0.1",
            "t.py --sort-key name --key value --keyboard us",
            "t.py --author me --authors you",
            "t.py https://host/path@1:2 skip-connections",
        ] {
            assert_eq!(shown(command), command);
        }
    }
}
