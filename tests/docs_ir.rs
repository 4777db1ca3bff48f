//! The IR that the pages of `docs/` show is what the library prints. Where that has changed,
//!
//! ```text
//! UPDATE_EXPECT=1 cargo test --test docs_ir
//! ```
//!
//! writes it into the pages; what is said around it may then have to be changed, too.

use onetrace::prelude::*;
use onetrace::{Checkpoint, linearize};

/// What the page on reverse mode differentiates: `h = tanh(w * h + x)` for each x; the result is the last h.
fn last(checkpoint: Checkpoint, w: &Tensor, xs: Tensor) -> Tensor {
    let step = |h: Tensor, x: Tensor| ((w * h + x).tanh(), ());
    let scan = Scan::new().checkpoint(checkpoint);
    scan.run(step, Tensor::scalar(0.0, DType::F32), xs).0
}

fn weight() -> Tensor {
    Tensor::scalar(0.5, DType::F32)
}

fn sequence() -> Tensor {
    Tensor::ones([1000], DType::F32)
}

/// The IR of a function of w and xs.
fn ir<R: Tree>(f: impl Fn(Tensor, Tensor) -> R) -> String {
    let traced = jit(|(w, xs): (Tensor, Tensor)| f(w, xs)).trace((weight(), sequence()));
    traced.unwrap().func().to_string()
}

/// The IR of a function of w, xs and the tangent of w.
fn ir_along<R: Tree>(f: impl Fn(Tensor, Tensor, Tensor) -> R) -> String {
    let traced = jit(|(w, xs, t): (Tensor, Tensor, Tensor)| f(w, xs, t));
    traced.trace((weight(), sequence(), weight())).unwrap().func().to_string()
}

/// The block of `reverse-mode.md` that is called `name`.
fn reverse_mode(name: &str) -> String {
    let none = Checkpoint::None;
    let by_w = |checkpoint| ir(move |w, xs| grad(|w: Tensor| last(checkpoint, &w, xs.clone()))(w));
    match name {
        "function" => ir(|w, xs| last(none, &w, xs)),
        "jvp" => ir_along(|w, xs, t| jvp(|w: Tensor| last(none, &w, xs.clone()), w, t)),
        "split" => ir_along(|w, xs, t| {
            let (value, along) = linearize(|w: Tensor| last(none, &w, xs.clone()), w);
            (value, along(t))
        }),
        "grad" => by_w(none),
        "checkpoint" => by_w(Checkpoint::Every(50)),
        other => panic!("the page asks for a block {other}, which is not made here"),
    }
}

/// The block of `performance.md` that is called `name`: the last h of `h = tanh(x wi + h wh)` over
/// 1,000 vectors, or its gradient with respect to the matrices, before or after fission, or packed.
fn performance(name: &str) -> String {
    let (what, stage) = name.split_once(", ").expect("a block names what and when");
    let last = |(wi, wh): (Tensor, Tensor), xs: &Tensor| {
        let step = |h: Tensor, x: Tensor| ((x.dot(&wi) + h.dot(&wh)).tanh(), ());
        scan(step, Tensor::zeros([512], DType::F32), xs.clone()).0
    };
    let of = |rows: usize| Tensor::zeros([rows, 512], DType::F32);
    let arguments = ((of(256), of(512)), Tensor::zeros([1000, 256], DType::F32));
    let simplified = match what {
        "forward" => {
            let f = jit(|(w, xs): ((Tensor, Tensor), Tensor)| last(w, &xs));
            f.lower(arguments).unwrap().simplified().clone()
        }
        "gradient" => {
            let f = jit(|(w, xs): ((Tensor, Tensor), Tensor)| grad(|w| last(w, &xs).sum(..))(w));
            f.lower(arguments).unwrap().simplified().clone()
        }
        other => panic!("the page asks for {other}, which is not made here"),
    };
    let func = match stage {
        "before" => simplified,
        "after" => simplified.fissioned(),
        "packed" => simplified.fissioned().packed(),
        other => panic!("the page asks for the stage {other}, which there is not"),
    };
    func.to_string()
}

/// The page with its blocks made anew. A block stands behind a comment with its name:
/// `<!-- ir: name -->`.
fn made_anew(file: &str, block: fn(&str) -> String) -> (String, usize) {
    let path = format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(path).unwrap();
    let mut parts = page.split("<!-- ir: ");
    let mut made = parts.next().unwrap().to_owned();
    let mut blocks = 0;
    for part in parts {
        let (name, rest) = part.split_once(" -->\n```text\n").expect("a block follows its name");
        let (_, rest) = rest.split_once("```\n").expect("the block ends");
        made += &format!("<!-- ir: {name} -->\n```text\n{}```\n{rest}", block(name));
        blocks += 1;
    }
    (made, blocks)
}

#[test]
fn the_page_on_reverse_mode_shows_what_is_printed() {
    let (made, blocks) = made_anew("reverse-mode.md", reverse_mode);
    assert_eq!(blocks, 5);
    expect_test::expect_file!["../docs/reverse-mode.md"].assert_eq(&made);
}

#[test]
fn the_page_on_performance_shows_what_is_printed() {
    let (made, blocks) = made_anew("performance.md", performance);
    assert_eq!(blocks, 5);
    expect_test::expect_file!["../docs/performance.md"].assert_eq(&made);
}
