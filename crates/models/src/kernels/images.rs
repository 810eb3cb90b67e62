//! Images with the channels last, so that the values of a pixel are contiguous.

/// A batch of images: `[image, row, column, channel]`.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    pub values: &'a [f32],
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl<'a> Images<'a> {
    pub fn new(values: &'a [f32], [count, height, width, channels]: [usize; 4]) -> Images<'a> {
        assert_eq!(values.len(), count * height * width * channels, "the number of values must fit the shape");
        Images { values, count, height, width, channels }
    }

    pub fn pixels(&self) -> usize {
        self.count * self.height * self.width
    }

    /// The index of a pixel's first value, or None outside the image.
    #[inline(always)]
    pub fn at(&self, image: usize, row: isize, column: isize) -> Option<usize> {
        // A negative number cast to usize is larger than any size.
        let inside = (row as usize) < self.height && (column as usize) < self.width;
        inside.then(|| ((image * self.height + row as usize) * self.width + column as usize) * self.channels)
    }
}

/// The geometry of a convolution without its channels; zero padding is the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

impl Window {
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Rows and columns of the output.
    pub fn output(&self, height: usize, width: usize) -> [usize; 2] {
        let along = |axis: usize, size: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            let padded = size + 2 * self.padding[axis];
            assert!(padded >= reach, "a window of {reach} does not fit into {padded}");
            (padded - reach) / self.stride[axis] + 1
        };
        [along(0, height), along(1, width)]
    }

    /// The offset of a tap from the position that the stride gives the window.
    pub fn offset(&self, tap: usize) -> [isize; 2] {
        let at = [tap / self.kernel[1], tap % self.kernel[1]];
        std::array::from_fn(|axis| (at[axis] * self.dilation[axis]) as isize - self.padding[axis] as isize)
    }
}
