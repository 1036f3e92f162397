//! Strict JSON (RFC 8259): writing records without an allocation, and reading them without a tree.

mod read;
mod write;

pub use read::{Object, Problem, Reader, Token, unescape};
pub use write::{non_finite_name, write_float, write_integer, write_string, write_value};
