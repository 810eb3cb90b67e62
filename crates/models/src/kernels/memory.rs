//! Buffers that a thread reuses from one task to the next.

use std::cell::Cell;

thread_local! {
    static BUFFERS: Cell<[Vec<f32>; 3]> = const { Cell::new([const { Vec::new() }; 3]) };
}

/// Takes three buffers of this thread, with any contents.
pub fn take() -> [Vec<f32>; 3] {
    BUFFERS.take()
}

pub fn give_back(buffers: [Vec<f32>; 3]) {
    BUFFERS.set(buffers);
}
