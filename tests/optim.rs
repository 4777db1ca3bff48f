//! Optimisers as programs: the same steps in every kind of loop and transformation, what they leave
//! alone, and the messages of mistakes.

mod common;

use common::messages::expect_error;
use expect_test::expect;
use onetrace::{ErrorKind, SAME, XlaOptions, pmap, pmean};
use onetrace::{io, prelude::*};
use optim::Schedule;

#[derive(Clone, Tree)]
struct Model {
    kernel: Tensor,
    #[tree(state)]
    mean: Tensor,
    steps: Tensor,
    bias: Option<Tensor>,
    #[tree(static)]
    size: usize,
}

fn model() -> Model {
    Model {
        kernel: common::ramp_tensor(&[2, 3], 0),
        mean: common::ramp_tensor(&[3], 2),
        steps: Tensor::scalar(7, DType::I32),
        bias: Some(common::ramp_tensor(&[3], 1)),
        size: 3,
    }
}

/// Gradients for step `t`.
fn gradients(t: u32) -> Model {
    let bias = Some(common::ramp_tensor(&[3], 10 + 2 * t));
    Model { kernel: common::ramp_tensor(&[2, 3], 11 + 2 * t), bias, ..model() }
}

fn optimizer() -> optim::Chain<(optim::ClipByGlobalNorm, optim::AdamW)> {
    let schedule = optim::warmup_cosine_decay_schedule(0.0, 0.1, 3, 10);
    optim::chain((optim::clip_by_global_norm(1.0), optim::adamw(schedule).weight_decay(0.1)))
}

fn bits<T: Tree>(tree: &T) -> Vec<Vec<f64>> {
    tree::leaves(tree).iter().map(common::numbers).collect()
}

fn stacked(count: u32) -> Model {
    let all: Vec<Vec<Tensor>> = (0..count).map(|t| tree::leaves(&gradients(t))).collect();
    let column = |i: usize| stack(&all.iter().map(|leaves| &leaves[i]).collect::<Vec<_>>(), 0);
    tree::unflatten(&model(), (0..all[0].len()).map(column).collect()).unwrap()
}

#[test]
fn a_scan_of_steps_is_a_loop_of_compiled_steps_and_of_single_operations() {
    let optimizer = optimizer();
    let train = jit(|(start, grads): (Model, Model)| {
        let step =
            |(model, state): (Model, _), grads: Model| (optimizer.step(model, grads, state), ());
        scan(step, (start.clone(), optimizer.init(&start)), grads).0
    });
    let hlo = train.lower((model(), stacked(5))).unwrap().hlo().unwrap();
    assert_eq!(hlo.matches(" while(").count(), 1);
    let scanned = train.call((model(), stacked(5))).unwrap();

    let step = jit(|(model, state, grads)| optimizer.step(model, grads, state));
    let (mut compiled, mut eager) = (model(), model());
    let mut states = [optimizer.init(&compiled), optimizer.init(&compiled)];
    for t in 0..5 {
        let [a, b] = states;
        let (next, a) = step.call((compiled, a, gradients(t))).unwrap();
        compiled = next;
        let (next, b) = optimizer.step(eager, gradients(t), b);
        eager = next;
        states = [a, b];
    }
    let tolerance = common::Tolerance { relative: 1e-6, absolute: 1e-6 };
    for other in [compiled, eager] {
        for (a, b) in tree::leaves(&scanned.0).iter().zip(tree::leaves(&other)) {
            common::assert_close(a, &b, tolerance);
        }
    }
    assert_eq!(tree::paths(&states[0]), tree::paths(&scanned.1));
}

#[test]
fn members_of_a_vmap_are_trained_each_for_itself() {
    let optimizer = optim::adam(0.1);
    let train = |(start, rate): (Tensor, Tensor)| {
        let optimizer = optim::chain((optim::scale_by_adam(), optim::scale_by_learning_rate(rate)));
        let step = |(w, state): (Tensor, _), ()| {
            let grads = grad(|w: Tensor| (w - 3.0).square().sum(..))(w.clone());
            (optimizer.step(w, grads, state), ())
        };
        Scan::new().length(4).run(step, (start.clone(), optimizer.init(&start)), ()).0.0
    };
    let starts = common::ramp_tensor(&[3, 2], 5);
    let rates = Tensor::new(&[0.1f32, 0.2, 0.3], [3]);
    let all = jit(vmap(train)).call((starts.clone(), rates.clone())).unwrap();
    for i in 0..3 {
        let one = jit(train).call((starts.index(i), rates.index(i))).unwrap();
        let tolerance = common::Tolerance { relative: 1e-6, absolute: 1e-6 };
        common::assert_close(&all.index(i), &one, tolerance);
    }

    // States are batched trees too.
    let states = vmap(|w: Tensor| optimizer.init(&w))(starts.clone());
    let (updates, states) =
        vmap(|(w, s)| optimizer.update(w, s, &Tensor::ones([2], DType::F32)))((starts, states));
    assert_eq!(updates.shape(), [3, 2]);
    assert!(tree::leaves(&states).iter().all(|leaf| leaf.check().is_ok() && leaf.shape()[0] == 3));
}

#[test]
fn devices_train_one_model_together() {
    // Whichever test is first uses XLA; so the devices are asked for in any case.
    let _ = XlaOptions::new().cpu_devices(2).apply();
    let Ok(devices) = Device::cpus() else { panic!("there is no CPU") };
    let optimizer = optim::adam(0.1);
    let loss = |w: &Tensor, x: &Tensor| (w * x - 1.0).square().mean(..);
    let step = pmap(|(w, state, x): (Tensor, _, Tensor)| {
        let grads = pmean(grad(|w: Tensor| loss(&w, &x))(w.clone()));
        optimizer.step(w, grads, state)
    });
    let n = devices.len().min(2);
    let step = step.devices(&devices[..n]).in_axes((SAME, SAME, 0)).out_axes(SAME);
    let x = common::ramp_tensor(&[n, 4], 2);
    let w = Tensor::scalar(0.5, DType::F32);
    let (together, _) = step.call((w.clone(), optimizer.init(&w), x.clone())).unwrap();
    let grads = grad(|w: Tensor| loss(&w, &x))(w.clone());
    let (alone, _) = optimizer.step(w.clone(), grads, optimizer.init(&w));
    common::assert_close(&together, &alone, common::Tolerance { relative: 1e-6, absolute: 0.0 });
}

#[test]
fn what_is_no_parameter_is_left_alone() {
    let all = optim::chain((
        optim::clip_by_global_norm(0.5),
        optim::clip(0.1),
        optim::add_decayed_weights(0.5),
        optim::trace(0.9),
        optim::scale_by_adam(),
        optim::scale_by_stddev().bias_correction(true),
        optim::scale_by_rss(),
        optim::scale_by_learning_rate(1.0),
    ));
    let state = all.init(&model());
    assert_eq!(state.4.mu.steps.aval().to_string(), "i32[0]");
    assert_eq!(state.4.nu.mean.aval().to_string(), "f32[0]");
    let (after, state) = all.step(model(), gradients(0), state);
    assert_eq!(after.steps.item::<i32>().unwrap(), 7);
    assert_eq!(bits(&after.mean), bits(&model().mean));
    assert_ne!(bits(&after.kernel), bits(&model().kernel));
    assert_eq!(state.4.mu.steps.aval().to_string(), "i32[0]");
    tree::check(&state).unwrap();

    let parameters = (model().kernel, model().bias);
    let (norm, wanted) = (optim::global_norm(&model()), optim::global_norm(&parameters));
    assert_eq!(norm.item::<f32>().unwrap(), wanted.item::<f32>().unwrap());
    assert_eq!(optim::global_norm(&Tensor::scalar(3, DType::I32)).item::<f32>().unwrap(), 0.0);
}

#[test]
fn states_go_through_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.safetensors");
    let optimizer = optimizer();
    let (params, state) = optimizer.step(model(), gradients(0), optimizer.init(&model()));
    io::save_safetensors(&path, &(params.clone(), state.clone())).unwrap();
    let template = (model(), optimizer.init(&model()));
    let (read, read_state) = io::load_safetensors(&path, &template).unwrap();
    let next = optimizer.step(params, gradients(1), state);
    let next_of_read = optimizer.step(read, gradients(1), read_state);
    assert_eq!(bits(&next), bits(&next_of_read));
}

#[test]
fn the_count_stops_at_its_largest_value() {
    let optimizer = optim::sgd(optim::linear_schedule(1.0, 0.0, 10));
    let w = Tensor::zeros([1], DType::F32);
    let mut state = optimizer.init(&w);
    for count in [i32::MAX - 1, i32::MAX] {
        state.1.count = Tensor::scalar(count, DType::I32);
        let (_, next) = optimizer.update(w.clone(), state.clone(), &w);
        assert_eq!(next.1.count.item::<i32>().unwrap(), i32::MAX);
    }
}

#[test]
fn f64_parameters_are_updated_in_f64() {
    let optimizer = optim::adam(0.1);
    let w = Tensor::new(&[1.0f64, -2.0], [2]);
    let g = Tensor::new(&[0.5f64, 1e-3], [2]);
    let (updates, _) = optimizer.update(g, optimizer.init(&w), &w);
    let wanted = [0.5f64, 1e-3].map(|g| -0.1 * g / (g + 1e-8));
    for (update, wanted) in updates.to_vec::<f64>().unwrap().into_iter().zip(wanted) {
        assert!((update - wanted).abs() < 1e-12, "{update} {wanted}");
    }
}

#[test]
fn an_infinite_gradient_is_not_clipped_into_a_finite_one() {
    let optimizer = optim::chain((optim::clip_by_global_norm(1.0), optim::sgd(1.0)));
    let w = Tensor::zeros([2], DType::F32);
    let grads = Tensor::new(&[f32::INFINITY, 1.0], [2]);
    let (updates, _) = optimizer.update(grads, optimizer.init(&w), &w);
    let updates = updates.to_vec::<f32>().unwrap();
    assert!(updates[0].is_nan() && updates[1] == 0.0, "{updates:?}");
}

#[test]
fn gradients_of_another_type_are_refused() {
    let optimizer = optim::sgd(0.1);
    let grads = Model {
        kernel: Tensor::zeros([3, 2], DType::F32),
        bias: Some(Tensor::zeros([3], DType::F64)),
        ..model()
    };
    let state = optimizer.init(&model());
    let (updates, _) = optimizer.update(grads, state.clone(), &model());
    expect_error(
        updates.kernel.check(),
        ErrorKind::Tree,
        expect![[r#"
        update: the updates must have the type of the parameters, but they differ (parameters before updates):
          params.kernel: f32[2,3], but f32[3,2]
          params.bias: f32[3], but f64[3]
          differentiate by the parameters that are updated
          at `let (updates, _) = optimizer.update(grads, state.clone(), &model());`
          in update"#]],
    );

    let grads = Model { bias: None, ..model() };
    let (updates, _) = optimizer.update(grads, state.clone(), &model());
    expect_error(
        updates.kernel.check(),
        ErrorKind::Tree,
        expect![[r#"
        update: the updates must have the type of the parameters, but they differ (parameters before updates):
          params.bias: f32[3], but missing
          differentiate by the parameters that are updated
          at `let (updates, _) = optimizer.update(grads, state.clone(), &model());`
          in update"#]],
    );

    let step = jit(|(grads, model): (Model, Model)| {
        optim::apply_updates(model, Model { size: 4, ..grads })
    });
    expect_error(
        step.call((model(), model())),
        ErrorKind::Tree,
        expect![[r#"
            apply_updates: the updates must have the type of the parameters, but they differ (parameters before updates):
              params: the static fields differ
              differentiate by the parameters that are updated
              at `optim::apply_updates(model, Model { size: 4, ..grads })`"#]],
    );
}

#[test]
fn the_state_of_another_model_or_optimizer_is_refused() {
    let optimizer = optim::adam(0.1);
    let other = Model { kernel: Tensor::zeros([4, 3], DType::F32), ..model() };
    let (updates, _) = optimizer.update(gradients(0), optimizer.init(&other), &model());
    expect_error(
        updates.kernel.to_vec::<f32>(),
        ErrorKind::Tree,
        expect![[r#"
            adam: the state must be that of these parameters, but it differs (what it must be before what it is):
              mu.kernel: f32[2,3], but f32[4,3]
              make it with `init` of these parameters
              at `let (updates, _) = optimizer.update(gradients(0), optimizer.init(&other), &model());`
              in update"#]],
    );

    let narrow = optim::adam(0.1).mu_dtype(DType::BF16);
    let (updates, _) = optimizer.update(gradients(0), narrow.init(&model()), &model());
    expect_error(
        updates.kernel.check(),
        ErrorKind::Tree,
        expect![[r#"
            adam: the state must be that of these parameters, but it differs (what it must be before what it is):
              mu.kernel: f32[2,3], but bf16[2,3]
              mu.bias: f32[3], but bf16[3]
              make it with `init` of these parameters
              at `let (updates, _) = optimizer.update(gradients(0), narrow.init(&model()), &model());`
              in update"#]],
    );

    let (sgd, momentum) = (optim::sgd(0.1), optim::sgd(0.1).momentum(0.9));
    let (updates, _) = momentum.update(gradients(0), sgd.init(&model()), &model());
    expect_error(
        updates.kernel.check(),
        ErrorKind::Tree,
        expect![[r#"
        trace: this optimiser has trace, but the state has none: make it with `init` of the same optimiser
          at `let (updates, _) = momentum.update(gradients(0), sgd.init(&model()), &model());`
          in update"#]],
    );
}

/// The message of a step with this optimiser, and a line break.
fn refused(optimizer: impl GradientTransformation) -> String {
    let w = Tensor::zeros([2], DType::F32);
    let step = jit(|w: Tensor| optimizer.step(w.clone(), w.clone(), optimizer.init(&w)).0);
    let error = step.call(&w).map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(error.location().is_some_and(|place| place.file().ends_with("optim.rs")), "{text}");
    error.message().to_owned() + "\n"
}

#[test]
fn numbers_out_of_range_are_refused() {
    let from_fn = optim::from_fn(|count| count.clone());
    let warmup = optim::warmup_cosine_decay_schedule(0.0, 0.1, 10, 10);
    let messages = [
        refused(optim::sgd(-0.1)),
        refused(optim::sgd(f64::NAN)),
        refused(optim::sgd(0.1).momentum(1.5)),
        refused(optim::sgd(0.1).momentum(0.5).accumulator_dtype(DType::I32)),
        refused(optim::sgd(Tensor::zeros([3], DType::F32))),
        refused(optim::sgd(from_fn)),
        refused(optim::adam(0.1).b1(1.0)),
        refused(optim::adam(0.1).b2(-0.1)),
        refused(optim::adam(0.1).eps(f64::INFINITY)),
        refused(optim::adamw(0.1).weight_decay(-1.0)),
        refused(optim::rmsprop(0.1).decay(2.0)),
        refused(optim::adagrad(0.1).initial_accumulator_value(-1.0)),
        refused(optim::chain((optim::clip(-1.0), optim::sgd(0.1)))),
        refused(optim::chain((optim::clip_by_global_norm(0.0),))),
        refused(optim::sgd(optim::cosine_decay_schedule(0.1, 0))),
        refused(optim::sgd(warmup)),
        refused(optim::sgd(optim::linear_schedule(0.1, f64::NAN, 10))),
        refused(optim::sgd(optim::linear_schedule(0.1, 0.0, usize::MAX))),
        refused(optim::sgd(optim::piecewise_constant_schedule(0.1, [(5, -1.0)]))),
        refused(optim::sgd(optim::exponential_decay(0.1, 10, -0.5))),
    ];
    expect![[r#"
        optim: learning_rate must be a finite number of at least 0, but it is -0.1
        optim: learning_rate must be a finite number of at least 0, but it is NaN
        trace: the decay of the momentum must be at least 0 and below 1, but it is 1.5
        trace: accumulator_dtype must be a floating dtype, but it is i32
        optim: learning_rate must be a floating scalar, but it is f32[3]
        optim: the value of the schedule must be a floating scalar, but it is i32[]
        adam: b1 must be at least 0 and below 1, but it is 1.0
        adam: b2 must be at least 0 and below 1, but it is -0.1
        adam: eps must be a finite number of at least 0, but it is inf
        optim: weight_decay must be a finite number of at least 0, but it is -1.0
        rmsprop: decay must be at least 0 and below 1, but it is 2.0
        adagrad: initial_accumulator_value must be a finite number of at least 0, but it is -1.0
        clip: max_delta must be a finite number of at least 0, but it is -1.0
        clip_by_global_norm: max_norm must be a finite number above 0, but it is 0.0
        cosine_decay_schedule: decay_steps must be from 1 to 2147483647, the last step that is counted, but it is 0
        warmup_cosine_decay_schedule: decay_steps, in which warmup_steps are included, must be from 11 to 2147483647, the last step that is counted, but it is 10
        polynomial_schedule: end_value must be a finite number, but it is NaN
        polynomial_schedule: transition_steps must be from 0 to 2147483647, the last step that is counted, but it is 18446744073709551615
        piecewise_constant_schedule: a scale must be a finite number of at least 0, but it is -1.0
        exponential_decay: decay_rate must be a finite number of at least 0, but it is -0.5
    "#]].assert_eq(&messages.concat());

    let value = optim::cosine_decay_schedule(0.1, 0).value(&Tensor::scalar(1, DType::I32));
    let message = value.check().unwrap_err().message().to_owned();
    assert!(message.starts_with("cosine_decay_schedule: decay_steps must be"), "{message}");
}
