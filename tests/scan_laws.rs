//! What holds for every scan: it is the loop over the slices, its step is traced once, and the
//! program is as large for a million steps as for eight.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use onetrace::ir::{parse, print};
use onetrace::prelude::*;
use onetrace::{associative_scan, map};
use proptest::prelude::*;

/// The number of elements of every vector a program works with.
const WIDTH: usize = 2;

type Vector = [u32; WIDTH];

/// A step made of `u32` operations, which wrap: what it computes can be compared exactly.
#[derive(Clone, Debug)]
struct Program {
    /// Leaves of the carry and of the slices of `xs`.
    carry: usize,
    xs: usize,
    /// Each adds a vector to the pool. The pool starts with a captured constant, a captured
    /// argument, the carry and the slices. Operands are positions in it, modulo its size.
    operations: Vec<(usize, usize, usize)>,
    /// The position in the pool of each leaf of the next carry and of `y`.
    next: Vec<usize>,
    ys: Vec<usize>,
}

const OPERATIONS: usize = 6;
const CONSTANT: Vector = [2_654_435_761, 7];
const ARGUMENT: Vector = [40_503, 0x9E37_79B9];

impl Program {
    /// Runs the step on any kind of vector, given how two of them are combined.
    fn step<V: Clone>(
        &self,
        pool: [V; 2],
        carry: Vec<V>,
        x: Vec<V>,
        combine: impl Fn(usize, &V, &V) -> V,
    ) -> (Vec<V>, Vec<V>) {
        let mut pool: Vec<V> = pool.into_iter().chain(carry).chain(x).collect();
        for &(operation, a, b) in &self.operations {
            let made =
                combine(operation % OPERATIONS, &pool[a % pool.len()], &pool[b % pool.len()]);
            pool.push(made);
        }
        let pick = |&i: &usize| pool[i % pool.len()].clone();
        (self.next.iter().map(pick).collect(), self.ys.iter().map(pick).collect())
    }

    /// The last carry and all `ys`, computed by a loop.
    fn expected(&self, length: usize, reverse: bool) -> (Vec<Vector>, Vec<Vec<Vector>>) {
        let combine = |operation, a: &Vector, b: &Vector| {
            std::array::from_fn(|i| match operation {
                0 => a[i].wrapping_add(b[i]),
                1 => a[i].wrapping_sub(b[i]),
                2 => a[i].wrapping_mul(b[i]),
                3 => a[i] ^ b[i],
                4 => a[i] | b[i],
                _ => a[i].max(b[i]),
            })
        };
        let mut carry: Vec<Vector> = (0..self.carry).map(|leaf| datum(leaf, 0)).collect();
        let mut ys = vec![vec![Vector::default(); length]; self.ys.len()];
        for step in 0..length {
            let row = if reverse { length - 1 - step } else { step };
            let x = (0..self.xs).map(|leaf| datum(10 + leaf, row)).collect();
            let (next, y) = self.step([CONSTANT, ARGUMENT], carry, x, combine);
            carry = next;
            for (all, y) in ys.iter_mut().zip(y) {
                all[row] = y;
            }
        }
        (carry, ys)
    }

    /// The scan. `argument` is the pool's second vector; `count` counts the runs of the step.
    fn scan(
        &self,
        options: &Scan,
        argument: &Tensor,
        init: Vec<Tensor>,
        xs: Vec<Tensor>,
        count: &Cell<usize>,
    ) -> (Vec<Tensor>, Vec<Tensor>) {
        let constant = tensor(&[CONSTANT], false);
        let combine = |operation, a: &Tensor, b: &Tensor| match operation {
            0 => a + b,
            1 => a - b,
            2 => a * b,
            3 => a ^ b,
            4 => a | b,
            _ => a.maximum(b),
        };
        let step = |carry, x| {
            count.set(count.get() + 1);
            self.step([constant.clone(), argument.clone()], carry, x, combine)
        };
        options.clone().run(step, init, xs)
    }

    /// Compares the scan, run at once and compiled as a part of a program, with the loop.
    fn check(&self, length: usize, reverse: bool, unroll: usize) {
        let options = Scan::new().length(length).reverse(reverse).unroll(unroll);
        let init: Vec<Tensor> =
            (0..self.carry).map(|leaf| tensor(&[datum(leaf, 0)], false)).collect();
        let rows = |leaf| (0..length).map(|row| datum(10 + leaf, row)).collect::<Vec<_>>();
        let xs: Vec<Tensor> = (0..self.xs).map(|leaf| tensor(&rows(leaf), true)).collect();
        let argument = tensor(&[ARGUMENT], false);
        let expected = self.expected(length, reverse);
        let place = || format!("{self:?}, {options:?}");

        let count = Cell::new(0);
        let eager = self.scan(&options, &argument, init.clone(), xs.clone(), &count);
        assert_eq!(count.get(), 1, "the step runs once: {}", place());
        assert_eq!(vectors(&eager), expected, "eager, {}", place());

        let jitted = jit(|(argument, init, xs): (Tensor, Vec<Tensor>, Vec<Tensor>)| {
            self.scan(&options, &argument, init, xs, &count)
        });
        let lowered = jitted.lower((argument.clone(), init.clone(), xs.clone())).unwrap();
        assert_eq!(count.get(), 2, "the step runs once: {}", place());
        assert_eq!(&reparsed(lowered.func()), lowered.func(), "{}", place());
        let result = lowered.compile().unwrap().call((argument, init, xs)).unwrap();
        assert_eq!(vectors(&result), expected, "compiled, {}", place());
    }
}

/// A number for each leaf, row and column.
fn datum(leaf: usize, row: usize) -> Vector {
    let number = |i| (1 + i + 3 * row + 100 * leaf) as u32;
    std::array::from_fn(|i| number(i).wrapping_mul(2_246_822_519))
}

fn tensor(rows: &[Vector], stacked: bool) -> Tensor {
    let flat = rows.concat();
    if stacked { Tensor::new(&flat, [rows.len(), WIDTH]) } else { Tensor::new(&flat, [WIDTH]) }
}

fn vectors((carry, ys): &(Vec<Tensor>, Vec<Tensor>)) -> (Vec<Vector>, Vec<Vec<Vector>>) {
    let rows = |t: &Tensor| -> Vec<Vector> {
        let flat = t.to_vec::<u32>().unwrap();
        flat.chunks_exact(WIDTH).map(|row| row.try_into().unwrap()).collect()
    };
    (carry.iter().map(|t| rows(t)[0]).collect(), ys.iter().map(rows).collect())
}

fn reparsed(func: &onetrace::ir::Func) -> onetrace::ir::Func {
    let options = print::Options { full_constants: true, locations: true };
    parse::parse(&print::print(func, options)).unwrap()
}

#[test]
fn a_scan_is_the_loop_over_the_slices() {
    let programs = [
        // The carry is mixed with the slice, and both are put out.
        Program {
            carry: 1,
            xs: 1,
            operations: vec![(2, 2, 0), (0, 4, 3)],
            next: vec![5],
            ys: vec![5, 3],
        },
        // A carry of two that change places, without `xs`.
        Program { carry: 2, xs: 0, operations: vec![(1, 2, 1)], next: vec![3, 4], ys: vec![2] },
        // Neither a carry nor `ys` that depend on a step.
        Program { carry: 0, xs: 2, operations: vec![(3, 2, 3)], next: vec![], ys: vec![4, 0, 1] },
        // No `ys`, and a carry that only counts.
        Program { carry: 1, xs: 0, operations: vec![(0, 2, 1)], next: vec![3], ys: vec![] },
        // The next carry is the slice itself, and `y` the carry.
        Program { carry: 1, xs: 1, operations: vec![], next: vec![3], ys: vec![2] },
    ];
    for (i, program) in programs.iter().enumerate() {
        for length in [0, 1, 2, 7, 16] {
            for reverse in [false, true] {
                // The first program, which tells every order of the steps from any other, goes
                // through all of them; the others see how trees of leaves are handled.
                let unrolls =
                    if i == 0 { BTreeSet::from([1, 2, 3, length.max(1)]) } else { [2].into() };
                for unroll in unrolls {
                    program.check(length, reverse, unroll);
                }
            }
        }
    }
}

fn program() -> impl Strategy<Value = Program> {
    let index = 0..64usize;
    (0..3usize, 0..3usize).prop_flat_map(move |(carry, xs)| {
        let operations = prop::collection::vec((0..OPERATIONS, index.clone(), index.clone()), 0..8);
        let next = prop::collection::vec(index.clone(), carry);
        let ys = prop::collection::vec(index.clone(), 0..3);
        (operations, next, ys).prop_map(move |(operations, next, ys)| Program {
            carry,
            xs,
            operations,
            next,
            ys,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_scan_is_the_loop_over_the_slices(
        program in program(),
        length in 0..9usize,
        reverse: bool,
        unroll in 1..10usize,
    ) {
        program.check(length, reverse, unroll);
    }
}

/// What stands on the right of the equals signs of the HLO: its instructions.
fn instructions(hlo: &str) -> usize {
    hlo.lines().filter(|line| line.contains(" = ")).count()
}

fn whiles(hlo: &str) -> usize {
    hlo.lines().filter(|line| line.contains(" while(")).count()
}

/// The text of the computation whose name begins with `name`.
fn computation<'a>(hlo: &'a str, name: &str) -> &'a str {
    let start = hlo.find(&format!("\n%{name}")).unwrap_or_else(|| panic!("no {name} in\n{hlo}"));
    let rest = &hlo[start + 1..];
    &rest[..rest.find("\n}").unwrap()]
}

#[test]
fn a_program_does_not_grow_with_the_number_of_steps() {
    let w = Tensor::full([4, 4], 0.5, DType::F32);
    for options in [Scan::new(), Scan::new().reverse(true), Scan::new().unroll(4)] {
        let steps = Cell::new(0);
        let run = jit(|x: Tensor| {
            let step = |h: Tensor, x: Tensor| {
                steps.set(steps.get() + 1);
                let h = (h.dot(&w) + x).tanh();
                (h.clone(), h)
            };
            options.clone().run(step, Tensor::zeros([4], DType::F32), x)
        });
        let sizes = [8, 2_048, 1_000_000].map(|length| {
            let before = steps.get();
            let lowered = run.lower(Tensor::zeros([length, 4], DType::F32)).unwrap();
            assert_eq!(steps.get() - before, 1, "the step runs once, {options:?}");
            let hlo = lowered.hlo().unwrap();
            assert_eq!(whiles(&hlo), 1, "{options:?}\n{hlo}");
            (lowered.func().equation_count(), instructions(&hlo))
        });
        assert_eq!(sizes[0], sizes[1], "{options:?}");
        assert_eq!(sizes[1], sizes[2], "{options:?}");
    }
}

#[test]
fn steps_that_one_iteration_makes_are_no_loop() {
    let run = |length: usize, unroll: usize| {
        let step = |c: Tensor, x: Tensor| (c + &x, x);
        let run = jit(|x| Scan::new().unroll(unroll).run(step, Tensor::zeros([2], DType::F32), x));
        run.lower(Tensor::zeros([length, 2], DType::F32)).unwrap().hlo().unwrap()
    };
    assert_eq!(whiles(&run(4, 4)), 0);
    assert_eq!(whiles(&run(4, 9)), 0);
    assert_eq!(whiles(&run(0, 1)), 0);
    // Two iterations of two steps, and the fifth behind the loop.
    let remainder = run(5, 2);
    assert_eq!(whiles(&remainder), 1);
    let adds = |text: &str| text.matches(" add(").count();
    let body = computation(&remainder, "scan_body");
    assert_eq!(adds(body), 4, "two of the step and two of the counter\n{body}");
    assert_eq!(adds(&remainder) - adds(body), 1, "{remainder}");
}

#[test]
fn a_captured_concrete_tensor_is_a_constant_of_the_body() {
    let weights = Tensor::new(&[1.5f32, 2.5, 3.5], [3]).named("weights");
    let run = jit(|x: Tensor| {
        scan(|h: Tensor, x: Tensor| (h * &weights + x, ()), Tensor::zeros([3], DType::F32), x).0
    });
    let lowered = run.lower(Tensor::zeros([5, 3], DType::F32)).unwrap();
    let hlo = lowered.hlo().unwrap();
    let constant = "constant({1.5, 2.5, 3.5})";
    assert!(computation(&hlo, "scan_body").contains(constant), "{hlo}");
    assert_eq!(hlo.matches(constant).count(), 1, "{hlo}");
    // The loop carries the counter, the state and the sequence, and no weights.
    let body = computation(&hlo, "scan_body");
    assert!(body.contains("(s32[], f32[3]{0}, f32[5,3]{1,0}) parameter(0)"), "{body}");
    assert!(lowered.ir().contains("name=\"weights\""), "{}", lowered.ir());
}

#[test]
fn a_captured_tensor_of_an_outer_trace_is_an_operand_of_the_loop() {
    let run = jit(|(w, x): (Tensor, Tensor)| {
        let doubled = w * 2.0;
        scan(|h: Tensor, x: Tensor| (h * &doubled + x, ()), Tensor::zeros([3], DType::F32), x).0
    });
    let (w, x) = (Tensor::new(&[1.0f32, 2.0, 3.0], [3]), Tensor::ones([3, 3], DType::F32));
    let lowered = run.lower((w.clone(), x.clone())).unwrap();
    let hlo = lowered.hlo().unwrap();
    let body = computation(&hlo, "scan_body");
    // The counter, the captured tensor, the state and the sequence.
    let state = "(s32[], f32[3]{0}, f32[3]{0}, f32[3,3]{1,0}) parameter(0)";
    assert!(body.contains(state), "{body}");
    let multiplications = |text: &str| text.matches(" multiply(").count();
    assert_eq!(multiplications(body), 1, "the doubling stays outside\n{hlo}");
    assert_eq!(multiplications(&hlo), 2, "{hlo}");
    assert_eq!(run.call((w, x)).unwrap().to_vec::<f32>().unwrap(), [7.0, 21.0, 43.0]);
}

#[test]
fn two_scans_share_what_they_capture() {
    let constant = Tensor::new(&[2i32], [1]);
    let run = |outer: Tensor, xs: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            let c = c * &constant + &outer + x;
            (c.clone(), c)
        };
        let (c, ys) = scan(step, Tensor::zeros([1], DType::I32), xs);
        let (c, zs) = Scan::new().reverse(true).run(step, c, ys.clone());
        (c, ys, zs)
    };
    let (outer, xs) = (Tensor::new(&[10i32], [1]), Tensor::new(&[1i32, 2, 3], [3, 1]));
    let jitted = jit(|(outer, xs)| run(outer, xs)).call((outer.clone(), xs.clone())).unwrap();
    for (c, ys, zs) in [run(outer, xs), jitted] {
        // 0 -> 11 -> 34 -> 81, and back from 81: 2·81+10+81, 2·253+10+34, 2·550+10+11.
        assert_eq!(ys.to_vec::<i32>().unwrap(), [11, 34, 81]);
        assert_eq!(zs.to_vec::<i32>().unwrap(), [1121, 550, 253]);
        assert_eq!(c.to_vec::<i32>().unwrap(), [1121]);
    }
}

#[test]
fn scans_nest() {
    let traced = [Cell::new(0), Cell::new(0), Cell::new(0)];
    let count = |level: usize| traced[level].set(traced[level].get() + 1);
    let run = |x: Tensor| {
        let innermost = |c: Tensor, x: Tensor| {
            count(2);
            (&c * 31 + x, c)
        };
        let middle = |c: Tensor, x: Tensor| {
            count(1);
            Scan::new().reverse(true).run(innermost, c, x)
        };
        let outer = |c: Tensor, x: Tensor| {
            count(0);
            Scan::new().unroll(2).run(middle, c, x)
        };
        scan(outer, Tensor::scalar(1, DType::U32), x)
    };
    let shape = [3, 2, 4];
    let values: Vec<u32> = (0..24).map(|i| i * i + 7).collect();
    let mut carry = 1u32;
    let mut expected = vec![0; values.len()];
    for rows in 0..6 {
        for column in (0..4).rev() {
            let i = rows * 4 + column;
            expected[i] = carry;
            carry = carry.wrapping_mul(31).wrapping_add(values[i]);
        }
    }
    let x = Tensor::new(&values, shape);
    let lowered = jit(run).lower(&x).unwrap();
    assert_eq!(traced.each_ref().map(Cell::get), [1, 1, 1], "each step is traced once");
    let hlo = lowered.hlo().unwrap();
    assert_eq!(whiles(&hlo), 1 + 2, "the middle one is no loop, but two innermost ones\n{hlo}");
    for (c, ys) in [run(x.clone()), lowered.compile().unwrap().call(&x).unwrap()] {
        assert_eq!(c.item::<u32>().unwrap(), carry);
        assert_eq!(ys.shape(), shape);
        assert_eq!(ys.to_vec::<u32>().unwrap(), expected);
    }
}

#[test]
fn a_scan_inside_a_branch_inside_a_scan() {
    let run = |xs: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            let sum = |c: Tensor| scan(|c: Tensor, y: Tensor| (c + y, ()), c, x.clone()).0;
            let product = |c: Tensor| {
                Scan::new()
                    .reverse(true)
                    .run(|c: Tensor, y: Tensor| (c * 3 + y, ()), c, x.clone())
                    .0
            };
            let next = cond((&c % 2).eq(0), sum, product, c.clone());
            (next, c)
        };
        scan(step, Tensor::scalar(0, DType::I32), xs)
    };
    let rows = [[1, 2], [3, 4], [5, 6], [7, 8]];
    let mut carry = 0i32;
    let mut before = Vec::new();
    for [a, b] in rows {
        before.push(carry);
        carry = if carry % 2 == 0 { carry + a + b } else { (carry * 3 + b) * 3 + a };
    }
    assert!(before.iter().any(|c| c % 2 == 0) && before.iter().any(|c| c % 2 == 1));
    let xs = Tensor::new(&rows.concat(), [4, 2]);
    for (last, ys) in [run(xs.clone()), jit(run).call(&xs).unwrap()] {
        assert_eq!(last.item::<i32>().unwrap(), carry);
        assert_eq!(ys.to_vec::<i32>().unwrap(), before);
    }
}

#[derive(Clone, Debug, Tree)]
struct State {
    pair: (Tensor, [Tensor; 2]),
    layers: Vec<Layer>,
    cache: Option<Tensor>,
    nothing: Option<Tensor>,
    named: BTreeMap<String, Tensor>,
    unit: (),
    #[tree(static)]
    depth: usize,
}

#[derive(Clone, Debug, Tree)]
struct Layer(Tensor);

#[test]
fn a_carry_may_be_any_tree() {
    let state = |first: i32| {
        let mut next = first;
        let mut leaf = || {
            next += 1;
            Tensor::scalar(next - 1, DType::I32)
        };
        State {
            pair: (leaf(), [leaf(), leaf()]),
            layers: vec![Layer(leaf()), Layer(leaf())],
            cache: Some(leaf()),
            nothing: None,
            named: [("\"quoted\"", leaf()), ("a b", leaf())]
                .map(|(name, leaf)| (name.to_owned(), leaf))
                .into(),
            unit: (),
            depth: 3,
        }
    };
    let leaves = |state: &State| -> Vec<i32> {
        tree::leaves(state).iter().map(|leaf| leaf.item().unwrap()).collect()
    };
    let run = |init: State| {
        let step = |state: State, ()| {
            let next = tree::map(&state, |leaf| leaf + state.depth as i32);
            (next, (state, Vec::<Tensor>::new()))
        };
        Scan::new().length(4).run(step, init, ())
    };
    for (last, (all, none)) in [run(state(10)), jit(run).call(state(10)).unwrap()] {
        assert_eq!(tree::paths(&last)[..4], ["pair.0", "pair.1.0", "pair.1.1", "layers.0.0"]);
        assert_eq!(tree::structure(&last), tree::structure(&state(0)));
        assert_eq!(leaves(&last), (22..30).collect::<Vec<_>>());
        assert_eq!(all.cache.unwrap().to_vec::<i32>().unwrap(), [15, 18, 21, 24]);
        assert_eq!(all.named["a b"].shape(), [4]);
        assert!(none.is_empty());
    }
}

#[test]
fn nothing_to_carry_and_nothing_to_put_out() {
    let ((), ()) = Scan::new().length(3).run(|(), ()| ((), ()), (), ());
    let run = jit(|()| Scan::new().length(3).run(|(), ()| ((), ()), (), ()));
    run.call(()).unwrap();
}

#[test]
fn a_step_may_return_what_it_is_given_or_what_it_captured() {
    let captured = Tensor::scalar(7, DType::I32);
    let run = |outer: Tensor| {
        let step = |c: Tensor, x: Tensor| (x.clone(), (c, captured.clone(), outer.clone(), x));
        scan(step, Tensor::scalar(0, DType::I32), Tensor::new(&[1, 2, 3], [3]))
    };
    let outer = Tensor::scalar(9, DType::I32);
    for (last, (c, captured, outer, x)) in [run(outer.clone()), jit(run).call(&outer).unwrap()] {
        assert_eq!(last.item::<i32>().unwrap(), 3);
        assert_eq!(c.to_vec::<i32>().unwrap(), [0, 1, 2]);
        assert_eq!(captured.to_vec::<i32>().unwrap(), [7; 3]);
        assert_eq!(outer.to_vec::<i32>().unwrap(), [9; 3]);
        assert_eq!(x.to_vec::<i32>().unwrap(), [1, 2, 3]);
    }
}

#[test]
fn a_million_steps_run() {
    let step = |(i, sum): (Tensor, Tensor), ()| ((&i + 1, sum + i), ());
    let zero = Tensor::scalar(0, DType::I64);
    let ((i, sum), ()) = Scan::new().length(1_000_000).run(step, (zero.clone(), zero), ());
    assert_eq!(i.item::<i64>().unwrap(), 1_000_000);
    assert_eq!(sum.item::<i64>().unwrap(), 499_999_500_000);
}

#[test]
fn a_map_is_the_loop_over_the_slices() {
    for length in [0, 1, 5] {
        let rows: Vec<i32> = (0..2 * length as i32).collect();
        let x = Tensor::new(&rows, [length, 2]);
        let (doubled, sums) = map(|x: Tensor| (&x * 2, x.sum(..)), x);
        assert_eq!(doubled.shape(), [length, 2]);
        assert_eq!(
            doubled.to_vec::<i32>().unwrap(),
            rows.iter().map(|x| x * 2).collect::<Vec<_>>()
        );
        let expected: Vec<i32> = rows.chunks(2).map(|row| row[0] + row[1]).collect();
        assert_eq!(sums.to_vec::<i32>().unwrap(), expected);
    }
}

#[test]
fn an_associative_scan_is_the_scan() {
    // Affine maps, which do not commute.
    let compose = |(a, b): (Tensor, Tensor), (c, d): (Tensor, Tensor)| (a * &c, b * c + d);
    for length in 0..10u32 {
        let a: Vec<u32> = (0..length).map(|i| 2 * i + 3).collect();
        let b: Vec<u32> = (0..length).map(|i| i * i + 1).collect();
        let elems = (Tensor::new(&a, [a.len()]), Tensor::new(&b, [b.len()]));
        let (mut scale, mut shift) = (1u32, 0u32);
        let mut expected = (Vec::new(), Vec::new());
        for (a, b) in a.iter().zip(&b) {
            (scale, shift) = (scale.wrapping_mul(*a), shift.wrapping_mul(*a).wrapping_add(*b));
            expected.0.push(scale);
            expected.1.push(shift);
        }
        let jitted = jit(|elems| associative_scan(compose, elems)).call(elems.clone()).unwrap();
        for (scales, shifts) in [associative_scan(compose, elems), jitted] {
            assert_eq!(scales.to_vec::<u32>().unwrap(), expected.0, "length {length}");
            assert_eq!(shifts.to_vec::<u32>().unwrap(), expected.1, "length {length}");
        }
    }
}

#[test]
fn a_fori_loop_is_the_loop_over_the_integers() {
    for (first, end) in [(0, 0), (0, 1), (-3, 4), (5, 2), (i32::MAX - 2, i32::MAX)] {
        let expected = (first..end).fold(1i32, |c, i| c.wrapping_mul(31).wrapping_add(i));
        let body = |i: Tensor, c: Tensor| c * 31 + i;
        let init = Tensor::scalar(1, DType::I32);
        let eager = fori_loop(first, end, body, init.clone());
        assert_eq!(eager.item::<i32>().unwrap(), expected, "{first}..{end}");
        // With bounds that are not known when it is traced, the loop is a while loop.
        let bounds = (Tensor::scalar(first, DType::I32), Tensor::scalar(end, DType::I32));
        let run = jit(|((first, end), init): ((Tensor, Tensor), Tensor)| {
            fori_loop(first, end, body, init)
        });
        let jitted = run.call((bounds, init)).unwrap();
        assert_eq!(jitted.item::<i32>().unwrap(), expected, "{first}..{end}, traced");
    }
}

/// The gates of a cell are parts of what an x has for a step. Each is read from the whole by itself:
/// XLA:CPU would compute one element at a time with parts of the slice of the step.
#[test]
fn parts_of_a_slice_are_read_one_by_one() {
    let xs = Tensor::new(&(0..7 * 12).collect::<Vec<i32>>(), [7, 2, 6]);
    let start = Tensor::ones([2, 2], DType::I32);
    let gates = |h: Tensor, x: Tensor| {
        let parts = x.split(3, -1);
        let next = h * &parts[0] + &parts[2];
        (next.clone(), next - &parts[0])
    };
    // What uses the whole slice reads it beside its parts; every second element is taken of it.
    let whole = |h: Tensor, x: Tensor| {
        let scattered = x.slice(&[0, 1], &[2, 6], &[1, 4]);
        (h + x.slice_in_dim(4.., 1) - scattered, x.sum([1]))
    };
    type Step = fn(Tensor, Tensor) -> (Tensor, Tensor);
    for (name, step, reads) in [("gates", gates as Step, 2), ("whole", whole as Step, 2)] {
        for (reverse, unroll) in [(false, 1), (true, 1), (true, 3), (false, 7)] {
            let (start, case) = (start.clone(), format!("{name}, {reverse}, {unroll}"));
            let scan = Scan::new().reverse(reverse).unroll(unroll);
            let run = jit(|xs: Tensor| scan.clone().run(step, start.clone(), xs));
            let hlo = run.lower(&xs).unwrap().hlo().unwrap();
            let steps = if unroll == 3 { 4 } else { unroll };
            assert_eq!(hlo.matches(" dynamic-slice(").count(), reads * steps, "{case}: {hlo}");

            let (mut h, mut ys) = (start.clone(), Vec::new());
            for i in if reverse { (0..7).rev().collect::<Vec<_>>() } else { (0..7).collect() } {
                let y;
                (h, y) = step(h, xs.index(i));
                ys.push(y);
            }
            if reverse {
                ys.reverse();
            }
            let (last, all) = run.call(&xs).unwrap();
            let values = |tensor: &Tensor| tensor.to_vec::<i32>().unwrap();
            assert_eq!(values(&last), values(&h), "{case}");
            assert_eq!(values(&all), ys.iter().flat_map(values).collect::<Vec<_>>(), "{case}");
        }
    }
}
