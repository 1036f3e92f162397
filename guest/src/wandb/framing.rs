//! The frame of a `.wandb` file: LevelDB's log format, with W&B's own file header and with the
//! CRC32 of zlib (IEEE) where LevelDB has a masked CRC32C.
//!
//! The file is a row of 32 KiB blocks; the seven bytes of the file header are the first bytes of
//! the first block. A record is cut at the ends of blocks into chunks, each behind seven bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | CRC32 over the type and the payload, little endian |
//! | 2 | payload length, little endian |
//! | 1 | type: 1 the whole record, 2 its first chunk, 3 a middle one, 4 the last |
//!
//! Where fewer than seven bytes are left in a block they are zeros. Where exactly seven are left,
//! a first chunk with an empty payload fills them.

use std::fmt;

/// The first seven bytes of a file: the mark, a magic number (0xBEE1, little endian) and the
/// version of the format, which is 0.
pub const FILE_HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];

/// Bytes in a block.
pub const BLOCK_SIZE: usize = 32 * 1024;

/// Bytes before the payload of each chunk.
pub const CHUNK_HEADER_SIZE: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Where in its block the next chunk starts: all that writing has to remember.
#[derive(Clone, Debug)]
pub struct Framer {
    offset: usize,
}

impl Framer {
    /// Appends the file header; the records follow it.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&FILE_HEADER);
        Self { offset: FILE_HEADER.len() }
    }

    /// Appends one record, cut into chunks as the blocks demand.
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
            // A payload is shorter than a block: its length fits into two bytes.
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

/// Reads the records of a file back.
///
/// # Errors
/// The first place where the bytes are not as they should be, with the records before it. A file
/// that a killed process left behind ends in [`Problem::Truncated`] or [`Problem::Unfinished`].
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
    // The record whose last chunk has not come yet, and where its first chunk starts.
    let mut open: Option<(usize, Vec<u8>)> = None;
    while offset < bytes.len() {
        let room = BLOCK_SIZE - offset % BLOCK_SIZE;
        if room < CHUNK_HEADER_SIZE {
            // W&B's readers do not look at the padding either.
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

/// Why a file cannot be read to its end.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(".wandb file, byte {offset}: {problem}")]
pub struct FramingError {
    /// Where the chunk with the problem starts, in bytes from the start of the file.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
    /// The records before it; they are whole.
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

/// What is wrong at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The first seven bytes are not those of a `.wandb` file of version 0.
    #[error("this is no .wandb file of version 0")]
    FileHeader,
    /// The file ends within a chunk.
    #[error("the file ends within a chunk")]
    Truncated,
    /// The file ends after a whole chunk, but within a record.
    #[error("the file ends within the record that starts here")]
    Unfinished,
    /// The stated length leads out of the block.
    #[error("a chunk of {0} bytes does not fit into its block")]
    Length(usize),
    /// The bytes are not those that were written.
    #[error("the checksum is wrong")]
    Checksum,
    /// No such chunk type.
    #[error("there is no chunk type {0}")]
    Kind(u8),
    /// A middle or last chunk without a first one, or a new record before the last chunk.
    #[error("a chunk of type {0} cannot be here")]
    Order(u8),
}
