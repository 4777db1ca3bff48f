//! Elements at places that are tensors: dynamic slices, gather and scatter, for every dtype of the
//! indices and for indices out of range.

mod common;

use common::eager_and_jitted;
use common::host::{Host, assert_is, ints, sample};
use onetrace::prelude::*;

/// The place that a start index means in an axis of this size for a slice of that one.
fn start(index: i64, size: usize, slice: usize) -> usize {
    let from_front = if index < 0 { index + size as i64 } else { index };
    from_front.clamp(0, (size - slice) as i64) as usize
}

/// The dtypes that indices may have.
const INDEX_DTYPES: [DType; 4] = [DType::I32, DType::I64, DType::U32, DType::U8];

#[test]
fn dynamic_slices_start_where_they_fit() {
    for dtype in INDEX_DTYPES {
        let signed = matches!(dtype, DType::I32 | DType::I64);
        let x = sample(&[300, 3], 0, DType::F32);
        let update = sample(&[20, 2], 50, DType::F32);
        let row = sample(&[3], 70, DType::F32);
        let mut starts = vec![(0, 0), (255, 1), (100, 2), (17, 255)];
        if signed {
            starts.extend([(-1, -3), (-300, 0), (-301, -100), (1 << 30, -(1 << 30))]);
        }
        for (i, j) in starts {
            let index = |i: i64| Host { shape: vec![], data: vec![i as f64] }.tensor(dtype);
            let inputs = [
                x.tensor(DType::F32),
                update.tensor(DType::F32),
                row.tensor(DType::F32),
                index(i),
                index(j),
            ];
            let (eager, jitted) = eager_and_jitted(&inputs, |inputs| {
                let [x, update, row, i, j] = inputs else { unreachable!() };
                vec![
                    x.dynamic_slice(&[i, j], &[20, 2]),
                    x.dynamic_slice_in_dim(i, 2, 0),
                    x.dynamic_index_in_dim(i, 0, false),
                    x.dynamic_index_in_dim(j, -1, true),
                    x.dynamic_update_slice(update, &[i, j]),
                    x.dynamic_update_slice_in_dim(
                        &update.slice_in_dim(..3, 0).repeat(2, 1).slice_in_dim(1.., 1),
                        i,
                        0,
                    ),
                    x.dynamic_update_index_in_dim(row, i, 0),
                    x.dynamic_update_index_in_dim(&row.expand_dims(0), i, 0),
                ]
            })
            .unwrap();
            let corner = [start(i, 300, 20), start(j, 3, 2)];
            let three = start(i, 300, 3);
            let at = start(i, 300, 1);
            let with_row =
                Host::build(&[300, 3], |k| if k[0] == at { row.at(&k[1..]) } else { x.at(k) });
            let inside = |k: usize, first: usize, size: usize| (first..first + size).contains(&k);
            let expected = [
                Host::build(&[20, 2], |k| x.at(&[k[0] + corner[0], k[1] + corner[1]])),
                Host::build(&[2, 3], |k| x.at(&[k[0] + start(i, 300, 2), k[1]])),
                Host::build(&[3], |k| x.at(&[at, k[0]])),
                Host::build(&[300, 1], |k| x.at(&[k[0], start(j, 3, 1)])),
                Host::build(&[300, 3], |k| {
                    match inside(k[0], corner[0], 20) && inside(k[1], corner[1], 2) {
                        true => update.at(&[k[0] - corner[0], k[1] - corner[1]]),
                        false => x.at(k),
                    }
                }),
                Host::build(&[300, 3], |k| match inside(k[0], three, 3) {
                    true => update.at(&[k[0] - three, [0, 1, 1][k[1]]]),
                    false => x.at(k),
                }),
                with_row.clone(),
                with_row,
            ];
            for (k, expected) in expected.iter().enumerate() {
                let what = format!("{dtype} ({i}, {j}), result {k}");
                assert_is(&eager[k], expected, DType::F32, &what);
                assert_is(&jitted[k], expected, DType::F32, &what);
            }
        }
    }
}

#[test]
fn indices_of_every_dtype_name_the_same_places() {
    let x = sample(&[300], 0, DType::F64);
    for dtype in INDEX_DTYPES {
        let places = Host { shape: vec![5], data: vec![0.0, 3.0, 255.0, 200.0, 3.0] };
        let inputs = [x.tensor(DType::F64), places.tensor(dtype), places.tensor(DType::F64)];
        let (eager, jitted) = eager_and_jitted(&inputs, |inputs| {
            let [x, indices, updates] = inputs else { unreachable!() };
            vec![
                x.take(indices, 0),
                x.take_clip(indices, 0),
                x.take_along_axis(indices, 0),
                x.scatter_add(indices, updates),
                x.slice_in_dim(..100, 0).take_clip(indices, 0),
                x.slice_in_dim(..200, 0).take(indices, 0),
                indices.one_hot(256, DType::F64).sum(0),
            ]
        })
        .unwrap();
        let taken = Host::build(&[5], |k| x.at(&[places.data[k[0]] as usize]));
        let times = |k: &[usize]| places.data.iter().filter(|&&p| p == k[0] as f64).count() as f64;
        let expected = [
            taken.clone(),
            taken.clone(),
            taken,
            Host::build(&[300], |k| x.at(k) + times(k) * k[0] as f64),
            Host::build(&[5], |k| x.at(&[places.data[k[0]].min(99.0) as usize])),
            Host::build(&[5], |k| match places.data[k[0]] as usize {
                k if k < 200 => x.at(&[k]),
                _ => f64::NAN,
            }),
            Host::build(&[256], times),
        ];
        for (k, expected) in expected.iter().enumerate() {
            assert_is(&eager[k], expected, DType::F64, &format!("{dtype}, result {k}"));
            assert_is(&jitted[k], expected, DType::F64, &format!("{dtype}, result {k}"));
        }
    }
}

#[test]
fn scatter_add_adds_all_updates_of_an_index() {
    let places: [i32; 6] = [2, 0, 2, -1, 5, -6];
    for dtype in DType::ALL {
        let small = |shape: &[usize]| {
            let mut k = 0;
            Host::build(shape, |_| {
                k += 1;
                f64::from(if dtype == DType::Bool { i32::from(k % 5 == 0) } else { k % 4 })
            })
        };
        let (x, updates) = (small(&[5, 2]), small(&[3, 2, 2]));
        let inputs = [x.tensor(dtype), ints(&places, &[3, 2]), updates.tensor(dtype)];
        let (eager, jitted) =
            eager_and_jitted(&inputs, |inputs| vec![inputs[0].scatter_add(&inputs[1], &inputs[2])])
                .unwrap();
        let mut expected = x.clone();
        for (k, &place) in places.iter().enumerate() {
            let row = if place < 0 { place + 5 } else { place };
            if !(0..5).contains(&row) {
                continue;
            }
            for j in 0..2 {
                let flat = expected.flat(&[row as usize, j]);
                let sum = expected.data[flat] + updates.at(&[k / 2, k % 2, j]);
                expected.data[flat] = if dtype == DType::Bool { sum.min(1.0) } else { sum };
            }
        }
        assert_is(&eager[0], &expected, dtype, "scatter_add, eager");
        assert_is(&jitted[0], &expected, dtype, "scatter_add, jitted");
    }
}
