use onetrace::prelude::*;
use std::time::Instant;
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a[i].parse::<usize>().unwrap();
    let (kind, b, d, h, t) = (a[1].as_str(), n(2), n(3), n(4), n(5));
    let show = a.get(6).map(|s| s.as_str()).unwrap_or("time");
    let fi = match std::env::var("FISS") {
        Ok(s) => onetrace::Fission::Within(s.parse().unwrap()),
        _ => {
            if std::env::var_os("NOFISSION").is_some() {
                onetrace::Fission::Off
            } else {
                onetrace::Fission::Auto
            }
        }
    };
    let rngs = &mut nn::Rngs::new(42);
    let cell = nn::GruCell::new(rngs, d, h);
    let xs: &[usize] = if b == 0 { &[t, d] } else { &[t, b, d] };
    let x = random::normal(&random::key(1), xs, DType::F32);
    let hs: &[usize] = if b == 0 { &[h] } else { &[b, h] };
    let hs = hs.to_vec();
    macro_rules! go {
        ($f:expr, $args:expr) => {{
            let lowered = $f.lower(&$args)?;
            match show {
                "ir" => println!("{}", lowered.fissioned()),
                "hlo" => println!("{}", lowered.hlo()?),
                "opt" => println!("{}", lowered.compile()?.optimized_hlo()?),
                _ => {
                    let c = lowered.compile()?;
                    let r = c.call(&$args)?;
                    let leaves = tree::leaves(&r);
                    for l in &leaves {
                        let v = l.to_vec::<f32>()?;
                        let s: f64 = v.iter().map(|x| (*x as f64).abs()).sum();
                        print!("{:.6} ", s);
                    }
                    println!();
                    let mut times = vec![];
                    let start = Instant::now();
                    while start.elapsed().as_secs_f64()
                        < std::env::var("SECS").map_or(1.5, |s| s.parse().unwrap())
                        || times.len() < 3
                    {
                        let s = Instant::now();
                        let r = c.call(&$args)?;
                        for l in tree::leaves(&r) {
                            l.to_vec::<f32>()?;
                        }
                        times.push(s.elapsed().as_secs_f64());
                    }
                    times.sort_by(f64::total_cmp);
                    println!(
                        "{:.3} us/step median, {:.3} min",
                        1e6 * times[times.len() / 2] / t as f64,
                        1e6 * times[0] / t as f64
                    );
                }
            }
        }};
    }
    let loss = |cell: nn::GruCell, x: Tensor| {
        let (h, ()) = scan(
            |h, x_t: Tensor| (cell.step(h, x_t).0, ()),
            Tensor::zeros(hs.clone(), DType::F32),
            x,
        );
        h.square().mean(..)
    };
    match kind {
        "fwd" => {
            let f = jit(|x: Tensor| {
                scan(
                    |h, x_t: Tensor| (cell.step(h, x_t).0, ()),
                    Tensor::zeros(hs.clone(), DType::F32),
                    x,
                )
                .0
            });
            go!(f, x);
        }
        "fwdp" => {
            let f = jit(|(cell, x): (nn::GruCell, Tensor)| {
                scan(
                    |h, x_t: Tensor| (cell.step(h, x_t).0, ()),
                    Tensor::zeros(hs.clone(), DType::F32),
                    x,
                )
                .0
            });
            go!(f, (cell.clone(), x.clone()));
        }
        "ys" => {
            let f = jit(|x: Tensor| {
                Scan::new().fission(fi).run(
                    |h, x_t: Tensor| cell.step(h, x_t),
                    Tensor::zeros(hs.clone(), DType::F32),
                    x,
                )
            });
            go!(f, x);
        }
        "grad" => {
            let f = jit(|(cell, x): (nn::GruCell, Tensor)| {
                grad(|cell: nn::GruCell| loss(cell, x.clone()))(cell)
            });
            go!(f, (cell.clone(), x.clone()));
        }
        _ => panic!(),
    }
    Ok(())
}
