//! `pmap`: one function on several CPU devices, of which XLA makes as many as an option of the
//! process says, so that each test here begins with `devices`.

mod common;

use std::cell::Cell;
use std::sync::OnceLock;

use common::messages::with_code;
use expect_test::expect;
use onetrace::ir::parse;
use onetrace::prelude::*;
use onetrace::{
    BatchAxes, SAME, XlaOptions, axis_index, pmap, pmax, pmean, pmin, psum, stop_gradient,
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

/// The numbers differ by no more than `tolerance`, relative to what is larger than one.
fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.aval(), b.aval(), "{what}");
    let wide = |x: &Tensor| -> Vec<f64> {
        x.to_device(&Device::cpu().unwrap()).unwrap().astype(DType::F64).to_vec().unwrap()
    };
    for (x, y) in wide(a).into_iter().zip(wide(b)) {
        assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{what}: {x} and {y}");
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
            assert_eq!(format!("{sum:?}"), format!("{:?}", x.sum(0).astype(dtype)));
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
    let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [4]);
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
    fn new(dtype: DType) -> Model {
        let mut rngs = nn::Rngs::new(7);
        let config = nn::CellConfig::new(3, 5).param_dtype(dtype);
        Model {
            cell: nn::GruCell::from_config(&mut rngs, &config),
            head: nn::Linear::config(5, 2).param_dtype(dtype).build(&mut rngs),
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

/// On several devices, each with a part of the batch, training does what it does on one with all of
/// it.
fn train(devices: &[Device], dtype: DType, tolerance: f64) {
    let (n, batch, steps) = (devices.len(), 8, 6);
    let x = random::normal(&random::key(1), [batch, steps, 3], dtype);
    let y = random::normal(&random::key(2), [batch, 2], dtype);
    let whole = jit(|(model, x, y): (Model, Tensor, Tensor)| {
        let (loss, slope) = value_and_grad(|model: Model| model.loss(&x, &y))(model.clone());
        (sgd(&model, &slope), loss, slope)
    });
    let traces = Cell::new(0);
    let step = pmap(|(model, x, y): (Model, Tensor, Tensor)| {
        traces.set(traces.get() + 1);
        let (loss, slope) = value_and_grad(|model: Model| model.loss(&x, &y))(model.clone());
        let (loss, slope) = pmean((loss, slope));
        (sgd(&model, &slope), loss, slope)
    });
    let step = step.devices(devices).in_axes((SAME, 0, 0)).out_axes(SAME);
    let xs = x.reshape([n, batch / n, steps, 3].map(|size| size as isize));
    let ys = y.reshape([n, batch / n, 2].map(|size| size as isize));

    let (mut model, mut expected) = (Model::new(dtype), Model::new(dtype));
    let names = tree::paths(&model);
    assert_eq!(names.len(), 5);
    let mut losses = Vec::new();
    for i in 0..10 {
        let (loss, slope, wanted_loss, wanted_slope);
        (model, loss, slope) = step.call((model, xs.clone(), ys.clone())).unwrap();
        (expected, wanted_loss, wanted_slope) =
            whole.call((expected, x.clone(), y.clone())).unwrap();
        close("loss", &loss, &wanted_loss, tolerance);
        let pairs = [(&slope, &wanted_slope), (&model, &expected)];
        for (given, wanted) in pairs.map(|(a, b)| (tree::leaves(a), tree::leaves(b))) {
            for ((name, a), b) in names.iter().zip(&given).zip(&wanted) {
                close(&format!("{name}, step {i}"), a, b, tolerance);
                let there = a.devices().unwrap();
                assert_eq!(there, *devices, "{name} stays on all devices");
            }
        }
        losses.push(loss.to_device(&devices[0]).unwrap().astype(DType::F64).item::<f64>().unwrap());
    }
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    assert_eq!(traces.get(), 1, "traced and compiled once");
}

#[test]
fn a_step_of_training_is_that_of_the_whole_batch() {
    let all = devices();
    for devices in [&all[..2], &all] {
        train(devices, DType::F32, 1e-6);
        train(devices, DType::F64, 1e-14);
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
    let slopes =
        pmap(|x: Tensor| grad(|x: Tensor| softmax(&x) * (axis_index().astype(DType::F32)))(x));
    let weights = Tensor::arange(4, DType::F32);
    let expected = grad(|x: Tensor| (x.softmax(0) * &weights).sum(..))(x.clone());
    close("softmax", &slopes.call(&x).unwrap(), &expected, 1e-6);
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
    let mut steps = vec![[0f32; 4]];
    for t in 0..3 {
        let sum: f32 = (0..4).map(|i| steps[t][i] * 0.5 + host[i * 3 + t]).sum();
        steps.push(std::array::from_fn(|i| sum + i as f32));
    }
    assert_eq!(values(&last), steps[3]);
    assert_eq!(values(&all), Vec::from_iter((0..12).map(|k| steps[k % 3 + 1][k / 3])));
    let module = walk.module(&x).unwrap().text(Default::default()).unwrap();
    assert_eq!(module.matches(" while(").count(), 1, "{module}");
    assert_eq!(module.matches(" all-reduce(").count(), 1, "{module}");

    // A batch on each device, some of it the same for all.
    let f = |(x, y): (Tensor, Tensor)| psum(&x * &x) + y + pmax(x);
    let batched =
        pmap(|(x, y): (Tensor, Tensor)| onetrace::Vmap::new().in_axes((0, SAME)).run(f, (x, y)));
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

/// What collectives make the same on all devices may decide on branches and steps.
#[test]
fn devices_decide_together() {
    devices();
    let f = pmap(|x: Tensor| {
        let total = psum(x.clone());
        let x = cond(total.gt(5.0), |x: Tensor| psum(x) * 2.0, |x| x, x);
        while_loop(
            |x: Tensor| pmax(x).lt(100.0),
            |x| x * 2.0 + psum(Tensor::ones([], DType::F32)),
            x,
        )
    });
    // 20, and then 44 and 92 and 188.
    assert_eq!(values(&f.call(numbers(4)).unwrap()), [188.0; 4]);

    // Without a collective in it, each device goes its own way.
    let f = pmap(|x: Tensor| while_loop(|x: Tensor| x.lt(10.0), |x| x * 3.0, x));
    assert_eq!(values(&f.call(numbers(4)).unwrap()), [27.0, 18.0, 27.0, 12.0]);

    // What a loop makes the same of a sum in each step is the same.
    let f = pmap(|(w, x): (Tensor, Tensor)| {
        let step = |w: Tensor, x: Tensor| {
            let slope = pmean(grad(|w: Tensor| (w * &x).square())(w.clone()));
            (w - slope * 0.01, ())
        };
        scan(step, w, x).0
    });
    let f = f.in_axes((SAME, 0)).out_axes(SAME);
    let w = f.call((Tensor::ones([], DType::F32), numbers(8).reshape([4, 2]))).unwrap();
    let mean = |a: f32, d: f32| (0..4).map(|i| (a + d * i as f32).powi(2)).sum::<f32>() / 4.0;
    let expected = (1.0 - 0.02 * mean(1.0, 2.0)) * (1.0 - 0.02 * mean(2.0, 2.0));
    assert!((w.item::<f32>().unwrap() - expected).abs() < 1e-6);
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

#[test]
fn the_program_of_a_device_is_text() {
    devices();
    let f = pmap(|x: Tensor| psum(x) * 2.0 + axis_index().astype(DType::F32)).name("share");
    let module = f.module(numbers(8).reshape([4, 2])).unwrap();
    let text = module.text(Default::default()).unwrap();
    assert!(text.starts_with("HloModule share"), "{text}");
    assert!(text.contains("f32[2]{0} all-reduce("), "{text}");

    let text = |kind: &str| {
        format!(
            "func @f(%0: f32[2]) -> (f32[2]) {{\n  %1: f32[2] = all_reduce {{kind={kind}}} %0\n  \
             return %1\n}}"
        )
    };
    for kind in ["sum", "max", "min"] {
        assert_eq!(parse::parse(&text(kind)).unwrap().to_string().trim(), text(kind));
    }
    assert!(parse::parse(&text("prod")).unwrap_err().message().contains("sum, max or min"));
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
        transcript += &format!("{what}: {:?}: {}\n", error.kind(), with_code(&error.to_string()));
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
    report(
        "not the same",
        pmap(|x: Tensor| (psum(x.clone()), x)).out_axes(SAME).call(&x).unwrap_err(),
    );
    report("index", pmap(|x: Tensor| (x, axis_index())).out_axes((0, SAME)).call(&x).unwrap_err());
    let branch = pmap(|x: Tensor| cond(x.gt(2.0), |x: Tensor| psum(x), |x| x, x));
    report("branch", branch.call(&x).unwrap_err());
    let steps = pmap(|x: Tensor| while_loop(|x: Tensor| x.lt(9.0), |x| psum(x), x));
    report("steps", steps.call(&x).unwrap_err());
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
    let expected = expect![[r#"
        too many parts: Device: pmap: there are 5 parts, one for each device, but only 4 devices (cpu, cpu:1, cpu:2, cpu:3): XlaOptions::cpu_devices makes more of a CPU
          at `report("too many parts", pmap(id).call(numbers(5)).unwrap_err());`
        too few parts: Shape: pmap: there must be one part for each of the 4 devices (cpu, cpu:1, cpu:2, cpu:3) along every axis, but:
          arg: f32[3] has 3 along axis 0
          at `report("too few parts", pmap(id).devices(&all).call(numbers(3)).unwrap_err());`
        sizes: Shape: pmap: there must be one part for each of the 4 devices (cpu, cpu:1, cpu:2, cpu:3) along every axis, but:
          arg.0: f32[4] has 4 along axis 0
          arg.1: f32[2] has 2 along axis 0
          at `report("sizes", pmap(add).call((x.clone(), numbers(2))).unwrap_err());`
        no part: Device: pmap: there must be at least one part, but the axis has none
          at `report("no part", pmap(id).call(numbers(4).slice_in_dim(..0, 0)).unwrap_err());`
        scalar: Shape: pmap: arg.1: axis 0 is out of range: a scalar has no axes
          at `report("scalar", pmap(add).call((x.clone(), Tensor::scalar(1.0, DType::F32))).unwrap_err());`
          an argument of which every device gets all is `SAME`: `in_axes((SAME, 0))`
        no axis: Device: pmap: no argument has an axis for the devices, so that they must be given: `pmap(f).devices(&devices)`
          at `report("no axis", pmap(id).in_axes(SAME).call(&x).unwrap_err());`
        no such axis: Shape: pmap: arg: axis 1 is out of range for a tensor of rank 1: it must be in -1..1
          at `report("no such axis", pmap(id).in_axes(1).call(&x).unwrap_err());`
          an argument of which every device gets all is `SAME`: `in_axes((SAME, 0))`
        result: Shape: pmap: result: axis 1 is out of range for a tensor of rank 1: it must be in -1..1
          at `report("result", pmap(id).out_axes(1).call(&x).unwrap_err());`
        not the same: Argument: pmap: out_axes says that result.1 is the same on all devices, but it depends on arguments with an axis or on `axis_index`: give it an axis, or apply `pmean`, `psum` or the like to what differs
          at `pmap(|x: Tensor| (psum(x.clone()), x)).out_axes(SAME).call(&x).unwrap_err(),`
        index: Argument: pmap: out_axes says that result.1 is the same on all devices, but it depends on arguments with an axis or on `axis_index`: give it an axis, or apply `pmean`, `psum` or the like to what differs
          at `report("index", pmap(|x: Tensor| (x, axis_index())).out_axes((0, SAME)).call(&x).unwrap_err());`
        branch: Argument: pmap: all devices must come to a collective (psum, pmean, pmax, pmin) together, but there is one in a branch that some devices take and others do not: what decides depends on arguments with an axis or on `axis_index`. Let the result of a collective decide, or call the collective outside
          at `let branch = pmap(|x: Tensor| cond(x.gt(2.0), |x: Tensor| psum(x), |x| x, x));`
        steps: Argument: pmap: all devices must come to a collective (psum, pmean, pmax, pmin) together, but there is one in a loop of which some devices make more steps: what decides depends on arguments with an axis or on `axis_index`. Let the result of a collective decide, or call the collective outside
          at `let steps = pmap(|x: Tensor| while_loop(|x: Tensor| x.lt(9.0), |x| psum(x), x));`
        no devices: Device: pmap: there must be at least one device, but none is given
          at `report("no devices", pmap(id).devices(&[]).call(&x).unwrap_err());`
        twice: Device: pmap: the devices must be different, but cpu is there twice
          at `report("twice", pmap(id).devices(&twice).call(numbers(3)).unwrap_err());`
        psum: Argument: psum: it is for several devices that run a function together, and there is one: call it in the function that a `pmap` runs
          at `report("psum", psum(x.clone()).check().unwrap_err());`
        pmean: Argument: pmean: it is for several devices that run a function together, and there is one: call it in the function that a `pmap` runs
          at `report("pmean", pmean(x.clone()).check().unwrap_err());`
        axis_index: Argument: axis_index: it is for several devices that run a function together, and there is one: call it in the function that a `pmap` runs
          at `report("axis_index", axis_index().check().unwrap_err());`
        psum in jit: Argument: psum: it is for several devices that run a function together, and there is one: call it in the function that a `pmap` runs
          at `report("psum in jit", jit(|x: Tensor| psum(x)).call(&x).unwrap_err());`
        bool: DType: psum: the operand must have a floating or integer dtype, but it is bool[]; convert it with `astype`
          at `report("bool", pmap(|x: Tensor| psum(x.gt(0.0))).call(&x).unwrap_err());`
        mean: DType: pmean: the operand must have a floating dtype, but it is i32[]; convert it with `astype`
          at `report("mean", pmap(|x: Tensor| pmean(x.astype(DType::I32))).call(&x).unwrap_err());`
        pmax: Argument: pmax: there is no derivative of the max over devices: give it a value that `stop_gradient` was applied to
          at `report("pmax", pmap(|x: Tensor| grad(|x: Tensor| pmax(x))(x)).call(&x).unwrap_err());`
        inside: Shape: add: the shapes of f32[3] and f32[2] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
          at `let f = pmap(|x: Tensor| x + Tensor::ones([3], DType::F32) + Tensor::ones([2], DType::F32));`
        in jit: Argument: pmap: a function for several devices cannot be called where another one is traced (by jit, grad, vmap, scan or pmap), which becomes a program of its own: call it outside, and use jit, grad, vmap and scan in the function that the devices run
          at `report("in jit", jit(|x: Tensor| inner.call(&x).unwrap()).call(&x).unwrap_err());`
          the closure panicked after this
        in pmap: Argument: pmap: a function for several devices cannot be called where another one is traced (by jit, grad, vmap, scan or pmap), which becomes a program of its own: call it outside, and use jit, grad, vmap and scan in the function that the devices run
          at `report("in pmap", pmap(|x: Tensor| inner.call(&x).unwrap()).call(&x).unwrap_err());`
          the closure panicked after this
        traced: Escaped: a traced tensor of type f32[4] was used outside of its trace: it stands for a value of every step or call, and has none of its own
          made at `jit(|x: Tensor| escaped.set(Some(x))).call(&x).unwrap();`
          return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
          at `report("traced", pmap(|x: Tensor| x + &traced).call(&x).unwrap_err());`
        argument: Escaped: a traced tensor of type f32[4] was used outside of its trace: it stands for a value of every step or call, and has none of its own
          made at `jit(|x: Tensor| escaped.set(Some(x))).call(&x).unwrap();`
          return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
          at `report("argument", inner.call(&traced).unwrap_err());`
        eager: Device: a tensor of type f32[4] is spread over the devices cpu, cpu:1, cpu:2, cpu:3, and this runs on one: bring it there with `to_device`, or use it in a `pmap`
          at `report("eager", (&spread + 1.0).check().unwrap_err());`
        jit: Device: a tensor of type f32[4] is spread over the devices cpu, cpu:1, cpu:2, cpu:3, and this runs on one: bring it there with `to_device`, or use it in a `pmap`
          at `report("jit", jit(id).call(&spread).unwrap_err());`
        compiled: Device: a tensor of type f32[4] is spread over the devices cpu, cpu:1, cpu:2, cpu:3, and this runs on one: bring it there with `to_device`, or use it in a `pmap`
          at `report("compiled", compiled.call(&spread).unwrap_err());`
    "#]];
    expected.assert_eq(&transcript);
}
