//! `model-foundry tail`: the end of one of a run's files, and what is appended to it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model_foundry::{Content, RUN_FILES, RunFile, RunFolder, Status};

use crate::arguments::Folder;
use crate::lines::{Members, value_text};
use crate::terminal::{
    BAD, FAINT, NOTE, PLAIN, STRONG, local_time, note, number, one_line, plain, plain_json, seconds,
};

/// How often a followed file is read.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is checked whether the run goes on, while nothing is appended.
const CHECK: Duration = Duration::from_secs(1);

/// How much of a line is read, in bytes. No record is longer.
const LONGEST: u64 = 17 << 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// The file: main, metrics, errors, performance or console
    #[arg(long, value_parser = run_file, default_value = "main")]
    file: &'static RunFile,

    /// The number of lines
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    lines: usize,

    /// Follow the file, across rotations, until the run ends
    #[arg(short, long)]
    follow: bool,

    /// Print the lines unchanged: main.log, metrics, errors and performance are JSON Lines
    #[arg(long)]
    json: bool,
}

/// The run files that consist of lines, by the word before the dot.
fn files() -> impl Iterator<Item = (&'static str, &'static RunFile)> {
    let lines = RUN_FILES.iter().filter(|file| file.content == Content::Lines);
    lines.map(|file| (file.name.split('.').next().unwrap_or(file.name), file))
}

fn run_file(name: &str) -> Result<&'static RunFile, String> {
    files().find(|(stem, file)| *stem == name || file.name == name).map(|(_, file)| file).ok_or_else(
        || {
            let known: Vec<_> = files().map(|(stem, _)| stem).collect();
            format!("the file must be one of {}", known.join(", "))
        },
    )
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let folder = arguments.folder.open_folder()?;
    let path = folder.path().join(arguments.file.name);
    let printer = Printer { json: arguments.json };
    let mut follower = match Follower::open(&path) {
        Ok(follower) => Some(follower),
        Err(error) if error.kind() == io::ErrorKind::NotFound && arguments.follow => None,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if let Some(follower) = &mut follower {
        follower.begin_at_last(arguments.lines)?;
        follower.print_new(&printer)?;
    }
    if !arguments.follow {
        if let Some(follower) = &mut follower {
            follower.print_rest(&printer)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut checked = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        // Before the last look, so that nothing is missed that was written before the end.
        let end = if checked.elapsed() >= CHECK { ended(&folder) } else { None };
        let mut printed = false;
        match &mut follower {
            None => follower = Follower::open(&path).ok(),
            Some(current) => {
                printed = current.print_new(&printer)?;
                if current.was_rotated(&path) {
                    // The last lines before the rotation come first.
                    current.print_new(&printer)?;
                    follower = None;
                }
            }
        }
        if printed {
            checked = Instant::now();
        } else if let Some(status) = end {
            if let Some(current) = &mut follower {
                current.print_rest(&printer)?;
            }
            note(&format!("the run has ended: {}", status.name()));
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// How the run ended, if it has. A run whose run.json cannot be read goes on.
fn ended(folder: &RunFolder) -> Option<Status> {
    let manifest = folder.manifest().ok()??;
    let status = manifest.latest()?.status.clone();
    (status != Status::Running).then_some(status)
}

/// Prints lines of a run's files.
struct Printer {
    json: bool,
}

impl Printer {
    fn print(&self, line: &str) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.json {
            writeln!(out, "{}", plain_json(line))?;
        } else {
            writeln!(out, "{}", shown(line))?;
        }
        out.flush()
    }
}

/// A line for people: a record by its kind, anything else as it is.
fn shown(line: &str) -> String {
    let Some(record) = Members::of(line).filter(|_| line.starts_with('{')) else {
        return line.split('\t').map(plain).collect::<Vec<_>>().join("\t");
    };
    let time = record.text("timestamp").map(|time| local_time(&time)).unwrap_or_default();
    let time = format!("{FAINT}{time}{PLAIN} ");
    let what = if record.get("message").is_some() {
        message(&record)
    } else if let Some(metrics) = record.object("metrics").or_else(|| record.object("summary")) {
        values(&record, &metrics)
    } else if let Some(kind) = record.text("error_type") {
        let text = record.text("error_message").unwrap_or_default();
        format!("{BAD}{}{PLAIN}: {}", plain(&kind), one_line(&text, 300))
    } else if let (Some(name), Some(taken)) = (record.text("name"), record.get("seconds")) {
        format!("{} {}", plain(&name), taken.parse().map_or_else(|_| taken.to_owned(), seconds))
    } else {
        fields(&record, &["timestamp"])
    };
    time + &what
}

/// A record of main.log. The base context is the same in every record.
fn message(record: &Members<'_>) -> String {
    let level = record.text("level").unwrap_or_default();
    let style = match level.as_str() {
        "ERROR" | "CRITICAL" => BAD,
        "WARNING" => NOTE,
        "DEBUG" => FAINT,
        _ => STRONG,
    };
    let logger = record.text("logger").unwrap_or_default();
    let text = record.text("message").unwrap_or_default();
    let context = record.object("context");
    let context = context.map(|it| fields(&it, &["experiment", "git_hash", "device", "traceback"]));
    let context = context.filter(|it| !it.is_empty()).map(|it| format!("  {FAINT}{it}{PLAIN}"));
    format!(
        "{style}{:<7}{PLAIN} {FAINT}{}{PLAIN} {}{}",
        plain(&level),
        plain(&logger),
        one_line(&text, 1_000),
        context.unwrap_or_default()
    )
}

/// A line of metrics.jsonl.
fn values(record: &Members<'_>, metrics: &Members<'_>) -> String {
    let mut text = match record.get("step") {
        Some(step) => format!("{STRONG}step {}{PLAIN}", plain(step)),
        None => format!("{STRONG}summary{PLAIN}"),
    };
    if let Some(epoch) = record.get("epoch").filter(|epoch| *epoch != "null") {
        text += &format!(" epoch {}", short(epoch));
    }
    let non_finite = record.object("non_finite");
    for (name, value) in metrics.iter() {
        let value = non_finite.as_ref().and_then(|names| names.get(name)).unwrap_or(value);
        text += &format!("  {FAINT}{}{PLAIN} {}", one_line(name, 60), short(value));
    }
    text
}

/// The members of an object, except some.
fn fields(object: &Members<'_>, without: &[&str]) -> String {
    let fields = object.iter().filter(|(name, _)| !without.contains(name));
    let fields = fields.map(|(name, value)| format!("{}={}", one_line(name, 60), short(value)));
    fields.collect::<Vec<_>>().join(" ")
}

/// A value with few digits and on one line.
fn short(json: &str) -> String {
    match json.parse::<f64>() {
        Ok(float) if json.contains(['.', 'e', 'E']) => number(float),
        _ => one_line(&value_text(json), 200),
    }
}

/// Reads a file that grows, a line at a time.
struct Follower {
    file: BufReader<File>,
    inode: u64,
    /// Where the next byte that was not read is.
    at: u64,
    /// A line whose end is not there yet.
    begun: Vec<u8>,
}

impl Follower {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file: BufReader::with_capacity(64 << 10, file), inode, at: 0, begun: Vec::new() })
    }

    /// Go to where the last lines begin. The file is read from its end, a piece at a time, and nothing is kept.
    fn begin_at_last(&mut self, lines: usize) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        let end = self.file.seek(SeekFrom::End(0))?;
        let (mut start, mut newlines) = (end, 0);
        self.at = 0;
        // One newline more than lines: that before the first line.
        'file: while start > 0 {
            let from = start.saturating_sub(piece.len() as u64);
            let piece = &mut piece[..(start - from) as usize];
            self.file.seek(SeekFrom::Start(from))?;
            self.file.read_exact(piece)?;
            for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                // The newline at the end of the file ends the last line.
                newlines += usize::from(from + at as u64 + 1 < end);
                if newlines == lines || lines == 0 {
                    self.at = if lines == 0 { end } else { from + at as u64 + 1 };
                    break 'file;
                }
            }
            start = from;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }

    /// Print the lines that are complete since the last call; whether there were any.
    fn print_new(&mut self, printer: &Printer) -> io::Result<bool> {
        // A torn end was moved aside: the next line is written at the new end.
        if self.file.get_ref().metadata()?.len() < self.at {
            self.at = self.file.seek(SeekFrom::End(0))?;
            self.begun.clear();
        }
        let mut printed = false;
        loop {
            let room = LONGEST.saturating_sub(self.begun.len() as u64).max(1);
            let read = self.file.by_ref().take(room).read_until(b'\n', &mut self.begun)?;
            self.at += read as u64;
            let is_complete = self.begun.last() == Some(&b'\n');
            if !is_complete && (self.begun.len() as u64) < LONGEST {
                return Ok(printed);
            }
            self.print_begun(printer)?;
            printed = true;
        }
    }

    /// Print a last line without an end too.
    fn print_rest(&mut self, printer: &Printer) -> io::Result<()> {
        self.print_new(printer)?;
        if self.begun.is_empty() { Ok(()) } else { self.print_begun(printer) }
    }

    fn print_begun(&mut self, printer: &Printer) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.begun);
        printer.print(line.trim_end_matches(['\n', '\r']))?;
        self.begun.clear();
        self.begun.shrink_to(64 << 10);
        Ok(())
    }

    fn was_rotated(&self, path: &Path) -> bool {
        std::fs::metadata(path).map_or(true, |named| named.ino() != self.inode)
    }
}
