use onetrace::prelude::*;
fn main() -> Result<()> {
    let w = Tensor::new(&[0.5f32, 0.25, -0.5, 1.0], [2, 2]).named("w");
    let f = jit(|x: Tensor| {
        let (h, ys) = scan(
            |h: Tensor, x_t: Tensor| {
                let h = (h.dot(&w) + x_t).tanh();
                (h.clone(), h)
            },
            Tensor::zeros([2], DType::F32),
            x,
        );
        (h, ys)
    });
    let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]);
    let l = f.lower(&x)?;
    println!(
        "{}",
        l.ir_with(onetrace::ir::print::Options { full_constants: false, locations: true })
    );
    println!("{}", l.hlo()?);
    println!("{:?}", f.call(&x)?);
    let t0 = std::time::Instant::now();
    for _ in 0..100 {
        f.lower(&x)?;
    }
    println!("{:?}", t0.elapsed() / 100);
    let bad = jit(|x: Tensor| {
        scan(
            |h: Tensor, x_t: Tensor| {
                let h = (h.dot(&w) + x_t).reshape([2, 1]);
                (h, ())
            },
            Tensor::zeros([2], DType::F32),
            x,
        )
        .0
    });
    println!("{}", bad.call(&x).unwrap_err());
    let bad = jit(|x: Tensor| {
        scan(
            |h: Tensor, x_t: Tensor| {
                let h = (h.dot(&x_t) + x_t).tanh() * Tensor::ones([7], DType::F32);
                (h, ())
            },
            Tensor::zeros([2], DType::F32),
            x,
        )
        .0
    });
    println!("{}", bad.call(&x).unwrap_err());
    println!(
        "{}",
        scan(|a: Tensor, b: Tensor| (a, b), x.clone(), Tensor::scalar(0.0, DType::F32))
            .0
            .check()
            .unwrap_err()
    );
    println!("{}", (x.clone() * Tensor::ones([2], DType::I32)).to_vec::<f32>().unwrap_err());
    let text = l.ir_with(onetrace::ir::print::Options { full_constants: true, locations: false });
    assert_eq!(onetrace::ir::parse::parse(&text)?, *l.func());
    Ok(())
}
