//! `einsum`, `tensordot` and `matmul` against loops over all labels, and their mistakes.

mod common;

use std::collections::BTreeMap;

use common::{EXACT, assert_close, eager_and_jitted, error_of, ramp_bits};
use onetrace::{ErrorKind, einsum, prelude::*};

/// Row-major positions in an array of this shape.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |rows, &size| {
        let longer = |row: Vec<usize>| (0..size).map(move |i| [&row[..], &[i]].concat());
        rows.into_iter().flat_map(longer).collect()
    })
}

/// What the subscripts mean: for every value of every label, the product of one element of each
/// operand is added to one element of the result. Axes of size one stretch. No `...`, one letter
/// for each axis, and an output.
fn by_loops(subscripts: &str, operands: &[(Vec<i32>, Vec<usize>)]) -> (Vec<i32>, Vec<usize>) {
    let (inputs, output) = subscripts.split_once("->").unwrap();
    let inputs: Vec<&str> = inputs.split(',').collect();
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (labels, (_, shape)) in inputs.iter().zip(operands) {
        for (label, &size) in labels.chars().zip(shape) {
            let known = sizes.entry(label).or_insert(size);
            *known = size.max(*known);
        }
    }
    let labels: Vec<char> = sizes.keys().copied().collect();
    let shape: Vec<usize> = output.chars().map(|label| sizes[&label]).collect();
    let mut result = vec![0; shape.iter().product()];
    for values in positions(&sizes.values().copied().collect::<Vec<_>>()) {
        let value = |label: char| values[labels.iter().position(|&l| l == label).unwrap()];
        let flat = |labels: &str, shape: &[usize]| {
            let axes = labels.chars().zip(shape);
            axes.fold(0, |flat, (label, &size)| flat * size + value(label).min(size - 1))
        };
        let factors = inputs.iter().zip(operands).map(|(l, (data, shape))| data[flat(l, shape)]);
        result[flat(output, &shape)] += factors.product::<i32>();
    }
    (result, shape)
}

/// Operands of small numbers.
fn operands(shapes: &[&[usize]]) -> Vec<(Vec<i32>, Vec<usize>)> {
    let data = |(salt, shape): (usize, &&[usize])| {
        let bits = ramp_bits(shape, salt as u32);
        (bits.iter().map(|h| (h % 19) as i32 - 9).collect(), shape.to_vec())
    };
    shapes.iter().enumerate().map(data).collect()
}

#[test]
fn agrees_with_loops() {
    // What is given to `einsum`, and the same in full.
    let cases: [(&str, &str, &[&[usize]]); 33] = [
        ("ij,jk->ik", "ij,jk->ik", &[&[2, 3], &[3, 4]]),
        ("ij,jk", "ij,jk->ik", &[&[2, 3], &[3, 4]]),
        ("kj,ik", "kj,ik->ij", &[&[3, 4], &[2, 3]]),
        (" i j , j k -> k i ", "ij,jk->ki", &[&[2, 3], &[3, 4]]),
        ("ba", "ba->ab", &[&[2, 3]]),
        ("aB", "aB->Ba", &[&[2, 3]]),
        ("ij->", "ij->", &[&[2, 3]]),
        ("ij->j", "ij->j", &[&[2, 3]]),
        ("ii", "ii->", &[&[3, 3]]),
        ("ii->i", "ii->i", &[&[3, 3]]),
        ("iji->ji", "iji->ji", &[&[3, 2, 3]]),
        ("iijj->ij", "iijj->ij", &[&[2, 2, 3, 3]]),
        ("iii->i", "iii->i", &[&[3, 3, 3]]),
        ("ii,i->i", "ii,i->i", &[&[3, 3], &[3]]),
        ("iij,jkk->ik", "iij,jkk->ik", &[&[2, 2, 3], &[3, 4, 4]]),
        ("i,i", "i,i->", &[&[3], &[3]]),
        ("i,i->i", "i,i->i", &[&[3], &[3]]),
        ("i,j", "i,j->ij", &[&[3], &[2]]),
        (",i", ",i->i", &[&[], &[2]]),
        ("", "->", &[&[]]),
        ("ij,ij,ij->ij", "ij,ij,ij->ij", &[&[2, 3], &[2, 3], &[2, 3]]),
        ("ij,jk,kl,lm->im", "ij,jk,kl,lm->im", &[&[2, 3], &[3, 2], &[2, 4], &[4, 2]]),
        ("i,ij,j->", "i,ij,j->", &[&[2], &[2, 3], &[3]]),
        ("ij,kl,jk->il", "ij,kl,jk->il", &[&[2, 3], &[4, 2], &[3, 4]]),
        ("bhqd,bhkd->bhqk", "bhqd,bhkd->bhqk", &[&[2, 2, 3, 2], &[2, 2, 4, 2]]),
        // Sums within one operand.
        ("ijk,kl->l", "ijk,kl->l", &[&[2, 3, 4], &[4, 2]]),
        // Axes of size one stretch.
        ("ij,ij->ij", "ij,ij->ij", &[&[1, 3], &[2, 1]]),
        ("ij,j->i", "ij,j->i", &[&[2, 1], &[3]]),
        // `...` of ranks that differ.
        ("...", "xy->xy", &[&[2, 3]]),
        ("...j->j...", "xj->jx", &[&[2, 3]]),
        ("...ij,...jk", "xyij,yjk->xyik", &[&[2, 1, 3, 2], &[3, 2, 4]]),
        ("i...,i...->...", "ixy,iy->xy", &[&[2, 3, 2], &[2, 2]]),
        ("...i,i->...", "i,i->", &[&[3], &[3]]),
    ];
    for (subscripts, full, shapes) in cases {
        let operands = operands(shapes);
        let tensors: Vec<Tensor> =
            operands.iter().map(|(x, shape)| Tensor::new(x, shape)).collect();
        let (values, shape) = by_loops(full, &operands);
        let expected = Tensor::new(&values, shape);
        let f = |xs: &[Tensor]| vec![einsum(subscripts, &xs.iter().collect::<Vec<_>>())];
        let (eager, jitted) =
            eager_and_jitted(&tensors, f).unwrap_or_else(|error| panic!("{subscripts:?}: {error}"));
        for result in [&eager[0], &jitted[0]] {
            let difference = common::difference(result, &expected, EXACT);
            assert!(difference.is_none(), "{subscripts:?}: {}", difference.unwrap_or_default());
        }
    }
}

#[test]
fn sizes_of_zero() {
    let (x, y) = (Tensor::ones([2, 0], DType::F32), Tensor::ones([0, 3], DType::F32));
    assert_eq!(einsum("ij,jk->ik", &[&x, &y]).to_vec::<f32>().unwrap(), [0.0; 6]);
    assert_eq!(einsum("ij,jk->ijk", &[&x, &y]).shape(), [2, 0, 3]);
}

#[test]
fn every_dtype_of_numbers_is_kept() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let x = Tensor::new(&[1, 2, 3, 4], [2, 2]).astype(dtype);
        let sums = einsum("ij->i", &[&x]);
        assert_eq!((sums.dtype(), common::numbers(&sums)), (dtype, vec![3.0, 7.0]));
        let product = einsum("ij,kj->ik", &[&x, &x]);
        let expected = Tensor::new(&[5, 11, 11, 25], [2, 2]).astype(dtype);
        assert_close(&product, &expected, EXACT);
        assert_eq!(common::numbers(&einsum("ii->i", &[&x])), [1.0, 4.0], "{dtype}");
    }
}

#[test]
fn a_diagonal_ignores_what_is_beside_it() {
    let x = Tensor::new(&[1.0f32, f32::NAN, f32::INFINITY, 2.0], [2, 2]);
    assert_eq!(einsum("ii", &[&x]).item::<f32>().unwrap(), 3.0);
}

#[test]
fn mistakes_of_einsum_name_labels_and_sizes() {
    let f = |shape: &[usize]| Tensor::ones(shape, DType::F32);
    let (a, b, v) = (f(&[2, 3]), f(&[4, 5]), f(&[3]));
    let cases: [(&str, &[&Tensor], ErrorKind, &str); 18] = [
        (
            "ij,jk->ik",
            &[&a, &b],
            ErrorKind::Shape,
            "label `j` has size 3 in operand 0, f32[2,3], but size 4 in operand 1, f32[4,5]",
        ),
        (
            "...j,...k",
            &[&a, &b],
            ErrorKind::Shape,
            "axis -1 of `...` has size 2 in operand 0, f32[2,3], but size 4 in operand 1, f32[4,5]",
        ),
        (
            "ii",
            &[&a],
            ErrorKind::Shape,
            "label `i` names axes 0 and 1 of operand 0, f32[2,3]: the axes of a diagonal must have \
             the same size, but they have sizes 2 and 3",
        ),
        (
            "ijk->ik",
            &[&a],
            ErrorKind::Shape,
            "operand 0 is f32[2,3] of rank 2, but its labels `ijk` stand for 3 axes",
        ),
        ("i->i", &[&a], ErrorKind::Shape, "its labels `i` stand for 1 axes"),
        ("ij...k->i", &[&a], ErrorKind::Shape, "its labels `ijk` stand for at least 3 axes"),
        ("ij,jk->ik", &[&a], ErrorKind::Argument, "there are 2 terms, but 1 operands"),
        ("ij", &[], ErrorKind::Argument, "there are 1 terms, but 0 operands"),
        ("ij->ik", &[&a], ErrorKind::Argument, "label `k` of the output is in no operand"),
        ("ij->ii", &[&a], ErrorKind::Argument, "label `i` is in the output more than once"),
        ("...j->j", &[&a], ErrorKind::Argument, "`...` stands for 1 axes of the operands, so it"),
        ("i1->i", &[&a], ErrorKind::Argument, "`1` is no label: a label is a letter"),
        ("ij->i->j", &[&a], ErrorKind::Argument, "`-` is no label"),
        ("i.j", &[&a], ErrorKind::Argument, "`.` is no label"),
        ("…ij", &[&a], ErrorKind::Argument, "`…` is no label: a label is a letter, and `...`"),
        ("......ij", &[&a], ErrorKind::Argument, "a term holds `...` at most once"),
        (
            "i,i",
            &[&v, &v.astype(DType::F64)],
            ErrorKind::DType,
            "the operands must have the same dtype, but they are f32[3], f64[3]",
        ),
        (
            "i,i",
            &[&v.astype(DType::Bool), &v],
            ErrorKind::DType,
            "the operands must have a floating or integer dtype",
        ),
    ];
    for (subscripts, operands, kind, message) in cases {
        let error = error_of(&einsum(subscripts, operands));
        assert!(error.message().starts_with(&format!("einsum {subscripts:?}: ")), "{error}");
        assert!(error.message().contains(message), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}

#[test]
fn tensordot_with_pairs_of_any_sign() {
    let operands = operands(&[&[2, 3, 4], &[4, 2, 5]]);
    let (x, y) =
        (Tensor::new(&operands[0].0, &operands[0].1), Tensor::new(&operands[1].0, &operands[1].1));
    let (values, shape) = by_loops("abc,cad->bd", &operands);
    let expected = Tensor::new(&values, shape);
    assert_close(&x.tensordot(&y, ([0, 2], [1, 0])), &expected, EXACT);
    assert_close(&x.tensordot(&y, ([-1, -3], [0, -2])), &expected, EXACT);
    let (values, shape) = by_loops("abc,cde->abde", &operands);
    assert_close(&x.tensordot(&y, 1), &Tensor::new(&values, shape), EXACT);
    let (values, shape) = by_loops("abc,xyz->abcxyz", &operands);
    assert_close(&x.tensordot(&y, 0), &Tensor::new(&values, shape), EXACT);
}

#[test]
fn matmul_of_matrices_vectors_and_batches() {
    // In full, and whether an operand is repeated: one right matrix for a whole batch is not.
    let cases: [(&str, [&[usize]; 2], bool); 9] = [
        ("mk,kn->mn", [&[2, 3], &[3, 4]], false),
        ("btk,kn->btn", [&[2, 5, 3], &[3, 4]], false),
        ("abtk,kn->abtn", [&[2, 1, 5, 3], &[3, 4]], false),
        ("btk,k->bt", [&[2, 5, 3], &[3]], false),
        ("k,kn->n", [&[3], &[3, 4]], false),
        ("k,bkn->bn", [&[3], &[2, 3, 4]], false),
        ("bmk,bkn->bmn", [&[2, 5, 3], &[2, 3, 4]], false),
        ("mk,bkn->bmn", [&[5, 3], &[2, 3, 4]], true),
        ("abmk,bkn->abmn", [&[2, 1, 5, 3], &[6, 3, 4]], true),
    ];
    for (labels, shapes, repeated) in cases {
        let operands = operands(&shapes);
        let tensors: Vec<Tensor> =
            operands.iter().map(|(x, shape)| Tensor::new(x, shape)).collect();
        let (values, shape) = by_loops(labels, &operands);
        let expected = Tensor::new(&values, shape);
        let f = |xs: &[Tensor]| vec![xs[0].matmul(&xs[1])];
        let (eager, jitted) = eager_and_jitted(&tensors, f).unwrap();
        common::assert_close_in(labels, &eager[0], &expected, EXACT);
        common::assert_close_in(labels, &jitted[0], &expected, EXACT);
        let lowered = jit(|xs: Vec<Tensor>| xs[0].matmul(&xs[1])).lower(tensors).unwrap();
        let names: Vec<&str> = lowered.func().equations().iter().map(|e| e.name()).collect();
        assert_eq!(names.contains(&"broadcast"), repeated, "{labels}: {names:?}");
    }
}

#[test]
fn mistakes_of_matmul() {
    let f = |shape: &[usize]| Tensor::ones(shape, DType::F32);
    let cases: [(Tensor, &str); 5] = [
        (f(&[]).matmul(&f(&[3])), "matmul: the operands must have an axis"),
        (f(&[2, 5, 3]).matmul(&f(&[4, 2])), "dot: the contracted axes of f32[2,5,3] and f32[4,2]"),
        (
            f(&[2, 5, 3]).matmul(&f(&[4])),
            "dot: the contracted axes of f32[2,5,3] and f32[4] differ",
        ),
        (f(&[2, 5, 3]).matmul(&f(&[4, 3, 2])), "matmul: the shapes of f32[2] and f32[4] cannot be"),
        (f(&[2, 3]).matmul(&f(&[3, 2]).astype(DType::F64)), "dot: the operands must have the same"),
    ];
    for (tensor, message) in cases {
        let error = error_of(&tensor);
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}

#[test]
fn mistakes_of_tensordot() {
    let (x, y) = (Tensor::ones([2, 3], DType::F32), Tensor::ones([3, 2], DType::F32));
    let cases: [(Tensor, &str); 6] = [
        (x.tensordot(&y, 3), "tensordot: 3 axes cannot be summed over"),
        (x.tensordot(&y, ([0, 1], [0])), "tensordot: the axes are summed over in pairs, but 2"),
        (x.tensordot(&y, ([2], [0])), "tensordot: axis 2 is out of range for a tensor of rank 2"),
        (x.tensordot(&y, ([0], [0])), "tensordot: axis 0 of f32[2,3] has size 2, but axis 0 of"),
        (x.tensordot(&y, ([0, 0], [1, 1])), "tensordot: axis 0 of f32[2,3] is named twice"),
        (x.tensordot(&y.astype(DType::I32), 1), "tensordot: the operands must have the same dtype"),
    ];
    for (tensor, message) in cases {
        let error = error_of(&tensor);
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}
