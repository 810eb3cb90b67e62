pub mod gather;
pub mod images;
pub mod simd;
pub mod weight_gradient;
