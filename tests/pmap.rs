//! `pmap`: one function on several CPU devices, of which XLA makes as many as an option of the process
//! says, so that each test here begins with `devices`.

use std::cell::Cell;
use std::sync::OnceLock;

use expect_test::{Expect, expect};
use onetrace::prelude::*;
use onetrace::{
    BatchAxes, ErrorKind, SAME, XlaOptions, axis_index, pmap, pmax, pmean, pmin, psum,
    stop_gradient,
};

/// Four CPU devices.
fn devices() -> [Device; 4] {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| XlaOptions::new().cpu_devices(4).apply().unwrap());
    Device::cpus().unwrap().try_into().unwrap()
}

fn numbers(count: usize) -> Tensor {
    Tensor::arange(count, DType::F32) + 1.0
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec().unwrap()
}

/// Each number differs from the other by less than `tolerance` times its size and a bit of the
/// largest one.
fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.aval(), b.aval(), "{what}");
    let (a, b) = (values(a), values(b));
    let largest = b.iter().fold(0f32, |largest, y| largest.max(y.abs()));
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= tolerance * y.abs().max(0.1 * largest), "{what}: {x} and {y}");
    }
}

#[test]
fn devices_have_parts_and_fold_them() {
    let all = devices();
    for devices in [&all[..1], &all[..2], &all[1..3], &all, &[3, 1].map(|i| all[i].clone())] {
        let n = devices.len();
        let f = pmap(|x: Tensor| {
            let folded = (psum(x.clone()), pmean(x.clone()), pmax(x.clone()), pmin(x.clone()));
            (folded, x * 10.0, axis_index())
        });
        let x = numbers(3 * n).reshape([n as isize, 3]);
        let ((sum, mean, max, min), own, index) = f.devices(devices).call(&x).unwrap();
        let every = |fold: fn(&Tensor) -> Tensor| values(&fold(&x)).repeat(n);
        assert_eq!(values(&sum), every(|x| x.sum(0)), "{devices:?}");
        assert_eq!(values(&mean), every(|x| x.mean(0)));
        assert_eq!(values(&max), every(|x| x.max(0)));
        assert_eq!(values(&min), every(|x| x.min(0)));
        assert_eq!(values(&own), values(&(&x * 10.0)));
        assert_eq!(sum.shape(), [n, 3]);
        assert_eq!(index.to_vec::<i32>().unwrap(), (0..n as i32).collect::<Vec<_>>());
        assert_eq!(own.devices().unwrap(), devices);
        assert_eq!(own.device(), None);
    }
}

/// Every dtype that is summed or compared, and parts without elements.
#[test]
fn every_dtype_is_folded() {
    devices();
    for dtype in DType::ALL {
        let x = Tensor::arange(6, DType::I32).reshape([2, 3]).astype(dtype);
        let f = pmap(|x: Tensor| (pmax(x.clone()), pmin(x.clone())));
        let (max, min) = f.out_axes(SAME).call(&x).unwrap();
        assert_eq!(format!("{max:?}"), format!("{:?}", x.max(0)));
        assert_eq!(format!("{min:?}"), format!("{:?}", x.min(0)));
        if dtype != DType::Bool {
            let sum = pmap(|x: Tensor| psum(x)).out_axes(SAME).call(&x).unwrap();
            assert_eq!(format!("{sum:?}"), format!("{:?}", x.sum(0)));
        }
        let empty = pmap(|x: Tensor| pmax(x)).call(x.slice_in_dim(..0, 1)).unwrap();
        assert_eq!(*empty.aval(), onetrace::Aval::new(dtype, [2, 0]));
        assert!(empty.to_device(&Device::cpu().unwrap()).is_ok());
    }
}

#[test]
fn parts_stand_along_any_axis() {
    devices();
    let x = numbers(24).reshape([2, 4, 3]);
    for (from, to) in [(1isize, 0isize), (1, 1), (1, 2), (-2, -1)] {
        let f = pmap(|x: Tensor| x * 2.0).in_axes(from).out_axes(to);
        let y = f.call(&x).unwrap();
        let expected = x.moveaxis(from, to) * 2.0;
        assert_eq!(y.shape(), expected.shape());
        assert_eq!(values(&y), values(&expected), "{from} {to}");
    }
    // A tree, parts of which are the same for all.
    let f = pmap(|(w, [a, b]): (Tensor, [Tensor; 2])| [&w * a, w + b]);
    let f = f.in_axes((SAME, vec![BatchAxes::from(1), SAME])).out_axes(vec![BatchAxes::from(0); 2]);
    let w = Tensor::scalar(2.0, DType::F32);
    let [a, b] = f.call((w, [x.clone(), numbers(1)])).unwrap();
    assert_eq!(values(&a), values(&(x.moveaxis(1, 0) * 2.0)));
    assert_eq!(values(&b), [3.0; 4]);
}

/// What is computed stays where it is; one device gets it when it is told to.
#[test]
fn results_stay_on_their_devices() {
    let all = devices();
    let x = numbers(4);
    assert_eq!(x.devices().unwrap(), []);
    let next = pmap(|(x, total): (Tensor, Tensor)| {
        let x = x + 1.0;
        (x.clone(), total + psum(x))
    });
    let next = next.in_axes((0, SAME)).out_axes((0, SAME));
    let total = Tensor::scalar(0.0, DType::F32);
    let (mut y, mut sum) = next.call((x.clone(), total.clone())).unwrap();
    // What went to the devices is kept there, with the tensors that were given.
    assert_eq!(x.devices().unwrap(), all);
    assert_eq!(total.devices().unwrap(), all);
    for _ in 0..3 {
        (y, sum) = next.call((y, sum)).unwrap();
        assert_eq!((y.device(), y.devices().unwrap()), (None, all.to_vec()));
        assert_eq!((sum.device(), sum.devices().unwrap()), (Some(all[0].clone()), all.to_vec()));
    }
    assert_eq!(values(&y), [5.0, 6.0, 7.0, 8.0]);
    assert_eq!(values(&sum), [14.0 + 18.0 + 22.0 + 26.0]);

    let there = y.to_device(&all[2]).unwrap();
    assert_eq!(there.device(), Some(all[2].clone()));
    assert_eq!(values(&(there * 2.0)), [10.0, 12.0, 14.0, 16.0]);
    // The first device is that of what all have, and the others have it too.
    assert_eq!((&sum * 2.0).device(), Some(all[0].clone()));
    assert_eq!(sum.to_device(&all[3]).unwrap().device(), Some(all[3].clone()));

    // Other devices: the data goes where it is needed.
    let two = pmap(psum).devices(&all[2..]).in_axes(SAME).out_axes(SAME);
    let doubled = two.call(&y).unwrap();
    assert_eq!(values(&doubled), [10.0, 12.0, 14.0, 16.0]);
    assert_eq!(doubled.devices().unwrap(), all[2..]);
}

/// A recurrent layer and a linear one on its last state.
#[derive(Clone, Debug, Tree)]
struct Model {
    cell: nn::GruCell,
    head: nn::Linear,
}

impl Model {
    fn new() -> Model {
        let mut rngs = nn::Rngs::new(7);
        Model {
            cell: nn::GruCell::new(&mut rngs, 3, 5),
            head: nn::Linear::new(&mut rngs, 5, 2),
        }
    }

    /// The mean of the squared errors for sequences `[batch, steps, 3]` and targets `[batch, 2]`.
    fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let start = self.cell.initial_carry(&[x.shape()[0]]);
        let (h, ()) = scan(|h, x| (self.cell.step(h, x).0, ()), start, x.swapaxes(0, 1));
        (self.head.call(&h) - y).square().mean(..)
    }
}

fn sgd(model: &Model, gradient: &Model) -> Model {
    let mut slopes = tree::leaves(gradient).into_iter();
    tree::map(model, |w| w - slopes.next().expect("a slope for each parameter") * 0.5)
}

/// On four devices, each with a quarter of the batch, training does what it does on one with all of it.
#[test]
fn a_step_of_training_is_that_of_the_whole_batch() {
    let all = devices();
    let (batch, steps) = (8, 6);
    let x = random::normal(&random::key(1), [batch, steps, 3], DType::F32);
    let y = random::normal(&random::key(2), [batch, 2], DType::F32);
    let whole = jit(|(model, x, y): (Model, Tensor, Tensor)| {
        let (loss, slope) = value_and_grad(|model: Model| model.loss(&x, &y))(model.clone());
        (sgd(&model, &slope), loss, slope)
    });

    for devices in [&all[..2], &all] {
        let n = devices.len();
        let traces = Cell::new(0);
        let step = pmap(|(model, x, y): (Model, Tensor, Tensor)| {
            traces.set(traces.get() + 1);
            let (loss, slope) = value_and_grad(|model: Model| model.loss(&x, &y))(model.clone());
            let (loss, slope) = pmean((loss, slope));
            (sgd(&model, &slope), loss, slope)
        });
        let step = step.devices(devices).in_axes((SAME, 0, 0)).out_axes(SAME);
        let parts = |x: &Tensor| {
            let shape = [&[n, batch / n], &x.shape()[1..]].concat();
            x.reshape(&shape.iter().map(|&size| size as isize).collect::<Vec<_>>()[..])
        };
        let (xs, ys) = (parts(&x), parts(&y));

        let (mut model, mut expected) = (Model::new(), Model::new());
        let mut losses = Vec::new();
        for i in 0..10 {
            let (loss, slope, wanted_loss, wanted_slope);
            (model, loss, slope) = step.call((model, xs.clone(), ys.clone())).unwrap();
            (expected, wanted_loss, wanted_slope) =
                whole.call((expected, x.clone(), y.clone())).unwrap();
            close("loss", &loss, &wanted_loss, 1e-6);
            let names = tree::paths(&model);
            assert_eq!(names.len(), 5);
            // Rounding adds up from step to step.
            let tolerance = 1e-6 * (i + 1) as f32;
            for ((name, a), b) in
                names.iter().zip(tree::leaves(&slope)).zip(tree::leaves(&wanted_slope))
            {
                close(&format!("gradient of {name}, step {i}"), &a, &b, tolerance);
            }
            for ((name, a), b) in names.iter().zip(tree::leaves(&model)).zip(tree::leaves(&expected))
            {
                close(&format!("{name}, step {i}"), &a, &b, tolerance);
                assert_eq!(a.devices().unwrap(), *devices, "{name} stays on all devices");
            }
            losses.push(loss.item::<f32>().unwrap());
        }
        assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
        assert_eq!(traces.get(), 1, "traced and compiled once");
    }
}

/// The values are those of JAX 0.10.2 for the same functions.
#[test]
fn derivatives_across_devices() {
    devices();
    let (w, x) = (Tensor::full([4], 2.0, DType::F32), numbers(4));
    let slope = |f: fn(Tensor, &Tensor) -> Tensor| {
        values(&pmap(|(w, x)| grad(|w| f(w, &x))(w)).call((w.clone(), x.clone())).unwrap())
    };
    assert_eq!(slope(|w, x| pmean(&w * &w * x)), [4.0, 8.0, 12.0, 16.0]);
    assert_eq!(slope(|w, x| psum(&w * &w * x)), [16.0, 32.0, 48.0, 64.0]);
    assert_eq!(slope(|w, x| &w * psum(&w * x)), [28.0, 36.0, 44.0, 52.0]);

    let along = pmap(|(w, x): (Tensor, Tensor)| {
        jvp(|w: Tensor| psum(w * &x), w.clone(), Tensor::ones([], DType::F32))
    });
    let (value, tangent) = along.call((w.clone(), x.clone())).unwrap();
    assert_eq!((values(&value), values(&tangent)), (vec![20.0; 4], vec![10.0; 4]));

    // A softmax over the devices: what is subtracted has no part in the derivative.
    let softmax = |x: &Tensor| {
        let exp = (x - pmax(stop_gradient(x.clone()))).exp();
        &exp / psum(exp.clone())
    };
    let slopes = pmap(|x: Tensor| grad(|x: Tensor| softmax(&x) * (axis_index().astype(DType::F32)))(x));
    let weights = Tensor::arange(4, DType::F32);
    let expected = grad(|x: Tensor| (x.softmax(0) * &weights).sum(..))(x.clone());
    close("softmax", &slopes.call(&x).unwrap(), &expected, 1e-5);
}

#[test]
fn loops_and_batches_on_each_device() {
    devices();
    // In every step of a loop the devices meet.
    let walk = pmap(|x: Tensor| {
        let step = |h: Tensor, x: Tensor| {
            let h = psum(h * 0.5 + x) + axis_index().astype(DType::F32);
            (h.clone(), h)
        };
        scan(step, Tensor::zeros([], DType::F32), x)
    });
    let x = numbers(12).reshape([4, 3]);
    let (last, all) = walk.call(&x).unwrap();
    let host = values(&x);
    let mut h = [0f32; 4];
    for t in 0..3 {
        let sum: f32 = (0..4).map(|i| h[i] * 0.5 + host[i * 3 + t]).sum();
        h = std::array::from_fn(|i| sum + i as f32);
        for i in 0..4 {
            assert_eq!(values(&all)[i * 3 + t], h[i]);
        }
    }
    assert_eq!(values(&last), h);
    let module = walk.module(&x).unwrap().text(Default::default()).unwrap();
    assert_eq!(module.matches(" while(").count(), 1, "{module}");
    assert_eq!(module.matches(" all-reduce(").count(), 1, "{module}");

    // A batch on each device, some of it the same for all.
    let f = |(x, y): (Tensor, Tensor)| psum(&x * &x) + y + pmax(x);
    let batched = pmap(|(x, y): (Tensor, Tensor)| {
        onetrace::Vmap::new().in_axes((0, SAME)).run(f, (x, y))
    });
    let y = numbers(4);
    let z = batched.call((x.clone(), y.clone())).unwrap();
    let expected = (&x * &x).sum(0) + y.expand_dims(1) + x.max(0);
    assert_eq!(values(&z), values(&expected));

    // A jitted function, and one that is checkpointed.
    let inner = jit(|x: Tensor| psum(x.clone()) * x * axis_index().astype(DType::F32));
    let jitted = pmap(|x: Tensor| inner.call(x).unwrap()).call(numbers(4)).unwrap();
    assert_eq!(values(&jitted), [0.0, 20.0, 60.0, 120.0]);
    let kept = pmap(|x: Tensor| {
        grad(|x: Tensor| onetrace::checkpoint(|x: Tensor| psum(x.square()).square())(x))(x)
    });
    assert_eq!(values(&kept.call(numbers(4)).unwrap()), [480.0, 960.0, 1440.0, 1920.0]);
}

#[test]
fn captured_tensors_are_the_same_on_all_devices() {
    devices();
    let w = numbers(3);
    let f = pmap(|x: Tensor| (x * &w).sum(..));
    assert_eq!(values(&f.call(numbers(12).reshape([4, 3])).unwrap()), [14.0, 32.0, 50.0, 68.0]);
    // One that is spread is gathered.
    let spread = pmap(|x: Tensor| x * 2.0).call(numbers(4)).unwrap();
    let f = pmap(|x: Tensor| x * spread.sum(..)).call(numbers(2)).unwrap();
    assert_eq!(values(&f), [20.0, 40.0]);
}

/// Programs for new types are compiled; those for known ones are kept.
#[test]
fn a_program_is_compiled_once_for_each_type() {
    let all = devices();
    let traces = Cell::new(0);
    let f = pmap(|x: Tensor| {
        traces.set(traces.get() + 1);
        psum(x)
    });
    for _ in 0..3 {
        f.call(numbers(4)).unwrap();
    }
    assert_eq!(traces.get(), 1);
    f.call(numbers(2)).unwrap();
    f.call(numbers(4).astype(DType::I32)).unwrap();
    assert_eq!(traces.get(), 3);
    f.call(numbers(4).to_device(&all[1]).unwrap()).unwrap();
    assert_eq!(traces.get(), 3);
}

/// Calls of many threads do not wait for one another in a circle.
#[test]
fn threads_share_the_devices() {
    devices();
    let f = pmap(|x: Tensor| psum(psum(x) * 0.5));
    f.call(numbers(4)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert_eq!(values(&f.call(numbers(4)).unwrap()), [20.0; 4]);
                }
            });
        }
    });
}

#[test]
fn mistakes() {
    let all = devices();
    let mut transcript = String::new();
    let mut report = |what: &str, error: onetrace::Error| {
        assert_eq!(error.location().expect("there is a place").file(), file!(), "{what}");
        transcript += &format!("{what}: {:?}: ", error.kind());
        let line = format!(":{}:", error.location().unwrap().line());
        transcript += &error.to_string().replace(&line, ":LINE:");
        transcript += "\n";
    };
    let id = |x: Tensor| x;
    let x = numbers(4);
    let add = |(x, y): (Tensor, Tensor)| x + y;
    let cpu = Device::cpu().unwrap();

    report("too many parts", pmap(id).call(numbers(5)).unwrap_err());
    report("too few parts", pmap(id).devices(&all).call(numbers(3)).unwrap_err());
    report("sizes", pmap(add).call((x.clone(), numbers(2))).unwrap_err());
    report("no part", pmap(id).call(numbers(4).slice_in_dim(..0, 0)).unwrap_err());
    report("scalar", pmap(add).call((x.clone(), Tensor::scalar(1.0, DType::F32))).unwrap_err());
    report("no axis", pmap(id).in_axes(SAME).call(&x).unwrap_err());
    report("no such axis", pmap(id).in_axes(1).call(&x).unwrap_err());
    report("result", pmap(id).out_axes(1).call(&x).unwrap_err());
    report("no devices", pmap(id).devices(&[]).call(&x).unwrap_err());
    let twice = [cpu.clone(), all[1].clone(), cpu.clone()];
    report("twice", pmap(id).devices(&twice).call(numbers(3)).unwrap_err());

    report("psum", psum(x.clone()).check().unwrap_err());
    report("pmean", pmean(x.clone()).check().unwrap_err());
    report("axis_index", axis_index().check().unwrap_err());
    assert_eq!(axis_index().dtype(), DType::I32);
    report("psum in jit", jit(|x: Tensor| psum(x)).call(&x).unwrap_err());
    report("bool", pmap(|x: Tensor| psum(x.gt(0.0))).call(&x).unwrap_err());
    report("mean", pmap(|x: Tensor| pmean(x.astype(DType::I32))).call(&x).unwrap_err());
    report("pmax", pmap(|x: Tensor| grad(|x: Tensor| pmax(x))(x)).call(&x).unwrap_err());

    let f = pmap(|x: Tensor| x + Tensor::ones([3], DType::F32) + Tensor::ones([2], DType::F32));
    report("inside", f.call(&x).unwrap_err());
    let inner = pmap(id);
    report("in jit", jit(|x: Tensor| inner.call(&x).unwrap()).call(&x).unwrap_err());
    report("in pmap", pmap(|x: Tensor| inner.call(&x).unwrap()).call(&x).unwrap_err());
    let escaped = Cell::new(None);
    jit(|x: Tensor| escaped.set(Some(x))).call(&x).unwrap();
    let traced = escaped.take().unwrap();
    report("traced", pmap(|x: Tensor| x + &traced).call(&x).unwrap_err());
    report("argument", inner.call(&traced).unwrap_err());

    let spread = pmap(id).call(&x).unwrap();
    report("eager", (&spread + 1.0).check().unwrap_err());
    report("jit", jit(id).call(&spread).unwrap_err());
    let compiled = jit(id).lower(&x).unwrap().compile().unwrap();
    report("compiled", compiled.call(&spread).unwrap_err());
    let expected: Expect = expect![[""]];
    expected.assert_eq(&transcript);
}
