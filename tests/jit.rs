//! `jit`: when it traces, what it compiles, and what the programs take and give.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use onetrace::prelude::*;
use onetrace::{Compiled, Jit, named_scope};

fn f32s(values: &[f32]) -> Tensor {
    Tensor::new(values, [values.len()])
}

fn assert_send_sync<T: Send + Sync>(_: &T) {}

#[test]
fn a_closure_runs_once_for_each_type_of_arguments() {
    let runs = Cell::new(0);
    let double = jit(|x: Tensor| {
        runs.set(runs.get() + 1);
        x * 2
    });
    let call = |x: Tensor| double.call(x).unwrap();
    assert_eq!(call(f32s(&[1.0, 2.0])).to_vec::<f32>().unwrap(), [2.0, 4.0]);
    assert_eq!(call(f32s(&[3.0, 4.0])).to_vec::<f32>().unwrap(), [6.0, 8.0]);
    assert_eq!(runs.get(), 1, "the same type");
    call(f32s(&[1.0, 2.0, 3.0]));
    assert_eq!(runs.get(), 2, "another shape");
    call(Tensor::new(&[1i32, 2], [2]));
    assert_eq!(runs.get(), 3, "another dtype");
    call(Tensor::new(&[1.0f32, 2.0], [2, 1]));
    assert_eq!(runs.get(), 4, "another rank");
    call(f32s(&[5.0, 6.0]));
    assert_eq!(runs.get(), 4, "a type from before");
}

#[derive(Clone, Debug, Tree)]
struct Model {
    layers: Vec<Tensor>,
    bias: Option<Tensor>,
    named: BTreeMap<String, Tensor>,
    #[tree(static)]
    scale: f64,
}

#[test]
fn the_structure_of_the_arguments_is_a_part_of_their_type() {
    let runs = Cell::new(0);
    let sum = jit(|model: Model| {
        runs.set(runs.get() + 1);
        let leaves = tree::leaves(&model);
        leaves.into_iter().reduce(|a, b| a + b).unwrap() * model.scale
    });
    let leaf = || Tensor::scalar(1, DType::F32);
    let map = |name: &str| BTreeMap::from([(name.to_owned(), leaf())]);
    let (layers, none) = (vec![leaf(), leaf()], BTreeMap::new());
    // All of these have leaves of the same types.
    let models = [
        Model { layers: layers.clone(), bias: None, named: none.clone(), scale: 1.0 },
        Model { layers: layers.clone(), bias: None, named: none.clone(), scale: 2.0 },
        Model { layers: vec![leaf()], bias: Some(leaf()), named: none.clone(), scale: 1.0 },
        Model { layers: vec![leaf()], bias: None, named: map("a"), scale: 1.0 },
        Model { layers: vec![leaf()], bias: None, named: map("b"), scale: 1.0 },
    ];
    for (i, model) in models.iter().enumerate() {
        let expected = 2.0 * model.scale as f32;
        assert_eq!(sum.call(model).unwrap().item::<f32>().unwrap(), expected);
        assert_eq!(runs.get(), i + 1, "{model:?}");
    }
    for model in &models {
        sum.call(model).unwrap();
    }
    assert_eq!(runs.get(), models.len());
}

#[test]
fn a_jitted_function_inside_a_trace_is_recorded_there() {
    let weight = Tensor::scalar(3.0, DType::F32);
    let inner = jit(|(x, y): (Tensor, Tensor)| (&x * &weight + y, x)).name("inner");
    let outer = jit(|x: Tensor| {
        let (a, b) = inner.call((x.clone(), x.clone())).unwrap();
        inner.call((a, b)).unwrap().0
    });
    let x = f32s(&[1.0, 2.0]);
    // 3(3x + x) + x.
    assert_eq!(outer.call(&x).unwrap().to_vec::<f32>().unwrap(), [13.0, 26.0]);
    let lowered = outer.lower(&x).unwrap();
    assert_eq!(lowered.ir().matches("func @inner(").count(), 2, "{}", lowered.ir());
    assert_eq!(lowered.ir().matches("= call ").count(), 2, "{}", lowered.ir());
    assert!(!lowered.hlo().unwrap().contains(" call("), "calls are inlined");

    // And as the step of a scan, where what it captures may belong to the trace around.
    let run = jit(|(w, xs): (Tensor, Tensor)| {
        let step = jit(|(c, x): (Tensor, Tensor)| c * &w + x);
        let step = |c: Tensor, x: Tensor| (step.call((c, x)).unwrap(), ());
        scan(step, Tensor::scalar(1.0, DType::F32), xs).0
    });
    let result = run.call((Tensor::scalar(2.0, DType::F32), f32s(&[1.0, 1.0]))).unwrap();
    assert_eq!(result.item::<f32>().unwrap(), 7.0);
}

#[test]
fn a_mistake_in_a_jitted_function_inside_a_trace_is_returned_there() {
    let inner = jit(|x: Tensor| x + f32s(&[1.0, 2.0, 3.0]));
    let outer = jit(|x: Tensor| match inner.call(&x) {
        Ok(y) => y,
        Err(_) => x,
    });
    assert_eq!(outer.call(f32s(&[1.0, 2.0])).unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(outer.call(f32s(&[1.0])).unwrap().to_vec::<f32>().unwrap(), [2.0, 3.0, 4.0]);
}

#[test]
fn a_panic_over_a_mistake_that_was_returned_is_that_mistake() {
    let inner = jit(|x: Tensor| x + f32s(&[1.0, 2.0, 3.0]));
    let outer = jit(|x: Tensor| inner.call(&x).unwrap());
    let error = outer.call(f32s(&[1.0, 2.0])).unwrap_err();
    assert!(error.message().starts_with("add: the shapes of f32[2] and f32[3]"), "{error}");
}

#[test]
fn containers_without_leaves_tell_their_sizes_apart() {
    let runs = Cell::new(0);
    let count = |(sizes, names): (Vec<Vec<Tensor>>, BTreeMap<String, ()>)| {
        runs.set(runs.get() + 1);
        let size = sizes.len() + 10 * names.len();
        Tensor::scalar(size as i32, DType::I32)
    };
    let count = jit(count);
    let names = |names: &[&str]| names.iter().map(|name| (name.to_string(), ())).collect();
    let call = |sizes: usize, keys: &[&str]| {
        let arguments = (vec![Vec::new(); sizes], names(keys));
        count.call(arguments).unwrap().item::<i32>().unwrap()
    };
    assert_eq!([call(1, &[]), call(2, &[]), call(2, &["a"]), call(1, &["b"])], [1, 2, 12, 11]);
    assert_eq!([call(1, &["c"]), call(2, &["a"])], [11, 12]);
    assert_eq!(runs.get(), 5, "one trace for each structure");
}

#[test]
fn a_vector_is_one_argument_to_donate() {
    let double = jit(|x: Vec<Tensor>| tree::map(&x, |leaf| leaf * 2.0)).donate(&[0]);
    let x = vec![f32s(&[1.0]), f32s(&[2.0])];
    double.call(&x).unwrap();
    assert!(x.iter().all(|leaf| leaf.to_vec::<f32>().is_err()), "both were donated");
    let error = jit(|x: Vec<Tensor>| x).donate(&[1]).call(vec![f32s(&[1.0]); 2]).unwrap_err();
    assert!(error.message().contains("position 1"), "{error}");
}

#[test]
fn captures_may_be_arguments() {
    let weights = f32s(&[1.25, 2.5]).named("weights");
    let run = |x: Tensor| {
        let step = |c: Tensor, x: Tensor| (c * &weights + x * 2.0, ());
        let (last, ()) = scan(step, Tensor::zeros([2], DType::F32), x);
        cond(true, |c: Tensor| c + &weights, |c| c, last)
    };
    let x = Tensor::new(&[1.0f32, 1.0, 2.0, 2.0], [2, 2]);
    let [constants, arguments] = [jit(run), jit(run).captures_as_arguments()];
    let expected = [7.75, 11.5];
    assert_eq!(constants.call(&x).unwrap().to_vec::<f32>().unwrap(), expected);
    assert_eq!(arguments.call(&x).unwrap().to_vec::<f32>().unwrap(), expected);

    let constants = constants.lower(&x).unwrap();
    assert_eq!(constants.func().params().len(), 1);
    assert!(constants.hlo().unwrap().contains("constant({1.25, 2.5})"));
    let arguments = arguments.lower(&x).unwrap();
    let names: Vec<&str> = arguments.func().params().map(|(_, name)| name).collect();
    assert_eq!(names, ["weights", "arg"], "{}", arguments.ir());
    let hlo = arguments.hlo().unwrap();
    assert!(!hlo.contains("{1.25, 2.5}"), "in the regions too\n{hlo}");
    assert!(hlo.contains("weights.") || hlo.contains("weights "), "{hlo}");
    // A number that the closure itself makes stays a constant.
    assert!(hlo.contains("constant(2)"), "{hlo}");
}

#[test]
fn lowered_programs_can_be_looked_at() {
    let model = Model {
        layers: vec![f32s(&[1.0, 2.0])],
        bias: Some(f32s(&[0.5, 0.5])),
        named: BTreeMap::new(),
        scale: 3.0,
    };
    let run = jit(|(model, x): (Model, Tensor)| {
        let y =
            named_scope("encoder", || named_scope("layer \"0\"", || (x * &model.layers[0]).tanh()));
        (y + model.bias.unwrap()) * model.scale
    });
    let lowered = run.name("my program!").lower((model, f32s(&[1.0, 2.0]))).unwrap();

    let ir = lowered.ir();
    assert!(ir.starts_with("func @my_program_("), "{ir}");
    for name in ["\"arg.0.layers.0\"", "\"arg.0.bias\"", "\"arg.1\"", "= tanh "] {
        assert!(ir.contains(name), "{name} is missing in\n{ir}");
    }
    assert_eq!(onetrace::ir::parse::parse(&ir).unwrap(), *lowered.func());

    let hlo = lowered.hlo().unwrap();
    for name in ["HloModule my_program_", "arg_0.layers_0", "arg_0.bias", "arg_1", " tanh("] {
        assert!(hlo.contains(name), "{name} is missing in\n{hlo}");
    }
    assert!(hlo.contains("op_name=\"encoder/layer \\\"0\\\"/tanh\""), "{hlo}");
    assert!(hlo.contains("source_file=\"tests/jit.rs\""), "{hlo}");

    let stablehlo = lowered.stablehlo().unwrap();
    assert!(stablehlo.contains("stablehlo.tanh"), "{stablehlo}");
    assert!(stablehlo.contains("tensor<2xf32>"), "{stablehlo}");
    let proto = lowered.hlo_proto().unwrap();
    let find = |text: &str| proto.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(find("my_program_") && find("tanh"));

    let options = onetrace::ir::print::Options { locations: true, ..Default::default() };
    let located = lowered.ir_with(options);
    assert!(located.contains("// tests/jit.rs:"), "{located}");
    assert_eq!(onetrace::ir::parse::parse(&located).unwrap(), *lowered.func());
}

#[test]
fn memory_that_is_donated_is_used_again() {
    let update = |(w, g): (Tensor, Tensor)| (&w - &g * 0.5, (w * g).sum(..));
    let arguments = || (f32s(&[1.0, 2.0]), f32s(&[2.0, 2.0]));
    let hlo = jit(update).lower(arguments()).unwrap().hlo().unwrap();
    assert!(!hlo.contains("input_output_alias"), "{hlo}");
    let step = jit(update).donate(&[0]);
    let hlo = step.lower(arguments()).unwrap().hlo().unwrap();
    assert!(hlo.contains("input_output_alias={ {0}: (0, {}, may-alias) }"), "{hlo}");

    let (mut w, g) = arguments();
    for _ in 0..3 {
        let (next, _) = step.call((w.clone(), g.clone())).unwrap();
        assert!(w.to_vec::<f32>().is_err(), "it was given away");
        w = next;
    }
    assert_eq!(w.to_vec::<f32>().unwrap(), [-2.0, -1.0]);
    assert_eq!(g.to_vec::<f32>().unwrap(), [2.0, 2.0]);
}

#[test]
fn memory_for_which_there_is_no_result_is_not_donated() {
    // Two leaves are donated, but there is one result of their type.
    let step = jit(|((a, b), c): ((Tensor, Tensor), Tensor)| (a + b, c.sum(..))).donate(&[0]);
    let arguments = || ((f32s(&[1.0]), f32s(&[2.0])), f32s(&[3.0]));
    let ((a, b), c) = arguments();
    let lowered = step.lower(arguments()).unwrap();
    assert!(lowered.hlo().unwrap().contains("input_output_alias={ {0}: (0, {}, may-alias) }"));
    let (sum, _) = step.call(((a.clone(), b.clone()), c)).unwrap();
    assert_eq!(sum.to_vec::<f32>().unwrap(), [3.0]);
    assert!(a.to_vec::<f32>().is_err());
    assert_eq!(b.to_vec::<f32>().unwrap(), [2.0]);
}

#[test]
fn donation_and_captures_as_arguments_go_together() {
    let scale = f32s(&[10.0, 10.0]);
    let step = jit(|w: Tensor| w * &scale).captures_as_arguments().donate(&[0]);
    let w = f32s(&[1.0, 2.0]);
    assert_eq!(step.call(&w).unwrap().to_vec::<f32>().unwrap(), [10.0, 20.0]);
    assert!(w.to_vec::<f32>().is_err());
    assert_eq!(step.call(f32s(&[3.0, 4.0])).unwrap().to_vec::<f32>().unwrap(), [30.0, 40.0]);
    // What is captured cannot be donated by the same call.
    assert!(step.call(&scale).is_err());
    assert_eq!(scale.to_vec::<f32>().unwrap(), [10.0, 10.0]);
}

#[test]
fn functions_without_arguments_or_results() {
    assert_eq!(jit(|()| f32s(&[1.0]) + 1.0).call(()).unwrap().to_vec::<f32>().unwrap(), [2.0]);
    jit(|_: Tensor| ()).call(f32s(&[1.0])).unwrap();
    jit(|()| ()).call(()).unwrap();
    let none: Vec<Tensor> = jit(|x: Vec<Tensor>| x).call(Vec::new()).unwrap();
    assert!(none.is_empty());
}

#[test]
fn results_may_be_arguments_or_constants_or_the_same() {
    let constant = f32s(&[7.0, 8.0]);
    let run = jit(|(x, y): (Tensor, Tensor)| {
        let sum = &x + &y;
        [y.clone(), x.clone(), x, constant.clone(), sum.clone(), sum, f32s(&[9.0, 9.0])]
    });
    let (x, y) = (f32s(&[1.0, 2.0]), f32s(&[3.0, 4.0]));
    let expected =
        [[3.0, 4.0], [1.0, 2.0], [1.0, 2.0], [7.0, 8.0], [4.0, 6.0], [4.0, 6.0], [9.0, 9.0]];
    let results = run.call((x.clone(), y.clone())).unwrap();
    for (result, expected) in results.iter().zip(expected) {
        assert_eq!(result.to_vec::<f32>().unwrap(), expected);
    }
    // The results do not share memory with the arguments: these may be given away.
    let consume = jit(|x: Tensor| x + 1.0).donate(&[0]);
    consume.call(&results[1]).unwrap();
    assert_eq!(results[2].to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.0]);
    // An argument that is donated may be returned as it is.
    let same = jit(|x: Tensor| x).donate(&[0]).call(&y).unwrap();
    assert_eq!(same.to_vec::<f32>().unwrap(), [3.0, 4.0]);
    assert!(y.to_vec::<f32>().is_err());
}

#[test]
fn tensors_of_every_dtype_and_of_no_element_go_in_and_out() {
    for dtype in DType::ALL {
        for shape in [vec![], vec![3], vec![0], vec![2, 0, 3]] {
            let x = Tensor::ones(shape.clone(), dtype);
            let (same, flat) = jit(|x: Tensor| (x.clone(), x.reshape([-1]))).call(&x).unwrap();
            assert_eq!(same.aval(), x.aval());
            assert_eq!(format!("{same:?}"), format!("{x:?}"));
            assert_eq!(flat.size(), x.size());
        }
    }
}

#[test]
fn compiled_functions_run_from_many_threads() {
    let traced = AtomicUsize::new(0);
    let weights = f32s(&[1.0, 2.0, 3.0]);
    let run = jit(|x: Tensor| {
        traced.fetch_add(1, Ordering::Relaxed);
        scan(|c: Tensor, x: Tensor| (c * &weights + x, ()), weights.clone(), x).0
    });
    let compiled = run.lower(Tensor::zeros([2, 3], DType::F32)).unwrap().compile().unwrap();
    assert_send_sync(&compiled);
    assert_send_sync(&run);
    assert_send_sync(&weights);

    let check = |thread: usize| {
        for i in 0..50 {
            let n = (thread * 50 + i) as f32;
            let x = Tensor::new(&[n, n, n, 1.0, 1.0, 1.0], [2, 3]);
            let expected: Vec<f32> = [1.0, 2.0, 3.0].map(|w| (w * w + n) * w + 1.0).into();
            assert_eq!(compiled.call(&x).unwrap().to_vec::<f32>().unwrap(), expected);
            assert_eq!(run.call(&x).unwrap().to_vec::<f32>().unwrap(), expected);
            // Eager operations and traces of each thread do not disturb the others.
            assert_eq!((&x + n).index(0).to_vec::<f32>().unwrap(), [2.0 * n; 3]);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || check(i))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let traced = traced.into_inner();
    assert!((2..=9).contains(&traced), "at most once for each thread: {traced}");
}

#[test]
fn what_jit_gives_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Tensor>();
    check::<Error>();
    check::<Device>();
    check::<Compiled<(Tensor, Vec<Tensor>), Tensor>>();
    check::<Jit<Tensor, Tensor, fn(Tensor) -> Tensor>>();
    check::<onetrace::Traced<Tensor, Tensor>>();
}

/// What was compiled before an option was set is not what is called after it.
#[test]
fn an_option_after_a_call_holds_for_the_next_one() {
    let double = jit(|x: Tensor| x * 2.0);
    let x = Tensor::ones([3], DType::F32);
    double.call(&x).unwrap();
    let double = double.donate(&[0]);
    double.call(&x).unwrap();
    assert!(x.to_vec::<f32>().unwrap_err().to_string().contains("donated"));
}
