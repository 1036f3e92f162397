//! The allocator of a memory that does not grow.
//!
//! The component's memory has its full size from the start (`cargo xtask component` says which): engines that
//! check accesses by comparing then compare with a constant, and never load where the memory lies anew. What
//! is not touched costs addresses and nothing else. The standard library's allocator knows only memory that
//! it grew itself, so the same one is set up here over what lies behind the component's static data.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::ptr;

use dlmalloc::{Allocator, Dlmalloc};

/// A page of WebAssembly's.
const PAGE: usize = 64 << 10;

#[global_allocator]
static ALLOCATOR: Single = Single(RefCell::new(Dlmalloc::new_with_allocator(Rest::UNTOUCHED)));

unsafe extern "C" {
    /// Where the linker ends static data and the stack.
    static __heap_base: u8;
}

/// The memory that was never handed out: from an address to the end.
struct Rest {
    /// None before the first part is handed out.
    start: Cell<Option<usize>>,
}

impl Rest {
    const UNTOUCHED: Self = Self { start: Cell::new(None) };
}

// SAFETY: each part is handed out once, lies behind all static data, and ends within the memory; what was
// never handed out was never written, so that it holds the zeros that a memory begins with.
unsafe impl Allocator for Rest {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let start =
            self.start.get().unwrap_or((&raw const __heap_base).addr().next_multiple_of(PAGE));
        let left = core::arch::wasm32::memory_size(0) * PAGE - start;
        match size.checked_next_multiple_of(PAGE) {
            Some(size) if size <= left => {
                self.start.set(Some(start + size));
                (ptr::with_exposed_provenance_mut(start), size, 0)
            }
            _ => (ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

/// The allocator of a component, which has one thread.
struct Single(RefCell<Dlmalloc<Rest>>);

// SAFETY: WebAssembly without its threads has nobody to share with.
unsafe impl Sync for Single {}

// SAFETY: the calls are passed on as they are; none panics, as none of them calls back. They are not inlined,
// as the allocator would then stand wherever something is allocated.
unsafe impl GlobalAlloc for Single {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller assures.
        unsafe { self.0.borrow_mut().malloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller assures.
        unsafe { self.0.borrow_mut().calloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller assures.
        unsafe { self.0.borrow_mut().free(block, layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller assures.
        unsafe { self.0.borrow_mut().realloc(block, layout.size(), layout.align(), size) }
    }
}
