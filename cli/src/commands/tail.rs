//! `model-foundry tail`: the end of one of a run's files, and what is appended to it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model_foundry::{Content, RUN_FILES, RunFile};

use crate::arguments::Folder;
use crate::terminal::plain_lines;

/// How often a followed file is read.
const LOOK: Duration = Duration::from_millis(200);

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

    /// Follow the file, across rotations, until interrupted
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
    // Every command fails alike for a folder without a run.
    arguments.folder.open_folder()?;
    let path = arguments.folder.dir.join(arguments.file.name);
    let mut out = io::stdout().lock();
    let mut print = |bytes: &[u8]| -> io::Result<()> {
        if arguments.json {
            out.write_all(bytes)?;
        } else {
            out.write_all(plain_lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        }
        out.flush()
    };
    let mut follower = match Follower::open(&path) {
        Ok(follower) => Some(follower),
        Err(error) if error.kind() == io::ErrorKind::NotFound && arguments.follow => None,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if let Some(follower) = &mut follower {
        print(&follower.last_lines(arguments.lines)?)?;
    }
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(LOOK);
        match &mut follower {
            None => follower = Follower::open(&path).ok(),
            Some(current) => {
                print(&current.more()?)?;
                if current.was_rotated(&path) {
                    // The last lines before the rotation come first.
                    print(&current.more()?)?;
                    follower = None;
                }
            }
        }
    }
}

/// Reads a file that grows.
struct Follower {
    file: File,
    inode: u64,
}

impl Follower {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// The last lines; what comes after them is read next.
    fn last_lines(&mut self, lines: usize) -> io::Result<Vec<u8>> {
        const PIECE: u64 = 64 << 10;
        let end = self.file.seek(SeekFrom::End(0))?;
        let (mut start, mut newlines, mut pieces) = (end, 0, Vec::new());
        // One newline more than lines: that before the first line.
        while start > 0 && newlines <= lines {
            let from = start.saturating_sub(PIECE);
            let mut piece = vec![0; (start - from) as usize];
            self.file.seek(SeekFrom::Start(from))?;
            self.file.read_exact(&mut piece)?;
            newlines += piece.iter().filter(|&&byte| byte == b'\n').count();
            pieces.push(piece);
            start = from;
        }
        pieces.reverse();
        let bytes = pieces.concat();
        self.file.seek(SeekFrom::Start(end))?;
        let all: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        Ok(all[all.len().saturating_sub(lines)..].concat())
    }

    fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A torn end was moved aside: the next line is written at the new end.
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::End(0))?;
        }
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn was_rotated(&self, path: &Path) -> bool {
        std::fs::metadata(path).map_or(true, |named| named.ino() != self.inode)
    }
}
