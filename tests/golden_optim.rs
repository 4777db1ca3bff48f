//! Optimisers and schedules against optax: parameters after up to 50 steps, values of schedules.

mod common;

use std::sync::Arc;

use common::{Golden, Tolerance, assert_close_in, for_each_in_parallel, ramp};
use onetrace::prelude::*;
use optim::Schedule;
use serde_json::Value;

/// Some of the parameters are near 1 and others near 0; the steps are 0.01 to 0.1.
const F32: Tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };
/// Four bits in the last place of a parameter near 1, each of 50 steps rounding.
const BF16: Tolerance = Tolerance { relative: 0.0, absolute: 4.0 / 256.0 };

#[derive(Clone, Tree)]
struct Params {
    kernel: Tensor,
    bias: Tensor,
}

/// The ramps with this salt and the next, for each of `salts`, along a first axis.
fn stacked(salts: &[u32], dtype: DType) -> Params {
    let leaf = |shape: &[usize], offset: u32| {
        let data: Vec<f32> = salts.iter().flat_map(|&salt| ramp(shape, salt + offset)).collect();
        Tensor::new(&data, [&[salts.len()], shape].concat()).astype(dtype)
    };
    Params { kernel: leaf(&[3, 4], 0), bias: leaf(&[4], 1) }
}

/// The arguments of a case, each to be taken once.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn find(&self, name: &str) -> Option<f64> {
        self.0[name].as_f64()
    }

    fn number(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_else(|| panic!("{name} of {}", self.0))
    }

    fn steps(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    fn rate(&self, name: &str) -> Arc<dyn Schedule> {
        match &self.0[name] {
            Value::Number(number) => Arc::new(number.as_f64().unwrap()),
            spec => schedule(spec),
        }
    }
}

/// `value` after each of its setters for which there is an argument.
macro_rules! with {
    ($value:expr, $args:ident, $($name:ident),*) => {{
        let mut value = $value;
        $(if let Some(number) = $args.find(stringify!($name)) {
            value = value.$name(number);
        })*
        value
    }};
}

fn schedule(spec: &Value) -> Arc<dyn Schedule> {
    let a = Arguments(&spec["args"]);
    match spec["schedule"].as_str().unwrap() {
        "linear_schedule" => Arc::new(
            optim::linear_schedule(
                a.number("init_value"),
                a.number("end_value"),
                a.steps("transition_steps"),
            )
            .transition_begin(a.find("transition_begin").unwrap_or(0.0) as usize),
        ),
        "polynomial_schedule" => Arc::new(
            optim::polynomial_schedule(
                a.number("init_value"),
                a.number("end_value"),
                a.number("power"),
                a.steps("transition_steps"),
            )
            .transition_begin(a.find("transition_begin").unwrap_or(0.0) as usize),
        ),
        "cosine_decay_schedule" => {
            let decay =
                optim::cosine_decay_schedule(a.number("init_value"), a.steps("decay_steps"));
            Arc::new(with!(decay, a, alpha, exponent))
        }
        "warmup_cosine_decay_schedule" => {
            let decay = optim::warmup_cosine_decay_schedule(
                a.number("init_value"),
                a.number("peak_value"),
                a.steps("warmup_steps"),
                a.steps("decay_steps"),
            );
            Arc::new(with!(decay, a, end_value, exponent))
        }
        "exponential_decay" => {
            let decay = optim::exponential_decay(
                a.number("init_value"),
                a.steps("transition_steps"),
                a.number("decay_rate"),
            )
            .staircase(a.flag("staircase"))
            .transition_begin(a.find("transition_begin").unwrap_or(0.0) as usize);
            Arc::new(with!(decay, a, end_value))
        }
        "piecewise_constant_schedule" => {
            let pairs = a.0["boundaries_and_scales"].as_array().unwrap().iter();
            let pairs = pairs.map(|p| (p[0].as_u64().unwrap() as usize, p[1].as_f64().unwrap()));
            Arc::new(optim::piecewise_constant_schedule(a.number("init_value"), pairs))
        }
        "join_schedules" => {
            let mut schedules = a.0["schedules"].as_array().unwrap().iter().map(schedule);
            let boundaries = a.0["boundaries"].as_array().unwrap().iter();
            let first = optim::join_schedules(schedules.next().unwrap());
            let rest = boundaries.zip(schedules);
            Arc::new(rest.fold(first, |joined, (boundary, schedule)| {
                joined.then(boundary.as_u64().unwrap() as usize, schedule)
            }))
        }
        other => panic!("no schedule is called {other}"),
    }
}

/// Checks a case with the optimiser that its description means.
fn check(golden: &Golden, case: &Value) {
    let spec = &case["spec"];
    if let Some(parts) = spec.as_array() {
        let names: Vec<&str> = parts.iter().map(|p| p["optimizer"].as_str().unwrap()).collect();
        let a: Vec<Arguments> = parts.iter().map(|p| Arguments(&p["args"])).collect();
        return match names[..] {
            ["clip_by_global_norm", "sgd"] => {
                let clip = optim::clip_by_global_norm(a[0].number("max_norm"));
                check_with(golden, case, &optim::chain((clip, sgd(&a[1]))))
            }
            ["clip", "sgd"] => {
                let clip = optim::clip(a[0].number("max_delta"));
                check_with(golden, case, &optim::chain((clip, sgd(&a[1]))))
            }
            ["add_decayed_weights", "sgd"] => {
                let decay = optim::add_decayed_weights(a[0].rate("weight_decay"));
                check_with(golden, case, &optim::chain((decay, sgd(&a[1]))))
            }
            ["clip_by_global_norm", "adamw"] => {
                let clip = optim::clip_by_global_norm(a[0].number("max_norm"));
                check_with(golden, case, &optim::chain((clip, adamw(&a[1]))))
            }
            ["trace", "scale_by_adam", "scale_by_learning_rate"] => {
                let trace = optim::trace(a[0].number("decay"));
                let rate = optim::scale_by_learning_rate(a[2].rate("learning_rate"));
                let parts = (trace, optim::scale_by_adam(), rate);
                check_with(golden, case, &optim::chain(parts))
            }
            _ => panic!("no chain of {names:?}"),
        };
    }
    let a = &Arguments(&spec["args"]);
    match spec["optimizer"].as_str().unwrap() {
        "sgd" => check_with(golden, case, &sgd(a)),
        "adam" => {
            let adam = optim::adam(a.rate("learning_rate")).nesterov(a.flag("nesterov"));
            let adam = with!(adam, a, b1, b2, eps, eps_root);
            match a.0["mu_dtype"].as_str() {
                None => check_with(golden, case, &adam),
                Some("bfloat16") => check_with(golden, case, &adam.mu_dtype(DType::BF16)),
                Some(other) => panic!("mu_dtype {other}"),
            }
        }
        "adamw" => check_with(golden, case, &adamw(a)),
        "rmsprop" => {
            let rmsprop = optim::rmsprop(a.rate("learning_rate"))
                .centered(a.flag("centered"))
                .nesterov(a.flag("nesterov"))
                .bias_correction(a.flag("bias_correction"))
                .eps_in_sqrt(a.0["eps_in_sqrt"].as_bool().unwrap_or(true));
            let rmsprop = with!(rmsprop, a, decay, eps, initial_scale, momentum);
            check_with(golden, case, &rmsprop)
        }
        "adagrad" => {
            let adagrad = optim::adagrad(a.rate("learning_rate"));
            check_with(golden, case, &with!(adagrad, a, initial_accumulator_value, eps))
        }
        other => panic!("no optimiser is called {other}"),
    }
}

fn sgd(a: &Arguments) -> optim::Sgd {
    with!(optim::sgd(a.rate("learning_rate")).nesterov(a.flag("nesterov")), a, momentum)
}

fn adamw(a: &Arguments) -> optim::AdamW {
    let adamw = optim::adamw(a.rate("learning_rate")).nesterov(a.flag("nesterov"));
    let adamw = match a.0["weight_decay"] {
        Value::Null => adamw,
        _ => adamw.weight_decay(a.rate("weight_decay")),
    };
    with!(adamw, a, b1, b2, eps)
}

/// All steps are one scan, whose ys are the parameters after each.
fn check_with(golden: &Golden, case: &Value, optimizer: &impl GradientTransformation) {
    let name = case["name"].as_str().unwrap();
    let (dtype, tolerance) = match case["dtype"].as_str().unwrap() {
        "float32" => (DType::F32, F32),
        _ => (DType::BF16, BF16),
    };
    let kept: Vec<u32> =
        case["kept"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
    let salts: Vec<u32> = (1..=*kept.last().unwrap()).map(|t| 2 * t).collect();
    let train = jit(|(start, grads): (Params, Params)| {
        let step = |(params, state): (Params, _), grads: Params| {
            let (params, state) = optimizer.step(params, grads, state);
            ((params.clone(), state), params)
        };
        scan(step, (start.clone(), optimizer.init(&start)), grads).1
    });
    let start = tree::map(&stacked(&[0], dtype), |leaf| leaf.squeeze(0));
    let after = train.call((start, stacked(&salts, dtype))).unwrap();
    for t in kept {
        for (leaf, values) in [("kernel", &after.kernel), ("bias", &after.bias)] {
            let key = format!("{t}.{leaf}");
            let what = format!("{name} {key}: {}", case["spec"]);
            let row = values.index(t as usize - 1);
            assert_close_in(&what, &row, &golden.array(name, &key), tolerance);
        }
    }
}

#[test]
fn optimizers_make_the_steps_of_optax() {
    let golden = Golden::read("optim");
    let cases: Vec<&Value> = golden.cases.iter().filter(|c| c["kind"] == "optimizer").collect();
    assert_eq!(cases.len(), 35);
    for_each_in_parallel(&cases, |case| check(&golden, case));
}

#[test]
fn schedules_have_the_values_of_optax() {
    let golden = Golden::read("optim");
    let cases: Vec<&Value> = golden.cases.iter().filter(|c| c["kind"] == "schedule").collect();
    assert_eq!(cases.len(), 18);
    let counts = Tensor::arange(121, DType::I32);
    for_each_in_parallel(&cases, |case| {
        let name = case["name"].as_str().unwrap();
        let schedule = schedule(&case["spec"]);
        let values = jit(vmap(|count: Tensor| schedule.value(&count))).call(&counts).unwrap();
        let what = format!("{name}: {}", case["spec"]);
        assert_close_in(&what, &values, &golden.array(name, "values"), F32);
    });
}
