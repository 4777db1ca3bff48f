//! Memory that a program gave back is there for the next run, without the system having to clear it
//! again. In a process of its own, where no other thread takes memory.

use onetrace::prelude::*;

/// Pages that the system has given to this process so far.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program comes second, between parentheses, and may have spaces in it.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(7).unwrap().parse().unwrap()
}

fn run_again(program: impl Fn() -> f32) -> u64 {
    let first = program();
    program();
    let before = minor_faults();
    for _ in 0..4 {
        assert_eq!(program(), first);
    }
    minor_faults() - before
}

#[test]
fn temporary_data_and_results_keep_their_pages() {
    // 32 MiB on the way.
    let f = |x: Tensor| x.matmul(&x.transpose([1, 0])).matmul(&x).sum(..);
    let x = Tensor::ones([2896, 8], DType::F32);
    let program = jit(f).lower(&x).unwrap().compile().unwrap();
    let pages = program.memory().unwrap().temp_bytes / 4096;
    assert!(pages > 8000, "{pages}");
    let faults = run_again(|| program.call(&x).unwrap().item().unwrap());
    assert!(faults < pages / 4, "{faults} of {pages} pages");

    // 16 MiB as the result.
    let x = Tensor::ones([1 << 22], DType::F32);
    let program = jit(|x: Tensor| x + 1.0).lower(&x).unwrap().compile().unwrap();
    let faults = run_again(|| {
        program.call(&x).unwrap().check().unwrap();
        0.0
    });
    assert!(faults < 1024, "{faults} of 4096 pages");
}
