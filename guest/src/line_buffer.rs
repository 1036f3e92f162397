//! Text that grows by small pieces, as the line of a record does.

use std::fmt;
use std::ops::Deref;

/// Text that is written piece by piece and used again for the next record.
///
/// A `String` copies each piece by `memory.copy`, which WebAssembly engines carry out by a call out of the
/// compiled code: for the dozen bytes of a key or a number that costs more than the copy. Here pieces of up
/// to 64 bytes are a few moves of fixed size.
#[derive(Clone, Default)]
pub struct LineBuffer {
    /// Room, all of it initialised: the text is the first `end` bytes.
    bytes: Vec<u8>,
    end: usize,
}

impl LineBuffer {
    /// The short numbers, of eight digits at most, are below it.
    pub const SHORT: u32 = 100_000_000;

    /// No text yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), end: 0 }
    }

    /// Append text.
    #[inline]
    pub fn push_str(&mut self, text: &str) {
        let text = text.as_bytes();
        let end = self.end + text.len();
        if end > self.bytes.len() {
            self.grow(end);
        }
        copy(&mut self.bytes[self.end..end], text);
        self.end = end;
    }

    /// Append a character.
    #[inline]
    pub fn push(&mut self, character: char) {
        if !character.is_ascii() {
            return self.push_str(character.encode_utf8(&mut [0; 4]));
        }
        if self.end == self.bytes.len() {
            self.grow(self.end + 1);
        }
        self.bytes[self.end] = character as u8;
        self.end += 1;
    }

    /// Append a piece.
    #[inline]
    pub fn push_piece(&mut self, piece: &Piece) {
        let room = self.room::<{ Piece::MOST }>();
        *room = piece.bytes;
        self.end += usize::from(piece.length);
        if !piece.rest.is_empty() {
            self.push_str(&piece.rest);
        }
    }

    /// Append the last six decimal digits of a number.
    #[inline]
    pub fn push_six_digits(&mut self, number: u32) {
        *self.room() = (eight_digits(number % 1_000_000 * 100) | ZEROS).to_le_bytes();
        self.end += 6;
    }

    /// Append a [short](Self::SHORT) whole number; a larger one's digits are wrong.
    #[inline]
    pub fn push_short_integer(&mut self, number: u32) {
        let (digits, length) = without_leading_zeros(number);
        *self.room() = digits.to_le_bytes();
        self.end += length;
    }

    /// Append a [short](Self::SHORT) whole number, a point, and the millionths behind it, below 10^6, without the
    /// zeros at their end, of which one stays. Of larger numbers the digits are wrong.
    #[inline]
    pub fn push_short_decimal(&mut self, whole: u32, millionths: u32) {
        let fraction = eight_digits(millionths * 100);
        let decimals = (8 - fraction.leading_zeros() as usize / 8).max(1);
        let point = u128::from(fraction | ZEROS) << 8 | u128::from(b'.');
        // Most are rates and losses: one move for all.
        if whole < 10 {
            *self.room() = (point << 8 | u128::from(b'0' + whole as u8)).to_le_bytes();
            self.end += 2 + decimals;
        } else {
            self.push_short_integer(whole);
            *self.room() = point.to_le_bytes();
            self.end += 1 + decimals;
        }
    }

    /// Room behind the text.
    #[inline]
    fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        if self.bytes.len() - self.end < N {
            self.grow(self.end + N);
        }
        match self.bytes[self.end..].first_chunk_mut() {
            Some(room) => room,
            None => unreachable!("it was made"),
        }
    }

    /// Forget the text behind its first `length` bytes.
    ///
    /// # Panics
    ///
    /// If that is inside a character.
    pub fn truncate(&mut self, length: usize) {
        if length < self.end {
            assert!(self.is_char_boundary(length), "a character cannot be cut in two");
            self.end = length;
        }
    }

    /// Forget the text and keep the room.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Forget the text; give up room beyond `most` bytes.
    pub fn clear_to(&mut self, most: usize) {
        self.end = 0;
        if self.bytes.len() > most {
            *self = Self::new();
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        #[expect(
            unsafe_code,
            reason = "a look at every byte of every record would prove nothing new"
        )]
        // SAFETY: the first `end` bytes are whole `str`s, ASCII characters and digits, one after another: what
        // moves `end` up has put such there, and it moves down between characters alone.
        unsafe {
            std::str::from_utf8_unchecked(&self.bytes[..self.end])
        }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        let room = least.max(self.bytes.len() * 2).max(256);
        self.bytes.resize(room, 0);
    }
}

/// A short text that is appended again and again, such as a key: one move, whatever its length.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its beginning, and zeros behind it.
    bytes: [u8; Self::MOST],
    length: u8,
    /// What did not fit: whole characters.
    rest: String,
}

impl Piece {
    /// How many bytes go in one move.
    const MOST: usize = 48;

    /// Prepare a text that fits into one move: at most 48 bytes.
    pub const fn of(text: &'static str) -> Self {
        let (text, mut bytes, mut at) = (text.as_bytes(), [0; Self::MOST], 0);
        assert!(text.len() <= Self::MOST, "the text does not fit into one move");
        while at < text.len() {
            bytes[at] = text[at];
            at += 1;
        }
        Self { bytes, length: text.len() as u8, rest: String::new() }
    }

    /// Prepare a text of any length.
    pub fn new(text: &str) -> Self {
        let (start, rest) = text.split_at(text.floor_char_boundary(Self::MOST));
        let mut bytes = [0; Self::MOST];
        bytes[..start.len()].copy_from_slice(start.as_bytes());
        Self { bytes, length: start.len() as u8, rest: rest.to_owned() }
    }
}

/// What makes eight digits text: a 0 in each of eight places.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The digits of a short number, each in a byte, the first in the lowest: halves, then quarters, then
/// digits are split side by side, each by a multiplication in place of a division. No byte is above 15, whatever
/// the number: with [`ZEROS`] all are ASCII.
#[inline]
fn eight_digits(number: u32) -> u64 {
    debug_assert!(number < LineBuffer::SHORT, "{number} has more than eight digits");
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (twos - 10 * tens) << 8) & u64::from_le_bytes([15; 8])
}

/// The text of a short number, and its length.
#[inline]
fn without_leading_zeros(number: u32) -> (u64, usize) {
    let digits = eight_digits(number);
    // The last digit stays, even if it is 0.
    let zeros = digits.trailing_zeros().min(56) / 8;
    ((digits | ZEROS) >> (8 * zeros), 8 - zeros as usize)
}

/// Copy between slices of one length.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    /// The first and the last `N` bytes, which together are all.
    #[inline]
    fn ends<const N: usize>(to: &mut [u8], from: &[u8]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
        if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
            *to = *from;
        }
    }
    match from.len() {
        0 => {}
        1 => ends::<1>(to, from),
        2..4 => ends::<2>(to, from),
        4..8 => ends::<4>(to, from),
        8..16 => ends::<8>(to, from),
        16..=32 => ends::<16>(to, from),
        33..=64 => ends::<32>(to, from),
        _ => to.copy_from_slice(from),
    }
}

impl Deref for LineBuffer {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Write for LineBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl From<&str> for LineBuffer {
    fn from(text: &str) -> Self {
        let mut line = Self::new();
        line.push_str(text);
        line
    }
}

impl From<LineBuffer> for String {
    fn from(line: LineBuffer) -> Self {
        line.as_str().to_owned()
    }
}

impl fmt::Debug for LineBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_text_that_was_pushed(pieces in prop::collection::vec("\\PC{0,90}", 0..12)) {
            let (mut line, mut text) = (LineBuffer::from("left over"), String::new());
            line.clear();
            for piece in &pieces {
                line.push_str(piece);
                line.push('é');
                line.push_piece(&Piece::new(piece));
                line.push('e');
                text.push_str(&format!("{piece}é{piece}e"));
            }
            prop_assert_eq!(line.as_str(), text.as_str());
            line.truncate(pieces.first().map_or(0, String::len));
            prop_assert_eq!(line.as_str(), pieces.first().map_or("", String::as_str));
        }

        #[test]
        fn six_digits_keep_their_zeros(number in 0..1_000_000_u32) {
            let mut line = LineBuffer::new();
            line.push_six_digits(number);
            prop_assert_eq!(line.as_str(), format!("{number:06}"));
        }

        #[test]
        fn a_short_number_has_no_zeros_about_it(
            before in "\\PC{0,260}",
            whole in 0..LineBuffer::SHORT,
            shift in 0..27_u32,
            millionths in 0..1_000_000_u32,
            zeros in 0..7_u32,
        ) {
            let whole = whole >> shift;
            let millionths = millionths - millionths % 10_u32.pow(zeros);
            let mut line = LineBuffer::from(&*before);
            line.push_short_integer(whole);
            line.push_short_decimal(whole, millionths);
            let decimal = format!("{whole}.{millionths:06}");
            let decimal = decimal.trim_end_matches('0');
            let zero = if decimal.ends_with('.') { "0" } else { "" };
            prop_assert_eq!(line.as_str(), format!("{before}{whole}{decimal}{zero}"));
        }
    }
}
