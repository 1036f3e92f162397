//! metrics.idx: what makes opening, statistics and ranges independent of the file's size.
//!
//! It holds, for the part of the file that it covers, where steps are (one entry for each stretch of about
//! 256 KiB), where attempts began, and every metric's statistics. All of it is derived. An index that is
//! missing, damaged, of another version or of another file is not believed: the file is read instead.
//!
//! The format is ours, little-endian, and no promise: a version that does not know it builds it anew.

use super::attempts::Attempts;
use super::entry::Place;
use super::tally::Tally;
use crate::Result;
use crate::imports::{Imports, Part, RunFile};
use crate::statistics::{Sketch, Statistics};

/// What an index begins with; the digit is the format's version.
const MAGIC: &[u8; 8] = b"MFINDEX1";

/// About how many bytes of the file one stretch covers.
pub(super) const STRETCH: u64 = 256 << 10;

/// How much of the file before the covered end is checked to be what it was.
const CHECKED: u64 = 4 << 10;

/// The largest index that is read.
const LARGEST: u64 = 64 << 20;

/// A stretch of the file, from its offset to that of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where its first line starts, in bytes.
    pub(super) offset: u64,
    /// The lowest and the highest step in it; the highest below the lowest where it has none.
    pub(super) steps: (u64, u64),
}

/// What is known of the start of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// How many bytes of the file it covers: whole lines.
    pub(super) covered: u64,
    /// How many lines these are.
    pub(super) lines: u64,
    /// How many of them are damaged; an index of a damaged file is not kept.
    pub(super) damaged: u64,
    pub(super) stretches: Vec<Stretch>,
    pub(super) attempts: Attempts,
    /// The statistics of the entries that no later attempt went over again.
    pub(super) tally: Tally,
    /// The highest step and the highest summarized epoch of an entry: a later attempt that begins above
    /// supersedes nothing.
    pub(super) highest_step: Option<u64>,
    pub(super) highest_epoch: Option<f64>,
    /// Whether an entry was left out of `tally` because a later attempt went over its step again.
    pub(super) superseded: bool,
    /// Whether there are bytes between the lines: empty lines, which are no entries.
    pub(super) gaps: bool,
}

impl Index {
    /// The index of a part of metrics.jsonl, if there is one that can be believed.
    pub(super) fn load<I: Imports>(imports: &I, part: Part) -> Option<Self> {
        let size = imports.size(RunFile::METRICS_INDEX, part).ok()?;
        if !(12..=LARGEST).contains(&size) {
            return None;
        }
        let mut bytes = Vec::with_capacity(size as usize);
        while (bytes.len() as u64) < size {
            let at = bytes.len() as u64;
            let piece = (size - at).min(1 << 20) as u32;
            let piece = imports.read(RunFile::METRICS_INDEX, part, at, piece).ok()?;
            if piece.is_empty() {
                return None;
            }
            bytes.extend_from_slice(&piece);
        }
        let (content, checksum) = bytes.split_at_checked(bytes.len() - 4)?;
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return None;
        }
        let mut input = Input(content);
        let index = Self::decode(&mut input)?;
        let tail = input.u32()?;
        let still = imports.size(RunFile::METRICS, part).ok()? >= index.covered
            && tail_checksum(imports, part, index.covered).ok()? == tail;
        still.then_some(index)
    }

    /// Keep the index beside the file.
    pub(super) fn save<I: Imports>(&self, imports: &I, part: Part) -> Result<()> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.extend_from_slice(&tail_checksum(imports, part, self.covered)?.to_le_bytes());
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(imports.replace(RunFile::METRICS_INDEX, &out)?)
    }

    /// Take in where an entry stands, in the latest stretch; whether it counts, as no later attempt went over
    /// it again.
    pub(super) fn counts(&mut self, entry: &Place) -> bool {
        if let (Some(step), Some(stretch)) = (entry.step, self.stretches.last_mut()) {
            stretch.steps = (stretch.steps.0.min(step), stretch.steps.1.max(step));
        }
        let superseded = self.attempts.supersede(entry);
        self.superseded |= superseded;
        !superseded
    }

    /// Take in how high an entry stands: its step, or its summary's epoch.
    pub(super) fn note_highest(&mut self, entry: &Place) {
        match entry.step {
            Some(step) => self.highest_step = self.highest_step.max(Some(step)),
            None => {
                let highest = self.highest_epoch.unwrap_or(f64::NEG_INFINITY);
                let epoch = entry.epoch.map(|epoch| epoch.max(highest));
                self.highest_epoch = epoch.or(self.highest_epoch);
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        for number in [self.covered, self.lines, self.damaged, self.stretches.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for Stretch { offset, steps } in &self.stretches {
            for number in [offset, &steps.0, &steps.1] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        put_option(out, self.highest_step);
        put_option(out, self.highest_epoch.map(f64::to_bits));
        out.push(u8::from(self.superseded));
        out.push(u8::from(self.gaps));
        let starts = self.attempts.starts();
        out.extend_from_slice(&(starts.len() as u64).to_le_bytes());
        for (attempt, step, epoch) in starts {
            out.extend_from_slice(&u64::from(attempt).to_le_bytes());
            put_option(out, step);
            put_option(out, epoch.map(f64::to_bits));
        }
        out.extend_from_slice(&(self.tally.len() as u64).to_le_bytes());
        for (name, statistics) in self.tally.iter() {
            out.extend_from_slice(&(name.len() as u64).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            put_statistics(out, statistics);
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        if input.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let mut index = Self {
            covered: input.u64()?,
            lines: input.u64()?,
            damaged: input.u64()?,
            ..Self::default()
        };
        for _ in 0..input.u64()? {
            let offset = input.u64()?;
            index.stretches.push(Stretch { offset, steps: (input.u64()?, input.u64()?) });
        }
        index.highest_step = input.option()?;
        index.highest_epoch = input.option()?.map(f64::from_bits);
        index.superseded = input.take(1)? == [1];
        index.gaps = input.take(1)? == [1];
        for _ in 0..input.u64()? {
            let attempt = u32::try_from(input.u64()?).ok()?;
            let (step, epoch) = (input.option()?, input.option()?.map(f64::from_bits));
            index.attempts.put(attempt, step, epoch);
        }
        for _ in 0..input.u64()? {
            let length = usize::try_from(input.u64()?).ok()?;
            let name = std::str::from_utf8(input.take(length)?).ok()?;
            let statistics = input.statistics()?;
            index.tally.put(name, statistics)?;
        }
        Some(index)
    }
}

/// A checksum of the file's bytes just before the covered end: another file, or a repaired one, has others.
fn tail_checksum<I: Imports>(imports: &I, part: Part, covered: u64) -> Result<u32> {
    let length = covered.min(CHECKED);
    let tail = imports.read(RunFile::METRICS, part, covered - length, length as u32)?;
    Ok(crc32fast::hash(&tail))
}

fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    out.extend_from_slice(&number.unwrap_or_default().to_le_bytes());
}

fn put_statistics(out: &mut Vec<u8>, s: &Statistics) {
    for number in [s.count, s.nan, s.positive_infinity, s.negative_infinity] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [s.mean, s.squares, s.min, s.max, s.last] {
        out.extend_from_slice(&number.to_bits().to_le_bytes());
    }
    put_option(out, s.first_non_finite_step);
    let (coarseness, buckets) = s.sketch.parts();
    out.extend_from_slice(&coarseness.to_le_bytes());
    out.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
    for (key, count) in buckets {
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
}

/// Bytes that are read from their start.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn f64(&mut self) -> Option<f64> {
        Some(f64::from_bits(self.u64()?))
    }

    fn option(&mut self) -> Option<Option<u64>> {
        let present = self.take(1)? == [1];
        let number = self.u64()?;
        Some(present.then_some(number))
    }

    fn statistics(&mut self) -> Option<Statistics> {
        let mut s = Statistics {
            count: self.u64()?,
            nan: self.u64()?,
            positive_infinity: self.u64()?,
            negative_infinity: self.u64()?,
            mean: self.f64()?,
            squares: self.f64()?,
            min: self.f64()?,
            max: self.f64()?,
            last: self.f64()?,
            first_non_finite_step: self.option()?,
            sketch: Sketch::default(),
        };
        let (coarseness, buckets) = (self.u32()?, self.u32()?);
        let mut parts = Vec::new();
        for _ in 0..buckets {
            let key = self.u32()? as i32;
            parts.push((key, self.u64()?));
        }
        s.sketch = Sketch::from_parts(coarseness, &parts)?;
        Some(s)
    }
}
