//! What one instance of a component may use.

use wasmtime::{StoreLimits, StoreLimitsBuilder};

/// The most memory that a component may have, in bytes. Ours has it from the start, as `cargo xtask component` builds
/// it.
pub(crate) const MEMORY: usize = 160 << 20;

/// How many elements each of its two tables may have: functions are called through them.
const TABLE_ELEMENTS: usize = 100_000;

/// How many bytes one call may pass through the imports: a record of 16 MiB and its copies.
pub(crate) const HOSTCALL_FUEL: usize = 64 << 20;

/// How many handles to resources the instance may have.
pub(crate) const HANDLES: usize = 10_000;

/// The limits of a Store.
pub(crate) fn store_limits() -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(MEMORY)
        .instances(8)
        .memories(1)
        .tables(2)
        .table_elements(TABLE_ELEMENTS)
        .build()
}
