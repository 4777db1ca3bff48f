//! HLO modules: round trips through their forms, and figures against those counted by hand.

mod common;

use common::{Golden, ramp_tensor};
use onetrace::hlo::{Module, Stats, TextOptions};
use onetrace::prelude::*;

const FULL: TextOptions = TextOptions { full_constants: true, metadata: true };

fn golden(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hlo").join(file)
}

/// A GRU over a sequence, the last carry.
fn gru(steps: usize) -> Lowered {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 5);
    let forward =
        jit(move |x: Tensor| scan(|h, x_t| cell.step(h, x_t), Tensor::zeros([5], DType::F32), x).0);
    forward.lower(ramp_tensor(&[steps, 3], 0)).unwrap()
}

type Lowered = onetrace::Lowered<Tensor, Tensor>;

/// Modules of this library and of JAX, before XLA's passes and after them.
fn modules() -> Vec<Module> {
    let mut modules =
        vec![gru(7).module().unwrap(), gru(7).compile().unwrap().optimized().unwrap()];
    let cases = Golden::read("hlo").cases;
    let names = cases.iter().map(|case| format!("{}.pb", case["name"].as_str().unwrap()));
    let dumped = ["gru.dump.pb", "gru.optimized.pb"].map(str::to_owned);
    modules.extend(names.chain(dumped).map(|name| Module::read(golden(&name)).unwrap()));
    modules
}

/// The head and the computations of a text. XLA prints computations in an order of its own.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs: Vec<&str> = text.split("\n\n").collect();
    paragraphs.sort_unstable();
    paragraphs
}

/// The figures that do not depend on the form a module was read from.
fn figures(module: &Module) -> Stats {
    Stats { proto_bytes: 0, text_bytes: 0, ..module.stats() }
}

#[test]
fn text_reads_back_to_the_same_module() {
    for module in modules() {
        let text = module.text(FULL).unwrap();
        let again = Module::from_text(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(paragraphs(&again.text(FULL).unwrap()), paragraphs(&text), "{}", module.name());
        assert_eq!(figures(&again), figures(&module), "{}", module.name());
        assert!(!again.lacks_constants());
    }
}

#[test]
fn protocol_buffers_read_back_to_the_same_bytes() {
    for module in modules() {
        let again = Module::from_proto(module.proto()).unwrap();
        assert_eq!(again.proto(), module.proto());
        assert_eq!(again.stats(), module.stats());
        let printed = Module::from_proto(module.pbtxt().unwrap().as_bytes()).unwrap();
        let (printed_text, text) = (printed.text(FULL).unwrap(), module.text(FULL).unwrap());
        assert_eq!(paragraphs(&printed_text), paragraphs(&text));
        assert_eq!(figures(&printed), figures(&module));
    }
}

#[test]
fn what_xla_dumps_is_unwrapped() {
    let (dumped, direct) = (golden("gru.dump.pb"), golden("gru.pb"));
    let (dumped, direct) = (Module::read(dumped).unwrap(), Module::read(direct).unwrap());
    let short = TextOptions { metadata: false, ..TextOptions::default() };
    assert_eq!(dumped.text(short).unwrap(), direct.text(short).unwrap());
    // Its own wrapping, as text.
    let inner = direct.pbtxt().unwrap();
    let wrapped = Module::from_proto(format!("hlo_module {{\n{inner}}}\n").as_bytes()).unwrap();
    assert_eq!(wrapped.stats(), Module::from_proto(inner.as_bytes()).unwrap().stats());
}

#[test]
fn text_options() {
    let module = gru(7).module().unwrap();
    let short = module.text(TextOptions::default()).unwrap();
    assert!(short.contains("constant({...})") && short.contains("metadata={"), "{short}");
    assert!(!module.text(FULL).unwrap().contains("{...}"));
    let plain = TextOptions { full_constants: false, metadata: false };
    assert!(!module.text(plain).unwrap().contains("metadata={"));
    assert_eq!(gru(7).hlo().unwrap(), short);
}

#[test]
fn constants_that_were_left_out_are_not_made_up() {
    let text = gru(7).hlo().unwrap();
    let module = Module::from_text(&text).unwrap();
    assert!(module.lacks_constants());
    // It can be looked at.
    assert_eq!(module.text(TextOptions::default()).unwrap(), text);
    assert_eq!(figures(&module), figures(&gru(7).module().unwrap()));
    // It cannot be run or translated.
    let errors = [
        module.text(FULL).unwrap_err(),
        module.pbtxt().unwrap_err(),
        module.stablehlo().unwrap_err(),
        module.compile(&Device::cpu().unwrap()).err().unwrap(),
    ];
    for error in errors {
        assert!(error.message().contains("leaves out the values of constants"), "{error}");
    }
}

#[test]
fn stablehlo_of_a_foreign_module() {
    let text = Module::read(golden("gru.pb")).unwrap().stablehlo().unwrap();
    assert!(text.contains("stablehlo.while") && text.contains("func.func @main("), "{text}");
}

/// What is checked of the figures, on one line.
fn row(stats: &Stats) -> String {
    let loops: Vec<String> = stats
        .while_loops
        .iter()
        .map(|l| {
            let trips = l.trip_count.map_or("?".to_owned(), |n| n.to_string());
            format!("{}{trips}", ">".repeat(l.depth))
        })
        .collect();
    let bound = if stats.flops_are_lower_bound { "at least " } else { "" };
    format!("loops [{}], {} dots, {bound}{} flops", loops.join(" "), stats.dots, stats.flops)
}

/// A loop with a product of 4 x 4 matrices in its body. `start` and `step` are the counter's, and
/// `condition` compares the counter `i` with the limit `n`.
fn counting(ty: &str, start: &str, step: &str, limit: &str, condition: &str) -> String {
    format!(
        "HloModule counting
         body {{
           s = ({ty}[], {ty}[], f32[4,4]) parameter(0)
           i = {ty}[] get-tuple-element(s), index=0
           n = {ty}[] get-tuple-element(s), index=1
           x = f32[4,4] get-tuple-element(s), index=2
           step = {ty}[] constant({step})
           next = {ty}[] add(i, step)
           y = f32[4,4] dot(x, x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
           ROOT r = ({ty}[], {ty}[], f32[4,4]) tuple(next, n, y)
         }}
         condition {{
           s = ({ty}[], {ty}[], f32[4,4]) parameter(0)
           i = {ty}[] get-tuple-element(s), index=0
           n = {ty}[] get-tuple-element(s), index=1
           ROOT go = pred[] compare({condition}
         }}
         ENTRY main {{
           i = {ty}[] constant({start})
           n = {ty}[] constant({limit})
           x = f32[4,4] parameter(0)
           s = ({ty}[], {ty}[], f32[4,4]) tuple(i, n, x)
           ROOT w = ({ty}[], {ty}[], f32[4,4]) while(s), condition=condition, body=body
         }}"
    )
}

#[test]
fn trip_counts_of_loops_that_count() {
    let up = "i, n), direction=LT";
    // (type, start, step, limit, condition) and how often such a loop runs in Rust.
    for (ty, start, step, limit, condition, trips) in [
        ("s32", "0", "1", "7", up, Some(7)),
        ("s32", "7", "1", "7", up, Some(0)),
        ("s32", "9", "1", "7", up, Some(0)),
        ("s32", "-5", "3", "6", up, Some(4)),
        ("s32", "0", "3", "6", up, Some(2)),
        ("s32", "0", "1", "7", "i, n), direction=LE", Some(8)),
        ("s32", "7", "-1", "0", "i, n), direction=GT", Some(7)),
        ("s32", "7", "-2", "0", "i, n), direction=GE", Some(4)),
        ("s32", "0", "1", "7", "n, i), direction=GT", Some(7)),
        ("s32", "0", "2", "8", "i, n), direction=NE", Some(4)),
        ("u32", "0", "1", "4000000000", up, Some(4_000_000_000)),
        ("s64", "0", "1", "1099511627776", up, Some(1 << 40)),
        ("u8", "0", "50", "200", up, Some(4)),
        // These never end, or only after the counter has wrapped around.
        ("s32", "0", "0", "7", up, None),
        ("s32", "0", "-1", "7", up, None),
        ("s32", "0", "3", "7", "i, n), direction=NE", None),
        ("s32", "0", "1", "2147483647", "i, n), direction=LE", None),
        ("u8", "0", "100", "250", up, None),
        ("f32", "0", "1", "7", up, None),
    ] {
        let text = counting(ty, start, step, limit, condition);
        let stats = Module::from_text(&text).unwrap_or_else(|e| panic!("{e}\n{text}")).stats();
        let what = format!("{ty} from {start} by {step} to {limit}, compare({condition}");
        assert_eq!(stats.while_loops[0].trip_count, trips, "{what}");
        assert_eq!(stats.flops, 2 * 4 * 4 * 4 * trips.unwrap_or(1), "{what}");
        assert_eq!(stats.flops_are_lower_bound, trips.is_none(), "{what}");
    }
}

/// Loops whose counter does something else than count are not guessed at.
#[test]
fn no_trip_count_without_proof() {
    let text = counting("s32", "0", "1", "7", "i, n), direction=LT");
    for (from, to) in [
        ("add(i, step)", "multiply(i, step)"),
        ("add(i, step)", "add(n, step)"),
        ("add(i, step)", "add(i, i)"),
        ("tuple(next, n, y)", "tuple(next, next, y)"),
        ("tuple(next, n, y)", "tuple(n, next, y)"),
        ("i = s32[] constant(0)", "i = s32[] parameter(1)"),
        ("n = s32[] constant(7)", "n = s32[] parameter(1)"),
        (
            "ROOT go = pred[] compare(i, n), direction=LT",
            "go = pred[] compare(i, n), direction=LT\n ROOT no = pred[] not(go)",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let stats = Module::from_text(&text.replacen(from, to, 1)).unwrap().stats();
        assert_eq!(stats.while_loops[0].trip_count, None, "{to}");
        assert!(stats.flops_are_lower_bound);
    }
}

/// The figures of programs of this library, before and after XLA's passes, against those by hand.
#[test]
fn figures_of_traced_programs() {
    let check = |lowered: Lowered, before: &str, after: &str| {
        assert_eq!(row(&lowered.stats().unwrap()), before);
        assert_eq!(row(&lowered.compile().unwrap().optimized().unwrap().stats()), after);
    };
    // Each step multiplies [3] by [3, 15] and [5] by [5, 15].
    let flops = 7 * 2 * (3 * 15 + 5 * 15);
    check(
        gru(7),
        &format!("loops [7], 2 dots, {flops} flops"),
        &format!("loops [7], 2 dots, {flops} flops"),
    );
    // Four rounds of six products of [4, 4] matrices, and one of [2, 4] by [4, 4] after them.
    let nested = jit(|x: Tensor| {
        let inner = |x: Tensor| fori_loop(2, 8, |_, x: Tensor| x.matmul(&x), x);
        let x = fori_loop(0, 4, |_, x: Tensor| inner(x) * 0.5, x);
        x.slice(&[0, 0], &[2, 4], &[1, 1]).matmul(&x)
    });
    let flops = 4 * 6 * 2 * 4 * 4 * 4 + 2 * 2 * 4 * 4;
    check(
        nested.lower(Tensor::ones([4, 4], DType::F32)).unwrap(),
        &format!("loops [4 >6], 2 dots, {flops} flops"),
        &format!("loops [4 >6], 2 dots, {flops} flops"),
    );
    // A step that is called twice is counted twice, a loop that the data ends once.
    let square = jit(|x: Tensor| x.matmul(&x));
    let until = jit(|x: Tensor| {
        let x = square.call(square.call(x).unwrap()).unwrap();
        while_loop(|x: Tensor| x.sum(..).lt(100.0), |x: Tensor| x.matmul(&x), x)
    });
    let flops = 3 * 2 * 4 * 4 * 4;
    let lowered = until.lower(Tensor::ones([4, 4], DType::F32)).unwrap();
    assert_eq!(
        row(&lowered.stats().unwrap()),
        format!("loops [?], 3 dots, at least {flops} flops")
    );
}

/// XLA:CPU gives larger products to a library, in fusions of its own kind. They are counted all the
/// same.
#[test]
fn passes_of_xla_leave_the_flops_as_they_are() {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 64, 128);
    let forward = jit(|x: Tensor| {
        let init = Tensor::zeros([32, 128], DType::F32);
        scan(|h, x_t| cell.step(h, x_t), init, x).0
    });
    let lowered = forward.lower(Tensor::ones([3, 32, 64], DType::F32)).unwrap();
    let flops = 3 * 2 * 32 * (64 + 128) * 3 * 128;
    assert_eq!(lowered.stats().unwrap().flops, flops);
    let after = lowered.compile().unwrap().optimized().unwrap().stats();
    assert_eq!((after.dots, after.flops), (2, flops), "{after:?}");
}

#[test]
fn figures_of_foreign_modules() {
    let gru = 7 * 2 * (3 * 15 + 5 * 15);
    let nested = 4 * 6 * 2 * 4 * 4 * 4;
    // [2, 6, 5, 4] results of windows of 3 x 2 over 3 features.
    let convolution = 2 * (2 * 6 * 5 * 4) * (3 * 2 * 3);
    for (file, wanted) in [
        ("gru.pb", format!("loops [7], 2 dots, {gru} flops")),
        ("gru.txt", format!("loops [7], 2 dots, {gru} flops")),
        ("gru.dump.pb", format!("loops [7], 2 dots, {gru} flops")),
        ("gru.optimized.pb", format!("loops [7], 2 dots, {gru} flops")),
        ("gru_constants.pb", format!("loops [7], 2 dots, {gru} flops")),
        ("nested.pb", format!("loops [4 >6 ?], 1 dots, {nested} flops")),
        ("convolution.pb", format!("loops [], 0 dots, {convolution} flops")),
    ] {
        assert_eq!(row(&Module::read(golden(file)).unwrap().stats()), wanted, "{file}");
    }
}

/// Calls of libraries that backends make of matrix products and convolutions.
#[test]
fn flops_of_library_calls() {
    let call = |target: &str, config: &str| {
        let config = config.replace('"', "\\\"");
        let text = format!(
            "HloModule call
             ENTRY main {{
               a = f32[3,5] parameter(0)
               b = f32[5,7] parameter(1)
               ROOT r = (f32[3,7], s8[128]) custom-call(a, b), custom_call_target=\"{target}\",
                 backend_config=\"{config}\"
             }}"
        );
        row(&Module::from_text(&text).unwrap().stats())
    };
    let product = "loops [], 1 dots, 210 flops";
    let numbers = r#"{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}"#;
    let gemm = format!(r#"{{"gemm_backend_config":{{"dot_dimension_numbers":{numbers}}}}}"#);
    assert_eq!(call("__cublas$gemm", &gemm), product);
    assert_eq!(call("__cublas$lt$matmul", &gemm), product);
    assert_eq!(call("__onednn$matmul", "{}"), product);
    assert_eq!(call("onetrace_panel_dot", ""), product);
    let sum = "HloModule call
        ENTRY main {
          a = f32[3,5] parameter(0)
          b = f32[1,5,32] parameter(1)
          c = f32[3,2] parameter(2)
          d = f32[1,2,32] parameter(3)
          ROOT r = f32[3,32] custom-call(a, b, c, d), custom_call_target=\"onetrace_panel_dot\"
        }";
    let sum = Module::from_text(sum).unwrap().stats();
    assert_eq!(row(&sum), format!("loops [], 1 dots, {} flops", 2 * 3 * 32 * (5 + 2)));
    let tall = "HloModule call
        ENTRY main {
          a = f32[7,3] parameter(0)
          b = f32[7,32] parameter(1)
          c = f32[7,64] parameter(2)
          ROOT r = f32[3,96] custom-call(a, b, c), custom_call_target=\"onetrace_tall_dot\"
        }";
    let tall = Module::from_text(tall).unwrap().stats();
    assert_eq!(row(&tall), format!("loops [], 1 dots, {} flops", 2 * 3 * 96 * 7));
    assert_eq!(call("__cublas$gemm", "not JSON"), "loops [], 0 dots, 0 flops");
    assert_eq!(call("something_else", &gemm), "loops [], 0 dots, 0 flops");
}

/// Of a branch the one that costs more is counted.
#[test]
fn flops_of_branches() {
    let branches = jit(|x: Tensor| {
        let go = x.sum(..).gt(0.0);
        cond(go, |x: Tensor| x.matmul(&x).matmul(&x), |x: Tensor| x.matmul(&x), x)
    });
    let stats = branches.lower(Tensor::ones([4, 4], DType::F32)).unwrap().stats().unwrap();
    assert_eq!((stats.dots, stats.flops), (3, 2 * 2 * 4 * 4 * 4));
}

#[test]
fn sizes() {
    let lowered = gru(7);
    let stats = lowered.stats().unwrap();
    assert_eq!((stats.parameters, stats.parameter_bytes), (1, 7 * 3 * 4));
    // The kernels. The bias and the first carry are a zero that is broadcast; of such numbers there
    // are a few.
    let kernels = 4 * (3 * 15 + 5 * 15);
    assert!((kernels..kernels + 50).contains(&stats.constant_bytes), "{}", stats.constant_bytes);
    assert_eq!(stats.text_bytes as usize, lowered.hlo().unwrap().len());
    assert_eq!(stats.proto_bytes as usize, lowered.hlo_proto().unwrap().len());
    assert_eq!(stats.instructions, stats.opcodes.values().sum::<usize>());
    let memory = lowered.compile().unwrap().memory().unwrap();
    // The result is a tuple of one array: its pointer, and the array.
    assert_eq!((memory.argument_bytes, memory.output_bytes), (7 * 3 * 4, 8 + 5 * 4));
    assert!(memory.peak_bytes >= memory.argument_bytes + memory.output_bytes, "{memory:?}");
}

/// The number of instructions does not depend on the number of steps; the trip count is that number.
#[test]
fn a_scan_is_one_loop_of_any_length() {
    let stats = |steps| gru(steps).stats().unwrap();
    let (short, long) = (stats(2), stats(2048));
    assert_eq!(short.instructions, long.instructions);
    let trips = |stats: &Stats| stats.while_loops.iter().map(|l| l.trip_count).collect::<Vec<_>>();
    assert_eq!((trips(&short), trips(&long)), (vec![Some(2)], vec![Some(2048)]));
    assert_eq!(long.flops, 1024 * short.flops);
}

/// The names in the text are those of the user's program.
#[test]
fn names_are_those_of_the_program() {
    let lowered = gru(7);
    let hlo = lowered.hlo().unwrap();
    for name in ["dense_i.kernel", "dense_h.kernel", "dense_i.bias", "GruCell", "source_file=\""] {
        assert!(hlo.contains(name), "{name} in\n{hlo}");
    }
    let ir =
        lowered.ir_with(onetrace::ir::print::Options { locations: true, ..Default::default() });
    assert!(ir.contains("tests/hlo.rs:"), "{ir}");
}
