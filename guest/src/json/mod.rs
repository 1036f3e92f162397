//! Strict JSON (RFC 8259): a writer that does not allocate, and a reader that does not build a tree.

mod read;
mod write;

pub use read::{Object, Problem, Reader, Token, unescape};
pub use write::{is_plain, non_finite_name, write_float, write_integer, write_string, write_value};
