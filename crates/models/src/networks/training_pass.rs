//! The forward pass of a training step: its random choices, and the losses that the network adds to that of the classes.

use std::cell::{Cell, RefCell};

use burn::tensor::Tensor;

use timbre_core::seed::Seed;

/// The forward pass of one training step.
pub struct TrainingPass {
    seed: Seed,
    drawn: Cell<u64>,
    loss: RefCell<Option<Tensor<1>>>,
}

impl TrainingPass {
    /// Draws from the seed of the step.
    pub fn new(seed: Seed) -> TrainingPass {
        TrainingPass { seed: seed.child("dropout"), drawn: Cell::new(0), loss: RefCell::new(None) }
    }

    /// The seed of the next random choice, in the order of the layers.
    pub fn next_seed(&self) -> Seed {
        self.drawn.set(self.drawn.get() + 1);
        self.seed.child(self.drawn.get())
    }

    /// Adds a loss of the network's own, one value.
    pub fn add_loss(&self, loss: Tensor<1>) {
        let sum = match self.loss.take() {
            Some(before) => before + loss,
            None => loss,
        };
        self.loss.replace(Some(sum));
    }

    /// The sum of the losses that the network added.
    pub fn take_loss(&self) -> Option<Tensor<1>> {
        self.loss.take()
    }
}
