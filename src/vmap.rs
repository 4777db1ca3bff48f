//! `vmap`: a function of one example becomes a function of a batch.

use crate::batch_axes::{BatchAxes, Sizes};
use crate::error::{Error, Result};
use crate::ops::call::composite_at;
use crate::ops::control::{leaf_name, result_tree, trace_region};
use crate::tensor::Tensor;
use crate::trace::{Kind, scope};
use crate::transform::batch::{Batched, batch_values};
use crate::tree::{self, Path, Tree};

/// Makes `f`, a function of one example, a function of a batch of them: the members stand along the
/// first axis of every leaf of the arguments and of the results; `jax.vmap`.
///
/// `f` is traced once, for one member, and each operation is replaced by one that does the same for
/// all: products of matrices become larger ones, a loop stays one loop. What `f` captures is the
/// same for all. More can be said with [`Vmap`]. A mistake comes out where the results do.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let norm = |x: Tensor| x.square().sum(..).sqrt();
/// let x = Tensor::new(&[3.0f32, 4.0, 6.0, 8.0], [2, 2]);
/// assert_eq!(vmap(norm)(x).to_vec::<f32>()?, [5.0, 10.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn vmap<A: Tree, R: Tree>(f: impl Fn(A) -> R) -> impl Fn(A) -> R {
    let location = std::panic::Location::caller();
    move |arguments| Vmap::new().run_at(location, &f, arguments)
}

/// A [`vmap`] with other axes.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::{SAME, Vmap};
/// let (x, y) = (Tensor::ones([3, 2], DType::F32), Tensor::ones([3], DType::F32));
/// let columns = Vmap::new().in_axes((1, SAME)); // a member is a column of x; all have the same y
/// let dots = columns.run(|(x, y): (Tensor, Tensor)| x.dot(&y), (x, y));
/// assert_eq!(dots.to_vec::<f32>()?, [3.0, 3.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a vmap does nothing until it is run"]
pub struct Vmap {
    in_axes: BatchAxes,
    out_axes: BatchAxes,
    size: Option<usize>,
}

impl Default for Vmap {
    fn default() -> Vmap {
        Vmap::new()
    }
}

impl Vmap {
    /// Members along the first axis of all arguments and results.
    pub fn new() -> Vmap {
        Vmap { in_axes: 0.into(), out_axes: 0.into(), size: None }
    }

    /// Along which axis of the arguments the members stand: a number for all leaves,
    /// [`SAME`](crate::SAME) for none, or a tuple of these (and of tuples) for the parts of a
    /// tuple. Negative numbers count from the back.
    pub fn in_axes(mut self, axes: impl Into<BatchAxes>) -> Vmap {
        self.in_axes = axes.into();
        self
    }

    /// Along which axis of the results the members are to stand, as for
    /// [`in_axes`](Vmap::in_axes). [`SAME`](crate::SAME) is for results that are the same for all
    /// members.
    pub fn out_axes(mut self, axes: impl Into<BatchAxes>) -> Vmap {
        self.out_axes = axes.into();
        self
    }

    /// The number of members. Needed where no argument has an axis for them; otherwise it must
    /// agree.
    pub fn axis_size(mut self, size: usize) -> Vmap {
        self.size = Some(size);
        self
    }

    /// Runs `f` for each member of the batch that `arguments` are; see [`vmap`].
    #[track_caller]
    pub fn run<A: Tree, R: Tree>(self, f: impl FnOnce(A) -> R, arguments: A) -> R {
        let location = std::panic::Location::caller();
        self.run_at(location, f, arguments)
    }

    pub(crate) fn run_at<A: Tree, R: Tree>(
        &self,
        location: crate::Location,
        f: impl FnOnce(A) -> R,
        arguments: A,
    ) -> R {
        composite_at(("vmap", location), arguments, |arguments| {
            let inputs = self.inputs(&arguments);
            let (size, members) = match &inputs {
                Ok((size, inputs)) => (*size, inputs.iter().map(Batched::member).collect()),
                Err(_) => (0, tree::leaves(&arguments).iter().map(|x| x.aval().clone()).collect()),
            };
            let members: Vec<crate::Aval> = members;
            let paths = tree::leaves_with_paths(&arguments);
            let names = paths.iter().map(|(path, _)| leaf_name("arg", path));
            let params = members.into_iter().zip(names).collect();
            let call = ("vmap", location);
            let traced = trace_region(call, "member", Kind::Function, params, &arguments, f);
            let output = traced.output;
            let results = tree::check(&arguments).and(inputs).and_then(|(_, inputs)| {
                let (func, captures) = traced.result?;
                let captures = captures.into_iter().map(Batched::same);
                scope::at(location, || {
                    let outputs = batch_values(&func, size, captures.chain(inputs).collect())?;
                    self.outputs(size, &output, outputs)
                })
            });
            result_tree(results.map_err(|error| error.at(location)), &output)
        })
    }

    /// The number of members, and each argument with the axis they stand along.
    fn inputs<A: Tree>(&self, arguments: &A) -> Result<(usize, Vec<Batched>)> {
        let advice = "what is the same for all members is `SAME`: `in_axes((0, SAME))`";
        let axes = self.in_axes.of_arguments("vmap", arguments).map_err(|e| e.note(advice))?;
        let sizes = Sizes::of(arguments, &axes);
        let Some(size) = self.size.or(sizes.first()) else {
            return Err(Error::argument(
                "vmap: no argument has an axis for the members, so their number must be given: \
                 Vmap::new().axis_size(n)",
            ));
        };
        let rule = match self.size {
            Some(size) => format!("there must be axis_size, {size}, members along every axis"),
            None => "there must be the same number of members along every axis".to_owned(),
        };
        sizes.check(size, &format!("vmap: {rule}")).map_err(|e| e.note(advice))?;
        let leaves = tree::leaves(arguments).into_iter().zip(axes);
        Ok((size, leaves.map(|(tensor, axis)| Batched { tensor, axis }).collect()))
    }

    /// The results, with the members along the axes that are asked for.
    fn outputs<R: Tree>(
        &self,
        size: usize,
        output: &R,
        values: Vec<Batched>,
    ) -> Result<Vec<Tensor>> {
        self.out_axes.check_parts(("vmap", "out_axes"), "result", output)?;
        let paths = tree::leaves_with_paths(output).into_iter().map(|(path, _)| path);
        let moved = paths.zip(values).map(|(path, value)| self.output(size, &path, value));
        moved.collect()
    }

    fn output(&self, size: usize, path: &Path, value: Batched) -> Result<Tensor> {
        match self.out_axes.of_result("vmap", path, value.member().rank() + 1)? {
            Some(to) => {
                let from = value.axis.unwrap_or(0);
                let tensor = match value.axis {
                    Some(_) => value.tensor,
                    None => value.to_front(size),
                };
                Ok(match from == to {
                    true => tensor,
                    false => tensor.moveaxis(from as isize, to as isize),
                })
            }
            None if value.is_batched() => Err(Error::argument(format!(
                "vmap: out_axes says that {} is the same for all members, but it depends on them: \
                 give it an axis",
                leaf_name("result", path),
            ))),
            None => Ok(value.tensor),
        }
    }
}
