//! What must hold on every device beside the first CPU: the devices of the plugins that are found, and
//! that of `ONETRACE_DEVICE`. Where there is none, each test is reported as ignored, and why is said.
//!
//! Where there is no GPU, a second CPU shows that the tests themselves are right:
//!
//! ```text
//! XLA_FLAGS=--xla_force_host_platform_device_count=2 ONETRACE_DEVICE=cpu:1 cargo test --test gpu
//! ```

use libtest_mimic::{Arguments, Failed, Trial};
use onetrace::prelude::*;
use onetrace::{ErrorKind, Plugin};

type Test = fn(&Device) -> Result<(), Failed>;

const TESTS: [(&str, Test); 7] = [
    ("operations", operations),
    ("gru", gru),
    ("transfers", transfers),
    ("results_stay", results_stay),
    ("devices_do_not_mix", devices_do_not_mix),
    ("optimized_hlo", optimized_hlo),
    ("out_of_memory", out_of_memory),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut devices = Vec::new();
    let mut reasons = Vec::new();
    for plugin in Plugin::found() {
        match plugin.devices() {
            Ok(of_plugin) => devices.extend(of_plugin),
            Err(error) => reasons.push(error.message().to_owned()),
        }
    }
    match Device::default_device() {
        Ok(device) => {
            let is_new = device.to_string() != "cpu" && !devices.contains(&device);
            devices.extend(is_new.then_some(device));
        }
        Err(error) => reasons.push(error.to_string()),
    }
    if reasons.is_empty() {
        reasons.push("no PJRT plugin was found".to_owned());
    }
    let mut trials = Vec::new();
    for (name, test) in TESTS {
        if devices.is_empty() {
            trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        }
        for device in devices.clone() {
            // The memory of a CPU is that of the whole machine.
            let is_ignored = name == "out_of_memory" && device.platform() == "cpu";
            let trial = Trial::test(format!("{device} {name}"), move || test(&device));
            trials.push(trial.with_ignored_flag(is_ignored));
        }
    }
    if devices.is_empty() {
        eprintln!("skipped: there is no device but the CPU:\n{}", reasons.join("\n"));
    }
    // Tests of one device would take memory from each other.
    let arguments = Arguments { test_threads: Some(1), ..arguments };
    libtest_mimic::run(&arguments, trials).exit();
}

fn close(found: &Tensor, expected: &Tensor, tolerance: f32) -> Result<(), Failed> {
    let (found, expected) = (found.to_vec::<f32>()?, expected.to_vec::<f32>()?);
    let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // A NaN is not at most anything.
    if found.len() == expected.len() && far <= tolerance && found.iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    Err(format!("they differ by {far}: {found:?}, expected {expected:?}").into())
}

fn operations(device: &Device) -> Result<(), Failed> {
    let cpu = Device::cpu()?;
    let x = random::normal(&random::key(0), [33, 17], DType::F32);
    let f = |x: Tensor| {
        let y = x.t().tanh().exp();
        (y.sum(0), y.cumsum(0, false).max(1), (x * 3.0).sort(0))
    };
    let on = |device: &Device| jit(f).call(x.to_device(device)?);
    let (found, expected) = (on(device)?, on(&cpu)?);
    close(&found.0, &expected.0, 1e-2)?;
    close(&found.1, &expected.1, 1e-3)?;
    close(&found.2, &expected.2, 1e-5)
}

/// A scan of a GRU gives the numbers of the CPU. GPUs multiply matrices of `f32` in a shorter format
/// where they have one (TF32, with 10 bits of mantissa), and errors go from step to step.
fn gru(device: &Device) -> Result<(), Failed> {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), 32, 64);
    for batch in [1, 32] {
        let x = random::normal(&random::key(1), [256, batch, 32], DType::F32);
        let forward =
            jit(|x: Tensor| scan(|h, x_t| cell.step(h, x_t), cell.initial_carry(&[batch]), x));
        let lowered = || forward.lower(&x);
        let (h, ys) = lowered()?.compile_for(device)?.call(&x)?;
        if h.device().as_ref() != Some(device) {
            return Err("the carry is elsewhere".into());
        }
        let expected = lowered()?.compile_for(&Device::cpu()?)?.call(&x)?;
        close(&h, &expected.0, 1e-2)?;
        close(&ys, &expected.1, 1e-2)?;
    }
    Ok(())
}

fn transfers(device: &Device) -> Result<(), Failed> {
    let cpu = Device::cpu()?;
    for dtype in DType::ALL {
        for shape in [&[][..], &[0], &[2, 0, 3], &[5, 3]] {
            let count: isize = shape.iter().product();
            let x = Tensor::arange(count as usize, DType::I32).reshape(shape).astype(dtype);
            let there = x.to_device(device)?;
            assert_eq!(there.device().as_ref(), Some(device));
            assert_eq!(format!("{:?}", there.to_device(&cpu)?), format!("{x:?}"));
        }
    }
    Ok(())
}

fn results_stay(device: &Device) -> Result<(), Failed> {
    let x = Tensor::ones([3], DType::F32).to_device(device)?;
    let y = jit(|x: Tensor| x + 1.0).donate(&[0]).call(&x)? * 2.0;
    assert_eq!(y.device().as_ref(), Some(device));
    assert_eq!(y.to_vec::<f32>()?, [4.0; 3]);
    assert!(x.to_vec::<f32>().is_err(), "the memory was donated");
    Ok(())
}

fn devices_do_not_mix(device: &Device) -> Result<(), Failed> {
    let x = Tensor::ones([3], DType::F32);
    let sum = x.to_device(device)? + x.to_device(&Device::cpu()?)?;
    assert_eq!(sum.check().unwrap_err().kind(), ErrorKind::Device);
    Ok(())
}

fn optimized_hlo(device: &Device) -> Result<(), Failed> {
    let step = |h: Tensor, ()| ((h * 2.0).tanh(), ());
    let f = jit(|h: Tensor| Scan::new().length(100).run(step, h, ()).0);
    let compiled = f.lower(Tensor::ones([8], DType::F32))?.compile_for(device)?;
    let hlo = compiled.optimized_hlo()?;
    assert!(hlo.contains(" while("), "{hlo}");
    Ok(())
}

/// More than the device has is an error, after which it goes on as before.
fn out_of_memory(device: &Device) -> Result<(), Failed> {
    let memory = device.memory().ok_or("the device does not tell how much memory it has")?;
    let rows = (memory.limit >> 20) as usize;
    let large = jit(|x: Tensor| {
        let y = x.broadcast_to(&[rows, 1 << 19]) + 1.0;
        (y.index(0).index(0), y)
    });
    let x = Tensor::ones([1 << 19], DType::F32).to_device(device)?;
    let error = match large.call(&x).and_then(|(first, _)| first.to_vec::<f32>().map(drop)) {
        Err(error) => error,
        Ok(()) => return Err("twice the memory of the device was there".into()),
    };
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert!(error.message().contains("out of memory"), "{error}");
    results_stay(device)
}
