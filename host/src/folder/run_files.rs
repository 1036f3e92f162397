//! The table of run files: everything that is known of each, for the component's host, for repair and verification,
//! and for readers. A new run file is a row here, and the code in the logic that writes it.

use model_foundry_types::{Part, part_name};

/// A file that a run folder can hold.
#[derive(Debug)]
pub struct RunFile {
    /// The name, under which the component asks for it.
    pub name: &'static str,
    /// What the file consists of, and so who may do what with it.
    pub content: Content,
    /// Whether it rotates by size, and is pruned. Data is never rotated.
    pub rotates: bool,
    /// How its lines are verified.
    pub verified: Verified,
}

/// What a file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Lines: the component can only append whole lines.
    Lines,
    /// Bytes of one attempt's copy for another tool: the component can only append. The path below the run folder is
    /// given, with the `AttemptNames` in braces.
    Copy(&'static str),
    /// A whole that can be derived from other files: the component can only replace it.
    Derived,
}

/// What the paths of an attempt's copies are made from.
#[derive(Clone, Debug)]
pub(crate) struct AttemptNames {
    /// The day of the attempt's start: `20250102`.
    pub(crate) day: String,
    /// The time of day of its start, in UTC: `030405`.
    pub(crate) time: String,
    /// Its identifier.
    pub(crate) id: String,
}

impl AttemptNames {
    /// The path that a template describes.
    pub(crate) fn path(&self, template: &str) -> String {
        let path = template.replace("{day}", &self.day).replace("{time}", &self.time);
        path.replace("{id}", &self.id)
    }
}

/// How the lines of a file are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Not at all: the lines are not ours.
    No,
    /// Each line is JSON.
    JsonLines,
    /// Each line is JSON unless the run is configured to write text.
    JsonLinesUnlessText,
}

/// The files, in the order in which the component's host numbers them.
pub static RUN_FILES: [RunFile; 8] = [
    RunFile {
        name: "main.log",
        content: Content::Lines,
        rotates: true,
        verified: Verified::JsonLinesUnlessText,
    },
    RunFile {
        name: "metrics.jsonl",
        content: Content::Lines,
        rotates: false,
        verified: Verified::JsonLines,
    },
    RunFile {
        name: "errors.jsonl",
        content: Content::Lines,
        rotates: false,
        verified: Verified::JsonLines,
    },
    RunFile {
        name: "performance.jsonl",
        content: Content::Lines,
        rotates: true,
        verified: Verified::JsonLines,
    },
    RunFile { name: "console.log", content: Content::Lines, rotates: true, verified: Verified::No },
    RunFile {
        name: "timing_report.json",
        content: Content::Derived,
        rotates: false,
        verified: Verified::No,
    },
    RunFile {
        name: "metrics.idx",
        content: Content::Derived,
        rotates: false,
        verified: Verified::No,
    },
    RunFile {
        name: "run.wandb",
        content: Content::Copy("wandb/offline-run-{day}_{time}-{id}/run-{id}.wandb"),
        rotates: false,
        verified: Verified::No,
    },
];

/// A file of the table, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(usize);

impl FileId {
    /// Every file.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..RUN_FILES.len()).map(Self)
    }

    /// The file of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|file| file.get().name == name)
    }

    /// The file of this number, if there is one.
    pub fn numbered(number: u32) -> Option<Self> {
        Some(Self(number as usize)).filter(|file| file.0 < RUN_FILES.len())
    }

    /// The file's number.
    pub fn number(self) -> u32 {
        self.0 as u32
    }

    /// What is known of the file.
    pub fn get(self) -> &'static RunFile {
        &RUN_FILES[self.0]
    }

    /// The name of a part of the file.
    pub fn part(self, part: Part) -> String {
        part_name(self.get().name, part)
    }
}
