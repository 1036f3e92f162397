//! A string buffer for records, which are built from many short fragments.

use std::fmt;
use std::ops::Deref;

/// Text that is written fragment by fragment, in memory that is reused for the next record.
///
/// A `String` appends with `memory.copy`, which WebAssembly engines implement as a call out of the compiled
/// code. For the dozen bytes of a key or a number, that call costs more than the copy. This buffer copies up
/// to 64 bytes with a few fixed-size moves instead.
#[derive(Clone, Default)]
pub struct LineBuffer {
    /// Initialized memory; the text is its first `end` bytes.
    bytes: Vec<u8>,
    end: usize,
}

impl LineBuffer {
    /// 10^8: a number below it is *short*, and has at most eight digits.
    pub const SHORT: u32 = 100_000_000;

    /// An empty buffer, without memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), end: 0 }
    }

    /// Appends text.
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

    /// Appends a character.
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

    /// Appends a fragment.
    #[inline]
    pub fn push_fragment(&mut self, fragment: &Fragment) {
        let room = self.room::<{ Fragment::CAPACITY }>();
        *room = fragment.bytes;
        self.end += usize::from(fragment.length);
        if !fragment.rest.is_empty() {
            self.push_str(&fragment.rest);
        }
    }

    /// Appends the last six decimal digits of a number, including leading zeros.
    #[inline]
    pub fn push_six_digits(&mut self, number: u32) {
        *self.room() = (eight_digits(number % 1_000_000 * 100) | ZEROS).to_le_bytes();
        self.end += 6;
    }

    /// Appends a [short](Self::SHORT) integer. The digits of a larger one would be wrong.
    #[inline]
    pub fn push_short_integer(&mut self, number: u32) {
        let (digits, length) = without_leading_zeros(number);
        *self.room() = digits.to_le_bytes();
        self.end += length;
    }

    /// Appends `whole.fraction`, with trailing zeros trimmed to at least one digit after the point.
    ///
    /// `whole` must be [short](Self::SHORT), and `millionths` below 10^6. The digits of larger numbers would be
    /// wrong.
    #[inline]
    pub fn push_short_decimal(&mut self, whole: u32, millionths: u32) {
        let fraction = eight_digits(millionths * 100);
        let decimals = (8 - fraction.leading_zeros() as usize / 8).max(1);
        let point = u128::from(fraction | ZEROS) << 8 | u128::from(b'.');
        // Most values are rates and losses below 10: write those with one move.
        if whole < 10 {
            *self.room() = (point << 8 | u128::from(b'0' + whole as u8)).to_le_bytes();
            self.end += 2 + decimals;
        } else {
            self.push_short_integer(whole);
            *self.room() = point.to_le_bytes();
            self.end += 1 + decimals;
        }
    }

    /// The `N` bytes after the text. It grows the buffer if they are missing.
    #[inline]
    fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        if self.bytes.len() - self.end < N {
            self.grow(self.end + N);
        }
        match self.bytes[self.end..].first_chunk_mut() {
            Some(room) => room,
            None => unreachable!("the buffer has grown"),
        }
    }

    /// Removes all but the first `length` bytes of the text.
    ///
    /// # Panics
    ///
    /// If `length` is inside a character.
    pub fn truncate(&mut self, length: usize) {
        if length < self.end {
            assert!(self.is_char_boundary(length), "byte {length} is inside a character");
            self.end = length;
        }
    }

    /// Removes the text, but keeps the memory.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Removes the text, and frees the memory if it is more than `limit` bytes.
    pub fn clear_to(&mut self, limit: usize) {
        self.end = 0;
        if self.bytes.len() > limit {
            *self = Self::new();
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        #[expect(
            unsafe_code,
            reason = "checking every byte of every record again would find nothing"
        )]
        // SAFETY: the first `end` bytes are a sequence of complete `str`s, ASCII characters and ASCII digits:
        // each method that raises `end` wrote one of these there, and `end` is lowered only to a character
        // boundary.
        unsafe {
            std::str::from_utf8_unchecked(&self.bytes[..self.end])
        }
    }

    #[cold]
    fn grow(&mut self, min: usize) {
        let size = min.max(self.bytes.len() * 2).max(256);
        self.bytes.resize(size, 0);
    }
}

/// A text that is appended many times, such as a key. Its first 48 bytes are one move of fixed size.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The beginning of the text, padded with zeros.
    bytes: [u8; Self::CAPACITY],
    length: u8,
    /// The text after `bytes`, from a character boundary on.
    rest: String,
}

impl Fragment {
    /// How many bytes one move copies.
    const CAPACITY: usize = 48;

    /// Makes a fragment at compile time.
    ///
    /// # Panics
    ///
    /// If the text is longer than 48 bytes.
    pub const fn of(text: &'static str) -> Self {
        let (text, mut bytes, mut at) = (text.as_bytes(), [0; Self::CAPACITY], 0);
        assert!(text.len() <= Self::CAPACITY, "the text is longer than 48 bytes");
        while at < text.len() {
            bytes[at] = text[at];
            at += 1;
        }
        Self { bytes, length: text.len() as u8, rest: String::new() }
    }

    /// Makes a fragment of a text of any length.
    pub fn new(text: &str) -> Self {
        let (start, rest) = text.split_at(text.floor_char_boundary(Self::CAPACITY));
        let mut bytes = [0; Self::CAPACITY];
        bytes[..start.len()].copy_from_slice(start.as_bytes());
        Self { bytes, length: start.len() as u8, rest: rest.to_owned() }
    }
}

/// The text `00000000`. Adding it turns eight digits into ASCII.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The eight decimal digits of a short number, one per byte, the first digit in the lowest byte.
///
/// Splits the number into two halves of four digits, those into pairs, and those into digits. Each step handles
/// all parts at once, with a multiplication instead of divisions. Whatever the number is, no byte is above 15,
/// so together with [`ZEROS`] every byte is ASCII.
#[inline]
fn eight_digits(number: u32) -> u64 {
    debug_assert!(number < LineBuffer::SHORT, "{number} has more than eight digits");
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (twos - 10 * tens) << 8) & u64::from_le_bytes([15; 8])
}

/// The text of a short number, the first digit in the lowest byte, and its length.
#[inline]
fn without_leading_zeros(number: u32) -> (u64, usize) {
    let digits = eight_digits(number);
    // Keep the last digit even if it is 0.
    let zeros = digits.trailing_zeros().min(56) / 8;
    ((digits | ZEROS) >> (8 * zeros), 8 - zeros as usize)
}

/// Copies between slices of equal length.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    /// Copies the first and the last `N` bytes, which may overlap.
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
        fn it_holds_the_text_that_was_pushed(fragments in prop::collection::vec("\\PC{0,90}", 0..12)) {
            let (mut line, mut text) = (LineBuffer::from("left over"), String::new());
            line.clear();
            for fragment in &fragments {
                line.push_str(fragment);
                line.push('é');
                line.push_fragment(&Fragment::new(fragment));
                line.push('e');
                text.push_str(&format!("{fragment}é{fragment}e"));
            }
            prop_assert_eq!(line.as_str(), text.as_str());
            line.truncate(fragments.first().map_or(0, String::len));
            prop_assert_eq!(line.as_str(), fragments.first().map_or("", String::as_str));
        }

        #[test]
        fn six_digits_keep_their_zeros(number in 0..1_000_000_u32) {
            let mut line = LineBuffer::new();
            line.push_six_digits(number);
            prop_assert_eq!(line.as_str(), format!("{number:06}"));
        }

        #[test]
        fn a_short_number_has_no_superfluous_zeros(
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
