//! What a task needs for a while, and what the C library does with memory that comes back.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static HELD: Cell<[Vec<f32>; 3]> = const { Cell::new([const { Vec::new() }; 3]) };
}

/// Three buffers of this thread, with whatever was in them.
pub fn borrow() -> [Vec<f32>; 3] {
    HELD.take()
}

pub fn give_back(buffers: [Vec<f32>; 3]) {
    HELD.set(buffers);
}

/// Tells the C library, once, to keep what is freed: a step of training frees and asks for the same hundreds of megabytes, and
/// pages that the kernel takes back and clears again cost a tenth of its time.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
        {
            unsafe extern "C" {
                fn mallopt(parameter: i32, value: i32) -> i32;
            }
            // As in malloc.h.
            const TRIM_THRESHOLD: i32 = -1;
            const TOP_PAD: i32 = -2;
            const MMAP_THRESHOLD: i32 = -3;
            // SAFETY: the C library takes these at any time; a value that it does not like it refuses.
            unsafe {
                mallopt(MMAP_THRESHOLD, 1 << 30);
                mallopt(TRIM_THRESHOLD, i32::MAX);
                mallopt(TOP_PAD, 64 << 20);
            }
        }
    });
}
