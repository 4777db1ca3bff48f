//! The hash behind all random numbers: Threefry-2x32 of Salmon et al., "Parallel random numbers: as
//! easy as 1, 2, 3" (2011), with 20 rounds.

use xla::XlaOp;

use super::{Operation, Text, inputs, rules};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

operation! {
    /// The two words of the hash of the counter (`x0`, `x1`) under the key (`k0`, `k1`), for each
    /// element of the inputs `k0 k1 x0 x1`.
    struct Threefry2x32 = "threefry2x32" {}
}

impl Operation for Threefry2x32 {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let words: [&Aval; 4] = inputs(self, avals)?;
        let word = words[0];
        if word.dtype != DType::U32 || words.iter().any(|&aval| aval != word) {
            let list = words.map(ToString::to_string).join(", ");
            return Err(Error::dtype(format!(
                "threefry2x32: the key and the counter must be four u32 tensors of one shape, but \
                 they are {list}"
            )));
        }
        Ok(vec![word.clone(), word.clone()])
    }

    /// The rounds one after the other: XLA fuses them into one kernel, which it compiles faster
    /// than a loop over them, and which runs an order of magnitude faster.
    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let [k0, k1, x0, x1] = [0, 1, 2, 3].map(|i| inputs[i].clone());
        Ok(hash([k0, k1], [x0, x1])?.into())
    }

    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear(self.name()))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }
}

/// Records the hash of the counter under the key; four `u32` tensors of one shape.
#[track_caller]
pub(crate) fn threefry2x32(key: [&Tensor; 2], counter: [&Tensor; 2]) -> [Tensor; 2] {
    let outputs = record(Threefry2x32 {}, &[key[0], key[1], counter[0], counter[1]], 2);
    outputs.try_into().expect("the operation has two outputs")
}

/// The hash, computed on the host.
pub(crate) fn threefry2x32_on_host(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    hash(key, counter).expect("arithmetic on the host does not fail")
}

/// A 32-bit word: a number of the host, or the operation that computes it.
trait Word: Clone {
    fn add(&self, rhs: &Self) -> Result<Self>;
    fn add_number(&self, rhs: u32) -> Result<Self>;
    fn xor(&self, rhs: &Self) -> Result<Self>;
    fn xor_number(&self, rhs: u32) -> Result<Self>;
    fn rotate_left(&self, bits: u32) -> Result<Self>;
}

/// Rotations of the rounds; the two groups of four rounds take turns.
const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];

/// Makes the third word of the key from the two there are.
const PARITY: u32 = 0x1BD1_1BDA;

fn hash<W: Word>([k0, k1]: [W; 2], [mut x0, mut x1]: [W; 2]) -> Result<[W; 2]> {
    let keys = [k0.clone(), k1.clone(), k0.xor(&k1)?.xor_number(PARITY)?];
    x0 = x0.add(&keys[0])?;
    x1 = x1.add(&keys[1])?;
    for group in 0..5 {
        for rotation in ROTATIONS[group % 2] {
            x0 = x0.add(&x1)?;
            x1 = x1.rotate_left(rotation)?.xor(&x0)?;
        }
        x0 = x0.add(&keys[(group + 1) % 3])?;
        x1 = x1.add(&keys[(group + 2) % 3])?.add_number(group as u32 + 1)?;
    }
    Ok([x0, x1])
}

impl Word for u32 {
    fn add(&self, rhs: &u32) -> Result<u32> {
        Ok(self.wrapping_add(*rhs))
    }

    fn add_number(&self, rhs: u32) -> Result<u32> {
        self.add(&rhs)
    }

    fn xor(&self, rhs: &u32) -> Result<u32> {
        Ok(self ^ rhs)
    }

    fn xor_number(&self, rhs: u32) -> Result<u32> {
        self.xor(&rhs)
    }

    fn rotate_left(&self, bits: u32) -> Result<u32> {
        Ok(u32::rotate_left(*self, bits))
    }
}

// The builder broadcasts the scalars to the shape of the other operand.
impl Word for XlaOp {
    fn add(&self, rhs: &XlaOp) -> Result<XlaOp> {
        Ok(self.add_(rhs)?)
    }

    fn add_number(&self, rhs: u32) -> Result<XlaOp> {
        self.add(&self.builder().constant_r0(rhs)?)
    }

    fn xor(&self, rhs: &XlaOp) -> Result<XlaOp> {
        Ok(XlaOp::xor(self, rhs)?)
    }

    fn xor_number(&self, rhs: u32) -> Result<XlaOp> {
        Word::xor(self, &self.builder().constant_r0(rhs)?)
    }

    fn rotate_left(&self, bits: u32) -> Result<XlaOp> {
        let number = |n: u32| self.builder().constant_r0(n);
        let high = xla_ext::binary("shift_left", self, &number(bits)?)?;
        let low = xla_ext::binary("shift_right_logical", self, &number(32 - bits)?)?;
        Ok(high.or(&low)?)
    }
}

#[cfg(test)]
mod tests {
    use super::threefry2x32_on_host;

    /// The known answers that the authors publish with their implementation.
    #[test]
    fn known_answers() {
        let (zeros, ones) = ([0, 0], [u32::MAX, u32::MAX]);
        assert_eq!(threefry2x32_on_host(zeros, zeros), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry2x32_on_host(ones, ones), [0x1cb9_96fc, 0xbb00_2be7]);
        let (key, counter) = ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
        assert_eq!(threefry2x32_on_host(key, counter), [0xc492_3a9c, 0x483d_f7a0]);
    }
}
