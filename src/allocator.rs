//! A setting of the C library's allocator for the program's training commands.

#![allow(unsafe_code, reason = "calls mallopt of the C library")]

/// Keeps freed memory in the process instead of returning it to the kernel. A training step frees and allocates the same
/// hundreds of megabytes, and pages that the kernel takes back and clears again cost a tenth of its time.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    {
        // SAFETY: the declaration is that of malloc.h.
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // The constants of malloc.h.
        const TRIM_THRESHOLD: i32 = -1;
        const TOP_PAD: i32 = -2;
        const MMAP_THRESHOLD: i32 = -3;
        // SAFETY: the C library accepts these calls at any time and ignores invalid values.
        unsafe {
            mallopt(MMAP_THRESHOLD, 1 << 30);
            mallopt(TRIM_THRESHOLD, i32::MAX);
            mallopt(TOP_PAD, 64 << 20);
        }
    }
}
