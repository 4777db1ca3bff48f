//! Programs that JAX wrote, run here: the numbers are JAX's.

mod common;

use common::{Golden, Tolerance, assert_close_in, ramp, ramp_bits};
use half::{bf16, f16};
use onetrace::ErrorKind;
use onetrace::hlo::{Module, Program};
use onetrace::prelude::*;
use serde_json::Value;

const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };
const CLOSE: Tolerance = Tolerance { relative: 2e-6, absolute: 2e-6 };

fn golden(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hlo").join(file)
}

/// The input that a case lists as `[shape, dtype, salt]`.
fn input(spec: &Value) -> Tensor {
    let shape: Vec<usize> =
        spec[0].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let salt = spec[2].as_u64().unwrap() as u32;
    let bits = || ramp_bits(&shape, salt);
    let number = |h: u32| h % 101;
    macro_rules! tensor {
        ($values:expr) => {
            Tensor::new(&$values.collect::<Vec<_>>(), &shape)
        };
    }
    match spec[1].as_str().unwrap() {
        "bool" => tensor!(bits().into_iter().map(|h| h % 2 == 1)),
        "uint8" => tensor!(bits().into_iter().map(|h| number(h) as u8)),
        "uint32" => tensor!(bits().into_iter().map(number)),
        "int32" => tensor!(bits().into_iter().map(|h| number(h) as i32)),
        "float16" => tensor!(ramp(&shape, salt).into_iter().map(f16::from_f32)),
        "bfloat16" => tensor!(ramp(&shape, salt).into_iter().map(bf16::from_f32)),
        "float32" => tensor!(ramp(&shape, salt).into_iter()),
        other => panic!("no input of type {other}"),
    }
}

fn compiled(module: &Module) -> Program {
    module.compile(&Device::cpu().unwrap()).unwrap()
}

#[test]
fn programs_of_jax_give_the_numbers_of_jax() {
    let golden_data = Golden::read("hlo");
    for case in &golden_data.cases {
        let name = case["name"].as_str().unwrap();
        let inputs: Vec<Tensor> = case["inputs"].as_array().unwrap().iter().map(input).collect();
        let expected = golden_data.outputs(name);
        let tolerance = if name == "dtypes" { EXACT } else { CLOSE };
        for ending in ["pb", "txt"] {
            let module = Module::read(golden(&format!("{name}.{ending}"))).unwrap();
            // JAX leaves the weights out of the text.
            if module.lacks_constants() {
                assert_eq!((name, ending), ("gru_constants", "txt"));
                continue;
            }
            let results = compiled(&module).call(&inputs).unwrap();
            assert_eq!(results.len(), expected.len(), "{name}");
            for (i, (result, expected)) in results.iter().zip(&expected).enumerate() {
                let what = format!("{name}.{ending}, result {i}");
                assert_eq!(result.aval(), expected.aval(), "{what}");
                assert_close_in(&what, result, expected, tolerance);
            }
        }
    }
}

/// What `--xla_dump_to` wrote before XLA's passes is the same program; after them it is the backend's.
#[test]
fn dumps_of_xla() {
    let golden_data = Golden::read("hlo");
    let case = golden_data.cases.iter().find(|case| case["name"] == "gru").unwrap();
    let inputs: Vec<Tensor> = case["inputs"].as_array().unwrap().iter().map(input).collect();
    let program = compiled(&Module::read(golden("gru.dump.pb")).unwrap());
    let results = program.call(&inputs).unwrap();
    assert_close_in("gru.dump.pb", &results[0], &golden_data.outputs("gru")[0], CLOSE);
    let optimized = program.optimized().unwrap();
    assert!(optimized.stats().fusions > 0);
    assert!(program.memory().unwrap().peak_bytes > 0);
    for module in [optimized, Module::read(golden("gru.optimized.pb")).unwrap()] {
        let error = module.compile(&Device::cpu().unwrap()).err().unwrap();
        assert!(error.message().contains("has been through XLA's passes"), "{error}");
    }
}

/// The same numbers come from the cell of this library with the weights of the foreign program.
#[test]
fn the_foreign_gru_is_our_gru() {
    let inputs: Vec<Tensor> =
        [(&[7, 3][..], 0), (&[5], 1), (&[3, 15], 2), (&[15], 3), (&[5, 15], 4)]
            .into_iter()
            .map(|(shape, salt)| Tensor::new(&ramp(shape, salt), shape))
            .collect();
    let [x, h, kernel_i, bias_i, kernel_h] = &inputs[..] else { unreachable!() };
    let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 5);
    let paths = ["dense_i.kernel", "dense_i.bias", "dense_h.kernel"];
    let found: Vec<String> =
        tree::leaves_with_paths(&cell).iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(found, paths);
    let weights = vec![kernel_i.clone(), bias_i.clone(), kernel_h.clone()];
    let cell = tree::unflatten(&cell, weights).unwrap();
    let (ours, _) = scan(|h, x_t| cell.step(h, x_t), h.clone(), x.clone());
    let program = compiled(&Module::read(golden("gru.pb")).unwrap());
    assert_close_in("gru", &program.call(&inputs).unwrap()[0], &ours, CLOSE);
}

fn program(text: &str) -> Result<Program> {
    Module::from_text(text)?.compile(&Device::cpu()?)
}

#[test]
fn one_result_that_is_no_tuple_and_layouts_of_the_caller() {
    // Both matrices lie column by column for the program; a tensor is what it is all the same.
    let transposed = program(
        "HloModule m, entry_computation_layout={(f32[2,3]{0,1})->f32[3,2]{0,1}}
         ENTRY main {
           x = f32[2,3]{0,1} parameter(0)
           ROOT y = f32[3,2]{0,1} transpose(x), dimensions={1,0}
         }",
    )
    .unwrap();
    let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    let [y] = &transposed.call(&[x]).unwrap()[..] else { panic!("one result") };
    assert_eq!(y.shape(), [3, 2]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    // No parameters, no results, and results without elements.
    let nothing = program("HloModule m\n ENTRY e { ROOT r = () tuple() }").unwrap();
    assert!(nothing.call(&[] as &[Tensor]).unwrap().is_empty());
    let empty = program(
        "HloModule m\n ENTRY e { x = f32[0,3] parameter(0)\n ROOT r = f32[0,3] negate(x) }",
    );
    let results = empty.unwrap().call(&[Tensor::zeros([0, 3], DType::F32)]).unwrap();
    assert_eq!(results[0].shape(), [0, 3]);
}

#[test]
fn parameters_that_the_module_gives_to_results() {
    let step = program(
        "HloModule m, input_output_alias={ {}: (0, {}, may-alias) }
         ENTRY main {
           x = f32[4] parameter(0)
           y = f32[4] parameter(1)
           ROOT r = f32[4] add(x, y)
         }",
    )
    .unwrap();
    let (x, y) = (Tensor::ones([4], DType::F32), Tensor::ones([4], DType::F32));
    let results = step.call(&[&x, &y]).unwrap();
    assert_eq!(results[0].to_vec::<f32>().unwrap(), [2.0; 4]);
    assert!(x.to_vec::<f32>().unwrap_err().message().contains("donated"));
    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0; 4]);
}

#[test]
fn arguments_are_checked() {
    let add = program(
        "HloModule m
         ENTRY main {
           x = f32[4] parameter(0)
           scale = f32[] parameter(1)
           b = f32[4] broadcast(scale), dimensions={}
           ROOT r = f32[4] multiply(x, b)
         }",
    )
    .unwrap();
    let error = add.call(&[Tensor::ones([3], DType::I32)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert_eq!(
        error.message(),
        "a program takes one tensor for each of the module's parameters, but:\n  \
         argument 0 x: f32[4] wanted, i32[3] given\n  \
         argument 1 scale: f32[] wanted, nothing given"
    );
    assert_eq!(error.location().unwrap().file(), file!());
    let poisoned = Tensor::ones([4], DType::F32) + Tensor::ones([3], DType::F32);
    let error = add.call(&[poisoned, Tensor::ones([], DType::F32)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    let inside = jit(|x: Tensor| {
        let error = add.call(&[&x, &x]).unwrap_err();
        assert!(error.message().starts_with("a compiled program runs at once"), "{error}");
        x
    });
    inside.trace(Tensor::ones([4], DType::F32)).unwrap();
}

#[test]
fn types_that_tensors_cannot_have() {
    for (ty, wanted) in [
        ("s8[2]", "parameter x has type s8[2], which tensors of this library cannot have"),
        ("c64[2]", "parameter x has type c64[2], which tensors of this library cannot have"),
        ("(f32[2], f32[])", "parameter x has type (f32[2], f32[]), which"),
        ("f32[<=2]", "parameter x has type f32[<=2], whose size is known only when it runs"),
    ] {
        let text = format!("HloModule m\n ENTRY e {{ ROOT x = {ty} parameter(0) }}");
        let error = program(&text).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Hlo);
        assert!(error.message().starts_with(&format!("compile: {wanted}")), "{error}");
    }
}
