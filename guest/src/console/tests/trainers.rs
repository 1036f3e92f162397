//! The output of trainers in `trainers/`: real shapes with numbers of our own, and beside each what is read in it.
//!
//! `UPDATE_TRAINERS=1 cargo test -p model-foundry-guest trainers` writes what is read now. Read the difference before
//! it is committed: nothing else says that a line is read as a person would read it.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn trainers_are_read_as_a_person_would_read_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/tests/trainers");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 140, "{} samples", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let mut parser = Parser::new(None);
        let mut events = parser.feed(Output::Stdout, &fs::read(&file).unwrap());
        events.extend(parser.finish());
        let read: String = shown(&events).iter().map(|event| format!("{event}\n")).collect();
        let expected = file.with_extension("read");
        if std::env::var_os("UPDATE_TRAINERS").is_some() {
            fs::write(&expected, &read).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != read {
            wrong.push(format!("{}:\n{read}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "read differently:\n{}", wrong.join("\n"));
}
