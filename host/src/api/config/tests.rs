//! Configurations in all three formats, through the component. The tests of the rules on JSON are the logic's too.

use std::cell::RefCell;

use model_foundry_types::{Durability, Level};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

thread_local! {
    static READER: RefCell<ConfigReader> = RefCell::new(
        ConfigReader::new(&Runtime::shared().expect("the component")).expect("a reader"),
    );
}

fn read(text: &str, format: Format) -> Result<ExperimentConfig, Vec<Violation>> {
    READER.with_borrow_mut(|reader| match reader.read(text, format, "the test") {
        Ok(config) => Ok(config),
        Err(Error::Config { violations, .. }) => Err(violations),
        Err(other) => panic!("{other}"),
    })
}

fn parse(text: &str, format: Format) -> Result<LoggingConfig, Vec<Violation>> {
    read(text, format).map(|config| config.logging)
}

fn normalize(text: &str, format: Format) -> Result<String, Vec<Violation>> {
    read(text, format).map(|config| format!("{:#}\n", Value::Object(config.whole)))
}

fn render(config: &LoggingConfig, format: Format) -> String {
    READER.with_borrow(|reader| reader.render(config, format)).expect("a text")
}

fn schema() -> String {
    READER.with_borrow_mut(ConfigReader::schema).expect("a schema")
}

const FORMATS: [Format; 3] = [Format::Json, Format::Toml, Format::Yaml];

/// What is wrong with a text, as (field, value, message).
fn violations(text: &str, format: Format) -> Vec<(String, String, String)> {
    let violations = parse(text, format).unwrap_err();
    assert_eq!(normalize(text, format), Err(violations.clone()));
    violations.into_iter().map(|wrong| (wrong.field, wrong.value, wrong.message)).collect()
}

/// The message of a text's only violation, which is the whole text's.
fn unreadable(text: &str, format: Format) -> String {
    let [(field, value, message)] = violations(text, format).try_into().unwrap();
    assert_eq!((field.as_str(), value.as_str()), ("", ""));
    message
}

/// The message about one field of a JSON logging configuration.
fn message(field: &str, value: &Value) -> String {
    let text = json!({ field: value }).to_string();
    let [(found, shown, message)] = violations(&text, Format::Json).try_into().unwrap();
    assert_eq!((found.as_str(), shown), (field, value.to_string()));
    message
}

fn normalized(text: &str, format: Format) -> Value {
    serde_json::from_str(&normalize(text, format).unwrap()).unwrap()
}

/// The default configuration as JSON.
fn defaults() -> Value {
    serde_json::from_str(&render(&LoggingConfig::default(), Format::Json)).unwrap()
}

#[test]
fn default_values() {
    let expected = LoggingConfig {
        console_level: Level::Info,
        file_level: Level::Debug,
        use_structured_logging: true,
        log_to_wandb: true,
        max_log_files: 10,
        max_log_size_mb: 100,
        log_metrics_every_n_steps: 10,
        log_detailed_metrics_every_n_steps: 100,
        profile_performance: false,
        log_memory_every_n_steps: 100,
        max_errors_to_track: 1000,
        durability: Durability::Immediate,
        flush_interval_ms: 200,
    };
    assert_eq!(LoggingConfig::default(), expected);
    for format in FORMATS {
        for text in ["", " \r\n\t", "\u{feff}"] {
            assert_eq!(parse(text, format), Ok(expected.clone()));
            assert_eq!(normalized(text, format), json!({ "logging": defaults() }));
        }
    }
    assert_eq!(parse("# nothing\n", Format::Toml), Ok(expected.clone()));
    assert_eq!(parse("# nothing\n", Format::Yaml), Ok(expected.clone()));
    assert_eq!(parse("{}", Format::Json), Ok(expected));
}

#[test]
fn custom_values() {
    let expected = LoggingConfig {
        console_level: Level::Critical,
        log_to_wandb: false,
        max_log_files: u32::MAX,
        durability: Durability::Synced,
        ..LoggingConfig::default()
    };
    let json = r#"{"console_level": "CRITICAL", "log_to_wandb": false,
        "max_log_files": 4294967295, "durability": "synced"}"#;
    let toml = "console_level = 'CRITICAL'\nlog_to_wandb = false\n\
        max_log_files = 0xffff_ffff\ndurability = \"synced\"\n";
    let yaml = "# A comment.\nconsole_level: CRITICAL\nlog_to_wandb: False\n\
        max_log_files: 0xffffffff\ndurability: 'synced'\n";
    assert_eq!(parse(json, Format::Json), Ok(expected.clone()));
    assert_eq!(parse(toml, Format::Toml), Ok(expected.clone()));
    assert_eq!(parse(yaml, Format::Yaml), Ok(expected));
}

#[test]
fn every_name_of_a_choice_is_read_back() {
    for level in Level::ALL {
        let text = format!("file_level: {level}");
        assert_eq!(parse(&text, Format::Yaml).unwrap().file_level, level);
    }
    for durability in Durability::ALL {
        let text = format!("durability: {}", durability.name());
        assert_eq!(parse(&text, Format::Yaml).unwrap().durability, durability);
    }
}

#[test]
fn validates_log_levels() {
    let allowed = "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL";
    for wrong in [json!("LOUD"), json!(20), json!(null), json!(["INFO"]), json!("")] {
        assert_eq!(message("console_level", &wrong), allowed);
    }
    for (wrong, meant) in [("info", "INFO"), ("warn", "WARNING"), ("IFNO", "INFO")] {
        let expected = format!("{allowed}; did you mean {meant}?");
        assert_eq!(message("file_level", &wrong.into()), expected);
    }
    let allowed = "must be one of buffered, immediate, synced";
    assert_eq!(message("durability", &json!("never")), allowed);
    let expected = format!("{allowed}; did you mean synced?");
    assert_eq!(message("durability", &json!("Sync")), expected);
}

#[test]
fn validates_positive_integers() {
    let allowed = "must be a positive integer (at most 4294967295)";
    let wrong = [
        json!(0),
        json!(-5),
        json!(1.5),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1e30),
        json!(-0.0),
        json!(null),
        json!(true),
        json!("many"),
        json!([1]),
    ];
    let counts = defaults().as_object().unwrap().clone();
    let counts: Vec<_> = counts.iter().filter(|(_, value)| value.is_u64()).collect();
    assert_eq!(counts.len(), 7);
    for (field, _) in counts {
        for wrong in &wrong {
            assert_eq!(message(field, wrong), allowed);
        }
    }
    let expected = format!("{allowed}; did you mean 10?");
    assert_eq!(message("max_log_files", &json!(10.0)), expected);
    assert_eq!(message("max_log_files", &json!("10")), expected);
}

#[test]
fn validates_booleans() {
    for wrong in [json!(1), json!(0), json!("yes"), json!(null), json!({})] {
        assert_eq!(message("log_to_wandb", &wrong), "must be true or false");
    }
    let expected = "must be true or false; did you mean true?";
    assert_eq!(message("profile_performance", &json!("True")), expected);
    let [(field, value, message)] =
        violations("log_to_wandb: no", Format::Yaml).try_into().unwrap();
    assert_eq!((field.as_str(), value.as_str()), ("log_to_wandb", "\"no\""));
    assert_eq!(message, "must be true or false");
}

#[test]
fn unknown_fields_get_the_nearest_known_one() {
    for (wrong, meant) in [
        ("max_log_file", "max_log_files"),
        ("maxLogFiles", "max_log_files"),
        ("console-level", "console_level"),
        ("log_memory_every", "log_memory_every_n_steps"),
        ("wandb", "log_to_wandb"),
    ] {
        let expected = format!("is not a known field; did you mean `{meant}`?");
        assert_eq!(message(wrong, &json!(1)), expected);
    }
    let expected = "is not a known field; the known fields are console_level, file_level, \
        use_structured_logging, log_to_wandb, max_log_files, max_log_size_mb, \
        log_metrics_every_n_steps, log_detailed_metrics_every_n_steps, profile_performance, \
        log_memory_every_n_steps, max_errors_to_track, durability, flush_interval_ms";
    assert_eq!(message("lr", &json!(0.1)), expected);
    assert_eq!(message(&"max_log_files".repeat(9), &json!(1)), expected);
}

#[test]
fn all_violations_are_listed_in_the_order_of_the_document() {
    let fields = |violations: Vec<(String, String, String)>| {
        violations.into_iter().map(|(field, _, _)| field).collect::<Vec<_>>()
    };
    let plain = ["zeal", "max_log_files", "durability", "console_level", "a"];
    let json = r#"{"zeal": 1, "max_log_files": 0, "file_level": "INFO", "durability": 1,
        "console_level": 2, "a": {}}"#;
    assert_eq!(fields(violations(json, Format::Json)), plain);
    let toml = "zeal = 1\nmax_log_files = 0\nfile_level = 'INFO'\ndurability = 1\n\
        console_level = 1979-05-27\n[a]\n";
    assert_eq!(fields(violations(toml, Format::Toml)), plain);
    let yaml = "zeal: 1\nmax_log_files: 0\nfile_level: INFO\ndurability: 1\nconsole_level: 2\na:";
    assert_eq!(fields(violations(yaml, Format::Yaml)), plain);

    let experiment = json!({ "logging": serde_json::from_str::<Value>(json).unwrap() });
    let expected = plain.map(|field| format!("logging.{field}"));
    assert_eq!(fields(violations(&experiment.to_string(), Format::Json)), expected);
}

#[test]
fn integrates_with_experiment_config() {
    let text = r#"{
        "training": {"lr": 0.1, "steps": 10.0, "seed": 18446744073709551615, "min": -9},
        "logging": {"max_log_files": 3},
        "console_level": "not a field here",
        "model": ["a", null, true]
    }"#;
    let config = LoggingConfig { max_log_files: 3, ..LoggingConfig::default() };
    assert_eq!(parse(text, Format::Json), Ok(config));

    let mut logging = defaults();
    logging["max_log_files"] = 3.into();
    let mut expected: Value = serde_json::from_str(text).unwrap();
    expected["logging"] = logging;
    // As text: the order counts, and that 10.0 stays what it is.
    assert_eq!(normalize(text, Format::Json).unwrap(), format!("{expected:#}\n"));
}

#[test]
fn an_experiment_without_a_logging_section_has_the_defaults() {
    for key in ["experiment_name", "data", "tokenizer", "model", "training", "random_seed"] {
        let text = json!({ key: 1, "other": 2 }).to_string();
        assert_eq!(parse(&text, Format::Json), Ok(LoggingConfig::default()));
        let expected = json!({ key: 1, "other": 2, "logging": defaults() });
        assert_eq!(normalize(&text, Format::Json).unwrap(), format!("{expected:#}\n"));
    }
    let expected = json!({ "logging": defaults(), "data": 1 });
    let found = normalize("logging:\ndata: 1\n", Format::Yaml).unwrap();
    assert_eq!(found, format!("{expected:#}\n"));
}

#[test]
fn a_plain_configuration_becomes_the_logging_section() {
    let mut logging = defaults();
    logging["file_level"] = "ERROR".into();
    let found = normalized("file_level = 'ERROR'", Format::Toml);
    assert_eq!(found, json!({ "logging": logging }));
}

#[test]
fn what_json_cannot_hold_becomes_text() {
    let toml = "[data]\na = nan\nb = -inf\nc = 1e999\nd = 1979-05-27T07:32:00Z\n\
        e = 07:32:00\nf = 0xffff_ffff_ffff_ffff\ng = -99999999999999999999\nh = [1.0, '']\n";
    let expected = json!({
        "a": "nan", "b": "-inf", "c": "inf", "d": "1979-05-27T07:32:00Z", "e": "07:32:00",
        "f": u64::MAX, "g": "-99999999999999999999", "h": [1.0, ""],
    });
    assert_eq!(normalized(toml, Format::Toml)["data"], expected);

    let yaml = "data: {a: .nan, b: -.inf, c: 1e999, d: 1979-05-27, e: ~, f: 1e0,\n  \
        g: 99999999999999999999, <<: {i: !x yes}}\n";
    let expected = json!({
        "a": "nan", "b": "-inf", "c": "inf", "d": "1979-05-27", "e": null, "f": 1.0,
        "g": 1e20, "i": "yes",
    });
    assert_eq!(normalized(yaml, Format::Yaml)["data"], expected);

    let json = r#"{"data": {"seed": 99999999999999999999, "mask": 18446744073709551615}}"#;
    let expected = json!({ "seed": "99999999999999999999", "mask": u64::MAX });
    assert_eq!(normalized(json, Format::Json)["data"], expected);
}

#[test]
fn numbers_beyond_64_bits_are_violations() {
    let allowed = "must be a positive integer (at most 4294967295)";
    for (text, format, value) in [
        (r#"{"max_log_files": 99999999999999999999}"#, Format::Json, "\"99999999999999999999\""),
        ("max_log_files = 99999999999999999999", Format::Toml, "\"99999999999999999999\""),
        ("max_log_files: 99999999999999999999", Format::Yaml, "1e+20"),
        ("max_log_files = nan", Format::Toml, "\"nan\""),
        ("max_log_files: -.inf", Format::Yaml, "\"-inf\""),
    ] {
        let expected = ("max_log_files".to_owned(), value.to_owned(), allowed.to_owned());
        assert_eq!(violations(text, format), [expected]);
    }
}

#[test]
fn what_has_no_fields_is_one_violation() {
    let expected = "must have fields, each with a name and a value";
    for (text, format, field, value) in [
        ("[1]", Format::Json, "", "[1]"),
        ("null", Format::Json, "", "null"),
        ("just text", Format::Yaml, "", "\"just text\""),
        (r#"{"logging": true, "data": 1}"#, Format::Json, "logging", "true"),
        ("logging = 1", Format::Toml, "logging", "1"),
    ] {
        let expected = (field.to_owned(), value.to_owned(), expected.to_owned());
        assert_eq!(violations(text, format), [expected]);
    }
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, format, expected) in [
        ("{", Format::Json, "line 1, column 1: EOF while parsing an object"),
        ("{\n", Format::Json, "line 2, column 1: EOF while parsing an object"),
        ("{\n \"é\": 1,\n}", Format::Json, "line 3, column 1: trailing comma"),
        ("{\"é\": 1,}", Format::Json, "line 1, column 9: trailing comma"),
        ("{} x", Format::Json, "line 1, column 4: trailing characters"),
        ("{\"a\": 1e999}", Format::Json, "line 1, column 11: number out of range"),
        ("a = [1,", Format::Toml, "line 1, column 8: unclosed array, expected `]`"),
        (
            "a = 1\r\nb = 'é' é",
            Format::Toml,
            "line 2, column 9: unexpected key or value, expected newline, `#`",
        ),
        ("a: [1", Format::Yaml, "line 1, column 4: unclosed bracket '['"),
        ("a:\n  é: *x", Format::Yaml, "line 2, column 6: reference to unknown value"),
        ("a: &a [*a]", Format::Yaml, "line 1, column 8: Recursive reference not allowed here"),
        (
            "a: 1\n---\nb: 2",
            Format::Yaml,
            "line 3, column 1: only single YAML document expected but multiple found",
        ),
    ] {
        assert_eq!(unreadable(text, format), expected);
    }
}

#[test]
fn a_key_is_text_and_there_once() {
    for (text, format, expected) in [
        ("{\"a\": 1, \"a\": 2}", Format::Json, "line 1, column 12: the key `a` occurs twice"),
        ("data: {b: 1,\n b: 2}", Format::Yaml, "line 2, column 2: the key `b` occurs twice"),
        ("a = 1\na = 2", Format::Toml, "line 2, column 1: duplicate key"),
    ] {
        assert_eq!(unreadable(text, format), expected);
    }
    for (text, found) in [
        ("1: 2", "integer `1`"),
        ("~: 2", "unit value"),
        ("yes: 2\ntrue: 2", "boolean `true`"),
        ("[a]: 2", "sequence"),
    ] {
        let message = unreadable(text, Format::Yaml);
        let (_, message) = message.split_once(": ").unwrap();
        let expected =
            format!("invalid type: {found}, expected a key that is text (put it in quotes)");
        assert_eq!(message, expected);
    }
}

#[test]
fn deep_and_large_documents_are_refused() {
    let lists = "[".repeat(100_000);
    let dotted = ["a"; 75].join(".");
    let inline = format!("{{{dotted} = ");
    // Dotted keys in inline tables: more than five thousand deep, in a text without an error.
    let tables = format!("{dotted} = {}1{}", inline.repeat(75), "}".repeat(75));
    let mut doubling = "a0: &a0 [x]\n".to_owned();
    let mut deepening = doubling.clone();
    for level in 1..60 {
        let before = level - 1;
        doubling += &format!("a{level}: &a{level} [*a{before}, *a{before}]\n");
        let (open, close) = ("[".repeat(20), "]".repeat(20));
        deepening += &format!("a{level}: &a{level} {open}*a{before}{close}\n");
    }
    let cases = [
        (lists.clone(), Format::Json, "line 1, column 33: nested more than 32 deep"),
        (lists.clone(), Format::Yaml, "line 1, column 256: recursion limit exceeded"),
        ("- ".repeat(70), Format::Yaml, "line 1, column 65: nested more than 32 deep"),
        ("? ".repeat(70), Format::Yaml, "line 1, column 65: nested more than 32 deep"),
        (
            format!("a = {lists}"),
            Format::Toml,
            "line 1, column 85: cannot recurse further; max recursion depth met",
        ),
        (tables.clone(), Format::Toml, "line 1, column 65: nested more than 32 deep"),
        (
            format!("{tables}\n="),
            Format::Toml,
            "line 2, column 1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`",
        ),
    ];
    for (text, format, expected) in cases {
        assert_eq!(unreadable(&text, format), expected);
    }
    for (text, expected) in [(doubling, "too large"), (deepening, "nested more than 32 deep")] {
        let message = unreadable(&text, Format::Yaml);
        let (_, message) = message.split_once(": ").unwrap();
        assert_eq!(message, expected);
    }
}

#[test]
fn render_writes_one_field_a_line() {
    let config = LoggingConfig::default();
    assert!(render(&config, Format::Json).starts_with("{\n  \"console_level\": \"INFO\",\n"));
    assert!(render(&config, Format::Toml).starts_with("console_level = \"INFO\"\nfile_level"));
    let expected = "\
console_level: INFO
file_level: DEBUG
use_structured_logging: true
log_to_wandb: true
max_log_files: 10
max_log_size_mb: 100
log_metrics_every_n_steps: 10
log_detailed_metrics_every_n_steps: 100
profile_performance: false
log_memory_every_n_steps: 100
max_errors_to_track: 1000
durability: immediate
flush_interval_ms: 200
";
    assert_eq!(render(&config, Format::Yaml), expected);
}

#[test]
fn the_schema_has_every_field_with_its_rule() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["additionalProperties"], false);
    let defaults = defaults();
    let properties = schema["properties"].as_object().unwrap();
    assert!(properties.keys().eq(defaults.as_object().unwrap().keys()));
    for (name, property) in properties {
        assert_eq!(property["default"], defaults[name]);
        let description = property["description"].as_str().unwrap();
        assert!(description.ends_with('.') && !description.contains("  "), "{description}");
    }
    let expected = json!({
        "description": "How many files of a rotated log are retained.",
        "type": "integer",
        "minimum": 1,
        "maximum": u32::MAX,
        "default": 10,
    });
    assert_eq!(properties["max_log_files"], expected);
    assert_eq!(properties["durability"]["enum"], json!(["buffered", "immediate", "synced"]));
    assert_eq!(properties["log_to_wandb"]["type"], "boolean");
}

prop_compose! {
    fn config()(
        levels in proptest::array::uniform2(proptest::sample::select(&Level::ALL[..])),
        flags in any::<[bool; 3]>(),
        counts in proptest::array::uniform7(1..=u32::MAX),
        durability in proptest::sample::select(&Durability::ALL[..]),
    ) -> LoggingConfig {
        LoggingConfig {
            console_level: levels[0],
            file_level: levels[1],
            use_structured_logging: flags[0],
            log_to_wandb: flags[1],
            max_log_files: counts[0],
            max_log_size_mb: counts[1],
            log_metrics_every_n_steps: counts[2],
            log_detailed_metrics_every_n_steps: counts[3],
            profile_performance: flags[2],
            log_memory_every_n_steps: counts[4],
            max_errors_to_track: counts[5],
            durability,
            flush_interval_ms: counts[6],
        }
    }
}

/// Text made of what means something in one of the formats.
fn almost_a_document() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "=",
        "\n",
        "\n  ",
        "- ",
        "? ",
        "\"",
        "'",
        "#",
        "&a ",
        "*a",
        "<<: ",
        "|",
        ">",
        "!!int ",
        "!x ",
        "---",
        "...",
        "%",
        "~",
        "null",
        "true",
        "yes",
        "1",
        "-1",
        "1.5",
        "1e999",
        ".nan",
        "inf",
        "0x1",
        "1979-05-27",
        "a",
        "a.b",
        "é",
        "\u{0}",
        "\t",
        "logging",
        "data",
        "console_level",
        "INFO",
        "\\u12",
        "\u{feff}",
        "\r\n",
        "\u{2028}",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES), 0..40)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_rendered_configuration_reads_back(config in config()) {
        for format in FORMATS {
            let text = render(&config, format);
            prop_assert_eq!(parse(&text, format), Ok(config.clone()));
            let whole = normalize(&text, format).unwrap();
            prop_assert_eq!(parse(&whole, Format::Json), Ok(config.clone()));
        }
    }

    #[test]
    fn any_text_is_read_or_has_violations(
        text in prop_oneof![any::<String>(), almost_a_document()],
    ) {
        for format in FORMATS {
            match normalize(&text, format) {
                Ok(whole) => prop_assert_eq!(normalize(&whole, Format::Json), Ok(whole)),
                Err(violations) => {
                    prop_assert!(!violations.is_empty());
                    for violation in violations {
                        prop_assert!(!violation.message.contains('\n'));
                        prop_assert!(!violation.message.contains("line 0"));
                    }
                }
            }
        }
    }
}
