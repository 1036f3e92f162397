//! The framing of a `.wandb` file: LevelDB's log format, but with W&B's own file header, and with the
//! CRC-32 of zlib (IEEE) instead of LevelDB's masked CRC-32C.
//!
//! The file is a sequence of 32 KiB blocks. The first block begins with the file header of seven bytes.
//! A record is split at the ends of blocks into chunks, each with a header of seven bytes:
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | CRC-32 of the type and the payload, little endian |
//! | 2 | payload length, little endian |
//! | 1 | type: 1 a complete record, 2 its first chunk, 3 a middle chunk, 4 its last chunk |
//!
//! If fewer than seven bytes are left in a block, they are zeros. If exactly seven are left, a first chunk
//! with an empty payload fills them.

use std::fmt;

/// The first seven bytes of a file: `:W&B`, a magic number (0xBEE1, little endian) and the version of the
/// format, which is 0.
pub const FILE_HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];

/// The size of a block, in bytes.
pub const BLOCK_SIZE: usize = 32 * 1024;

/// The size of the header before each chunk's payload, in bytes.
pub const CHUNK_HEADER_SIZE: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Splits records into chunks.
#[derive(Clone, Debug)]
pub struct Framer {
    /// Where in its block the next chunk starts.
    offset: usize,
}

impl Framer {
    /// Appends the file header, which must come before the records.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&FILE_HEADER);
        Self { offset: FILE_HEADER.len() }
    }

    /// Appends one record, split into chunks at the ends of blocks.
    pub fn append(&mut self, record: &[u8], out: &mut Vec<u8>) {
        let mut rest = record;
        let mut is_first = true;
        loop {
            let mut room = BLOCK_SIZE - self.offset;
            if room < CHUNK_HEADER_SIZE {
                out.resize(out.len() + room, 0);
                self.offset = 0;
                room = BLOCK_SIZE;
            }
            let (payload, remainder) = rest.split_at(rest.len().min(room - CHUNK_HEADER_SIZE));
            let is_last = remainder.is_empty();
            let kind = match (is_first, is_last) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            // A payload is shorter than a block, so its length fits in two bytes.
            let length = payload.len() as u16;
            out.extend_from_slice(&checksum(kind, payload).to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.push(kind);
            out.extend_from_slice(payload);
            self.offset += CHUNK_HEADER_SIZE + payload.len();
            if is_last {
                return;
            }
            rest = remainder;
            is_first = false;
        }
    }
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads the records of a file.
///
/// # Errors
///
/// The first problem in the file, and the records before it. The file of a process that was killed ends in
/// [`Problem::Truncated`] or [`Problem::Unfinished`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FramingError> {
    let mut records = Vec::new();
    match read(bytes, &mut records) {
        Ok(()) => Ok(records),
        Err((offset, problem)) => Err(FramingError { offset, problem, records }),
    }
}

fn read(bytes: &[u8], records: &mut Vec<Vec<u8>>) -> Result<(), (usize, Problem)> {
    if !bytes.starts_with(&FILE_HEADER) {
        return Err((0, Problem::FileHeader));
    }
    let mut offset = FILE_HEADER.len();
    // The record whose last chunk is still missing, and where its first chunk starts.
    let mut open: Option<(usize, Vec<u8>)> = None;
    while offset < bytes.len() {
        let room = BLOCK_SIZE - offset % BLOCK_SIZE;
        if room < CHUNK_HEADER_SIZE {
            // Like W&B's readers, ignore the padding.
            offset += room;
            continue;
        }
        let rest = &bytes[offset..];
        let Some((header, rest)) = rest.split_first_chunk::<CHUNK_HEADER_SIZE>() else {
            return Err((offset, Problem::Truncated));
        };
        let [crc @ .., low, high, kind] = *header;
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length > room - CHUNK_HEADER_SIZE {
            return Err((offset, Problem::Length(length)));
        }
        let Some(payload) = rest.get(..length) else {
            return Err((offset, Problem::Truncated));
        };
        if checksum(kind, payload) != u32::from_le_bytes(crc) {
            return Err((offset, Problem::Checksum));
        }
        match (kind, &mut open) {
            (FULL, None) => records.push(payload.to_vec()),
            (FIRST, None) => open = Some((offset, payload.to_vec())),
            (MIDDLE, Some((_, record))) => record.extend_from_slice(payload),
            (LAST, Some((_, record))) => {
                record.extend_from_slice(payload);
                records.push(std::mem::take(record));
                open = None;
            }
            (FULL | FIRST | MIDDLE | LAST, _) => return Err((offset, Problem::Order(kind))),
            _ => return Err((offset, Problem::Kind(kind))),
        }
        offset += CHUNK_HEADER_SIZE + length;
    }
    match open {
        None => Ok(()),
        Some((start, _)) => Err((start, Problem::Unfinished)),
    }
}

/// Why a file could not be read to its end.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(".wandb file, byte {offset}: {problem}")]
pub struct FramingError {
    /// The offset of the chunk with the problem, in bytes from the start of the file.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
    /// The complete records before it.
    pub records: Vec<Vec<u8>>,
}

impl fmt::Debug for FramingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FramingError")
            .field("offset", &self.offset)
            .field("problem", &self.problem)
            .field("records", &self.records.len())
            .finish()
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The first seven bytes are not [`FILE_HEADER`].
    #[error("not a .wandb file of version 0")]
    FileHeader,
    /// The file ends inside a chunk.
    #[error("the file ends inside a chunk")]
    Truncated,
    /// The file ends after a complete chunk, but inside a record.
    #[error("the file ends inside the record that starts here")]
    Unfinished,
    /// The chunk, with this payload length in bytes, would cross the end of its block.
    #[error("a chunk of {0} bytes does not fit in its block")]
    Length(usize),
    /// The checksum does not match the bytes.
    #[error("the checksum does not match")]
    Checksum,
    /// The chunk has this type, which does not exist.
    #[error("unknown chunk type {0}")]
    Kind(u8),
    /// A middle or last chunk without a first chunk, or a new record before the last chunk.
    #[error("unexpected chunk of type {0}")]
    Order(u8),
}
