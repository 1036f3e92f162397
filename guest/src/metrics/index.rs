//! metrics.idx: what makes opening, statistics, plots and ranges independent of the file's size.
//!
//! It holds, for the part of the file that it covers, where steps are (one entry for each segment of about
//! 256 KiB), what the attempts logged, every metric's statistics, and the buckets that plots are drawn from. All of
//! it is derived. An index that is missing, damaged, of another version or of another file is ignored, and the
//! file is read instead.
//!
//! The buckets come after everything else, with a checksum of their own, and are read only when they are needed.
//!
//! The format is private and little-endian. A version of the program that does not know it builds its own index.

use super::metric_statistics::AllStatistics;
use super::superseded::{AttemptSteps, Logged, Steps};
use super::trend::{Bucket, Trend, Trends};
use crate::Result;
use crate::imports::{Imports, Part, RunFile};
use crate::percentiles::{Parts, Percentiles};
use crate::statistics::Statistics;
use model_foundry_types::Omitted;

/// What an index begins with; the digit is the format's version.
const MAGIC: &[u8; 8] = b"MFINDEX3";

/// The magic, and the length of all that comes before the buckets: 8 bytes.
const HEAD: u64 = 16;

/// About how many bytes of the file one segment covers.
pub(super) const SEGMENT: u64 = 256 << 10;

/// How much of the file before the covered end is checked to be what it was.
const CHECKED: u64 = 4 << 10;

/// The largest index that is written and read: the host transfers at most 64 MiB at once.
const LARGEST: u64 = 48 << 20;

/// The buckets of the steps' metrics, and those of the values in epoch summaries.
pub(super) type AllTrends = [Trends; 2];

/// A segment of the file, from its offset to that of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where its first line starts, in bytes.
    pub(super) offset: u64,
    /// The lowest and the highest step in it; the highest below the lowest where it has none.
    pub(super) steps: (u64, u64),
}

/// What the index has of the part of the file that it covers.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// How many bytes of the file it covers: whole lines.
    pub(super) covered: u64,
    /// How many lines these are.
    pub(super) lines: u64,
    /// How many of them are damaged.
    pub(super) damaged: u64,
    /// The first of these: its number and what is wrong with it.
    pub(super) first_damage: Option<(u64, String)>,
    pub(super) segments: Vec<Segment>,
    /// What the attempts logged. The metrics' ids are those in `statistics.steps`.
    pub(super) logged: Logged,
    /// The statistics, without the values that a later attempt logged again.
    pub(super) statistics: AllStatistics,
    /// The highest step.
    pub(super) highest_step: Option<u64>,
    /// What was left out of the statistics because a later attempt logged it again.
    pub(super) omitted: Omitted,
    /// Whether the file is more, or less, than its entries' lines: it has empty lines, or its last line has no newline.
    pub(super) gaps: bool,
}

impl Index {
    /// The index of a part of metrics.jsonl, with the buckets or without, if there is a valid one.
    pub(super) fn load<I: Imports>(
        imports: &I,
        part: Part,
        buckets: bool,
    ) -> Option<(Self, AllTrends)> {
        let size = imports.size(RunFile::METRICS_INDEX, part).ok()?;
        if !(HEAD + 4..=LARGEST).contains(&size) {
            return None;
        }
        let head = read(imports, part, 0, HEAD)?;
        let (magic, length) = head.split_at_checked(MAGIC.len())?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        if magic != MAGIC || !(HEAD + 4..=size - 4).contains(&length) {
            return None;
        }
        let front = read(imports, part, 0, length)?;
        let (content, checksum) = front.split_at_checked(front.len() - 4)?;
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return None;
        }
        let mut input = Input(&content[HEAD as usize..]);
        let index = Self::decode(&mut input)?;
        let tail = input.u32()?;
        let still = imports.size(RunFile::METRICS, part).ok()? >= index.covered
            && tail_checksum(imports, part, index.covered).ok()? == tail;
        if !still {
            return None;
        }
        if !buckets {
            return Some((index, AllTrends::default()));
        }
        let back = read(imports, part, length, size - length)?;
        let (content, own) = back.split_at_checked(back.len() - 4)?;
        let mut both = crc32fast::Hasher::new();
        both.update(checksum);
        both.update(content);
        if both.finalize().to_le_bytes() != own {
            return None;
        }
        let mut input = Input(content);
        let trends = [input.trends()?, input.trends()?];
        input.0.is_empty().then_some((index, trends))
    }

    /// Write the index next to the file, unless it is too large to be read.
    pub(super) fn save<I: Imports>(
        &self,
        trends: &AllTrends,
        imports: &I,
        part: Part,
    ) -> Result<()> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[0; 8]);
        self.encode(&mut out);
        out.extend_from_slice(&tail_checksum(imports, part, self.covered)?.to_le_bytes());
        let length = out.len() as u64 + 4;
        out[MAGIC.len()..HEAD as usize].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32fast::hash(&out).to_le_bytes();
        out.extend_from_slice(&checksum);
        trends.iter().for_each(|trends| put_trends(&mut out, trends));
        // The buckets are valid only together with the statistics that they were written with.
        let mut both = crc32fast::Hasher::new();
        both.update(&checksum);
        both.update(&out[length as usize..]);
        out.extend_from_slice(&both.finalize().to_le_bytes());
        if out.len() as u64 > LARGEST {
            return Ok(());
        }
        Ok(imports.replace(RunFile::METRICS_INDEX, &out)?)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.covered, self.lines, self.damaged, self.segments.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for Segment { offset, steps } in &self.segments {
            for number in [offset, &steps.0, &steps.1] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        if let Some((line, problem)) = &self.first_damage {
            put_option(out, Some(*line));
            put_text(out, problem);
        } else {
            put_option(out, None);
        }
        put_option(out, self.highest_step);
        put_short(out, self.omitted.rows);
        put_short(out, self.omitted.values);
        out.push(u8::from(self.gaps));
        put_logged(out, &self.logged);
        for all in [&self.statistics.steps, &self.statistics.summaries] {
            put_short(out, all.len() as u64);
            for (name, statistics) in all.iter() {
                put_text(out, name);
                put_statistics(out, statistics);
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let mut index = Self {
            covered: input.u64()?,
            lines: input.u64()?,
            damaged: input.u64()?,
            ..Self::default()
        };
        for _ in 0..input.u64()? {
            let offset = input.u64()?;
            index.segments.push(Segment { offset, steps: (input.u64()?, input.u64()?) });
        }
        if let Some(line) = input.option()? {
            index.first_damage = Some((line, input.text()?.to_owned()));
        }
        index.highest_step = input.option()?;
        index.omitted = Omitted { rows: input.short()?, values: input.short()? };
        index.gaps = input.take(1)? == [1];
        index.logged = input.logged()?;
        let AllStatistics { steps, summaries } = &mut index.statistics;
        for all in [steps, summaries] {
            for _ in 0..input.short()? {
                let name = input.text()?;
                all.put(name, input.statistics()?)?;
            }
        }
        Some(index)
    }
}

/// Bytes of the index; none if it has fewer.
fn read<I: Imports>(imports: &I, part: Part, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    while (bytes.len() as u64) < length {
        let at = bytes.len() as u64;
        let piece = (length - at).min(1 << 20) as u32;
        let piece = imports.read(RunFile::METRICS_INDEX, part, offset + at, piece).ok()?;
        if piece.is_empty() {
            return None;
        }
        bytes.extend_from_slice(&piece);
    }
    Some(bytes)
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

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_short(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_logged(out: &mut Vec<u8>, logged: &Logged) {
    put_short(out, logged.first.len() as u64);
    logged.first.iter().for_each(|&end| put_short(out, end));
    put_option(out, logged.first_epoch.map(f64::to_bits));
    put_short(out, logged.later.len() as u64);
    for (attempt, AttemptSteps { steps, epochs }) in &logged.later {
        put_short(out, u64::from(*attempt));
        put_short(out, steps.len() as u64);
        steps.iter().flat_map(Steps::numbers).for_each(|number| put_short(out, number));
        put_short(out, epochs.len() as u64);
        epochs.iter().for_each(|epoch| out.extend_from_slice(&epoch.to_le_bytes()));
    }
}

fn put_statistics(out: &mut Vec<u8>, s: &Statistics) {
    for number in [s.count, s.nan, s.positive_infinity, s.negative_infinity] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [s.scaled_mean, s.scaled_squares, s.scale, s.min, s.max, s.last] {
        out.extend_from_slice(&number.to_bits().to_le_bytes());
    }
    put_option(out, s.first_non_finite_step);
    match s.percentiles.parts() {
        Parts::TooWide => out.push(0),
        Parts::Samples(samples) => {
            out.push(1);
            put_short(out, samples.len() as u64);
            samples.iter().for_each(|s| out.extend_from_slice(&s.to_bits().to_le_bytes()));
        }
        Parts::Buckets(buckets) => {
            out.push(2);
            put_short(out, buckets.len() as u64);
            let mut before = LOWEST_BUCKET;
            for (bucket, count) in buckets {
                put_short(out, u64::from(bucket.abs_diff(before)));
                put_short(out, count);
                before = bucket;
            }
        }
    }
}

/// Below every bucket: in rising order their distances take few bytes.
const LOWEST_BUCKET: i32 = i32::MIN;

/// A number in as few bytes as it needs, seven bits in each (unsigned LEB128).
fn put_short(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Of a bucket of one sample there is only that sample.
fn put_trends(out: &mut Vec<u8>, trends: &Trends) {
    put_short(out, trends.all().len() as u64);
    for (width, buckets) in trends.all().iter().map(Trend::parts) {
        put_short(out, width);
        put_short(out, buckets.len() as u64);
        let mut before = 0;
        for bucket in buckets {
            for number in [bucket.count, bucket.non_finite] {
                put_short(out, number);
            }
            // Steps may go back, and the differences then wrap around.
            for step in [bucket.first_step, bucket.last_step] {
                put_short(out, step.wrapping_sub(before));
                before = step;
            }
            let Bucket { first, last, min, max, differences, .. } = *bucket;
            let numbers = [first, last, min, max, differences];
            for number in &numbers[..numbers_of(bucket.count)] {
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
        }
    }
}

/// How many numbers a bucket of this many finite samples takes.
fn numbers_of(count: u64) -> usize {
    match count {
        0 => 0,
        1 => 1,
        _ => 5,
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

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.short()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn trends(&mut self) -> Option<Trends> {
        let mut trends = Trends::default();
        for _ in 0..self.short()? {
            let (width, mut buckets) = (self.short()?, Vec::new());
            let mut before = 0_u64;
            for _ in 0..self.short()? {
                let (count, non_finite) = (self.short()?, self.short()?);
                let first_step = before.wrapping_add(self.short()?);
                let last_step = first_step.wrapping_add(self.short()?);
                before = last_step;
                let mut numbers = [0.0; 5];
                for number in &mut numbers[..numbers_of(count)] {
                    *number = self.f64()?;
                }
                let [first, mut last, mut min, mut max, differences] = numbers;
                if count == 1 {
                    (last, min, max) = (first, first, first);
                }
                buckets.push(Bucket {
                    first_step,
                    last_step,
                    count,
                    non_finite,
                    first,
                    last,
                    min,
                    max,
                    differences,
                });
            }
            trends.push(Trend::new(width, buckets));
        }
        Some(trends)
    }

    fn logged(&mut self) -> Option<Logged> {
        let mut logged = Logged::default();
        for _ in 0..self.short()? {
            logged.first.push(self.short()?);
        }
        logged.first_epoch = self.option()?.map(f64::from_bits);
        for _ in 0..self.short()? {
            let attempt = u32::try_from(self.short()?).ok()?;
            let mut steps = AttemptSteps::default();
            for _ in 0..self.short()? {
                steps.steps.push(Steps::from_numbers(|| self.short())?);
            }
            for _ in 0..self.short()? {
                steps.epochs.insert(self.u64()?);
            }
            logged.put(attempt, steps);
        }
        Some(logged)
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
            scaled_mean: self.f64()?,
            scaled_squares: self.f64()?,
            scale: self.f64()?,
            min: self.f64()?,
            max: self.f64()?,
            last: self.f64()?,
            first_non_finite_step: self.option()?,
            percentiles: Percentiles::default(),
        };
        let parts = match self.take(1)? {
            [0] => Parts::TooWide,
            [1] => {
                let mut samples = Vec::new();
                for _ in 0..self.short()? {
                    samples.push(self.f64()?);
                }
                Parts::Samples(samples)
            }
            [2] => {
                let (mut buckets, mut bucket) = (Vec::new(), LOWEST_BUCKET);
                for _ in 0..self.short()? {
                    bucket = bucket.checked_add_unsigned(u32::try_from(self.short()?).ok()?)?;
                    buckets.push((bucket, self.short()?));
                }
                Parts::Buckets(buckets)
            }
            _ => return None,
        };
        s.percentiles = Percentiles::from_parts(parts)?;
        Some(s)
    }

    fn short(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let &[byte] = self.take(1)? else { return None };
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
